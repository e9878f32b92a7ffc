"""The registered operators `torch.ops.spacebatch.fused_space_to_batch` and `fused_batch_to_space`.

Their arguments come in normal form, as those of the plain operators do; scale and bias are tensors. With `gradient` they are what
the backward pass of the other one calls, and the residual is what entered that one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from spacebatch.reference.prepared import Direction
from spacebatch.reference.words import Words, arithmetic_of, result_name

from .. import aten as plain
from .. import checks, sharding
from ..arithmetic import Factor, dtype_of, name_of
from ..operators import TAGS, geometry_of, library, like
from . import eager, gradients
from .aten import Call, Tensors

_SCHEMA = (
    "(Tensor x, Tensor? scale, Tensor? bias, Tensor? residual, int[] block_shape, SymInt[] {}, int[] spatial_dims, "
    'Scalar pad_value=0, str batch_order="block_major", str arrangement="interleaved", SymInt[] shifts=[], '
    'int? channel_dim=None, str activation="none", ScalarType? dtype=None, str pad="after", bool gradient=False) -> Tensor'
)
_SPARE = 12  # arguments after the four tensors


def operator(way: Call, tensors: Tensors) -> Tensor:
    """The registered operator of a call."""
    direction, geometry, arithmetic, number = way
    x, scale, bias, residual = tensors
    call = getattr(torch.ops.spacebatch, f"fused_{direction}")
    moved = plain.operator_arguments(geometry, number)
    more = (
        arithmetic.channel_dim,
        arithmetic.activation,
        dtype_of(arithmetic.result),
        arithmetic.pad,
        arithmetic.gradient,
    )
    arguments = *moved, *more
    given = x, _tensor(scale, x), _tensor(bias, x), residual
    if any(sharding.is_distributed(t) for t in given if t is not None):
        return sharding.replicated(call, x, (*given[1:], *arguments))
    return call(*given, *arguments)  # type: ignore[no-any-return]


def _tensor(value: Factor, x: Tensor) -> Tensor | None:
    if value is None or isinstance(value, Tensor):
        return value
    dtype = torch.float64 if x.dtype is torch.float64 else torch.float32
    return torch.full((), value, dtype=dtype, device=x.device)


def _way(
    direction: Direction,
    tensors: Tensors,
    block_shape: Sequence[int],
    borders: Sequence[int],
    spatial_dims: Sequence[int],
    pad_value: Any = 0,
    batch_order: str = "block_major",
    arrangement: str = "interleaved",
    shifts: Sequence[int] = (),
    channel_dim: int | None = None,
    activation: Any = "none",
    dtype: torch.dtype | None = None,
    pad: Any = "after",
    gradient: bool = False,
) -> Call:
    """The call that an operator is given, checked."""
    op = f"fused_{direction}"
    x, scale, bias, residual = tensors
    geometry = geometry_of(direction, x.shape, block_shape, borders, spatial_dims, batch_order, arrangement, shifts)
    source = name_of(x.dtype)
    arithmetic = arithmetic_of(
        op,
        Words(channel_dim=channel_dim, activation=activation, pad=pad),
        source,
        result_name(source) if dtype is None else name_of(dtype),
        geometry.space_shape,
        geometry.spatial_dims,
        (None if scale is None else scale.dim(), None if bias is None else bias.dim()),
        None,
    )
    arithmetic = replace(arithmetic, residual=None if residual is None else name_of(residual.dtype), gradient=gradient)
    number = checks.torch_pad_value(pad_value, dtype_of(arithmetic.result) if pad == "after" else x.dtype, op)
    return Call(direction, geometry, arithmetic, number)


def _register(direction: Direction) -> None:
    name = f"fused_{direction}"
    qualified = f"spacebatch::{name}"
    define: Any = library.define
    implement: Any = library.impl
    define(name + _SCHEMA.format("paddings" if direction == "space_to_batch" else "crops"), tags=TAGS)

    def compute(x: Tensor, scale: Any, bias: Any, residual: Any, *arguments: Any, **words: Any) -> Tensor:
        tensors = Tensors(x, scale, bias, residual)
        way = _way(direction, tensors, *arguments, **words)
        checks.check_tensor(name, x)
        return eager.run(way, tensors)

    def fake(x: Tensor, scale: Any, bias: Any, residual: Any, *arguments: Any, **words: Any) -> Tensor:
        _, geometry, arithmetic, _ = _way(direction, Tensors(x, scale, bias, residual), *arguments, **words)
        shape = geometry.batch_shape if direction == "space_to_batch" else geometry.space_shape
        return like(x, shape, dtype_of(arithmetic.result))

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        tensors = Tensors(*inputs[:4])
        gradients.keep(ctx, _way(direction, tensors, *inputs[4:]), tensors)

    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        if ctx.way.arithmetic.gradient:
            raise RuntimeError(f"{name}: what is itself a gradient has none; differentiate the fused operator twice")
        return (*gradients.gradients(ctx.way, gradients.kept(ctx), grad, ctx.needs_input_grad[:4]), *(None,) * _SPARE)

    def vmap(info: Any, in_dims: Any, *inputs: Any) -> tuple[Tensor, int]:
        call, count = getattr(torch.ops.spacebatch, name), info.batch_size
        if (
            in_dims[1] is None and in_dims[2] is None
        ):  # one more dim that is not cut: last, so that no other changes its number
            x, residual = (
                t if t is None else t.unsqueeze(-1).expand(*t.shape, count) if d is None else t.movedim(d, -1)
                for t, d in ((inputs[0], in_dims[0]), (inputs[3], in_dims[3]))
            )
            result = call(x, *inputs[1:3], residual, *inputs[4:])
            return result, result.dim() - 1
        parts = [
            [t if d is None else t.select(d, k) for t, d in zip(inputs[:4], in_dims, strict=False)]
            for k in range(count)
        ]
        return torch.stack([call(*part, *inputs[4:]) for part in parts]), 0

    implement(name, compute, "CompositeExplicitAutograd")
    torch.library.register_fake(qualified, fake, lib=library)
    torch.library.register_autograd(qualified, backward, setup_context=setup_context, lib=library)
    torch.library.register_vmap(qualified, vmap, lib=library)


_register("space_to_batch")
_register("batch_to_space")
