"""`space_to_batch` and `batch_to_space` for NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .arguments import Arrangement, BatchOrder, BlockShape, Borders
from .cpu_path import copy_to_batch, copy_to_space
from .geometry import BlockGeometry, batch_geometry, space_geometry
from .memory_order import memory_order
from .pad_value import numpy_pad_value

Array = npt.NDArray[Any]


def space_to_batch(
    x: npt.NDArray[Any],
    block_shape: BlockShape,
    paddings: Borders | str = 0,
    *,
    spatial_dims: int | Sequence[int] | None = None,
    pad_value: Any = 0,
    batch_order: BatchOrder = "block_major",
    arrangement: Arrangement = "interleaved",
    out: npt.NDArray[Any] | None = None,
) -> npt.NDArray[Any]:
    """Move blocks of the spatial dims of a NumPy array into its batch; see `spacebatch.space_to_batch`.

    >>> space_to_batch(np.arange(6).reshape(1, 6), (3,))
    array([[0, 3],
           [1, 4],
           [2, 5]])

    Args:
        x: array of shape (N, …), any dtype, any strides.
        block_shape, paddings, spatial_dims, batch_order, arrangement: see `BlockGeometry`.
        pad_value: what the padding holds; it must be representable in x's dtype.
        out: array of the result's shape and dtype to write to; must not overlap x.

    Returns:
        A new array of shape `BlockGeometry(…).batch_shape` in x's memory order, or `out`.

    Raises:
        ValueError, TypeError: bad arguments, before anything is computed.

    Source: Caffe2's SpaceToBatch, TensorFlow's SpaceToBatchND.
    """
    return array_to_batch(
        copy_to_batch, x, block_shape, paddings, spatial_dims, pad_value, batch_order, arrangement, out
    )


def batch_to_space(
    y: npt.NDArray[Any],
    block_shape: BlockShape,
    crops: Borders = 0,
    *,
    spatial_dims: int | Sequence[int] | None = None,
    batch_order: BatchOrder = "block_major",
    arrangement: Arrangement = "interleaved",
    out: npt.NDArray[Any] | None = None,
) -> npt.NDArray[Any]:
    """Move blocks from the batch of a NumPy array back into its spatial dims: the inverse of `space_to_batch`.

    >>> batch_to_space(np.array([[0, 3], [1, 4], [2, 5]]), (3,))
    array([[0, 1, 2, 3, 4, 5]])

    Args:
        y: array of shape (N * prod(block_shape), …), any dtype, any strides.
        block_shape, spatial_dims, batch_order, arrangement: see `BlockGeometry`.
        crops: elements dropped around each blocked dim, written like `paddings`.
        out: array of the result's shape and dtype to write to; must not overlap y.

    Returns:
        A new array of shape `BlockGeometry.from_batch(…).space_shape` in y's memory order, or `out`.

    Raises:
        ValueError, TypeError: bad arguments, before anything is computed.

    Source: Caffe2's BatchToSpace, TensorFlow's BatchToSpaceND.
    """
    return array_to_space(copy_to_space, y, block_shape, crops, spatial_dims, batch_order, arrangement, out)


def array_to_batch(
    copy: Callable[[BlockGeometry, Array, Array, Array], None],
    x: Array,
    block_shape: BlockShape,
    paddings: Borders | str,
    spatial_dims: int | Sequence[int] | None,
    pad_value: Any,
    batch_order: BatchOrder,
    arrangement: Arrangement,
    out: Array | None,
) -> Array:
    """`space_to_batch` with checked arguments and a result to write to, by `copy` of (geometry, x, result, pad value)."""
    _check_array("space_to_batch", x)
    geometry = space_geometry(x.shape, block_shape, paddings, spatial_dims, batch_order, arrangement)
    pad = numpy_pad_value(pad_value, x.dtype)
    y = _output("space_to_batch", x, geometry.batch_shape, out)
    copy(geometry, np.asarray(x), np.asarray(y), pad)
    return y


def array_to_space(
    copy: Callable[[BlockGeometry, Array, Array], None],
    y: Array,
    block_shape: BlockShape,
    crops: Borders,
    spatial_dims: int | Sequence[int] | None,
    batch_order: BatchOrder,
    arrangement: Arrangement,
    out: Array | None,
) -> Array:
    """`batch_to_space` with checked arguments and a result to write to, by `copy` of (geometry, y, result)."""
    _check_array("batch_to_space", y)
    geometry = batch_geometry(y.shape, block_shape, crops, spatial_dims, batch_order, arrangement)
    x = _output("batch_to_space", y, geometry.space_shape, out)
    copy(geometry, np.asarray(y), np.asarray(x))
    return x


def _check_array(op: str, array: Any) -> None:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{op}: the input must be a numpy.ndarray, got {type(array).__name__}")
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(
            f"{op}: the input is a masked array, whose mask would be lost; apply the operator to .data and .mask"
        )


def _output(
    op: str, source: npt.NDArray[Any], shape: tuple[int, ...], out: npt.NDArray[Any] | None
) -> npt.NDArray[Any]:
    if out is None:
        return result_like(source, shape)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{op}: out must be a numpy.ndarray, got {type(out).__name__}")
    if isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"{op}: out is a masked array, whose mask would not be written")
    if out.shape != shape:
        raise ValueError(f"{op}: out has shape {out.shape}, the result has {shape}")
    if out.dtype != source.dtype:
        raise ValueError(f"{op}: out has dtype {out.dtype}, the input has {source.dtype}")
    if not out.flags.writeable:
        raise ValueError(f"{op}: out is read-only")
    if out.size and any(stride == 0 and size > 1 for stride, size in zip(out.strides, out.shape, strict=True)):
        raise ValueError(f"{op}: out is expanded: several of its elements share one place in memory")
    if np.may_share_memory(source, out):
        raise ValueError(f"{op}: out overlaps the input in memory")
    return out


def result_like(source: Array, shape: tuple[int, ...]) -> Array:
    """An array of `shape`, not filled, in the memory order of `source`."""
    if source.flags.c_contiguous:
        return np.empty(shape, dtype=source.dtype)
    order = memory_order(source.shape, source.strides)
    inverse = sorted(range(len(order)), key=order.__getitem__)
    return np.empty([shape[d] for d in order], dtype=source.dtype).transpose(inverse)
