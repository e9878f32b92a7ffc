"""Gradients of the fused operators: one pass for the input's, and sums of what a pass leaves for those of scale and bias.

With h = grad * activation'(input * scale + bias), moved to where the input is, the gradients are h * scale, the sum of h * input and
the sum of h. Where only the first is wanted, one fused pass makes it: the other operator, which reads the input beside the gradient.
Else a pass makes h, and PyTorch's operators the rest. With a residual, h is made where the result is, for it is the gradient of the
residual: the gradient itself where there is no activation; else a pass makes what enters the activation, and another one h.

Gradients that are to be differentiated once more are those of the definition, step by step; so are those of scale and bias where a
border has entered the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from spacebatch.reference.arithmetic import Arithmetic
from spacebatch.reference.prepared import Direction

from .. import torch_private
from ..arithmetic import Factor, activation_backward, before_activation, converted, dtype_of, name_of
from ..routes import route_of
from . import aten, eager
from .aten import Call, Gradients, Tensors, factor, summed


class Fused(torch.autograd.Function):
    """A fused call with gradients. Tangents are those of the definition, which forward-mode AD takes itself."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Factor, bias: Factor, residual: Tensor | None, way: Call) -> Tensor:
        tensors = Tensors(x, scale, bias, residual)
        keep(ctx, way, tensors)
        return eager.run(way, tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        return (*gradients(ctx.way, kept(ctx), grad, ctx.needs_input_grad[:4]), None)


apply = torch_private.apply_of(Fused)


def keep(ctx: Any, way: Call, tensors: Tensors) -> None:
    """Have autograd keep the tensors that the gradients will need, and the numbers."""
    x, scale, bias, residual = tensors
    of_scale = ctx.needs_input_grad[1]
    curved = way.arithmetic.activation != "none"
    ctx.way = way
    ctx.save_for_backward(
        x if curved or of_scale else None,
        scale if isinstance(scale, Tensor) else None,
        bias if isinstance(bias, Tensor) else None,
        residual if curved else None,
    )
    ctx.numbers = [None if isinstance(value, Tensor) else value for value in (scale, bias)]


def kept(ctx: Any) -> tuple[Any, ...]:
    """What `keep` has kept: x, scale, bias and residual."""
    x, scale, bias, residual = ctx.saved_tensors
    factors = [tensor if number is None else number for tensor, number in zip((scale, bias), ctx.numbers, strict=True)]
    return x, *factors, residual


Run = Callable[[Call, Tensors], Tensor]


def gradients(way: Call, tensors: tuple[Any, ...], grad: Tensor, wanted: tuple[bool, bool, bool, bool]) -> Gradients:
    """The gradients of x, scale, bias and residual.

    Args:
        way: of the call. tensors: of it, None where they are not needed. grad: of the result. wanted: which gradients.
    """
    route = route_of(grad)
    border = way.arithmetic.pad == "before" and way.geometry.padded and (wanted[1] or wanted[2])
    if torch.is_grad_enabled() or route in ("aten", "autograd") or border:
        return aten.gradients(way, tensors, grad, wanted)
    run: Run = eager.run
    if route == "operator":
        from .operators import operator as run
    return _passes(way, tensors, grad, wanted, run)


def _passes(
    way: Call, tensors: tuple[Any, ...], grad: Tensor, wanted: tuple[bool, bool, bool, bool], run: Run
) -> Gradients:
    x, scale, bias, _ = tensors
    direction, geometry, arithmetic, _ = way
    back: Direction = "batch_to_space" if direction == "space_to_batch" else "space_to_batch"
    activation, c, compute = arithmetic.activation, arithmetic.channel_dim, dtype_of(arithmetic.compute)
    if compute is torch.float64:
        grad = grad.to(compute)
    found: list[Tensor | None] = [None] * 4
    if arithmetic.residual is not None:
        if activation != "none":
            entering = replace(arithmetic, result=arithmetic.compute, activation="none")
            grad = activation_backward(
                grad.to(compute), run(Call(direction, geometry, entering), Tensors(*tensors)), activation
            )
            activation = "none"
        found[3] = grad.to(dtype_of(arithmetic.residual)) if wanted[3] else None
    source, curved = name_of(grad.dtype), activation != "none"
    if not (wanted[1] or wanted[2]):
        if wanted[0]:
            along = c if scale is not None or curved else None
            last = Arithmetic(source, arithmetic.source, along, arithmetic.scale)
            if curved:
                last = replace(
                    last, bias=arithmetic.bias, residual=arithmetic.source, activation=activation, gradient=True
                )
            beside = (bias, x) if curved else (None, None)
            found[0] = run(Call(back, geometry, last), Tensors(grad, scale, *beside))
        return found[0], None, None, found[3]
    z, last = None, Arithmetic(source, arithmetic.compute)
    if curved:
        z = before_activation(x, arithmetic, scale, bias, None)
        last = replace(last, residual=arithmetic.compute, activation=activation, gradient=True)
    h = run(Call(back, geometry, last), Tensors(grad, None, None, z))
    if wanted[0]:
        moved = h if scale is None else h * factor(scale, arithmetic, h.dim(), compute)
        found[0] = converted(moved, dtype_of(arithmetic.source))
    found[1] = summed(h * x.to(compute), scale, c) if wanted[1] else None
    found[2] = summed(h, bias, c) if wanted[2] else None
    return found[0], found[1], found[2], found[3]
