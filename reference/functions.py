"""`space_to_batch` and `batch_to_space` for NumPy arrays: compiled kernels where llvmlite is installed, else NumPy alone."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from . import prepared
from .arguments import Arrangement, BatchOrder, BlockShape, Borders, Shifts, SpatialDims
from .geometry import BlockGeometry
from .kept_geometries import batch_geometry, met, space_geometry
from .llvm import recipes
from .llvm.prepare import NUMBERS, address
from .llvm_backend import LLVM
from .memory_order import memory_order
from .numpy_backend import NUMPY
from .pad_value import numpy_pad_value
from .prepared import Device, Direction, Layout

Array = npt.NDArray[Any]
ScalarT = TypeVar("ScalarT", bound=np.generic)

prepared.DEVICES["numpy"] = Device((LLVM, NUMPY))


def space_to_batch(
    x: npt.NDArray[ScalarT],
    block_shape: BlockShape,
    paddings: Borders | str = 0,
    *,
    spatial_dims: SpatialDims = None,
    pad_value: Any = 0,
    batch_order: BatchOrder = "block_major",
    arrangement: Arrangement = "interleaved",
    shifts: Shifts = 0,
    out: npt.NDArray[ScalarT] | None = None,
) -> npt.NDArray[ScalarT]:
    """Move blocks of the spatial dims of a NumPy array into its batch; see `spacebatch.space_to_batch`.

    >>> space_to_batch(np.arange(6).reshape(1, 6), (3,))
    array([[0, 3],
           [1, 4],
           [2, 5]])

    Args:
        x: array of shape (N, …), any dtype, any strides.
        block_shape, paddings, spatial_dims, batch_order, arrangement, shifts: see `BlockGeometry`.
        pad_value: what the padding holds; it must be representable in x's dtype.
        out: array of the result's shape and dtype to write to; must not overlap x.

    Returns:
        A new array of shape `BlockGeometry(…).batch_shape` in x's memory order, or `out`.

    Raises:
        ValueError, TypeError: bad arguments, before anything is computed.

    Source: Caffe2's SpaceToBatch, TensorFlow's SpaceToBatchND.
    """
    check_array("space_to_batch", x)
    pad: Any = b""
    if not (type(pad_value) is int and pad_value == 0 and x.dtype.kind in "biufc"):
        pad = numpy_pad_value(pad_value, x.dtype)
        pad = pad if x.dtype.hasobject else pad.tobytes()
    shape = x.shape
    known = met("space_to_batch", shape, block_shape, paddings, spatial_dims, batch_order, arrangement, shifts)
    if known is None and out is None:
        result = _run_new(
            "space_to_batch", x, pad, block_shape, paddings, spatial_dims, batch_order, arrangement, shifts
        )
        if result is not None:
            return result
    geometry = known or space_geometry(shape, block_shape, paddings, spatial_dims, batch_order, arrangement, shifts)
    return _run("space_to_batch", geometry, x, pad, out)


def batch_to_space(
    y: npt.NDArray[ScalarT],
    block_shape: BlockShape,
    crops: Borders = 0,
    *,
    spatial_dims: SpatialDims = None,
    batch_order: BatchOrder = "block_major",
    arrangement: Arrangement = "interleaved",
    shifts: Shifts = 0,
    out: npt.NDArray[ScalarT] | None = None,
) -> npt.NDArray[ScalarT]:
    """Move blocks from the batch of a NumPy array back into its spatial dims: the inverse of `space_to_batch`.

    >>> batch_to_space(np.array([[0, 3], [1, 4], [2, 5]]), (3,))
    array([[0, 1, 2, 3, 4, 5]])

    Args:
        y: array of shape (N * prod(block_shape), …), any dtype, any strides.
        block_shape, spatial_dims, batch_order, arrangement, shifts: see `BlockGeometry`.
        crops: elements dropped around each blocked dim, written like `paddings`.
        out: array of the result's shape and dtype to write to; must not overlap y.

    Returns:
        A new array of shape `BlockGeometry.from_batch(…).space_shape` in y's memory order, or `out`.

    Raises:
        ValueError, TypeError: bad arguments, before anything is computed.

    Source: Caffe2's BatchToSpace, TensorFlow's BatchToSpaceND.
    """
    check_array("batch_to_space", y)
    shape = y.shape
    known = met("batch_to_space", shape, block_shape, crops, spatial_dims, batch_order, arrangement, shifts)
    if known is None and out is None:
        result = _run_new("batch_to_space", y, b"", block_shape, crops, spatial_dims, batch_order, arrangement, shifts)
        if result is not None:
            return result
    geometry = known or batch_geometry(shape, block_shape, crops, spatial_dims, batch_order, arrangement, shifts)
    return _run("batch_to_space", geometry, y, b"", out)


def _run(direction: Direction, geometry: BlockGeometry, source: Array, pad: Any, out: Array | None) -> Array:
    """Look up or prepare the call, allocate its result, and fill it."""
    shape = geometry.batch_shape if direction == "space_to_batch" else geometry.space_shape
    if out is None:
        result = result_like(source, shape)
    else:
        check_out(direction, source, shape, out)
        result = out
    key = (direction, source.strides, source.dtype, result.strides, out is None, prepared.demanded)
    fill = geometry._prepared.get(key)
    if fill is None:
        layouts = layout_of(source), layout_of(result, new=out is None)
        fill, keep = prepared.find(direction, geometry, *layouts)
        if keep:
            prepared.keep(geometry, key, fill)
    fill(np.asarray(source), np.asarray(result), pad)
    return result


def _run_new(
    direction: Direction,
    source: Array,
    pad: bytes,
    block_shape: Any,
    borders: Any,
    spatial_dims: Any,
    batch_order: Any,
    arrangement: Any,
    shifts: Any,
) -> Array | None:
    """A call of a shape that was not met before, by a recipe; None where there is none."""
    if prepared.demanded is not None or not source.flags.c_contiguous or source.dtype.kind not in NUMBERS:
        return None
    arguments = block_shape, borders, spatial_dims, batch_order, arrangement, shifts
    found = recipes.find(direction, source.shape, source.itemsize, False, *arguments)
    if found is None:
        return None
    recipe, (shape, _, numbers) = found
    result = np.empty(shape, source.dtype)
    recipes.run(recipe, address(source), address(result), numbers, pad)
    return result


def layout_of(array: Array, new: bool = False) -> Layout:
    """How an array lies in memory, as backends are told.

    >>> layout_of(np.zeros((2, 3), np.int16)).strides
    (3, 1)
    """
    size = array.itemsize or 1
    whole = not any(stride % size for stride in array.strides)
    strides = tuple(stride // size for stride in array.strides) if whole else None
    return Layout(strides, array.itemsize, array.dtype, "numpy", new)


def check_array(op: str, array: Any) -> None:
    """The input is an array of NumPy, and not a masked one."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{op}: the input must be a numpy.ndarray, got {type(array).__name__}")
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(
            f"{op}: the input is a masked array, whose mask would be lost; apply the operator to .data and .mask"
        )


