"""Distributed tensors: how both operators go with the placements of a `torch.distributed.tensor.DTensor`.

A placement that stays where it is costs no communication, forward and backward:

    Replicate                       always
    Shard(d), d not blocked         always, uneven shards included
    Shard(d), d blocked             interleaved, no border and no shift along d, and every shard a whole number of blocks
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

from spacebatch.reference.geometry import BlockGeometry

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
    """The operator on the whole tensors, everywhere: right with public names alone, for a copy of them on each rank."""
    from torch.distributed.tensor import DTensor, Replicate

    result = operator(*(t.full_tensor() if isinstance(t, DTensor) else t for t in (x, *arguments)))
    return DTensor.from_local(result, x.device_mesh, [Replicate()] * x.device_mesh.ndim, run_check=False)


# A rule lists (placements of the results, placements of the arguments) along one dim of the mesh; None stands for what is no
# tensor. A blocked dim and the batch may be split along several dims of the mesh at once, hence the divisor is all of it.


def _space_to_batch(x: Any, block_shape: Any, paddings: Any, spatial_dims: Any, pad_value: Any = 0, *words: Any) -> Any:
    from .operators import geometry_of

    g = geometry_of("space_to_batch", x.tensor_meta.shape, block_shape, paddings, spatial_dims, *words)
    return _rules(x, g, g.space_shape, g.block_shape, 1, pad_value == 0 or not g.padded, 7)


def _batch_to_space(y: Any, block_shape: Any, crops: Any, spatial_dims: Any, *words: Any) -> Any:
    from .operators import geometry_of

    g = geometry_of("batch_to_space", y.tensor_meta.shape, block_shape, crops, spatial_dims, *words)
    return _rules(y, g, g.batch_shape, (1,) * len(g.block_shape), g.phases, True, 6)


def _rules(
    x: Any,
    geometry: BlockGeometry,
    shape: Sequence[int],
    units: Sequence[int],
    batch_unit: int,
    zeros: bool,
    others: int,
) -> list[tuple[list[Any], list[Any]]]:
    """The rules of one direction; a shard of the input must hold a multiple of `units` along a blocked dim, of `batch_unit` samples."""
    from torch.distributed.tensor import Partial, Replicate, Shard

    shards = x.mesh.size()
    axes = {axis.dim: (axis, unit) for axis, unit in zip(geometry.axes, units, strict=True)}
    kept: list[Any] = [Replicate(), Partial("avg"), Partial("max"), Partial("min")]
    if zeros:
        kept.append(Partial("sum"))
    for d in range(1, len(shape)):
        if d in axes:
            axis, unit = axes[d]
            if axis.before or axis.after or axis.shift:
                continue
            if axis.block > 1 and (geometry.arrangement != "interleaved" or shape[d] % (unit * shards)):
                continue
        kept.append(Shard(d))
    major = geometry.batch_order == "batch_major" or geometry.phases == 1
    if major and shape[0] % (batch_unit * shards) == 0:
        kept.append(Shard(0))
    return [([placement], [placement, *(None,) * others]) for placement in kept]
