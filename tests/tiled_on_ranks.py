"""What `tests/distributed_ranks.py` checks of `tiled`: processes that share the tiles of one image, 4 of them and 2."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from spacebatch import tiled

WAYS: dict[str, dict[str, Any]] = {
    "halo": {"halo": 1},
    "overlap": {"overlap": 0.5, "blend": "gaussian"},
    "three deep": {"overlap": (0.7, 0.2), "blend": "linear"},
    "labels": {"overlap": 0.5, "finish": lambda y: y.argmax(1, keepdim=True)},
}
X = torch.randn(2, 3, 29, 21, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Model:
    """Two results per channel, of a neighbourhood of 1; it counts its tiles, and fails at the call `fails`."""

    def __init__(self, fails: int = 0) -> None:
        self.fails, self.calls, self.tiles = fails, 0, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.fails:
            raise FloatingPointError("it failed")
        self.tiles += len(x)
        mean = torch.nn.functional.avg_pool2d(x, 3, 1, 1)
        return torch.cat([mean, x * torch.linspace(0, 1, x.shape[3], dtype=x.dtype)], 1) if self.fails >= 0 else mean


def told(call: Callable[[], Any]) -> str:
    """What the error says that a call must end with."""
    try:
        call()
    except (RuntimeError, ValueError) as error:
        return str(error)
    raise AssertionError("no error")


def total(count: int, group: Any) -> int:
    """A number, summed over the ranks."""
    counts = torch.tensor(count)
    dist.all_reduce(counts, group=group)
    return int(counts)


@contextmanager
def folder(group: Any) -> Iterator[Path]:
    """One folder for all ranks."""
    with tempfile.TemporaryDirectory() as name:
        names = [name]
        dist.broadcast_object_list(names, dist.get_global_rank(group, 0), group=group)
        yield Path(names[0])
        dist.barrier(group=group)


def groups(world: int) -> list[Any]:
    """All ranks, and this rank's half of them."""
    halves = [dist.new_group(list(range(start, start + world // 2))) for start in (0, world // 2)]
    return [dist.group.WORLD, halves[dist.get_rank() // (world // 2)]]


def the_result_is_that_of_one_process(world: int) -> None:
    """On every rank, to the bit, with each tile computed once; also with fewer batches than ranks."""
    for group in groups(world):
        for options, (tile, batch) in itertools.product(WAYS.values(), ((8, 5), (-1, 1))):
            alone, model = Model(), Model()
            expected = tiled(alone, X, tile, batch=batch, **options)
            y = tiled(model, X, tile, batch=batch, group=group, **options)
            assert torch.equal(y, expected), (options, tile, batch)
            assert total(model.tiles, group) == alone.tiles
        for dtype in (torch.bool, torch.bfloat16, torch.int16):
            x = X.to(dtype)
            assert torch.equal(tiled(lambda t: t, x, 8, halo=1, batch=3, group=group), x)


def each_rank_writes_its_share(world: int) -> None:
    """A memory map that all ranks have open is complete on every rank when the call ends."""
    for group in groups(world):
        for options in (WAYS["halo"], WAYS["three deep"]):
            expected = tiled(Model(), X, 8, **options).numpy()
            with folder(group) as place:
                if dist.get_rank(group) == 0:
                    np.lib.format.open_memmap(place / "y.npy", "w+", expected.dtype, expected.shape).flush()
                dist.barrier(group=group)
                out = np.lib.format.open_memmap(place / "y.npy", "r+")
                tiled(Model(), X, 8, batch=5, out=out, group=group, **options)
                assert np.array_equal(np.lib.format.open_memmap(place / "y.npy", "r"), expected)


def a_run_goes_on(world: int) -> None:
    """One rank fails: all are told; the same call then computes what was not done."""
    group = dist.group.WORLD
    for name in ("halo", "three deep"):
        alone, options = Model(), WAYS[name]
        expected = tiled(alone, X, 8, **options).numpy()
        with folder(group) as place:
            if dist.get_rank() == 0:
                np.lib.format.open_memmap(place / "y.npy", "w+", expected.dtype, expected.shape).flush()
            dist.barrier()
            out = np.lib.format.open_memmap(place / "y.npy", "r+")
            model = Model(fails=5 if dist.get_rank() == 1 else 0)
            record: dict[str, Any] = {"out": out, "resume": place / "record", "group": group, **options}
            error = told(partial(tiled, model, X, 8, **record))
            assert "FloatingPointError: it failed" in error, error
            assert ("rank 1 failed" in error) == (dist.get_rank() != 1), error
            rest = Model()
            tiled(rest, X, 8, **record)
            assert np.array_equal(np.lib.format.open_memmap(place / "y.npy", "r"), expected)
            computed = total(rest.tiles, group)
            row = 1 if name == "halo" else 8  # tiles that are computed again: what was not recorded
            assert alone.tiles - 4 * world <= computed <= alone.tiles - 4 * world + row + world, (name, computed)


def ranks_that_disagree_are_told(world: int) -> None:
    rank = dist.get_rank()
    for options, what in (({"halo": rank}, "halo is"), ({"batch": 1 + rank // 2}, "batch is")):
        model = Model()
        error = told(partial(tiled, model, X, 8, group=dist.group.WORLD, **options))
        assert f"ranks disagree: {what}" in error, error
        assert model.calls == 0
    other = Model(fails=-1 if rank == world - 1 else 0)
    error = told(partial(tiled, other, X, 8, group=dist.group.WORLD))
    assert "disagree: the model's result is" in error, error


CHECKS = (
    the_result_is_that_of_one_process,
    each_rank_writes_its_share,
    a_run_goes_on,
    ranks_that_disagree_are_told,
)
