"""What `tests/dispatch/test_distributed.py` has every rank do: `python tests/distributed_ranks.py WORLD RESULTS.json`.

Each check runs on all ranks in the same order; rank 0 writes down the tracebacks of those that failed anywhere.
"""

from __future__ import annotations

import datetime
import itertools
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode
from torch.nn.parallel import DistributedDataParallel

import spacebatch
from spacebatch import BlockGeometry, sharding

CHECKS: dict[str, Callable[[int], None]] = {}
INTERLEAVED = ({"batch_order": "block_major"}, {"batch_order": "batch_major"})
CONTIGUOUS = tuple({**options, "arrangement": "contiguous"} for options in INTERLEAVED)
BATCH_MAJOR = (INTERLEAVED[1], CONTIGUOUS[1])
ALL = INTERLEAVED + CONTIGUOUS


def check(function: Callable[[int], None]) -> Callable[[int], None]:
    CHECKS[function.__name__] = function
    return function


def numbered(shape: tuple[int, ...], start: int = 0) -> Tensor:
    count = torch.Size(shape).numel()
    return (torch.arange(count, dtype=torch.float64) + start).view(shape)


def along(mesh: DeviceMesh, x: Tensor, placements: list[Placement]) -> DTensor:
    """x in these placements; a partial sum is shares of x that differ from rank to rank."""
    if not any(placement.is_partial() for placement in placements):
        return distribute_tensor(x, mesh, placements)
    whole = DTensor.from_local(x, mesh, [Replicate()] * mesh.ndim, run_check=False)
    return whole.redistribute(placements=placements)


def both_directions(
    mesh: DeviceMesh, geometry: BlockGeometry, placements: list[Placement], pad_value: float = 0
) -> list[tuple[tuple[Placement, ...], int]]:
    """(placements of the result, collectives) of each operator, forward and backward, all values compared."""
    found = []
    pad = {"pad_value": pad_value}
    for function, arguments, shape in (
        (spacebatch.space_to_batch, {**geometry.arguments, **pad}, geometry.space_shape),
        (spacebatch.batch_to_space, geometry.inverse, geometry.batch_shape),
    ):
        plain = numbered(shape).requires_grad_()
        expected = function(plain, **arguments)
        upstream = numbered(tuple(expected.shape), 5)
        (gradient,) = torch.autograd.grad(expected, plain, upstream)
        x = along(mesh, plain.detach(), placements).requires_grad_()
        with CommDebugMode() as forward:
            y = function(x, **arguments)
        assert torch.equal(y.full_tensor(), expected), (geometry, placements, y.placements)
        same_place = [Replicate() if p.is_partial() else p for p in y.placements]
        y_grad = along(mesh, upstream, same_place)
        with CommDebugMode() as backward:
            (x_grad,) = torch.autograd.grad(y, x, y_grad)
        assert torch.equal(x_grad.full_tensor(), gradient), (geometry, placements, x_grad.placements)
        found.append((y.placements, forward.get_total_counts() + backward.get_total_counts()))
    return found


@check
def what_needs_no_other_rank_stays(world: int) -> None:
    """Replicas, shards of other dims, whole blocks of a blocked dim, whole samples where they are outermost."""
    mesh = init_device_mesh("cpu", (world,))
    border = ((1, 0), (3, 2))
    calls: list[tuple[tuple[int, ...], Any, Any, dict[str, str], Placement]] = []
    for options, placement in itertools.product(ALL, (Replicate(), Shard(1))):
        calls.append(((2, 2 * world + 1, 4, 8), 2, 0, options, placement))  # an uneven shard
        calls.append(((2, 2 * world + 1, 5, 3), 2, border, options, placement))
    for options in INTERLEAVED:
        calls.append(((2, 3, 6 * world, 3), (2, 3), ((0, 0), (1, 2)), options, Shard(2)))
        calls.append(((2, 3, 5, 8 * world), (4, 2), ((2, 1), (0, 0)), options, Shard(3)))
    for options, padding in itertools.product(BATCH_MAJOR, (0, 1)):
        calls.append(((2 * world, 3, 4, 6), 2, padding, options, Shard(0)))
    for shape, block, paddings, options, placement in calls:
        geometry = BlockGeometry(shape, block, paddings, **options)
        for places, collectives in both_directions(mesh, geometry, [placement], 3):
            assert (places, collectives) == ((placement,), 0), (geometry, places, collectives)


