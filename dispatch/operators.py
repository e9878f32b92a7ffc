"""The registered operators `torch.ops.spacebatch.space_to_batch` and `batch_to_space`.

Arguments come in normal form (one block size per dim, borders as a flat list of before, after, …). They serve tensor
subclasses and dispatch modes, and whoever wants an opaque operator in a graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.kept_geometries import batch_geometry, space_geometry
from spacebatch.reference.prepared import Direction

from . import aten, checks, eager

library = torch.library.Library("spacebatch", "DEF")
# any strides are read as they are, so that a compiler has no reason to copy an input first
TAGS = (torch.Tag.pt2_compliant_tag, torch.Tag.flexible_layout)
library.define(
    "space_to_batch(Tensor x, int[] block_shape, SymInt[] paddings, int[] spatial_dims, Scalar pad_value=0, "
    'str batch_order="block_major", str arrangement="interleaved", SymInt[] shifts=[]) -> Tensor',
    tags=TAGS,
)
library.define(
    "batch_to_space(Tensor y, int[] block_shape, SymInt[] crops, int[] spatial_dims, "
    'str batch_order="block_major", str arrangement="interleaved", SymInt[] shifts=[]) -> Tensor',
    tags=TAGS,
)
_S2B = "spacebatch::space_to_batch"
_B2S = "spacebatch::batch_to_space"


def geometry_of(
    op: Direction,
    shape: Sequence[int],
    block_shape: Sequence[int],
    borders: Sequence[int],
    spatial_dims: Sequence[int],
    batch_order: str = "block_major",
    arrangement: str = "interleaved",
    shifts: Sequence[int] = (),
) -> BlockGeometry:
    """The geometry of an operator's call.

    Args:
        op, shape: the operator, and the shape of its input.
        block_shape, borders, spatial_dims, batch_order, arrangement, shifts: as the operators take them; no shifts are zeros.
    """
    to_batch = op == "space_to_batch"
    if len(borders) != 2 * len(spatial_dims):
        raise ValueError(
            f"{op}: {'paddings' if to_batch else 'crops'} has {len(borders)} entries for {len(spatial_dims)} blocked dims; "
            "two each are needed"
        )
    pairs = tuple(zip(borders[::2], borders[1::2], strict=True))
    make = space_geometry if to_batch else batch_geometry
    return make(shape, tuple(block_shape), pairs, tuple(spatial_dims), batch_order, arrangement, tuple(shifts) or 0)


# The implementations call a backend, without looking for gradients: autograd has been here before.


def _space_to_batch(
    x: Tensor,
    block_shape: Sequence[int],
    paddings: Sequence[int],
    spatial_dims: Sequence[int],
    pad_value: Any = 0,
    *words: Any,
) -> Tensor:
    geometry = geometry_of("space_to_batch", x.shape, block_shape, paddings, spatial_dims, *words)
    checks.check_tensor("space_to_batch", x)
    number = checks.torch_pad_value(pad_value, x.dtype)
    return eager.run("space_to_batch", geometry, x, eager.pad_bits(number, x.dtype))


def _batch_to_space(
    y: Tensor, block_shape: Sequence[int], crops: Sequence[int], spatial_dims: Sequence[int], *words: Any
) -> Tensor:
    geometry = geometry_of("batch_to_space", y.shape, block_shape, crops, spatial_dims, *words)
    checks.check_tensor("batch_to_space", y)
    return eager.run("batch_to_space", geometry, y, b"")


library.impl("space_to_batch", _space_to_batch, "CompositeExplicitAutograd")
library.impl("batch_to_space", _batch_to_space, "CompositeExplicitAutograd")


def like(source: Tensor, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> Tensor:
    """A tensor for a result, in the memory order of its source; of its dtype where none is given."""
    order = aten.output_order(source)
    if order == tuple(range(len(order))):
        return source.new_empty(shape, dtype=dtype)
    inverse = sorted(range(len(order)), key=order.__getitem__)
    return source.new_empty([shape[d] for d in order], dtype=dtype).permute(inverse)


@torch.library.register_fake(_S2B, lib=library)
def _space_to_batch_fake(
    x: Tensor,
    block_shape: Sequence[int],
    paddings: Sequence[int],
    spatial_dims: Sequence[int],
    pad_value: Any = 0,
    *words: Any,
) -> Tensor:
    checks.torch_pad_value(pad_value, x.dtype)
    return like(x, geometry_of("space_to_batch", x.shape, block_shape, paddings, spatial_dims, *words).batch_shape)


@torch.library.register_fake(_B2S, lib=library)
def _batch_to_space_fake(
    y: Tensor, block_shape: Sequence[int], crops: Sequence[int], spatial_dims: Sequence[int], *words: Any
) -> Tensor:
    return like(y, geometry_of("batch_to_space", y.shape, block_shape, crops, spatial_dims, *words).space_shape)


def _keep_arguments(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, ctx.blocks, ctx.borders, ctx.dims, *_, order, arrangement, shifts = inputs
    ctx.words = order, arrangement, shifts


def _space_to_batch_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    arguments = (ctx.blocks, ctx.borders, ctx.dims, *ctx.words)
    return (torch.ops.spacebatch.batch_to_space(grad, *arguments), *(None,) * 7)


def _batch_to_space_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    arguments = (ctx.blocks, ctx.borders, ctx.dims, 0, *ctx.words)
    return (torch.ops.spacebatch.space_to_batch(grad, *arguments), *(None,) * 6)


torch.library.register_autograd(_S2B, _space_to_batch_backward, setup_context=_keep_arguments, lib=library)
torch.library.register_autograd(_B2S, _batch_to_space_backward, setup_context=_keep_arguments, lib=library)


# Under vmap the mapped dim becomes one more dim that is not blocked: last, so that no other dim changes its number.


@torch.library.register_vmap(_S2B, lib=library)
def _space_to_batch_vmap(info: Any, in_dims: Any, x: Tensor, *arguments: Any) -> tuple[Tensor, int]:
    return torch.ops.spacebatch.space_to_batch(x.movedim(in_dims[0], -1), *arguments), x.dim() - 1


@torch.library.register_vmap(_B2S, lib=library)
def _batch_to_space_vmap(info: Any, in_dims: Any, y: Tensor, *arguments: Any) -> tuple[Tensor, int]:
    return torch.ops.spacebatch.batch_to_space(y.movedim(in_dims[0], -1), *arguments), y.dim() - 1
