"""The fused operators on tensors: the words become an arithmetic, and the route decides what is done with it."""

from __future__ import annotations

from numbers import Real
from typing import Any

import torch
from torch import Tensor

from spacebatch.reference.arguments import shown
from spacebatch.reference.arithmetic import Arithmetic
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.kept_geometries import batch_geometry, space_geometry
from spacebatch.reference.prepared import Direction
from spacebatch.reference.words import Words, arithmetic_of, check_channels, result_name

from .. import aten as plain
from .. import torch_private
from ..arithmetic import Factor, dtype_of, name_of
from ..checks import check_apart, check_out, check_tensor, torch_pad_value
from ..routes import Route, route_of, symbolic
from . import aten, eager, gradients, operators
from .aten import Call, Tensors

_ROUTES: tuple[Route, ...] = (
    "aten",
    "operator",
    "autograd",
    "eager",
)  # what one tensor needs, all take; first come first


def move(
    op: str,
    direction: Direction,
    x: Tensor,
    block_shape: Any,
    borders: Any,
    spatial_dims: Any,
    batch_order: Any,
    arrangement: Any,
    shifts: Any,
    pad_value: Any,
    words: Words,
    out: Tensor | None,
) -> Tensor:
    """`spacebatch.fused.space_to_batch` or `batch_to_space` of a tensor; anything else is refused.

    Args:
        op: the function, for messages. direction: which of the two.
        x, block_shape, borders, spatial_dims, batch_order, arrangement, shifts, pad_value, out: of the call.
        words: what is computed.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"{op}: the input must be a torch.Tensor or a numpy.ndarray, got {type(x).__name__}")
    check_tensor(op, x)
    route = route_of_words(x, words)
    if route == "aten":
        make = BlockGeometry if direction == "space_to_batch" else BlockGeometry.from_batch
        order: Any = {"batch_order": batch_order, "arrangement": arrangement, "shifts": shifts}
        geometry = make(plain.sizes(x), block_shape, borders, spatial_dims=spatial_dims, op=op, **order)
    else:
        kept = space_geometry if direction == "space_to_batch" else batch_geometry
        geometry = kept(x.shape, block_shape, borders, spatial_dims, batch_order, arrangement, shifts, op)
    to_batch = direction == "space_to_batch"
    result = geometry.batch_shape if to_batch else geometry.space_shape
    arithmetic = arithmetic_for(op, geometry, x, words, keep=route != "aten")
    tensors = checked(op, x, words, arithmetic, geometry, result)
    number: Any = 0
    if to_batch and not (type(pad_value) is int and pad_value == 0):
        number = torch_pad_value(pad_value, dtype_of(arithmetic.result) if words.pad == "after" else x.dtype, op)
    way = Call(direction, geometry, arithmetic, number)
    if out is None:
        return call(way, tensors, route)
    others = [t for t in tensors[1:] if isinstance(t, Tensor)]
    check_out(op, x, result, out, dtype_of(arithmetic.result), others)
    if route in ("eager", "autograd"):
        for name, tensor in zip(("the input", *Tensors._fields[1:]), tensors, strict=True):
            if isinstance(tensor, Tensor):
                check_apart(op, tensor, out, name)
    return eager.run(way, tensors, out) if route == "eager" else out.copy_(call(way, tensors, route))


def call(way: Call, tensors: Tensors, route: Route) -> Tensor:
    """One fused operator by a route."""
    if route == "eager":
        return eager.run(way, tensors)
    if route == "autograd":
        return gradients.apply(*tensors, way)  # type: ignore[no-any-return]
    return aten.call(way, tensors) if route == "aten" else operators.operator(way, tensors)


def route_of_words(x: Tensor, words: Words) -> Route:
    """The route that a call takes: what one of its tensors needs."""
    route = route_of(x)
    for value in words[:3]:
        if isinstance(value, Tensor):
            other = route_of(value)
            if other != route and _ROUTES.index(other) < _ROUTES.index(route):
                route = other
    if route == "operator" and symbolic(x):
        return "aten"
    # tangents, which the definition has
    return "aten" if route == "autograd" and torch_private.forward_ad_active() else route


def arithmetic_for(op: str, geometry: BlockGeometry, x: Tensor, words: Words, keep: bool) -> Arithmetic:
    """The arithmetic of a call, checked but for the values of its tensors.

    Args:
        op, geometry, x, words: of the call. keep: whether the geometry remembers it.
    """
    scale, bias, residual, channel_dim, activation, dtype, pad = words
    if residual is not None and not isinstance(residual, Tensor):
        raise TypeError(f"{op}: residual must be a torch.Tensor, got {type(residual).__name__}")
    ndims = ndim_of(op, "scale", scale), ndim_of(op, "bias", bias)
    of_residual = None if residual is None else residual.dtype
    key = x.dtype, ndims, of_residual, channel_dim, type(channel_dim), activation, dtype, pad
    if keep:
        try:
            found = geometry._prepared.get(key)
        except TypeError:  # a word that is no word, which is named below
            found = None
        if found is not None:
            return found  # type: ignore[no-any-return]
    if dtype is not None and not isinstance(dtype, torch.dtype):
        raise TypeError(f"{op}: dtype must be a torch.dtype, got {shown(dtype)}")
    source = name_of(x.dtype)
    arithmetic = arithmetic_of(
        op,
        words,
        source,
        result_name(source) if dtype is None else name_of(dtype),
        geometry.space_shape,
        geometry.spatial_dims,
        ndims,
        None if of_residual is None else name_of(of_residual),
    )
    if keep:
        geometry._prepared[key] = arithmetic
    return arithmetic


def ndim_of(op: str, name: str, value: Any) -> int | None:
    """The number of dims of scale or bias: 0 of a number."""
    if value is None:
        return None
    if isinstance(value, Tensor):
        if value.is_complex() or value.dtype is torch.bool:
            raise TypeError(f"{op}: {name} has dtype {value.dtype}; it must be of real numbers")
        return value.dim()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(
            f"{op}: {name} must be a number or a torch.Tensor, got {shown(value)} of type {type(value).__name__}"
        )
    return 0


def checked(
    op: str, x: Tensor, words: Words, arithmetic: Arithmetic, geometry: BlockGeometry, result: tuple[int, ...]
) -> Tensors:
    """The tensors of a call, which are of the sizes and on the device that it takes."""
    scale, bias, residual, *_ = words
    factors: list[Factor] = []
    for name, value in (("scale", scale), ("bias", bias)):
        if isinstance(value, Tensor):
            c = arithmetic.channel_dim
            if value.dim():
                assert c is not None
                check_channels(op, name, value.shape[0], geometry.space_shape[c], c)
            if value.device != x.device and (value.dim() or not value.is_cpu):
                raise ValueError(f"{op}: {name} is on {value.device}, the input on {x.device}")
            factors.append(value)
        else:
            factors.append(value if value is None or type(value) in (int, float) else float(value))
    if residual is not None:
        check_tensor(f"{op}: residual", residual)
        if residual.shape != result:
            raise ValueError(f"{op}: residual has shape {tuple(residual.shape)}, the result has {tuple(result)}")
        if residual.device != x.device:
            raise ValueError(f"{op}: residual is on {residual.device}, the input on {x.device}")
    scale, bias = factors
    return Tensors(x, scale, bias, residual)
