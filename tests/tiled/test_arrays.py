"""NumPy arrays, memory maps and zarr-like arrays, in and out; what is read and what is kept."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from spacebatch import tiled
from tests.tiled.models import Sliced, image, network, places


class Largest(TorchFunctionMode):
    """The number of elements of the largest tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        if isinstance(made, Tensor):
            self.numel = max(self.numel, made.numel())
        return made


@pytest.mark.parametrize("options", [{"halo": 4}, {"overlap": 0.5, "blend": "gaussian"}], ids=("halo", "overlap"))
def test_every_kind_gives_the_same(options: dict[str, Any], tmp_path: Path) -> None:
    model, x = network(), image(2, 2, 41, 37)
    expected = tiled(model, x, 16, batch=3, **options).numpy()
    np.save(tmp_path / "x.npy", x.numpy())
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    swapped = x.numpy().astype(">f8")[:, :, :, ::-1][:, :, :, ::-1]
    for data in (x.numpy(), mapped, swapped, Sliced(x.numpy())):
        y = tiled(model, data, 16, batch=3, **options)
        assert isinstance(y, np.ndarray)
        assert np.array_equal(y, expected)
    file = np.lib.format.open_memmap(tmp_path / "y.npy", "w+", np.float64, expected.shape)
    sliced = Sliced(np.full(expected.shape, np.nan))
    for out in (file, sliced, np.full_like(expected, np.nan), torch.from_numpy(np.full_like(expected, np.nan))):
        assert tiled(model, mapped, 16, batch=3, out=out, **options) is out
    file.flush()
    assert np.array_equal(np.load(tmp_path / "y.npy"), expected)
    assert np.array_equal(sliced._data, expected)


def test_arrays_without_channels() -> None:
    """A volume of (Z, Y, X), as it lies on disk: one channel for the model, and one or none in the result."""
    volume, out = (
        Sliced(np.arange(20 * 9 * 8, dtype=np.uint16).reshape(20, 9, 8)),
        Sliced(np.zeros((20, 9, 8), np.float32)),
    )
    tiled(lambda t: t.float() * 2, volume, (8, 8, 8), halo=1, out=out)
    assert np.array_equal(out._data, volume._data.astype(np.float32) * 2)


def test_only_tiles_are_read_and_each_part_is_written_once() -> None:
    x, out = Sliced(np.random.default_rng(0).random((1, 40, 40))), Sliced(np.zeros((1, 40, 40)))
    tiled(lambda t: t, x, (10, 20), halo=2, batch=2, out=out)
    assert len(x.read) == 8
    assert (slice(None), slice(8, 22), slice(0, 22)) in x.read
    covered = np.zeros((1, 40, 40), int)
    for index in out.written:
        covered[index] += 1
    assert (covered == 1).all()


def test_of_the_result_no_more_than_a_slab_is_kept() -> None:
    """Rows are written as soon as no tile will reach them, and no tensor is larger than a slab, 16 rows of the image."""
    x, out = Sliced(np.random.default_rng(0).random((1, 2, 160, 48))), Sliced(np.zeros((1, 4, 160, 48)))
    rows_written = []

    def model(t: Tensor) -> Tensor:
        rows_written.append(sum(each[2].stop - each[2].start for each in out.written))
        return places(t)

    with Largest() as largest:
        tiled(model, x, (16, 16), overlap=0.5, blend="gaussian", batch=3, out=out)
    assert largest.numel == 4 * 16 * 48
    assert len(rows_written) == 32
    for call, rows in enumerate(
        rows_written
    ):  # 5 tiles per row: the first tile of the next row finishes 8 rows of the image
        assert rows == 8 * (max(3 * call - 1, 0) // 5)
    covered = np.zeros(160, int)
    for index in out.written:
        covered[index[2]] += 1
    assert (covered == 1).all()


def test_with_labels_out_the_sums_never_exist_as_a_whole() -> None:
    x = torch.rand(1, 1, 128, 32)
    with Largest() as largest:
        y = tiled(
            lambda t: t * torch.arange(50.0).view(1, -1, 1, 1), x, 16, overlap=0.25, finish=lambda t: t.argmax(1, True)
        )
    assert y.shape == (1, 1, 128, 32)
    assert largest.numel == 50 * 16 * 32


@pytest.mark.parametrize("options", [{"halo": 2}, {"overlap": 0.5}], ids=("halo", "overlap"))
def test_a_batch_is_let_go_before_the_next_one(options: dict[str, Any]) -> None:
    made: list[weakref.ref[Any]] = []

    def model(t: Tensor) -> Tensor:
        assert not any(ref() is not None for ref in made)
        memory = t.numpy() * 2  # which lives as long as any view of the result
        made.append(weakref.ref(memory))
        return torch.from_numpy(memory)

    tiled(model, image(1, 1, 40, 40), 10, batch=3, **options)
    assert len(made) > 4