def check_out(
    op: str,
    source: Array,
    shape: tuple[int, ...],
    out: Array,
    dtype: np.dtype[Any] | None = None,
    whose: str = "the input",
) -> None:
    """An array that can hold the result, apart from the input.

    Args:
        op, source, shape, out: of the call. dtype: of the result, by default the source's. whose: what has that dtype, for messages.
    """
    dtype = dtype or source.dtype
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{op}: out must be a numpy.ndarray, got {type(out).__name__}")
    if isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"{op}: out is a masked array, whose mask would not be written")
    if out.shape != shape:
        raise ValueError(f"{op}: out has shape {out.shape}, the result has {shape}")
    if out.dtype != dtype:
        raise ValueError(f"{op}: out has dtype {out.dtype}, {whose} has {dtype}")
    if not out.flags.writeable:
        raise ValueError(f"{op}: out is read-only")
    if out.size and any(stride == 0 and size > 1 for stride, size in zip(out.strides, out.shape, strict=True)):
        raise ValueError(f"{op}: out is expanded: several of its elements share one place in memory")
    if np.may_share_memory(source, out):
        raise ValueError(f"{op}: out overlaps the input in memory")


def result_like(source: Array, shape: tuple[int, ...], dtype: np.dtype[Any] | None = None) -> Array:
    """An array of `shape`, not filled, in the memory order of `source`, and of its dtype where none is given."""
    dtype = dtype or source.dtype
    if source.flags.c_contiguous:
        return np.empty(shape, dtype)
    order = memory_order(source.shape, source.strides)
    inverse = sorted(range(len(order)), key=order.__getitem__)
    return np.empty([shape[d] for d in order], dtype).transpose(inverse)
