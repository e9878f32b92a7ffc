"""`spacebatch.space_to_batch` and `spacebatch.batch_to_space`: arrays go to the reference, which needs no torch, tensors to `tensors`."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

from spacebatch.reference import functions as arrays
from spacebatch.reference.arguments import Arrangement, BatchOrder, BlockShape, Borders, Shifts, SpatialDims

if TYPE_CHECKING:
    from torch import Tensor

ScalarT = TypeVar("ScalarT", bound=np.generic)
tensors: Any = importlib.import_module(".tensors", __package__) if sys.modules.get("torch") is not None else None


def _tensors(op: str, x: object) -> Any:
    """`tensors`, imported for the first tensor where torch came after this module; without torch there is none."""
    global tensors
    if sys.modules.get("torch") is None:
        raise TypeError(f"{op}: the input must be a torch.Tensor or a numpy.ndarray, got {type(x).__name__}")
    from . import tensors as found

    tensors = found
    return found


@overload
def space_to_batch(
    x: Tensor,
    block_shape: BlockShape,
    paddings: Borders | str = ...,
    *,
    spatial_dims: SpatialDims = ...,
    pad_value: bool | int | float | complex = ...,
    batch_order: BatchOrder = ...,
    arrangement: Arrangement = ...,
    shifts: Shifts = ...,
    out: Tensor | None = ...,
) -> Tensor: ...
@overload
def space_to_batch(
    x: npt.NDArray[ScalarT],
    block_shape: BlockShape,
    paddings: Borders | str = ...,
    *,
    spatial_dims: SpatialDims = ...,
    pad_value: bool | int | float | complex = ...,
    batch_order: BatchOrder = ...,
    arrangement: Arrangement = ...,
    shifts: Shifts = ...,
    out: npt.NDArray[ScalarT] | None = ...,
) -> npt.NDArray[ScalarT]: ...
def space_to_batch(
    x: Any,
    block_shape: BlockShape,
    paddings: Borders | str = 0,
    *,
    spatial_dims: SpatialDims = None,
    pad_value: bool | int | float | complex = 0,
    batch_order: BatchOrder = "block_major",
    arrangement: Arrangement = "interleaved",
    shifts: Shifts = 0,
    out: Any = None,
) -> Any:
    """Move blocks of the spatial dims into the batch, padding on the way: one pass over memory.

    >>> import torch, spacebatch
    >>> x = torch.arange(16).view(1, 1, 4, 4)
    >>> spacebatch.space_to_batch(x, 2)[:, 0].tolist()
    [[[0, 2], [8, 10]], [[1, 3], [9, 11]], [[4, 6], [12, 14]], [[5, 7], [13, 15]]]
    >>> windows = spacebatch.space_to_batch(x, 2, batch_order="batch_major", arrangement="contiguous")
    >>> windows[:, 0].tolist()
    [[[0, 1], [4, 5]], [[2, 3], [6, 7]], [[8, 9], [12, 13]], [[10, 11], [14, 15]]]
    >>> x = torch.arange(6).view(1, 6)
    >>> spacebatch.space_to_batch(x, (3,), arrangement="contiguous", shifts=-1)
    tensor([[1, 2],
            [3, 4],
            [5, 0]])
    >>> spacebatch.space_to_batch(torch.zeros(1, 4, 6, 3), 2, spatial_dims="NHWC").shape
    torch.Size([4, 2, 3, 3])

    With P = prod(block_shape), a phase p of row-major index |p|, and S' = (S + before + after) / b for each blocked dim:
    interleaved, y[|p| * N + n, …, i, …] = x[n, …, i * b + p - before, …]; contiguous, the coordinate is
    p * S' + i - before. Outside x stands the pad value. With shifts the padded x is moved before it is cut, as by `torch.roll`.

    Args:
        x: tensor or NumPy array of shape (N, …), at least 2-D; any dtype, device and strides.
        block_shape: positive int for every dim from 2 on (or each of `spatial_dims`), or one per blocked dim (by default
            the trailing ones). Contiguous, it counts the blocks along the dim and S' is their size.
        paddings: elements added around each blocked dim, never negative: an int, one int per dim, one (before, after)
            pair per dim, or "auto" to pad the end up to the next multiple of the block.
        spatial_dims: the blocked dims, in the order of `block_shape`; may be negative, must not name dim 0. Or a layout
            such as "NHWC" or "NC...": all dims but N and C.
        pad_value: what the padding holds; must be representable in x's dtype.
        batch_order: "block_major", phase * N + n, or "batch_major", n * P + phase.
        arrangement: "interleaved" (every b-th element) or "contiguous" (windows).
        shifts: by how many elements the padded x is moved cyclically along each blocked dim, in the same pass: an int of either
            sign, or one per blocked dim. Swin's shifted windows: -(window // 2).
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
    if isinstance(x, np.ndarray):
        return arrays.space_to_batch(
            x,
            block_shape,
            paddings,
            spatial_dims=spatial_dims,
            pad_value=pad_value,
            batch_order=batch_order,
            arrangement=arrangement,
            shifts=shifts,
            out=out,
        )
    return (tensors or _tensors("space_to_batch", x)).space_to_batch(
        x, block_shape, paddings, spatial_dims, pad_value, batch_order, arrangement, shifts, out
    )


@overload
def batch_to_space(
    y: Tensor,
    block_shape: BlockShape,
    crops: Borders = ...,
    *,
    spatial_dims: SpatialDims = ...,
    batch_order: BatchOrder = ...,
    arrangement: Arrangement = ...,
    shifts: Shifts = ...,
    out: Tensor | None = ...,
) -> Tensor: ...
@overload
def batch_to_space(
    y: npt.NDArray[ScalarT],
    block_shape: BlockShape,
    crops: Borders = ...,
    *,
    spatial_dims: SpatialDims = ...,
    batch_order: BatchOrder = ...,
    arrangement: Arrangement = ...,
    shifts: Shifts = ...,
    out: npt.NDArray[ScalarT] | None = ...,
) -> npt.NDArray[ScalarT]: ...
def batch_to_space(
    y: Any,
    block_shape: BlockShape,
    crops: Borders = 0,
    *,
    spatial_dims: SpatialDims = None,
    batch_order: BatchOrder = "block_major",
    arrangement: Arrangement = "interleaved",
    shifts: Shifts = 0,
    out: Any = None,
) -> Any:
    """Move blocks from the batch back into the spatial dims, cropping on the way: the inverse of `space_to_batch`.

    >>> import torch, spacebatch
    >>> y = torch.tensor([[0, 3], [1, 4], [2, 5]])
    >>> spacebatch.batch_to_space(y, (3,))
    tensor([[0, 1, 2, 3, 4, 5]])
    >>> spacebatch.batch_to_space(y, (3,), ((1, 1),))
    tensor([[1, 2, 3, 4]])

    Args:
        y: tensor or NumPy array of shape (N * prod(block_shape), …), at least 2-D; any dtype, device and strides.
        block_shape, spatial_dims, batch_order, arrangement, shifts: as given to `space_to_batch`, which this undoes.
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
    if isinstance(y, np.ndarray):
        return arrays.batch_to_space(
            y,
            block_shape,
            crops,
            spatial_dims=spatial_dims,
            batch_order=batch_order,
            arrangement=arrangement,
            shifts=shifts,
            out=out,
        )
    return (tensors or _tensors("batch_to_space", y)).batch_to_space(
        y, block_shape, crops, spatial_dims, batch_order, arrangement, shifts, out
    )
