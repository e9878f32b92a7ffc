"""What explains the method that a dilated convolution takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from spacebatch.reference.arguments import check_choice

from . import dilated, method_choice, unmoved
from . import transposed as transposed_convolutions
from .convolution_arguments import check_tensors, checked
from .method_choice import CONVOLUTION_METHODS, METHODS, ConvolutionMethod

Ints = int | tuple[int, ...]


@dataclass(frozen=True)
class AtrousExplanation:
    """How a convolution would be computed; `print` it. Nothing is computed or measured to find out.

    Attributes:
        operation: "atrous_conv1d", "atrous_conv2d", "atrous_conv3d", or "atrous_conv_transpose1d" and so on.
        method: what would run, "native", "batch_space" or "channels_last".
        why: where that comes from.
        native, batch_space, channels_last: measured seconds of each method, None where there are none.
        blocks: the blocks of space_to_batch, all ones where the batch has no part in it.
        aligned: whether the convolution pads in batch space, so that whole blocks are moved.
        columns: whether the phases are columns of the image as it lies, so that nothing is moved.
    """

    operation: str
    method: str
    why: str
    native: float | None
    batch_space: float | None
    channels_last: float | None
    blocks: tuple[int, ...]
    aligned: bool
    columns: bool

    def __str__(self) -> str:
        times = [
            f"{name} {t * 1e3:.3f} ms" for name in CONVOLUTION_METHODS[1:] if (t := getattr(self, name)) is not None
        ]
        moved = "whole blocks are moved" if self.aligned else "space_to_batch pads"
        if self.columns:
            moved = (
                "phases are columns, nothing is moved" if self.aligned else "phases are columns, the image is padded"
            )
        return "\n".join(
            [
                f"{self.operation}: {self.method}",
                f"  why     {self.why}",
                f"  times   {', '.join(times) or 'none measured'}",
                f"  blocks  {self.blocks}, {moved}",
            ]
        )


def explain_atrous(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    method: ConvolutionMethod = "auto",
    transposed: bool = False,
    output_padding: Ints = 0,
) -> AtrousExplanation:
    """Tell which method a dilated convolution takes and the times behind it; the arguments are those of the call.

    >>> import torch
    >>> x, weight = torch.ones(1, 2, 8, 8), torch.ones(4, 2, 3, 3)
    >>> print(explain_atrous(x, weight, padding=2, dilation=2, method="batch_space"))
    atrous_conv2d: batch_space
      why     asked for
      times   none measured
      blocks  (2, 2), whole blocks are moved

    Args:
        input, weight, bias, stride, padding, dilation, groups, padding_mode, method: as in `atrous_conv2d`; the number of
            dims of the weight says which of the three it is.
        transposed: whether it is `atrous_conv_transpose1d`, 2d or 3d. output_padding: of that one.

    Returns:
        An `AtrousExplanation`; "auto" reads the table of measured times, and measures nothing.

    Raises:
        ValueError, TypeError: as the call itself.
    """
    nd = weight.dim() - 2
    if transposed:
        return _of_transposed(nd, input, weight, bias, stride, padding, output_padding, groups, dilation, method)
    op = f"atrous_conv{nd}d"
    if output_padding != 0:
        raise ValueError(f"{op}: output_padding={output_padding!r} is an argument of transposed convolutions")
    x, taps, arguments = checked(nd, input, weight, bias, stride, padding, dilation, groups, padding_mode, method)
    steps = dilated.lines(tuple(x.shape[2:]), taps)
    blocks = tuple(line.block for line in steps)
    aligned = all(line.paddings == (0, 0) for line in steps)
    columns = nd == 1 and unmoved.columns_fit(x, weight, blocks[0])
    if max(blocks) == 1:
        return AtrousExplanation(op, "native", UNDILATED, None, None, None, blocks, aligned, False)
    return AtrousExplanation(op, *_found(op, (x, weight, bias), arguments, method), blocks, aligned, columns)


UNDILATED = "no dilation between two elements of the kernel"


def _found(
    op: str, tensors: tuple[Tensor, Tensor, Tensor | None], arguments: tuple[Any, ...], method: str
) -> tuple[str, str, float | None, float | None, float | None]:
    """(method, why, seconds of each method): what the call would do, if that is known before it."""
    if method != "auto":
        return method, "asked for", None, None, None
    x = tensors[0]
    reason, found = method_choice.why_not_asked(x), None
    if reason is None:
        found = method_choice.table_of(x.device).get(method_choice.key_of(op, tensors, arguments))
        reason = method_choice.why_not_measured(x)
    if found is None:
        return "native", f"not measured: {reason or 'not called yet'}", None, None, None
    measured = f"measured on {method_choice.table_of(x.device).device}"
    return found.method, measured, found.native, found.batch_space, found.channels_last


def _of_transposed(nd: int, input: Tensor, weight: Tensor, bias: Tensor | None, *arguments: Any) -> AtrousExplanation:
    op, method = f"atrous_conv_transpose{nd}d", arguments[-1]
    check_choice(op, "method", method, METHODS)
    x = check_tensors(op, nd, input, weight, bias)
    per_dim = transposed_convolutions._per_dim(op, x.shape, weight.shape, bias, *arguments[:-1])
    steps = [transposed_convolutions.line(*dim) for dim in per_dim]
    blocks = tuple(step.block for step in steps)
    aligned = all(step.added == 0 and step.crops[0] == 0 for step in steps)
    if max(blocks) == 1:
        why = "no dim with a dilation and a stride of 1"
        return AtrousExplanation(op, "native", why, None, None, None, blocks, aligned, False)
    found = _found(op, (x, weight, bias), (*per_dim, arguments[-3]), method)
    return AtrousExplanation(op, *found, blocks, aligned, False)
