"""`spacebatch.fused.space_to_batch` and `batch_to_space`: arrays go to the reference, which needs no torch, tensors to `tensors`."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from spacebatch.reference import fused
from spacebatch.reference.arguments import Arrangement, BatchOrder, BlockShape, Borders, Shifts, SpatialDims
from spacebatch.reference.arithmetic import Activation, PadPlace
from spacebatch.reference.words import CutWords, JoinWords, Words

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import Unpack


class SpaceOptions(CutWords, total=False):
    """All that `space_to_batch` takes by name but `out`, for type checkers."""

    spatial_dims: SpatialDims
    pad_value: bool | int | float
    batch_order: BatchOrder
    arrangement: Arrangement
    shifts: Shifts


class BatchOptions(JoinWords, total=False):
    """All that `batch_to_space` takes by name but `out`, likewise."""

    spatial_dims: SpatialDims
    batch_order: BatchOrder
    arrangement: Arrangement
    shifts: Shifts


tensors: Any = importlib.import_module(".tensors", __package__) if sys.modules.get("torch") is not None else None


def mover(op: str, x: object) -> Any:
    """The module whose `move` takes an array, or a tensor: imported for the first tensor where torch came after this module."""
    global tensors
    if isinstance(x, np.ndarray):
        return fused
    if tensors is None:
        if sys.modules.get("torch") is None:
            raise TypeError(f"{op}: the input must be a torch.Tensor or a numpy.ndarray, got {type(x).__name__}")
        tensors = importlib.import_module(".tensors", __package__)
    return tensors


@overload
def space_to_batch(
    x: Tensor,
    block_shape: BlockShape,
    paddings: Borders | str = ...,
    *,
    out: Tensor | None = ...,
    **options: Unpack[SpaceOptions],
) -> Tensor: ...
@overload
def space_to_batch(
    x: npt.NDArray[Any],
    block_shape: BlockShape,
    paddings: Borders | str = ...,
    *,
    out: npt.NDArray[Any] | None = ...,
    **options: Unpack[SpaceOptions],
) -> npt.NDArray[Any]: ...
def space_to_batch(
    x: Any,
    block_shape: BlockShape,
    paddings: Borders | str = 0,
    *,
    spatial_dims: SpatialDims = None,
    pad_value: bool | int | float = 0,
    batch_order: BatchOrder = "block_major",
    arrangement: Arrangement = "interleaved",
    shifts: Shifts = 0,
    scale: Any = None,
    bias: Any = None,
    channel_dim: int | None = None,
    activation: Activation = "none",
    dtype: Any = None,
    pad: PadPlace = "after",
    out: Any = None,
) -> Any:
    """`spacebatch.space_to_batch` that computes activation(x * scale + bias) of each element on the way.

    >>> import torch
    >>> x = torch.tensor([[[1.0, -2.0, 3.0], [10.0, 20.0, 30.0]]])
    >>> y = space_to_batch(x, 2, "auto", scale=torch.tensor([1.0, 0.1]), bias=1.0, activation="relu")
    >>> y[0]
    tensor([[2., 4.],
            [2., 4.]])

    It computes in float32, in float64 where x is float64, each step rounded: converted, times scale, plus bias, activated, and
    converted to the result. Results of integers are rounded, ties to even, and saturate; NaN becomes 0.

    Args:
        x: tensor or NumPy array of floating numbers or integers.
        block_shape, paddings, spatial_dims, batch_order, arrangement, shifts: as in `spacebatch.space_to_batch`.
        pad_value: what the padding holds, see `pad`.
        scale, bias: a number, or a 0-d or 1-d tensor or array, 1-d with an entry for each channel; None for none.
        channel_dim: the dim of the channels; by default the only one that is neither dim 0 nor cut.
        activation: "none", "relu", "silu", "gelu" (by the error function), "gelu_tanh", "sigmoid", "tanh" or "hardswish".
        dtype: of the result; by default x's where that is a floating one, else float32.
        pad: "after", the result holds the pad value; or "before", the pad value is one of x, and computed with.
        out: where to write instead of a new tensor: the result's shape and dtype, overlapping no input.

    Returns:
        Tensor or array as `spacebatch.space_to_batch` returns it, of `dtype`. There are gradients of x, scale and bias.

    Raises:
        ValueError: sizes or words that do not fit, a channel dim that has to be given. TypeError: arguments of a wrong type.

    Source: the unfused sequence, `activation(x * scale + bias)` before `space_to_batch`.
    """
    words = Words(scale, bias, None, channel_dim, activation, dtype, pad)
    return mover("fused.space_to_batch", x).move(
        "fused.space_to_batch",
        "space_to_batch",
        x,
        block_shape,
        paddings,
        spatial_dims,
        batch_order,
        arrangement,
        shifts,
        pad_value,
        words,
        out,
    )


@overload
def batch_to_space(
    y: Tensor,
    block_shape: BlockShape,
    crops: Borders = ...,
    *,
    out: Tensor | None = ...,
    **options: Unpack[BatchOptions],
) -> Tensor: ...
@overload
def batch_to_space(
    y: npt.NDArray[Any],
    block_shape: BlockShape,
    crops: Borders = ...,
    *,
    out: npt.NDArray[Any] | None = ...,
    **options: Unpack[BatchOptions],
) -> npt.NDArray[Any]: ...
def batch_to_space(
    y: Any,
    block_shape: BlockShape,
    crops: Borders = 0,
    *,
    spatial_dims: SpatialDims = None,
    batch_order: BatchOrder = "block_major",
    arrangement: Arrangement = "interleaved",
    shifts: Shifts = 0,
    scale: Any = None,
    bias: Any = None,
    residual: Any = None,
    channel_dim: int | None = None,
    activation: Activation = "none",
    dtype: Any = None,
    out: Any = None,
) -> Any:
    """`spacebatch.batch_to_space` that computes activation(y * scale + bias + residual) of each element on the way.

    >>> import torch
    >>> y = torch.tensor([[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]])
    >>> batch_to_space(y, (3,), scale=0.5, residual=torch.full((1, 6), -1.0), activation="relu")
    tensor([[0.0000, 0.0000, 0.0000, 0.5000, 1.0000, 1.5000]])

    Args:
        y: tensor or NumPy array of floating numbers or integers.
        block_shape, crops, spatial_dims, batch_order, arrangement, shifts: as in `spacebatch.batch_to_space`.
        residual: added in the result's place; of the result's shape, and of any floating dtype.
        scale, bias, channel_dim, activation, dtype, out: as in `space_to_batch`.

    Returns:
        Tensor or array as `spacebatch.batch_to_space` returns it, of `dtype`. There are gradients of y, scale, bias and residual.

    Raises:
        ValueError: sizes or words that do not fit, a channel dim that has to be given. TypeError: arguments of a wrong type.

    Source: the unfused sequence, `activation(batch_to_space(y) * scale + bias + residual)`.
    """
    words = Words(scale, bias, residual, channel_dim, activation, dtype)
    return mover("fused.batch_to_space", y).move(
        "fused.batch_to_space",
        "batch_to_space",
        y,
        block_shape,
        crops,
        spatial_dims,
        batch_order,
        arrangement,
        shifts,
        0,
        words,
        out,
    )
