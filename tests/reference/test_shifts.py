"""Words of small elements: the bits that the definition gives, and taken exactly where the rule says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from spacebatch import BlockGeometry
from spacebatch.reference import cpu_path, definition, shifts
from tests.bits import poisoned, same

PAIRS = {(1, 2): 1, (1, 4): 1, (1, 8): 1, (2, 2): 1, (2, 4): 1, (4, 2): 1}
# Widths are whole words of 8 bytes unless the case says otherwise.
CASES: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "1d": ((3, 16), {"block_shape": (2,)}),
    "1d_block_4": ((2, 3, 16), {"block_shape": 4}),
    "1d_block_8": ((2, 16), {"block_shape": (8,), "paddings": ((3, 5),)}),
    "2d": ((2, 3, 4, 16), {"block_shape": 2}),
    "2d_block_4": ((2, 3, 8, 24), {"block_shape": 4}),
    "2d_blocks_differ": ((2, 1, 6, 16), {"block_shape": (3, 2)}),
    "3d": ((1, 2, 4, 6, 16), {"block_shape": (2, 3, 4)}),
    "padded_by_1": ((2, 2, 4, 16), {"block_shape": 2, "paddings": 1}),
    "before_only": ((2, 2, 5, 16), {"block_shape": (3, 4), "paddings": ((1, 0), (4, 0))}),
    "asymmetric": ((2, 2, 5, 16), {"block_shape": 4, "paddings": ((1, 2), (3, 1))}),
    "wider_than_a_block": ((1, 2, 3, 16), {"block_shape": 2, "paddings": ((5, 0), (7, 3))}),
    "wider_than_a_row": ((1, 8), {"block_shape": (4,), "paddings": ((21, 23),)}),
    "3d_padded": ((1, 3, 2, 5, 8), {"block_shape": (2, 2, 4), "paddings": ((1, 1), (0, 1), (6, 2))}),
    "dims_unordered": ((1, 6, 2, 16), {"block_shape": (4, 3), "spatial_dims": (3, 1)}),
}
DTYPES = ("uint8", "int8", "bool", "float16", "int16", ">i2")
each_order = pytest.mark.parametrize("order", ["block_major", "batch_major"])


def random_array(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    bits = np.random.default_rng(0).integers(0, 256, (*shape, np.dtype(dtype).itemsize), dtype=np.uint8)
    return (bits[..., 0] > 127) if dtype == "bool" else bits.view(dtype).reshape(shape)


@pytest.fixture(autouse=True)
def moved(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Small arrays take words, too, cut into many tiles; the list holds what was done."""
    done: list[str] = []
    for name in ("split", "join"):
        move = getattr(shifts, name)
        monkeypatch.setattr(shifts, name, lambda *a, name=name, move=move: (done.append(name), move(*a)))
    monkeypatch.setattr(shifts, "LEAST_WORDS", PAIRS)
    monkeypatch.setattr(shifts, "LEAST_BYTES", 0)
    monkeypatch.setattr(cpu_path, "TILE_BYTES", 64)
    monkeypatch.setattr(cpu_path, "THREADED_BYTES", 0)
    shifts.find.cache_clear()
    yield done
    shifts.find.cache_clear()


Cut = Callable[[np.ndarray], np.ndarray]  # the array in space, a view of one


def whole(base: np.ndarray) -> np.ndarray:
    return base


def check(geometry: BlockGeometry, base: np.ndarray, y: np.ndarray, cut: Cut = whole, threads: int = 1) -> None:
    """Both directions between the cut of a dense array and y, of any strides; what is not cut out stays as it was."""
    x = cut(base)
    pad = np.ones((), x.dtype)[()]
    cpu_path.copy_to_batch(geometry, x, poisoned(y), pad, threads)
    assert same(np.array(y, order="C"), definition.space_to_batch(x, **geometry.arguments, pad_value=pad))
    actual, expected = poisoned(np.empty_like(base)), poisoned(np.empty_like(base))
    cpu_path.copy_to_space(geometry, y, cut(actual), threads)
    cut(expected)[...] = x
    assert same(actual, expected)


@pytest.mark.parametrize("threads", [1, 2])
@each_order
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_equal_to_the_definition(name: str, dtype: str, order: str, threads: int, moved: list[str]) -> None:
    shape, arguments = CASES[name]
    geometry = BlockGeometry(shape, **arguments, batch_order=order)
    check(geometry, random_array(shape, dtype), np.empty(geometry.batch_shape, dtype), threads=threads)
    innermost = max(geometry.axes, key=lambda axis: axis.dim)
    served = (np.dtype(dtype).itemsize, innermost.block) in PAIRS
    assert set(moved) == ({"split", "join"} if served else set())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("before", [0, 1, 6])
@pytest.mark.parametrize("block", [2, 4])
def test_a_rest_behind_the_last_word(block: int, before: int, dtype: str, moved: list[str]) -> None:
    """15 of every 16 elements: whole words and one to three elements more."""
    geometry = BlockGeometry((3, 2, 15), block, ((before, (1 - before) % block),))
    check(geometry, random_array((3, 2, 16), dtype), np.empty(geometry.batch_shape, dtype), lambda a: a[..., :15])
    assert set(moved) == {"split", "join"}


