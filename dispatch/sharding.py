"""Distributed tensors: how both operators go with the placements of a `torch.distributed.tensor.DTensor`.

A placement that stays where it is costs no communication, forward and backward:

    Replicate                       always
    Shard(d), d not blocked         always, uneven shards included
    Shard(d), d blocked             interleaved, no border along d, and every shard a whole number of blocks
    Shard(0)                        batch-major, every shard as many samples
    Partial                         the sum only of a border of zeros; average, maximum and minimum of any

With every other placement PyTorch's engine redistributes the input to one of these first. The rules are registered at the
first call with a DTensor, so that nothing of `torch.distributed` is imported before.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from . import torch_private


def is_distributed(x: Tensor) -> bool:
    """Whether x is a DTensor; there is none as long as their module was not imported."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(x, module.DTensor)


_registered: bool | None = None


def register() -> bool:
    """Teach PyTorch's engine the placements, once.

    Returns:
        False where this PyTorch does not let the rules depend on the arguments; `replicated` is the way then.
    """
    global _registered
    if _registered is None:
        operators = torch.ops.spacebatch.space_to_batch.default, torch.ops.spacebatch.batch_to_space.default
        _registered = torch_private.shards_by_all_arguments(operators)
        if _registered:
            from torch.distributed.tensor.experimental import register_sharding

            for operator, rule in zip(operators, (_space_to_batch, _batch_to_space), strict=True):
                register_sharding(operator)(rule)
            torch_private.shards_by_all_arguments(operators)  # registering has set them back
    return _registered


def replicated(operator: Any, x: Any, arguments: Sequence[Any]) -> Tensor:
    """The operator on the whole tensor, everywhere: right with public names alone, for a copy of the tensor on each rank."""
    from torch.distributed.tensor import DTensor, Replicate

    result = operator(x.full_tensor(), *arguments)
    return DTensor.from_local(result, x.device_mesh, [Replicate()] * x.device_mesh.ndim, run_check=False)


# A rule lists (placements of the results, placements of the arguments) along one dim of the mesh; None stands for what is no
# tensor. A blocked dim and the batch may be split along several dims of the mesh at once, hence the divisor is all of it.


def _space_to_batch(
    x: Any,
    block_shape: Sequence[int],
    paddings: Sequence[int],
    spatial_dims: Sequence[int],
    pad_value: Any = 0,
    batch_order: str = "block_major",
    arrangement: str = "interleaved",
) -> list[tuple[list[Any], list[Any]]]:
    zeros = pad_value == 0 or not any(paddings)
    return _rules(x, block_shape, paddings, spatial_dims, batch_order, arrangement, block_shape, 1, zeros, 6)


def _batch_to_space(
    y: Any,
    block_shape: Sequence[int],
    crops: Sequence[int],
    spatial_dims: Sequence[int],
    batch_order: str = "block_major",
    arrangement: str = "interleaved",
) -> list[tuple[list[Any], list[Any]]]:
    phases = 1
    for block in block_shape:
        phases *= block
    units = [1] * len(block_shape)
    return _rules(y, block_shape, crops, spatial_dims, batch_order, arrangement, units, phases, True, 5)


def _rules(
    x: Any,
    block_shape: Sequence[int],
    borders: Sequence[int],
    dims: Sequence[int],
    batch_order: str,
    arrangement: str,
    units: Sequence[int],
    batch_unit: int,
    zeros: bool,
    others: int,
) -> list[tuple[list[Any], list[Any]]]:
    """The rules of one direction; a shard of the input must hold a multiple of `units` along a blocked dim, of `batch_unit` samples."""
    from torch.distributed.tensor import Partial, Replicate, Shard

    shape, shards = x.tensor_meta.shape, x.mesh.size()
    blocks, pairs = dict(zip(dims, block_shape, strict=True)), zip(borders[::2], borders[1::2], strict=True)
    bordered = {d for d, pair in zip(dims, pairs, strict=True) if any(pair)}
    kept: list[Any] = [Replicate(), Partial("avg"), Partial("max"), Partial("min")]
    if zeros:
        kept.append(Partial("sum"))
    for d in range(1, len(shape)):
        if d not in blocks or (blocks[d] == 1 and d not in bordered):
            kept.append(Shard(d))
            continue
        whole = shape[d] % (units[list(dims).index(d)] * shards) == 0
        if whole and arrangement == "interleaved" and d not in bordered:
            kept.append(Shard(d))
    if (batch_order == "batch_major" or set(block_shape) == {1}) and shape[0] % (batch_unit * shards) == 0:
        kept.append(Shard(0))
    return [([placement], [placement, *(None,) * others]) for placement in kept]
