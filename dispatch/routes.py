"""The way of one call on torch tensors: which of four ways it takes, and its gradients.

1. Compiling, or inside a functorch transform or autograd's batching of gradients: the pure aten spelling, which the
   compiler fuses and transforms take apart.
2. A tensor subclass or a dispatch mode: the registered `torch.ops.spacebatch` operator.
3. A gradient is wanted, or forward-mode AD is on: an `autograd.Function`, whose gradient is the other operator.
4. Otherwise: the backend, directly.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from spacebatch.reference.geometry import BlockGeometry, batch_geometry, space_geometry

from . import aten, backends, llvm_backend, sharding, torch_backend, torch_private
from .aten import operator_arguments as operator_arguments
from .backend import Direction, Into, PadValue

Way: TypeAlias = Literal["aten", "operator", "autograd", "backend"]
_Kind: TypeAlias = "tuple[tuple[int, ...], torch.dtype]"
_Kernel: TypeAlias = Callable[[Tensor, PadValue], Tensor]

_PLAIN = frozenset((torch.Tensor, torch.nn.Parameter, torch.nn.Buffer))
_is_compiling = torch_private.is_compiling
_is_tracing = torch_private.is_tracing
_functorch_level = torch_private.functorch_level
_has_storage = torch_private.has_storage
_modes = torch_private.mode_active
_forward_ad = torch_private.forward_ad_active
_grad_enabled = torch.is_grad_enabled


def way(x: Tensor) -> Way:
    """Which of the four ways a call with this input takes."""
    if type(x) in _PLAIN:
        if _is_compiling() or _is_tracing() or _functorch_level() is not None or not _has_storage(x):
            return "aten"
        if _modes():
            return "aten" if _forward_ad() else "operator"  # the operator would lose tangents
        if (x.requires_grad and _grad_enabled()) or _forward_ad():
            return "autograd"
        return "backend"
    return "aten" if _is_compiling() or _forward_ad() else "operator"


def symbolic(x: Tensor) -> bool:
    """Whether a size of x is a symbol, of which no geometry can be made."""
    return any(isinstance(size, torch.SymInt) for size in x.shape)


def resolved(x: Tensor) -> Tensor:
    """x with lazy conjugation and negation carried out: backends move raw bits."""
    return x.resolve_conj().resolve_neg()


class Call:
    """What is worked out once for all calls of one shape with the same arguments."""

    __slots__ = ("_into", "_to_batch", "_to_space", "geometry")

    def __init__(self, geometry: BlockGeometry) -> None:
        self.geometry = geometry
        self._to_batch: dict[_Kind, _Kernel] = {}  # of CPU tensors, by strides and dtype
        self._to_space: dict[_Kind, _Kernel] = {}
        self._into: dict[tuple[Direction, _Kind, tuple[int, ...]], Into] = {}  # and by those of an `out`

    def to_batch(self, x: Tensor, pad_value: PadValue, out: Tensor | None = None) -> Tensor:
        """space_to_batch of a plain tensor, without a look for gradients; `out` was checked."""
        if x.is_complex() or x.is_neg():
            x = resolved(x)
        if not x.is_cpu or backends.forced is not None:
            return backends.run("space_to_batch", self.geometry, x, pad_value, out)
        if out is None:
            kernel = self._to_batch.get((x.stride(), x.dtype)) or self._kernel("space_to_batch", self._to_batch, x)
            return kernel(x, pad_value)
        return self._written("space_to_batch", x, pad_value, out)

    def to_space(self, y: Tensor, out: Tensor | None = None) -> Tensor:
        """batch_to_space of a plain tensor, without a look for gradients; `out` was checked."""
        if y.is_complex() or y.is_neg():
            y = resolved(y)
        if not y.is_cpu or backends.forced is not None:
            return backends.run("batch_to_space", self.geometry, y, 0, out)
        if out is None:
            kernel = self._to_space.get((y.stride(), y.dtype)) or self._kernel("batch_to_space", self._to_space, y)
            return kernel(y, 0)
        return self._written("batch_to_space", y, 0, out)

    def _kernel(self, direction: Direction, kept: dict[_Kind, _Kernel], x: Tensor) -> _Kernel:
        found = llvm_backend.call_for(direction, self.geometry, x)
        kernel = partial(torch_backend.run, direction, self.geometry, out=None) if isinstance(found, str) else found
        if len(kept) > 64:
            kept.clear()
        kept[x.stride(), x.dtype] = kernel
        return kernel

    def _written(self, direction: Direction, source: Tensor, pad_value: PadValue, out: Tensor) -> Tensor:
        """`out`, filled."""
        key = direction, (source.stride(), source.dtype), out.stride()
        into = self._into.get(key)
        if into is None:
            if len(self._into) > 64:
                self._into.clear()
            into = self._into[key] = llvm_backend.into(direction, self.geometry, source, out)
        backends.tell_autograd(out)
        into(source, out, pad_value)
        return out


class SpaceToBatch(torch.autograd.Function):
    """Gradient and tangent of space_to_batch; the padding is a constant."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, call: Call, pad_value: PadValue) -> Tensor:
        ctx.call = call
        return call.to_batch(x, pad_value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return batch_to_space(grad, ctx.call, way(grad)), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return space_to_batch(tangent, ctx.call, 0, way(tangent))


class BatchToSpace(torch.autograd.Function):
    """Gradient and tangent of batch_to_space; what was cropped gets zero."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, call: Call) -> Tensor:
        ctx.call = call
        return call.to_space(y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return space_to_batch(grad, ctx.call, 0, way(grad)), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return batch_to_space(tangent, ctx.call, way(tangent))


_apply_to_batch = torch_private.apply_of(SpaceToBatch)
_apply_to_space = torch_private.apply_of(BatchToSpace)


def space_to_batch(x: Tensor, call: Call, pad_value: PadValue, way: Way) -> Tensor:
    """space_to_batch of a tensor of the geometry's space shape, the way it must go."""
    if way == "backend":
        return call.to_batch(x, pad_value)
    if way == "autograd":
        return _apply_to_batch(x, call, pad_value)  # type: ignore[no-any-return]
    if way == "operator":
        return operator(torch.ops.spacebatch.space_to_batch, x, operator_arguments(call.geometry, pad_value))
    return aten.space_to_batch(x, call.geometry, pad_value)


def batch_to_space(y: Tensor, call: Call, way: Way) -> Tensor:
    """batch_to_space of a tensor of the geometry's batch shape, the way it must go."""
    if way == "backend":
        return call.to_space(y)
    if way == "autograd":
        return _apply_to_space(y, call)  # type: ignore[no-any-return]
    if way == "operator":
        return operator(torch.ops.spacebatch.batch_to_space, y, operator_arguments(call.geometry))
    return aten.batch_to_space(y, call.geometry)


def operator(op: Any, x: Tensor, arguments: tuple[Any, ...]) -> Tensor:
    """A call of a registered operator; what it needs to know of the tensor's kind is brought in first."""
    if sharding.is_distributed(x) and not sharding.register():
        return sharding.replicated(op, x, arguments)
    return op(x, *arguments)  # type: ignore[no-any-return]


def space_call(shape: Any, block: Any, paddings: Any, dims: Any, order: Any, arrangement: Any) -> Call:
    """The call of `space_to_batch` with these arguments, kept as its geometry is."""
    return _call(space_geometry(shape, block, paddings, dims, order, arrangement))


def batch_call(shape: Any, block: Any, crops: Any, dims: Any, order: Any, arrangement: Any) -> Call:
    """The call of `batch_to_space` with these arguments, likewise."""
    return _call(batch_geometry(shape, block, crops, dims, order, arrangement))


def _call(geometry: BlockGeometry) -> Call:
    call: Call | None = geometry._prepared.get("call")
    if call is None:
        call = geometry._prepared["call"] = Call(geometry)
    return call
