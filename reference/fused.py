"""The fused operators for NumPy arrays: compiled kernels where there are, else NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from . import prepared
from .arguments import shown
from .arithmetic import NO_OPERANDS, Arithmetic, Operands
from .array_arithmetic import computed
from .functions import check_array, check_out, layout_of, result_like
from .geometry import BlockGeometry
from .kept_geometries import batch_geometry, space_geometry
from .pad_value import numpy_pad_value
from .prepared import Direction
from .words import Words, arithmetic_of, check_channels, result_name

Array = npt.NDArray[Any]


def move(
    op: str,
    direction: Direction,
    x: Array,
    block_shape: Any,
    borders: Any,
    spatial_dims: Any,
    batch_order: Any,
    arrangement: Any,
    shifts: Any,
    pad_value: Any,
    words: Words,
    out: Array | None,
) -> Array:
    """`spacebatch.fused.space_to_batch` or `batch_to_space` of an array.

    >>> order = None, "block_major", "interleaved", 0
    >>> move("f", "space_to_batch", np.arange(4).reshape(1, 4), (2,), 0, *order, 0, Words(0.5), None)
    array([[0. , 1. ],
           [0.5, 1.5]], dtype=float32)

    Args:
        op: the function, for messages. direction: which of the two.
        x, block_shape, borders, spatial_dims, batch_order, arrangement, shifts, pad_value, out: of the call.
        words: what is computed.
    """
    check_array(op, x)
    to_batch = direction == "space_to_batch"
    kept = space_geometry if to_batch else batch_geometry
    geometry = kept(x.shape, block_shape, borders, spatial_dims, batch_order, arrangement, shifts, op)
    shape = geometry.batch_shape if to_batch else geometry.space_shape
    arithmetic, dtype = arithmetic_for(op, x, words, geometry.space_shape, geometry.spatial_dims)
    operands = operands_for(op, arithmetic, words, geometry.space_shape)
    pad = b""
    if to_batch and geometry.padded:
        pad, operands = border(op, arithmetic, pad_value, x.dtype, dtype, operands)
    if words.residual is not None:
        operands = operands._replace(residual=_residual(op, words.residual, shape))
    if out is not None:
        check_out(op, x, shape, out, dtype, "the result")
        _check_apart(op, out, words)
    result = result_like(x, shape, dtype) if out is None else out
    if operands.residual is not None and operands.residual.strides != result.strides:
        copy = (
            result_like(x, shape, operands.residual.dtype)
            if out is None
            else np.empty_like(out, operands.residual.dtype)
        )
        copy[...] = operands.residual
        operands = operands._replace(residual=copy)
    _run(direction, geometry, arithmetic, x, result, pad, operands, out is None)
    return result


def _run(
    direction: Direction,
    geometry: BlockGeometry,
    arithmetic: Arithmetic,
    source: Array,
    result: Array,
    pad: bytes,
    operands: Operands,
    new: bool,
) -> None:
    """Look up or prepare the call, and fill the result."""
    asked = None if arithmetic.plain else replace(arithmetic, pad="before" if operands.pad is not None else "after")
    key = direction, source.strides, source.dtype, result.strides, result.dtype, new, prepared.demanded, asked
    fill = geometry._prepared.get(key)
    if fill is None:
        fill, keep = prepared.find(direction, geometry, layout_of(source), layout_of(result, new), asked)
        if keep:
            prepared.keep(geometry, key, fill)
    fill(np.asarray(source), np.asarray(result), pad, operands)


def arithmetic_for(
    op: str, x: Array, words: Words, shape: Sequence[int], spatial_dims: Sequence[int], first: int = 1
) -> tuple[Arithmetic, np.dtype[Any]]:
    """The arithmetic of a call, and the dtype of its result.

    >>> arithmetic_for("f", np.zeros((1, 4), np.uint8), Words(), (1, 4), (1,))[1]
    dtype('float32')

    Args:
        op, x, words: of the call. shape: of images. spatial_dims: of these, those that are cut. first: as `arithmetic_of` takes it.
    """
    try:
        dtype = np.dtype(result_name(x.dtype.name) if words.dtype is None else words.dtype)
        dtype = x.dtype if dtype.name == x.dtype.name else dtype
    except TypeError:
        raise TypeError(
            f"{op}: dtype {shown(words.dtype)} is none that NumPy knows; bfloat16 and the 8-bit floats are dtypes of ml_dtypes"
        ) from None
    ndims = tuple(
        None if v is None else np.ndim(_factor(op, n, v)) for n, v in zip(words._fields, words[:2], strict=False)
    )
    residual = words.residual
    if residual is not None:
        check_array(f"{op}: residual", residual)
    of_residual = None if residual is None else residual.dtype.name
    a, b = ndims
    return arithmetic_of(op, words, x.dtype.name, dtype.name, shape, spatial_dims, (a, b), of_residual, first), dtype


def operands_for(op: str, arithmetic: Arithmetic, words: Words, shape: Sequence[int]) -> Operands:
    """Scale and bias as backends read them.

    >>> operands_for("f", Arithmetic("uint8", "float32", scale=True), Words(2), (1, 4)).scale
    array([2.], dtype=float32)
    """
    c = arithmetic.channel_dim
    found: list[Array | None] = []
    for name, value in (("scale", words.scale), ("bias", words.bias)):
        if value is None:
            found.append(None)
            continue
        value = np.asarray(value)
        if value.ndim:
            assert c is not None
            check_channels(op, name, len(value), shape[c], c)
        count = 1 if c is None else shape[c]
        found.append(np.ascontiguousarray(np.broadcast_to(value, (count,)), arithmetic.compute))
    return Operands(*found) if any(x is not None for x in found) else NO_OPERANDS


def border(
    op: str, arithmetic: Arithmetic, pad_value: Any, source: np.dtype[Any], result: np.dtype[Any], operands: Operands
) -> tuple[bytes, Operands]:
    """What the border holds: the bytes of a number, or a table of the channels among the operands.

    >>> border("f", Arithmetic("float32", "float32", pad="before", scale=True), 3, np.dtype("f4"), np.dtype("f4"), Operands(np.full(1, 2.0)))[0]
    b'\\x00\\x00\\xc0@'
    """
    if arithmetic.pad == "after":
        return _pad(op, pad_value, result).tobytes(), operands
    alone = arithmetic if arithmetic.channel_dim is None else replace(arithmetic, channel_dim=0)
    table = computed(_pad(op, pad_value, source).reshape(1), alone, result, operands.scale, operands.bias)
    if arithmetic.channel_dim is None:
        return table.tobytes(), operands
    return b"", operands._replace(pad=np.ascontiguousarray(table))


def _pad(op: str, value: Any, dtype: np.dtype[Any]) -> Array:
    if dtype.name not in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        return numpy_pad_value(value, dtype, op)
    wide = numpy_pad_value(value, np.dtype(np.float32), op)  # NumPy knows no limits of the dtypes of ml_dtypes
    with np.errstate(over="ignore"):
        pad = wide.astype(dtype)
    again = pad.astype(np.float32)
    if np.isinf(again) != np.isinf(wide) or np.isnan(again) != np.isnan(wide):
        raise ValueError(f"{op}: pad_value {value!r} is out of range for {dtype.name}")
    return pad


def _factor(op: str, name: str, value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "iuf":
            raise TypeError(f"{op}: {name} has dtype {value.dtype}; it must be of real numbers")
    elif isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(
            f"{op}: {name} must be a number or a numpy.ndarray, got {shown(value)} of type {type(value).__name__}"
        )
    return value


def _residual(op: str, residual: Array, shape: tuple[int, ...]) -> Array:
    if residual.shape != shape:
        raise ValueError(f"{op}: residual has shape {residual.shape}, the result has {shape}")
    return residual


def _check_apart(op: str, out: Array, words: Words) -> None:
    for name, value in zip(words._fields, words[:3], strict=False):
        if isinstance(value, np.ndarray) and np.may_share_memory(value, out):
            raise ValueError(f"{op}: out overlaps {name} in memory")
