"""`spacebatch.space_to_batch` and `spacebatch.batch_to_space`: arguments in, the front door behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from spacebatch.reference.arguments import Arrangement, BatchOrder, BlockShape, Borders
from spacebatch.reference.functions import array_to_batch, array_to_space
from spacebatch.reference.geometry import BlockGeometry

from . import aten, llvm_backend, routes
from .checks import check_apart, check_array, check_out, torch_pad_value
from .checks import check_tensor as check_tensor

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
        number = pad_value if type(pad_value) is int and pad_value == 0 else torch_pad_value(pad_value, x.dtype)
        way = routes.way(x)
        if x.is_nested or x.is_quantized or (way != "backend" and way != "autograd") or out is not None:
            check_tensor("space_to_batch", x)
        if way == "aten" or (way == "operator" and routes.symbolic(x)):
            geometry = BlockGeometry(
                aten.sizes(x),
                block_shape,
                paddings,
                spatial_dims=spatial_dims,
                batch_order=batch_order,
                arrangement=arrangement,
            )
            if out is not None:  # addresses are unknown here: the result has memory of its own
                check_out("space_to_batch", x, geometry.batch_shape, out)
            result = aten.space_to_batch(x, geometry, number)
            return result if out is None else out.copy_(result)
        call = routes.space_call(x.shape, block_shape, paddings, spatial_dims, batch_order, arrangement)
        if out is None:
            return routes.space_to_batch(x, call, number, way)
        check_out("space_to_batch", x, call.geometry.batch_shape, out)
        if way != "operator":
            check_apart("space_to_batch", x, out)
        if way == "backend":
            return call.to_batch(x, number, out)
        return out.copy_(routes.space_to_batch(x, call, number, way))
    check_array("space_to_batch", x, out)
    return array_to_batch(
        llvm_backend.array_copies().to_batch,
        x,
        block_shape,
        paddings,
        spatial_dims,
        pad_value,
        batch_order,
        arrangement,
        out,
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
        way = routes.way(y)
        if y.is_nested or y.is_quantized or (way != "backend" and way != "autograd") or out is not None:
            check_tensor("batch_to_space", y)
        if way == "aten" or (way == "operator" and routes.symbolic(y)):
            geometry = BlockGeometry.from_batch(
                aten.sizes(y),
                block_shape,
                crops,
                spatial_dims=spatial_dims,
                batch_order=batch_order,
                arrangement=arrangement,
            )
            if out is not None:
                check_out("batch_to_space", y, geometry.space_shape, out)
            result = aten.batch_to_space(y, geometry)
            return result if out is None else out.copy_(result)
        call = routes.batch_call(y.shape, block_shape, crops, spatial_dims, batch_order, arrangement)
        if out is None:
            return routes.batch_to_space(y, call, way)
        check_out("batch_to_space", y, call.geometry.space_shape, out)
        if way != "operator":
            check_apart("batch_to_space", y, out)
        if way == "backend":
            return call.to_space(y, out)
        return out.copy_(routes.batch_to_space(y, call, way))
    check_array("batch_to_space", y, out)
    copy = llvm_backend.array_copies().to_space
    return array_to_space(copy, y, block_shape, crops, spatial_dims, batch_order, arrangement, out)
