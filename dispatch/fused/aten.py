"""The fused operators in PyTorch's own operators: their definition, for every device, every transform and every graph."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from spacebatch.reference.arithmetic import Arithmetic
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.prepared import Direction

from .. import aten, compiled, routes
from ..arithmetic import Factor, activation_backward, along, before_activation, computed, converted, dtype_of
from ..checks import PadValue


class Call(NamedTuple):
    """A fused call but for its tensors.

    Attributes:
        direction, geometry: of the move.
        arithmetic: on the way.
        number: the pad value, in normal form.
    """

    direction: Direction
    geometry: BlockGeometry
    arithmetic: Arithmetic
    number: PadValue = 0


class Tensors(NamedTuple):
    """The tensors of a fused call: what is moved, and what it meets. Scale and bias may be numbers."""

    x: Tensor
    scale: Factor = None
    bias: Factor = None
    residual: Tensor | None = None


def call(way: Call, tensors: Tensors) -> Tensor:
    """A fused operator, as it is defined."""
    x, *others = tensors
    direction, geometry, arithmetic, number = way
    if compiled.kernel_wanted():
        from .operators import operator

        return operator(way, tensors)
    if direction == "batch_to_space":
        if arithmetic.residual is None:
            return aten.batch_to_space(computed(x, arithmetic, *others), geometry)
        return computed(aten.batch_to_space(x, geometry), arithmetic, *others)
    if arithmetic.residual is not None or arithmetic.pad == "before":
        value = computed(aten.space_to_batch(x, geometry, number), arithmetic, *others)
        if arithmetic.pad == "before":
            return value
        inside = aten.space_to_batch(torch.ones_like(x, dtype=torch.bool), geometry, False)
        return torch.where(inside, value, torch.full_like(value, number))
    return aten.space_to_batch(computed(x, arithmetic, *others), geometry, number)


Gradients: TypeAlias = tuple["Tensor | None", "Tensor | None", "Tensor | None", "Tensor | None"]


def gradients(way: Call, tensors: tuple[Any, ...], grad: Tensor, wanted: tuple[bool, bool, bool, bool]) -> Gradients:
    """The gradients of x, scale, bias and residual, differentiable: what `call` computes, backwards and step by step.

    Args:
        way: of the call. tensors: of it, None where they are not needed. grad: of the result. wanted: which gradients.
    """
    x, scale, bias, residual = tensors
    direction, geometry, arithmetic, number = way
    back: Direction = "batch_to_space" if direction == "space_to_batch" else "space_to_batch"
    compute = dtype_of(arithmetic.compute)
    far = arithmetic.residual is not None or arithmetic.pad == "before"  # the arithmetic is where the result is
    met = routes.call(direction, geometry, x, number) if far and x is not None else x
    h = grad if far else routes.call(back, geometry, grad)
    h = h.to(compute)
    if arithmetic.activation != "none":
        z = before_activation(met, arithmetic, scale, bias, residual)
        h = activation_backward(h, z, arithmetic.activation)
    found: list[Tensor | None] = [None] * 4
    if wanted[0]:
        moved = h if scale is None else h * factor(scale, arithmetic, h.dim(), compute)
        moved = converted(moved, dtype_of(arithmetic.source))
        found[0] = routes.call(back, geometry, moved) if far else moved
    if wanted[1]:
        found[1] = summed(h * met.to(compute), scale, arithmetic.channel_dim)
    if wanted[2]:
        found[2] = summed(h, bias, arithmetic.channel_dim)
    if wanted[3]:
        found[3] = h.to(dtype_of(arithmetic.residual or arithmetic.compute))
    return found[0], found[1], found[2], found[3]


def factor(scale: Factor, arithmetic: Arithmetic, ndim: int, dtype: torch.dtype) -> Factor:
    """Scale in the dtype of the arithmetic, in a shape that broadcasts."""
    scale = along(scale, arithmetic.channel_dim, ndim)
    return scale.to(dtype) if isinstance(scale, Tensor) else scale


def summed(values: Tensor, like: Tensor, channel_dim: int | None) -> Tensor:
    """The sum over all dims but that of the channels, of the shape and dtype of scale or bias."""
    if like.dim() == 0 or channel_dim is None:
        return values.sum().to(like.dtype).reshape(like.shape)
    return values.sum([d for d in range(values.dim()) if d != channel_dim]).to(like.dtype)
