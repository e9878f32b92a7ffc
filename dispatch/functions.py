"""`spacebatch.space_to_batch` and `spacebatch.batch_to_space`: arguments in, the front door behind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from spacebatch import reference
from spacebatch.reference.arguments import (
    Arrangement,
    BatchOrder,
    BlockShape,
    Borders,
    batch_arguments,
    space_arguments,
)
from spacebatch.reference.pad_value import check_pad_value

from . import aten, backends, front_door
from .backends import Direction, PadValue

ArrayT = TypeVar("ArrayT", Tensor, "np.ndarray[Any, np.dtype[Any]]")


def space_to_batch(
    x: ArrayT,
    block_shape: BlockShape,
    paddings: Borders | str = 0,
    *,
    spatial_dims: int | Sequence[int] | None = None,
    pad_value: bool | int | float | complex = 0,
    batch_order: BatchOrder = "block_major",
    arrangement: Arrangement = "interleaved",
    out: ArrayT | None = None,
) -> ArrayT:
    """Move blocks of the spatial dims into the batch, padding on the way: one pass over memory.

    >>> import torch, spacebatch
    >>> x = torch.arange(16).view(1, 1, 4, 4)
    >>> spacebatch.space_to_batch(x, 2)[:, 0].tolist()
    [[[0, 2], [8, 10]], [[1, 3], [9, 11]], [[4, 6], [12, 14]], [[5, 7], [13, 15]]]
    >>> windows = spacebatch.space_to_batch(x, 2, batch_order="batch_major", arrangement="contiguous")
    >>> windows[:, 0].tolist()
    [[[0, 1], [4, 5]], [[2, 3], [6, 7]], [[8, 9], [12, 13]], [[10, 11], [14, 15]]]

    With P = prod(block_shape), a phase p of row-major index |p|, and S' = (S + before + after) / b for each blocked dim:
    interleaved, y[|p| * N + n, …, i, …] = x[n, …, i * b + p - before, …]; contiguous, the coordinate is
    p * S' + i - before. Outside x stands the pad value.

    Args:
        x: tensor or NumPy array of shape (N, …), at least 2-D; any dtype, device and strides.
        block_shape: positive int for every dim from 2 on (or each of `spatial_dims`), or one per blocked dim (by default
            the trailing ones). Contiguous, it counts the blocks along the dim and S' is their size.
        paddings: elements added around each blocked dim, never negative: an int, one int per dim, one (before, after)
            pair per dim, or "auto" to pad the end up to the next multiple of the block.
        spatial_dims: the blocked dims, in the order of `block_shape`; may be negative, must not name dim 0.
        pad_value: what the padding holds; must be representable in x's dtype.
        batch_order: "block_major", phase * N + n, or "batch_major", n * P + phase.
        arrangement: "interleaved" (every b-th element) or "contiguous" (windows).
        out: where to write instead of a new tensor: the result's shape, x's dtype and device, not overlapping x.

    Returns:
        Tensor or array of shape (N * P, …, S', …) in x's memory order (channels_last stays channels_last), never a view
        of x. Its gradient is `batch_to_space` with the same numbers.

    Raises:
        ValueError: sizes not divisible, values out of range, an `out` that does not fit.
        TypeError: arguments of a wrong type.

    Source: Caffe2's SpaceToBatch and TensorFlow's SpaceToBatchND; batch-major and contiguous it is Swin's window partition,
    batch-major and interleaved MaxViT's grid partition.
    """
    if isinstance(x, Tensor):
        check_tensor("space_to_batch", x)
        number = torch_pad_value(pad_value, x.dtype)
        way = front_door.way(x)
        if way == "aten" or (way == "operator" and front_door.symbolic(x)):
            result = _traced_space_to_batch(x, block_shape, paddings, spatial_dims, number, batch_order, arrangement)
            return result if out is None else _traced_out("space_to_batch", x, result, out)
        geometry = front_door.geometry_of(
            "space_to_batch", x.shape, block_shape, paddings, spatial_dims, batch_order, arrangement
        )
        if out is None:
            return front_door.space_to_batch(x, geometry, number, way)
        _check_out("space_to_batch", x, geometry.batch_shape, out)
        if way != "operator":
            _check_apart("space_to_batch", x, out)
        if way == "backend":
            return backends.run("space_to_batch", geometry, front_door.resolved(x), number, out)
        return out.copy_(front_door.space_to_batch(x, geometry, number, way))
    _check_array("space_to_batch", x, out)
    return reference.space_to_batch(
        x,
        block_shape,
        paddings,
        spatial_dims=spatial_dims,
        pad_value=pad_value,
        batch_order=batch_order,
        arrangement=arrangement,
        out=out,
    )


def batch_to_space(
    y: ArrayT,
    block_shape: BlockShape,
    crops: Borders = 0,
    *,
    spatial_dims: int | Sequence[int] | None = None,
    batch_order: BatchOrder = "block_major",
    arrangement: Arrangement = "interleaved",
    out: ArrayT | None = None,
) -> ArrayT:
    """Move blocks from the batch back into the spatial dims, cropping on the way: the inverse of `space_to_batch`.

    >>> import torch, spacebatch
    >>> y = torch.tensor([[0, 3], [1, 4], [2, 5]])
    >>> spacebatch.batch_to_space(y, (3,))
    tensor([[0, 1, 2, 3, 4, 5]])
    >>> spacebatch.batch_to_space(y, (3,), ((1, 1),))
    tensor([[1, 2, 3, 4]])

    Args:
        y: tensor or NumPy array of shape (N * prod(block_shape), …), at least 2-D; any dtype, device and strides.
        block_shape, spatial_dims, batch_order, arrangement: as given to `space_to_batch`.
        crops: elements dropped around each blocked dim, written like `paddings`; `BlockGeometry(…).inverse` holds those
            that undo an automatic padding.
        out: where to write instead of a new tensor: the result's shape, y's dtype and device, not overlapping y.

    Returns:
        Tensor or array of shape (N, …, S' * b - before - after, …) in y's memory order, never a view of y. Its gradient is
        `space_to_batch` with the same numbers, zero where y was cropped.

    Raises:
        ValueError: a batch that prod(block_shape) does not divide, crops beyond the size, an `out` that does not fit.
        TypeError: arguments of a wrong type.

    Source: Caffe2's BatchToSpace and TensorFlow's BatchToSpaceND.
    """
    if isinstance(y, Tensor):
        check_tensor("batch_to_space", y)
        way = front_door.way(y)
        if way == "aten" or (way == "operator" and front_door.symbolic(y)):
            result = _traced_batch_to_space(y, block_shape, crops, spatial_dims, batch_order, arrangement)
            return result if out is None else _traced_out("batch_to_space", y, result, out)
        geometry = front_door.geometry_of(
            "batch_to_space", y.shape, block_shape, crops, spatial_dims, batch_order, arrangement
        )
        if out is None:
            return front_door.batch_to_space(y, geometry, way)
        _check_out("batch_to_space", y, geometry.space_shape, out)
        if way != "operator":
            _check_apart("batch_to_space", y, out)
        if way == "backend":
            return backends.run("batch_to_space", geometry, front_door.resolved(y), 0, out)
        return out.copy_(front_door.batch_to_space(y, geometry, way))
    _check_array("batch_to_space", y, out)
    return reference.batch_to_space(
        y,
        block_shape,
        crops,
        spatial_dims=spatial_dims,
        batch_order=batch_order,
        arrangement=arrangement,
        out=out,
    )


def _traced_space_to_batch(
    x: Tensor,
    block_shape: Any,
    paddings: Any,
    spatial_dims: Any,
    pad_value: PadValue,
    batch_order: Any,
    arrangement: Any,
) -> Tensor:
    """The aten spelling for sizes that may be symbols: the same checks, with no geometry made or cached."""
    blocks, dims, pairs, sizes = space_arguments(
        "space_to_batch", x.shape, block_shape, paddings, spatial_dims, batch_order, arrangement
    )
    steps = aten.space_to_batch_steps(
        x.shape,
        blocks,
        pairs,
        dims,
        sizes,
        batch_order == "batch_major",
        arrangement == "contiguous",
        aten.output_order(x),
    )
    return aten.space_to_batch(x, steps, pad_value)


def _traced_batch_to_space(
    y: Tensor, block_shape: Any, crops: Any, spatial_dims: Any, batch_order: Any, arrangement: Any
) -> Tensor:
    blocks, dims, pairs, sizes = batch_arguments(
        "batch_to_space", y.shape, block_shape, crops, spatial_dims, batch_order, arrangement
    )
    steps = aten.batch_to_space_steps(
        y.shape,
        blocks,
        pairs,
        dims,
        sizes,
        batch_order == "batch_major",
        arrangement == "contiguous",
        aten.output_order(y),
    )
    return aten.batch_to_space(y, steps)


def check_tensor(op: str, x: Tensor) -> None:
    """Dense, strided tensors only; the others are named with a way out."""
    if x.layout is not torch.strided:
        if x.is_nested:
            raise TypeError(
                f"{op}: nested tensors have no common spatial sizes; apply it to each of x.unbind(), or pad them with "
                "torch.nested.to_padded_tensor first"
            )
        raise TypeError(f"{op}: the input must be a dense tensor, got layout {x.layout}; convert it with .to_dense()")
    if x.is_nested:
        raise TypeError(f"{op}: nested tensors have no common spatial sizes; apply it to each of x.unbind()")
    if x.is_quantized:
        raise TypeError(f"{op}: quantized tensors are not supported; apply it to x.int_repr()")


def torch_pad_value(value: Any, dtype: torch.dtype) -> PadValue:
    """`value` as a Python number that `dtype` holds, or ValueError / TypeError."""
    if type(value) is int and value == 0:
        return 0
    name = str(dtype)
    if dtype is torch.bool:
        return check_pad_value(value, "b", 0, 1, name)
    if dtype.is_floating_point or dtype.is_complex:
        limits = torch.finfo(dtype)
        number = check_pad_value(value, "c" if dtype.is_complex else "f", limits.min, limits.max, name)
        if number in (math.inf, -math.inf) and dtype.itemsize == 1 and dtype is not torch.float8_e5m2:
            raise ValueError(f"space_to_batch: pad_value {value!r} is out of range for {name}, which has no infinity")
        return number
    integers = torch.iinfo(dtype)
    return check_pad_value(value, "i", integers.min, integers.max, name)


def _check_array(op: Direction, array: Any, out: Any) -> None:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{op}: the input must be a torch.Tensor or a numpy.ndarray, got {type(array).__name__}")
    if isinstance(out, Tensor):
        raise TypeError(f"{op}: out is a torch.Tensor, but the input is a NumPy array")


def _check_out(op: Direction, source: Tensor, shape: tuple[int, ...], out: Any) -> None:
    if not isinstance(out, Tensor):
        raise TypeError(f"{op}: out must be a torch.Tensor, got {type(out).__name__}")
    if tuple(out.shape) != shape:
        raise ValueError(f"{op}: out has shape {tuple(out.shape)}, the result has {shape}")
    if out.dtype != source.dtype:
        raise ValueError(f"{op}: out has dtype {out.dtype}, the input has {source.dtype}")
    if out.device != source.device:
        raise ValueError(f"{op}: out is on {out.device}, the input on {source.device}")
    if torch.is_grad_enabled() and (source.requires_grad or out.requires_grad):
        raise ValueError(f"{op}: out= takes no part in automatic differentiation, but a tensor requires a gradient")
    if not torch.compiler.is_compiling() and (out.is_conj() or out.is_neg()):  # no graph can ask
        raise ValueError(f"{op}: out is a lazily conjugated or negated view, which holds no plain elements")
    if out.numel() and any(stride == 0 and size > 1 for stride, size in zip(out.stride(), out.shape, strict=True)):
        raise ValueError(f"{op}: out is expanded: several of its elements share one place in memory")


def _check_apart(op: Direction, source: Tensor, out: Tensor) -> None:
    if _overlap(source, out):
        raise ValueError(f"{op}: out overlaps the input in memory")


def _traced_out(op: Direction, source: Tensor, result: Tensor, out: Tensor) -> Tensor:
    """`result`, copied to `out`; addresses are unknown here, and need not be known: the result has memory of its own."""
    _check_out(op, source, tuple(result.shape), out)
    return out.copy_(result)


def _overlap(a: Tensor, b: Tensor) -> bool:
    """Whether the ranges of memory from first to last element meet."""
    if a.device.type == "meta" or a.numel() == 0 or b.numel() == 0:
        return False
    (a_start, a_stop), (b_start, b_stop) = _memory_range(a), _memory_range(b)
    return a_start < b_stop and b_start < a_stop


def _memory_range(x: Tensor) -> tuple[int, int]:
    last = sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
    return x.data_ptr(), x.data_ptr() + (last + 1) * x.element_size()