@check
def partial_results_stay_partial(world: int) -> None:
    mesh = init_device_mesh("cpu", (world,))
    for options in ALL:
        geometry = BlockGeometry((2, 3, 5, 6), 2, ((1, 0), (1, 1)), **options)
        for kind, pad in (("sum", 0), ("avg", 3), ("max", 3), ("min", -3)):
            local = numbered(geometry.space_shape, dist.get_rank())
            x = DTensor.from_local(local, mesh, [Partial(kind)], run_check=False)
            expected = spacebatch.space_to_batch(x.full_tensor(), **geometry.arguments, pad_value=pad)
            with CommDebugMode() as comm:
                y = spacebatch.space_to_batch(x, **geometry.arguments, pad_value=pad)
                z = spacebatch.batch_to_space(y, **geometry.inverse)
            assert (y.placements, z.placements) == ((Partial(kind),), (Partial(kind),)), (kind, y.placements)
            assert comm.get_total_counts() == 0, kind
            assert torch.equal(y.full_tensor(), expected), kind
            assert torch.equal(z.full_tensor(), x.full_tensor()), kind


@check
def a_partial_sum_with_a_border_of_ones_is_summed_first(world: int) -> None:
    mesh = init_device_mesh("cpu", (world,))
    x = DTensor.from_local(numbered((2, 3, 4)), mesh, [Partial("sum")], run_check=False)
    y = spacebatch.space_to_batch(x, 2, 1, spatial_dims=2, pad_value=1)
    expected = spacebatch.space_to_batch(x.full_tensor(), 2, 1, spatial_dims=2, pad_value=1)
    assert torch.equal(y.full_tensor(), expected)


@check
def every_other_placement_is_redistributed(world: int) -> None:
    mesh = init_device_mesh("cpu", (world,))
    moved = 0
    for options, d in itertools.product(ALL, (0, 2, 3)):
        for shape, paddings in (
            ((2 * world + 1, 3, 6, 6), 0),  # uneven
            ((2, 3, 4 * world, 2 * world), ((1, 1), (2, 0))),  # a border at the outer edges
            ((world, 2, 6 * world, 6 * world), 0),  # whole blocks, which only some of the options can keep
        ):
            for _, collectives in both_directions(mesh, BlockGeometry(shape, 2, paddings, **options), [Shard(d)], 3):
                moved += collectives
    assert moved > 0


@check
def calls_that_differ_in_a_list_share_no_rule(world: int) -> None:
    mesh = init_device_mesh("cpu", (world,))
    x = numbered((2 * world, 3, 12 * world))
    d = distribute_tensor(x, mesh, [Shard(2)])
    for block, paddings, shift in (
        (2, 0, 0),
        (3, 0, 0),
        (4, 0, 0),
        (4, ((1, 3),), 0),
        (5, "auto", 0),
        (2, 0, -3),
        (2, 0, 0),
    ):
        y = spacebatch.space_to_batch(d, (block,), paddings, shifts=shift)
        assert torch.equal(y.full_tensor(), spacebatch.space_to_batch(x, (block,), paddings, shifts=shift)), block
        back = spacebatch.batch_to_space(y, (block,), BlockGeometry(x.shape, (block,), paddings).paddings, shifts=shift)
        assert torch.equal(back.full_tensor(), x), block
        (first, last) = (0, 0) if isinstance(paddings, int) else BlockGeometry(x.shape, (block,), paddings).paddings[0]
        assert (y.placements == (Shard(2),)) == (first == last == shift == 0), (block, y.placements)


