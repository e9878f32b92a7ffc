"""The routes of a call on a tensor, and its gradients.

1. Compiling, or inside a functorch transform or autograd's batching of gradients: PyTorch's own operators, which the
   compiler fuses and transforms take apart.
2. A tensor subclass or a dispatch mode: the registered `torch.ops.spacebatch` operator.
3. A gradient is wanted, or forward-mode AD is on: an `autograd.Function`, whose gradient is the other operator.
4. Otherwise: eager, straight to the backends.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.prepared import Direction

from . import aten, sharding, torch_private
from .checks import PadValue
from .eager import pad_bits, run

Route: TypeAlias = Literal["aten", "operator", "autograd", "eager"]

_PLAIN = frozenset((torch.Tensor, torch.nn.Parameter, torch.nn.Buffer))
_is_compiling = torch_private.is_compiling
_is_tracing = torch_private.is_tracing
_functorch_level = torch_private.functorch_level
_has_storage = torch_private.has_storage
_modes = torch_private.mode_active
_forward_ad = torch_private.forward_ad_active
_grad_enabled = torch.is_grad_enabled


def route_of(x: Tensor) -> Route:
    """Which of the four routes a call with this input takes."""
    if type(x) in _PLAIN:
        if _is_compiling() or _is_tracing() or _functorch_level() is not None or not _has_storage(x):
            return "aten"
        if _modes():
            return "aten" if _forward_ad() else "operator"  # the operator would lose tangents
        if (x.requires_grad and _grad_enabled()) or _forward_ad():
            return "autograd"
        return "eager"
    return "aten" if _is_compiling() or _forward_ad() else "operator"


def eager_beside(x: Tensor) -> bool:
    """Whether a tensor beside one whose route is eager needs no other route."""
    return type(x) in _PLAIN and bool(_has_storage(x)) and not (x.requires_grad and _grad_enabled())


def symbolic(x: Tensor) -> bool:
    """Whether a size of x is a symbol, which only a graph can hold."""
    return any(isinstance(size, torch.SymInt) for size in x.shape)


class SpaceToBatch(torch.autograd.Function):
    """Gradient and tangent of space_to_batch; the padding is a constant."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, geometry: BlockGeometry, pad: bytes) -> Tensor:
        ctx.geometry = geometry
        return run("space_to_batch", geometry, x, pad)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return call("batch_to_space", ctx.geometry, grad), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return call("space_to_batch", ctx.geometry, tangent)


class BatchToSpace(torch.autograd.Function):
    """Gradient and tangent of batch_to_space; what was cropped gets zero."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, geometry: BlockGeometry) -> Tensor:
        ctx.geometry = geometry
        return run("batch_to_space", geometry, y, b"")

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return call("space_to_batch", ctx.geometry, grad), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return call("batch_to_space", ctx.geometry, tangent)


_space_to_batch = torch_private.apply_of(SpaceToBatch)
_batch_to_space = torch_private.apply_of(BatchToSpace)


def call(
    direction: Direction, geometry: BlockGeometry, x: Tensor, number: PadValue = 0, route: Route | None = None
) -> Tensor:
    """One operator on a tensor of the geometry's shape, by the route that it must take.

    Args:
        direction, geometry, x: of the call.
        number: the pad value, checked.
        route: where it is known already.
    """
    if route is None:
        route = route_of(x)
    if route == "eager":
        return run(direction, geometry, x, pad_bits(number, x.dtype))
    if route == "autograd":
        if direction == "space_to_batch":
            return _space_to_batch(x, geometry, pad_bits(number, x.dtype))  # type: ignore[no-any-return]
        return _batch_to_space(x, geometry)  # type: ignore[no-any-return]
    if route == "operator":
        return _operator(direction, geometry, x, number)
    if direction == "space_to_batch":
        return aten.space_to_batch(x, geometry, number)
    return aten.batch_to_space(x, geometry)


def _operator(direction: Direction, geometry: BlockGeometry, x: Tensor, number: PadValue) -> Tensor:
    """The registered operator; what it needs to know of the tensor's kind is brought in first."""
    operator = getattr(torch.ops.spacebatch, direction)
    arguments = aten.operator_arguments(geometry, *((number,) if direction == "space_to_batch" else ()))
    if sharding.is_distributed(x) and not sharding.register():
        return sharding.replicated(operator, x, arguments)
    return operator(x, *arguments)  # type: ignore[no-any-return]
