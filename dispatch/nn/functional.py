"""Dilated convolutions, equal to PyTorch's: native, or through the batch, or whichever is faster here.

>>> import torch, spacebatch
>>> x, weight = torch.randn(1, 3, 9, 9), torch.randn(8, 3, 3, 3)
>>> y = atrous_conv2d(x, weight, padding=4, dilation=4, method="batch_space")
>>> torch.allclose(y, torch.nn.functional.conv2d(x, weight, padding=4, dilation=4), atol=1e-5)
True
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.overrides import handle_torch_function

from . import dilated, method_choice
from .convolution_arguments import checked
from .convolution_rules import Convolution, convolved, in_cells
from .entering import entered
from .method_choice import METHODS, Method
from .transposed import atrous_conv_transpose1d, atrous_conv_transpose2d, atrous_conv_transpose3d

__all__ = [
    "AtrousExplanation",
    "atrous_conv1d",
    "atrous_conv2d",
    "atrous_conv3d",
    "atrous_conv_transpose1d",
    "atrous_conv_transpose2d",
    "atrous_conv_transpose3d",
    "explain_atrous",
]

Ints = int | tuple[int, ...]


def atrous_conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    method: Method = "auto",
) -> Tensor:
    """`torch.nn.functional.conv1d`, with a say in how a dilation is computed.

    >>> import torch
    >>> x, weight = torch.arange(6.0).view(1, 1, 6), torch.ones(1, 1, 2)
    >>> atrous_conv1d(x, weight, dilation=3, method="batch_space")
    tensor([[[3., 5., 7.]]])

    Args:
        input: (N, C, L) or (C, L). weight: (out channels, C / groups, kernel). bias: (out channels,) or None.
        stride, padding, dilation, groups: as in `torch.nn.functional.conv1d`; padding may be "same" or "valid". With both
            a stride and a dilation above 1, the method "batch_space" computes only what the stride keeps where the
            stride divides the dilation or is a multiple of it, and more than that otherwise.
        padding_mode: what the padding holds: "zeros", "reflect", "replicate" or "circular", as in `torch.nn.Conv1d`.
        method: "native" is PyTorch's own convolution; "batch_space" is space_to_batch with blocks of the dilation, an
            ordinary convolution, and batch_to_space; "auto" is the faster of them, measured at the first call of a
            geometry and remembered (see `spacebatch.nn.method_choice`).

    Returns:
        (N, out channels, L') or (out channels, L'), in the dtype that PyTorch's convolution gives, autocast included; equal
        to it up to rounding, for the sums are the same but not always in the same order.

    Raises:
        ValueError, TypeError: arguments that do not fit, named before anything is computed.
    """
    return _atrous(1, input, weight, bias, stride, padding, dilation, groups, padding_mode, method)


def atrous_conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    method: Method = "auto",
) -> Tensor:
    """`torch.nn.functional.conv2d`, with a say in how a dilation is computed.

    >>> import torch
    >>> x, weight = torch.ones(1, 2, 8, 8), torch.ones(4, 2, 3, 3)
    >>> atrous_conv2d(x, weight, padding="same", dilation=(2, 3), method="batch_space").shape
    torch.Size([1, 4, 8, 8])

    Args, Returns, Raises: as `atrous_conv1d`, for (N, C, H, W) or (C, H, W).
    """
    return _atrous(2, input, weight, bias, stride, padding, dilation, groups, padding_mode, method)


def atrous_conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    method: Method = "auto",
) -> Tensor:
    """`torch.nn.functional.conv3d`, with a say in how a dilation is computed.

    >>> import torch
    >>> x, weight = torch.ones(1, 2, 5, 6, 7), torch.ones(4, 2, 3, 3, 3)
    >>> atrous_conv3d(x, weight, padding=2, dilation=2, method="batch_space").shape
    torch.Size([1, 4, 5, 6, 7])

    Args, Returns, Raises: as `atrous_conv1d`, for (N, C, D, H, W) or (C, D, H, W).
    """
    return _atrous(3, input, weight, bias, stride, padding, dilation, groups, padding_mode, method)


@dataclass(frozen=True)
class AtrousExplanation:
    """How a convolution would be computed; `print` it. Nothing is computed or measured to find out.

    Attributes:
        operation: "atrous_conv1d", "atrous_conv2d" or "atrous_conv3d".
        method: what would run, "native" or "batch_space".
        why: where that comes from.
        native, batch_space: measured seconds of either method, None where there are none.
        blocks: the blocks of space_to_batch, all ones where the batch has no part in it.
        aligned: whether the convolution pads in batch space, so that whole blocks are moved.
    """

    operation: str
    method: str
    why: str
    native: float | None
    batch_space: float | None
    blocks: tuple[int, ...]
    aligned: bool

    def __str__(self) -> str:
        times = [f"{name} {t * 1e3:.3f} ms" for name in METHODS[1:] if (t := getattr(self, name)) is not None]
        moved = "whole blocks are moved" if self.aligned else "space_to_batch pads"
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
    method: Method = "auto",
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

    Returns:
        An `AtrousExplanation`; "auto" reads the table of measured times, and measures nothing.

    Raises:
        ValueError, TypeError: as the call itself.
    """
    nd = weight.dim() - 2
    op = f"atrous_conv{nd}d"
    x, taps, arguments = checked(nd, input, weight, bias, stride, padding, dilation, groups, padding_mode, method)
    steps = dilated.lines(tuple(x.shape[2:]), taps)
    blocks = tuple(line.block for line in steps)
    taken: str = method
    why, found = "asked for", None
    if max(blocks) == 1:
        taken, why = "native", "no dilation between two elements of the kernel"
    elif method == "auto":
        reason = method_choice.why_not_asked(x)
        if reason is None:
            found = method_choice.table_of(x.device).get(method_choice.key_of(op, (x, weight, bias), arguments))
            reason = method_choice.why_not_measured(x)
        if found is not None:
            taken, why = found.method, f"measured on {method_choice.table_of(x.device).device}"
        else:
            taken, why = "native", f"not measured: {reason or 'not called yet'}"
    times = (found.native, found.batch_space) if found else (None, None)
    aligned = all(line.paddings == (0, 0) for line in steps)
    return AtrousExplanation(op, taken, why, *times, blocks, aligned)