# name: the shape of a dense array, its cut, and which dims of the batch array lie in memory in which order
STRIDED: dict[str, tuple[tuple[int, ...], Cut, tuple[int, ...]]] = {
    "flipped": ((4, 6, 2, 16), lambda a: a[::-1, ::2, ::-1], (0, 1, 2, 3)),
    "offset_by_words": ((2, 3, 4, 24), lambda a: a[..., 4:20], (0, 1, 2, 3)),
    "transposed": ((2, 3, 16, 4), lambda a: a.swapaxes(2, 3), (0, 1, 3, 2)),
    "channels_outside": ((3, 2, 4, 16), lambda a: a.swapaxes(0, 1), (1, 0, 2, 3)),
    "one_row": ((1, 1, 2, 17), lambda a: a[:, :, :1, :16], (0, 1, 2, 3)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dims", [(2, 3), (3, 2)])
@pytest.mark.parametrize("name", STRIDED)
def test_other_strides(name: str, dims: tuple[int, int], dtype: str, moved: list[str]) -> None:
    shape, cut, order = STRIDED[name]
    base = random_array(shape, dtype)
    geometry = BlockGeometry(cut(base).shape, 2, "auto" if name == "one_row" else ((1, 1), (3, 1)), spatial_dims=dims)
    check(geometry, base, batch_array(geometry, base.dtype, order), cut)
    assert set(moved) == {"split", "join"}


def batch_array(geometry: BlockGeometry, dtype: np.dtype, order: tuple[int, ...]) -> np.ndarray:
    """A dense array whose dims lie in memory in this order."""
    shape = [geometry.batch_shape[d] for d in order]
    return np.empty(shape, dtype).transpose(np.argsort(order))


NOT_SERVED: dict[str, tuple[str, tuple[int, ...], Cut, dict[str, Any]]] = {
    "offset_by_one": ("u1", (2, 2, 4, 18), lambda a: a[..., 1:17], {}),
    "odd_rows": ("u1", (2, 2, 4, 17), lambda a: a[..., :16], {}),
    "odd_width_padded": ("u1", (2, 2, 4, 15), whole, {"paddings": ((0, 0), (1, 0))}),
    "every_second": ("u1", (2, 2, 4, 32), lambda a: a[..., ::2], {}),
    "reversed": ("u1", (2, 2, 4, 16), lambda a: a[..., ::-1], {}),
    "channels_last": ("u1", (2, 4, 16, 2), lambda a: a.transpose(0, 3, 1, 2), {}),
    "contiguous": ("u1", (2, 2, 4, 16), whole, {"arrangement": "contiguous"}),
    "block_of_3": ("u1", (2, 2, 3, 24), whole, {"block_shape": 3}),
    "wide_elements": ("c8", (2, 2, 4, 16), whole, {}),
    "times": ("m8[s]", (2, 2, 4, 16), whole, {}),
    "opaque": ("V1", (2, 2, 4, 16), whole, {}),
}


@pytest.mark.parametrize("name", NOT_SERVED)
def test_what_is_not_served(name: str, moved: list[str]) -> None:
    dtype, shape, cut, options = NOT_SERVED[name]
    base = random_array(shape, "u1").astype("c8") if dtype == "c8" else random_array(shape, dtype)
    x = cut(base)
    geometry = BlockGeometry(x.shape, **{"block_shape": 2, **options})
    y = batch_array(geometry, x.dtype, (0, 2, 3, 1) if name == "channels_last" else (0, 1, 2, 3))
    check(geometry, base, y, cut)
    assert not moved
    if x.dtype.kind == "u":
        address = x.__array_interface__["data"][0]
        assert not shifts.serves(geometry, x.itemsize, x.strides, y.strides, address)


def test_only_where_the_first_element_is_the_low_one(monkeypatch: pytest.MonkeyPatch, moved: list[str]) -> None:
    monkeypatch.setattr(shifts, "SMALL_END_FIRST", False)
    geometry = BlockGeometry((2, 16), (2,))
    check(geometry, random_array((2, 16), "uint8"), np.empty(geometry.batch_shape, np.uint8))
    assert not moved


def test_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    shifts.find.cache_clear()

    def served(rows: int, width: int, itemsize: int = 1, block: int = 2, address: int = 0) -> bool:
        geometry = BlockGeometry((1, rows, width), block)
        strides = [(itemsize * size * rows, itemsize * size, itemsize) for size in (width, width // block)]
        return shifts.serves(geometry, itemsize, *strides, address)

    assert served(1024, 24)
    assert not served(1024, 22)  # 11 words in a row
    assert not served(16, 24)  # few bytes
    assert served(1024, 64, itemsize=2)
    assert not served(1024, 64, itemsize=2, block=4)
    assert served(1024, 64, block=4, address=4)
    assert not served(1024, 64, block=4, address=2)