@check
def meshes_of_two_dims(world: int) -> None:
    mesh = init_device_mesh("cpu", (2, world // 2))
    for options in ALL:
        geometry = BlockGeometry((2 * world, world + 1, 4 * world, 6), 2, **options)
        whole_blocks = options.get("arrangement") is None
        samples = options["batch_order"] == "batch_major"
        for placements, stays in (
            ([Shard(1), Replicate()], True),
            ([Shard(1), Shard(1)], True),
            ([Shard(2), Shard(1)], whole_blocks),
            ([Shard(2), Shard(2)], whole_blocks),
            ([Shard(0), Shard(1)], samples),
            ([Shard(0), Shard(2)], samples and whole_blocks),
            ([Shard(3), Shard(0)], False),
        ):
            for places, collectives in both_directions(mesh, geometry, placements):
                if stays:
                    assert (list(places), collectives) == (placements, 0), (geometry, placements, places, collectives)


@check
def compiled_calls_are_right(world: int) -> None:
    if world > 2:  # each rank compiles for itself, which takes seconds
        return
    mesh = init_device_mesh("cpu", (world,))
    x = numbered((world, 3, 4 * world, 6))

    def function(t: Tensor) -> Tensor:
        return spacebatch.batch_to_space(spacebatch.space_to_batch(t, 2, ((0, 0), (1, 1))) * 2, 2, ((0, 0), (1, 1)))

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for placement in (Replicate(), Shard(1), Shard(2), Shard(0)):
        d = distribute_tensor(x, mesh, [placement]).requires_grad_()
        y = compiled(d)
        assert torch.equal(y.full_tensor(), x * 2), placement
        (gradient,) = torch.autograd.grad(y, d, along(mesh, x, list(y.placements)))
        assert torch.equal(gradient.full_tensor(), x * 2), placement


@check
def without_private_hooks_all_is_replicated(world: int) -> None:
    mesh = init_device_mesh("cpu", (world,))
    x = numbered((world, 3, 4))
    d = distribute_tensor(x, mesh, [Shard(0)]).requires_grad_()
    before, sharding._registered = sharding._registered, False
    try:
        y = spacebatch.space_to_batch(d, (2,))
        (gradient,) = torch.autograd.grad(y, d, along(mesh, numbered(tuple(y.shape)), [Replicate()]))
    finally:
        sharding._registered = before
    assert y.placements == (Replicate(),)
    assert torch.equal(y.full_tensor(), spacebatch.space_to_batch(x, (2,)))
    assert torch.equal(gradient.full_tensor(), spacebatch.batch_to_space(numbered(tuple(y.shape)), (2,)))


def network() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3, padding=1),
        spacebatch.nn.SpaceToBatch(2, "auto"),
        torch.nn.Conv2d(4, 4, 3, padding=1),
        torch.nn.GELU(),
        spacebatch.nn.BatchToSpace(2, ((0, 1), (0, 0))),
        torch.nn.Conv2d(4, 1, 1),
    ).double()


def trained(model: torch.nn.Module, x: Tensor, target: Tensor, steps: int = 3) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(x), target).backward()
        optimizer.step()


@check
def data_parallel_and_fully_sharded_equal_one_process(world: int) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2 * world, 2, 5, 6, generator=generator, dtype=torch.float64)
    target = torch.randn(2 * world, 1, 5, 6, generator=generator, dtype=torch.float64)
    alone, parallel, sharded = network(), DistributedDataParallel(network()), network()
    mesh = init_device_mesh("cpu", (world,))
    for layer in [*(layer for layer in sharded if list(layer.parameters())), sharded]:
        fully_shard(layer, mesh=mesh)
    trained(alone, x, target)
    mine = slice(2 * dist.get_rank(), 2 * dist.get_rank() + 2)
    for model, named in ((parallel, parallel.module), (sharded, sharded)):
        trained(model, x[mine], target[mine])
        for (name, p), q in zip(named.named_parameters(), alone.parameters(), strict=True):
            assert isinstance(p, DTensor) == (model is sharded)
            whole = p.detach().full_tensor() if isinstance(p, DTensor) else p.detach()
            # Averages over ranks are added in another order than averages over samples: float64 to 1e-12.
            torch.testing.assert_close(whole, q.detach(), rtol=1e-12, atol=1e-12, msg=name)


def rank_main(rank: int, world: int, store: str, results: str) -> None:
    torch.set_num_threads(1)
    timeout = datetime.timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world, timeout=timeout)
    found = {}
    for name, function in CHECKS.items():
        try:
            function(world)
            found[name] = ""
        except Exception:
            found[name] = traceback.format_exc()
    everywhere: list[Any] = [None] * world
    dist.all_gather_object(everywhere, found)
    if rank == 0:
        Path(results).write_text(json.dumps({name: "".join(each[name] for each in everywhere) for name in CHECKS}))
    dist.destroy_process_group()
    os._exit(0)  # a thread of gloo that still holds a tensor while the interpreter ends aborts the process


if __name__ == "__main__":
    world, results = int(sys.argv[1]), sys.argv[2]
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(rank_main, (world, f"{folder}/store", results), nprocs=world)
