"""The fused operators on tensors: the words become an arithmetic, and the route decides what is done with it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spacebatch.reference import prepared
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.kept_geometries import batch_geometry, met, space_geometry
from spacebatch.reference.prepared import Direction
from spacebatch.reference.words import Words

from .. import aten as plain
from .. import torch_private
from ..arithmetic import dtype_of
from ..checks import check_apart, check_out, check_tensor, torch_pad_value
from ..routes import Route, eager_beside, route_of, symbolic
from . import aten, eager, gradients, operators
from .aten import Call, Tensors
from .tensor_words import arithmetic_for, factors_of, residual_of

# What one tensor needs, all take; the first comes first.
_ROUTES: tuple[Route, ...] = ("aten", "operator", "autograd", "eager")
_NUMBERS = (int, float)


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
    key = None
    if out is None and type(x) is Tensor and not x.is_nested and route_of(x) == "eager":
        key = _key(x, pad_value, words)
        known = met(direction, x.shape, block_shape, borders, spatial_dims, batch_order, arrangement, shifts, op)
        if known is not None and key is not None:
            try:
                again = known._prepared.get(key)
            except TypeError:  # a word that is none
                again = key = None
            if again is not None:
                return eager.run_again(again, x, words.scale, words.bias, words.residual)
    check_tensor(op, x)
    route = route_of_words(x, words)
    if route == "aten":
        make = BlockGeometry if direction == "space_to_batch" else BlockGeometry.from_batch
        order: Any = {"batch_order": batch_order, "arrangement": arrangement, "shifts": shifts}
        geometry = make(plain.sizes(x), block_shape, borders, spatial_dims=spatial_dims, op=op, **order)
    else:
        find = space_geometry if direction == "space_to_batch" else batch_geometry
        geometry = find(x.shape, block_shape, borders, spatial_dims, batch_order, arrangement, shifts, op)
    to_batch = direction == "space_to_batch"
    result = geometry.batch_shape if to_batch else geometry.space_shape
    keeper = None if route == "aten" else geometry
    arithmetic = arithmetic_for(op, x, words, geometry.space_shape, geometry.spatial_dims, keeper)
    scale, bias = factors_of(op, x, words, arithmetic, geometry.space_shape)
    tensors = Tensors(x, scale, bias, residual_of(op, x, words.residual, result))
    number: Any = 0
    if to_batch and not (type(pad_value) is int and pad_value == 0):
        number = torch_pad_value(pad_value, dtype_of(arithmetic.result) if words.pad == "after" else x.dtype, op)
    way = Call(direction, geometry, arithmetic, number)
    if key is not None:
        return eager.run(way, tensors, again=key)
    if out is None:
        return call(way, tensors, route)
    others = [t for t in tensors[1:] if isinstance(t, Tensor)]
    check_out(op, x, result, out, dtype_of(arithmetic.result), others)
    if route in ("eager", "autograd"):
        for name, tensor in zip(("the input", *Tensors._fields[1:]), tensors, strict=True):
            if isinstance(tensor, Tensor):
                check_apart(op, tensor, out, name)
    return eager.run(way, tensors, out) if route == "eager" else out.copy_(call(way, tensors, route))


def _key(x: Tensor, pad_value: Any, words: Words) -> tuple[Any, ...] | None:
    """By what an eager call is known to be like one that was checked and prepared; None where nothing says so for sure."""
    scale, bias, residual, channel_dim, activation, dtype, pad = words
    kinds: list[Any] = []
    for value in (scale, bias, residual):
        if value is None:
            kinds.append(None)
        elif isinstance(value, Tensor):
            if not eager_beside(value) or value.layout is not torch.strided or value.is_neg():
                return None
            kinds += value.shape, value.dtype, value.device, value.is_contiguous()
        elif type(value) in _NUMBERS and value:  # minus zero equals zero
            kinds += type(value), value
        else:
            return None
    if type(pad_value) is int or (type(pad_value) is float and pad_value):
        place = channel_dim, type(channel_dim), activation, dtype, pad
        how = x.stride(), x.dtype, x.device, prepared.demanded, pad_value, type(pad_value)
        return None if x.is_neg() else (*how, *kinds, *place)
    return None


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
        if isinstance(value, Tensor) and not (route == "eager" and eager_beside(value)):
            other = route_of(value)
            if other != route and _ROUTES.index(other) < _ROUTES.index(route):
                route = other
    if route == "operator" and symbolic(x):
        return "aten"
    # tangents, which the definition has
    return "aten" if route == "autograd" and torch_private.forward_ad_active() else route
