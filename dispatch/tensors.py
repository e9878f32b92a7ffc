"""Both operators on tensors: the arguments become a geometry, and the route decides what is done with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.kept_geometries import batch_geometry, met, space_geometry
from spacebatch.reference.prepared import Direction

from . import aten, torch_private
from . import operators as operators  # registers them
from .checks import check_apart, check_out, check_tensor, torch_pad_value
from .eager import pad_bits, run, run_new
from .fused import operators as fused_operators  # noqa: F401  # registers them, too
from .routes import Route, call, route_of, symbolic

is_compiling = torch_private.is_compiling
_NO_TENSOR = "{}: the input must be a torch.Tensor or a numpy.ndarray, got {}"


def space_to_batch(
    x: Tensor,
    block_shape: Any,
    paddings: Any,
    spatial_dims: Any,
    pad_value: Any,
    batch_order: Any,
    arrangement: Any,
    shifts: Any,
    out: Tensor | None,
) -> Tensor:
    """`spacebatch.space_to_batch` of a tensor; anything else is refused."""
    if not isinstance(x, Tensor):
        raise TypeError(_NO_TENSOR.format("space_to_batch", type(x).__name__))
    number = pad_value if type(pad_value) is int and pad_value == 0 else torch_pad_value(pad_value, x.dtype)
    route = route_of(x)
    if x.is_nested or out is not None or (route != "eager" and route != "autograd"):
        check_tensor("space_to_batch", x)
    if route == "aten" or (route == "operator" and symbolic(x)):
        route = "aten"
        geometry = BlockGeometry(  # not a kept one: a compiler traces what is called here
            aten.sizes(x),
            block_shape,
            paddings,
            spatial_dims=spatial_dims,
            batch_order=batch_order,
            arrangement=arrangement,
            shifts=shifts,
        )
    else:
        known = met("space_to_batch", x.shape, block_shape, paddings, spatial_dims, batch_order, arrangement, shifts)
        if known is None:
            check_tensor("space_to_batch", x)
        if out is None and route == "eager":
            pad = b"" if type(number) is int and number == 0 else pad_bits(number, x.dtype)
            if known is not None:
                return run("space_to_batch", known, x, pad)
            arguments = block_shape, paddings, spatial_dims, batch_order, arrangement, shifts
            result = run_new("space_to_batch", x, pad, x.shape, *arguments)
            if result is not None:
                return result
        geometry = known or space_geometry(
            x.shape, block_shape, paddings, spatial_dims, batch_order, arrangement, shifts
        )
    if out is not None:
        return _into("space_to_batch", geometry, x, number, route, out)
    return call("space_to_batch", geometry, x, number, route)


def batch_to_space(
    y: Tensor,
    block_shape: Any,
    crops: Any,
    spatial_dims: Any,
    batch_order: Any,
    arrangement: Any,
    shifts: Any,
    out: Tensor | None,
) -> Tensor:
    """`spacebatch.batch_to_space` of a tensor; anything else is refused."""
    if not isinstance(y, Tensor):
        raise TypeError(_NO_TENSOR.format("batch_to_space", type(y).__name__))
    route = route_of(y)
    if y.is_nested or out is not None or (route != "eager" and route != "autograd"):
        check_tensor("batch_to_space", y)
    if route == "aten" or (route == "operator" and symbolic(y)):
        route = "aten"
        geometry = BlockGeometry.from_batch(
            aten.sizes(y),
            block_shape,
            crops,
            spatial_dims=spatial_dims,
            batch_order=batch_order,
            arrangement=arrangement,
            shifts=shifts,
        )
    else:
        known = met("batch_to_space", y.shape, block_shape, crops, spatial_dims, batch_order, arrangement, shifts)
        if known is None:
            check_tensor("batch_to_space", y)
        if out is None and route == "eager":
            if known is not None:
                return run("batch_to_space", known, y, b"")
            arguments = block_shape, crops, spatial_dims, batch_order, arrangement, shifts
            result = run_new("batch_to_space", y, b"", y.shape, *arguments)
            if result is not None:
                return result
        geometry = known or batch_geometry(y.shape, block_shape, crops, spatial_dims, batch_order, arrangement, shifts)
    if out is not None:
        return _into("batch_to_space", geometry, y, 0, route, out)
    return call("batch_to_space", geometry, y, 0, route)


def shape_of(op: str, x: Any) -> Sequence[int]:
    """The shape of a dense tensor; anything else is refused under the name of the function that was called."""
    if not isinstance(x, Tensor):
        raise TypeError(_NO_TENSOR.format(op, type(x).__name__))
    if x.is_nested:
        check_tensor(op, x)
    return aten.sizes(x)


def _into(direction: Direction, geometry: BlockGeometry, x: Tensor, number: Any, route: Route, out: Tensor) -> Tensor:
    """The result in `out`: written there where it can be, else copied, as in a graph."""
    shape = geometry.batch_shape if direction == "space_to_batch" else geometry.space_shape
    check_out(direction, x, shape, out)
    if route in ("eager", "autograd"):
        check_apart(direction, x, out)
    if route == "eager":
        return run(direction, geometry, x, pad_bits(number, x.dtype), out)
    return out.copy_(call(direction, geometry, x, number, route))
