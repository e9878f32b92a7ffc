"""The way of one call on torch tensors: which of four ways it takes, and its gradients.

1. Compiling, or inside a functorch transform or autograd's batching of gradients: the pure aten spelling, which the
   compiler fuses and transforms take apart.
2. A tensor subclass or a dispatch mode: the registered `torch.ops.spacebatch` operator.
3. A gradient is wanted, or forward-mode AD is on: an `autograd.Function`, whose gradient is the other operator.
4. Otherwise: the backend, directly.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from spacebatch.reference.geometry import BlockGeometry

from . import backends, hooks
from .backends import PadValue

Way: TypeAlias = Literal["aten", "operator", "autograd", "backend"]

_PLAIN = frozenset((torch.Tensor, torch.nn.Parameter, torch.nn.Buffer))
_is_compiling = hooks.is_compiling
_functorch_level = hooks.functorch_level
_has_storage = hooks.has_storage


def way(x: Tensor) -> Way:
    """Which of the four ways a call with this input takes."""
    if type(x) in _PLAIN:
        if _is_compiling() or _functorch_level() is not None or not _has_storage(x):
            return "aten"
        if hooks.mode_active():
            return "aten" if hooks.forward_ad_active() else "operator"  # the operator would lose tangents
        if (x.requires_grad and torch.is_grad_enabled()) or hooks.forward_ad_active():
            return "autograd"
        return "backend"
    return "aten" if _is_compiling() or hooks.forward_ad_active() else "operator"


def symbolic(x: Tensor) -> bool:
    """Whether a size of x is a symbol, of which no geometry can be made."""
    return any(isinstance(size, torch.SymInt) for size in x.shape)


def resolved(x: Tensor) -> Tensor:
    """x with lazy conjugation and negation carried out: backends move raw bits."""
    return x.resolve_conj().resolve_neg() if x.is_complex() or x.is_neg() else x


class SpaceToBatch(torch.autograd.Function):
    """Gradient and tangent of space_to_batch; the padding is a constant."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, geometry: BlockGeometry, pad_value: PadValue) -> Tensor:
        ctx.geometry = geometry
        return backends.run("space_to_batch", geometry, resolved(x), pad_value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return batch_to_space(grad, ctx.geometry), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return space_to_batch(tangent, ctx.geometry, 0)


class BatchToSpace(torch.autograd.Function):
    """Gradient and tangent of batch_to_space; what was cropped gets zero."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, geometry: BlockGeometry) -> Tensor:
        ctx.geometry = geometry
        return backends.run("batch_to_space", geometry, resolved(y), 0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return space_to_batch(grad, ctx.geometry, 0), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return batch_to_space(tangent, ctx.geometry)


def space_to_batch(x: Tensor, geometry: BlockGeometry, pad_value: PadValue, chosen: Way | None = None) -> Tensor:
    """space_to_batch of a tensor of the geometry's space shape, whichever way it must go, or the one chosen already."""
    chosen = chosen or way(x)
    if chosen == "backend":
        return backends.run("space_to_batch", geometry, resolved(x), pad_value)
    if chosen == "autograd":
        return SpaceToBatch.apply(x, geometry, pad_value)  # type: ignore[no-any-return, no-untyped-call]
    if chosen == "operator":
        return torch.ops.spacebatch.space_to_batch(x, *operator_arguments(geometry, pad_value))  # type: ignore[no-any-return]
    return backends.run_aten("space_to_batch", geometry, x, pad_value)


def batch_to_space(y: Tensor, geometry: BlockGeometry, chosen: Way | None = None) -> Tensor:
    """batch_to_space of a tensor of the geometry's batch shape, whichever way it must go, or the one chosen already."""
    chosen = chosen or way(y)
    if chosen == "backend":
        return backends.run("batch_to_space", geometry, resolved(y), 0)
    if chosen == "autograd":
        return BatchToSpace.apply(y, geometry)  # type: ignore[no-any-return, no-untyped-call]
    if chosen == "operator":
        return torch.ops.spacebatch.batch_to_space(y, *operator_arguments(geometry))  # type: ignore[no-any-return]
    return backends.run_aten("batch_to_space", geometry, y, 0)


def operator_arguments(geometry: BlockGeometry, *pad_value: PadValue) -> tuple[Any, ...]:
    """What `torch.ops.spacebatch.*` takes after the tensor; borders travel as a flat list."""
    borders = [side for pair in geometry.paddings for side in pair]
    return (
        geometry.block_shape,
        borders,
        geometry.spatial_dims,
        *pad_value,
        geometry.batch_order,
        geometry.arrangement,
    )


class _NoKeyError(Exception):
    """An argument that no cache key stands for; the geometry is made without the cache."""


def _key(value: Any) -> Any:
    """`value` as a key under which nothing else is found: True is not 1 and 1.0 is not 1."""
    kind = type(value)
    if kind is int or kind is str or value is None:
        return value
    if kind is tuple or kind is list:
        return tuple([_key(entry) for entry in value])
    raise _NoKeyError


@lru_cache(maxsize=4096)
def _space_geometry(shape: Any, block: Any, paddings: Any, dims: Any, order: Any, arrangement: Any) -> BlockGeometry:
    return BlockGeometry(shape, block, paddings, spatial_dims=dims, batch_order=order, arrangement=arrangement)


@lru_cache(maxsize=4096)
def _batch_geometry(shape: Any, block: Any, crops: Any, dims: Any, order: Any, arrangement: Any) -> BlockGeometry:
    return BlockGeometry.from_batch(shape, block, crops, spatial_dims=dims, batch_order=order, arrangement=arrangement)


def geometry_of(
    direction: backends.Direction, shape: Any, block: Any, borders: Any, dims: Any, order: Any, arrangement: Any
) -> BlockGeometry:
    """The geometry of a call, out of a cache where the arguments are plain ints, tuples and lists."""
    make = _space_geometry if direction == "space_to_batch" else _batch_geometry
    try:
        return make(shape, _key(block), _key(borders), _key(dims), _key(order), _key(arrangement))
    except _NoKeyError:
        return make.__wrapped__(shape, block, borders, dims, order, arrangement)