def _atrous(nd: int, input: Any, *arguments: Any) -> Tensor:
    if not isinstance(input, Tensor) and hasattr(type(input), "__torch_function__"):  # what a tracer records with
        call = (atrous_conv1d, atrous_conv2d, atrous_conv3d)[nd - 1]
        options = {"padding_mode": arguments[-2], "method": arguments[-1]}
        return handle_torch_function(call, (input,), input, *arguments[:-2], **options)
    names = ("weight", "bias", "stride", "padding", "dilation", "groups", "padding_mode", "method")
    return convolution(input, **dict(zip(names, arguments, strict=True)), nd=nd)


def convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    padding_mode: str,
    method: Method,
    nd: int | None = None,
    stays: bool = False,
    rate: tuple[int, ...] | None = None,
) -> Tensor:
    """The convolution by the method that is asked for or chosen.

    Args:
        stays: whether the result may stay in batch space, where the padding allows it. rate: blocks other than the dilation.
    """
    nd = weight.dim() - 2 if nd is None else nd
    x, taps, arguments = checked(nd, input, weight, bias, stride, padding, dilation, groups, padding_mode, method)
    amount: Any = taps.before
    if taps.before != taps.after:
        amount = "same"  # nothing else pads the sides differently

    def native(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return dilated.CONVOLUTIONS[nd](x, weight, bias, taps.stride, amount, taps.dilation, groups)

    def batch_space(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return dilated.convolve(x, weight, bias, taps, groups)

    taken: str = method
    if all(step == 1 or size == 1 for step, size in zip(taps.dilation, taps.kernel, strict=True)):
        taken = "native"
    elif method == "auto":
        calls: dict[str, Callable[..., Tensor]] = {"native": native, "batch_space": batch_space}
        taken = method_choice.choose(f"atrous_conv{nd}d", calls, (x, weight, bias), arguments)
    if taken == "native":
        y = native(x, weight, bias)
    else:
        blocks = rate or blocks_of(taps.kernel, taps.dilation, x.shape[2:])
        found = in_cells(tuple(x.shape[2:]), blocks, taps.kernel, taps.stride, amount, taps.dilation) if stays else None
        if found is not None and max(blocks) > 1:
            y = convolved(entered(x, blocks), found, dilated.CONVOLUTIONS[nd], weight, bias, groups)
        else:
            y = batch_space(x, weight, bias)
    return y if input.dim() == nd + 2 else y.squeeze(0)


def plan(
    x: Tensor, weight: Tensor, bias: Tensor | None, rate: tuple[int, ...] | None, options: dict[str, Any]
) -> tuple[tuple[int, ...], Convolution | None] | None:
    """What `convolution` does with such an input, once that is settled: the blocks and the convolution in them, None natively.

    Returns:
        None where it is not settled, or where the input must be padded or squeezed before.
    """
    nd = weight.dim() - 2
    if x.dim() != nd + 2 or options["padding_mode"] != "zeros" or x.device.type == "meta":
        return None
    _, taps, arguments = checked(nd, x, weight, bias, **options)
    blocks, method = rate or blocks_of(taps.kernel, taps.dilation, x.shape[2:]), options["method"]
    if max(blocks) == 1 or all(step == 1 or size == 1 for step, size in zip(taps.dilation, taps.kernel, strict=True)):
        return blocks, None
    if method == "auto":
        choice = method_choice.known(f"atrous_conv{nd}d", (x, weight, bias), arguments)
        if choice is None:
            return None
        method = choice.method
    if method == "native":
        return blocks, None
    padding = taps.before if taps.before == taps.after else "same"
    found = in_cells(tuple(x.shape[2:]), blocks, taps.kernel, taps.stride, padding, taps.dilation)
    return None if found is None else (blocks, found)


def blocks_of(kernel: Sequence[int], dilation: Sequence[int], sizes: Sequence[int]) -> tuple[int, ...]:
    """The blocks of a dilation: along a dim with one tap any block is right, and the other dim's may lead to a longer chain.

    >>> blocks_of((3, 1), (2, 1), (64, 64)), blocks_of((3, 1), (2, 1), (64, 1)), blocks_of((3, 3), (1, 2), (64, 64))
    ((2, 2), (2, 1), (1, 2))
    """
    felt = [d for d, size in zip(dilation, kernel, strict=True) if size > 1]
    common = felt[0] if felt and len(set(felt)) == 1 else 1
    return tuple(
        d if k > 1 else common if size >= 4 * common else 1 for d, k, size in zip(dilation, kernel, sizes, strict=True)
    )
