"""Transposed convolutions with a dilation, through the batch where their stride is 1.

Element i of a dim adds to the outputs i * stride + j * dilation - padding. With a stride of 1 these leave the same rest as i
when divided by the dilation, once the padding is put back: with blocks of the dilation, every phase has an ordinary transposed
convolution of its own. It leaves out whole blocks of the padding; batch_to_space crops the rest. Where output_padding reaches
beyond what the image adds to, space_to_batch has added zeros there.

A dim with a stride above 1 is not divided into phases: it keeps its stride and its dilation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import handle_torch_function

from spacebatch.reference.arguments import as_integer, check_choice
from spacebatch.reference.arithmetic import ACTIVATIONS, Activation

from .. import functions
from . import method_choice
from .activations import activated, leave
from .convolution_arguments import check_tensors
from .convolution_rules import transposed, transposed_in_cells
from .entering import entered
from .method_choice import METHODS, Method
from .taps import entries, missing, positive

TRANSPOSED = {
    1: torch.nn.functional.conv_transpose1d,
    2: torch.nn.functional.conv_transpose2d,
    3: torch.nn.functional.conv_transpose3d,
}
Ints = int | tuple[int, ...]


class Line(NamedTuple):
    """What happens along one dim, in this order."""

    block: int
    added: int  # by space_to_batch, at the end
    padding: int  # of the convolution
    output_padding: int
    dilation: int
    crops: tuple[int, int]  # of batch_to_space


def line(size: int, kernel: int, stride: int, padding: int, output_padding: int, dilation: int) -> Line:
    """The steps along a dim.

    >>> line(9, 3, 1, 3, 0, 2)
    Line(block=2, added=1, padding=1, output_padding=0, dilation=1, crops=(1, 2))
    """
    if stride > 1 or kernel == 1 or dilation == 1:
        return Line(1, 0, padding, output_padding, dilation, (0, 0))
    inner, rest = divmod(padding, dilation)
    beyond = max(0, output_padding - rest)
    added = beyond + missing(size + beyond, dilation)
    return Line(dilation, added, inner, 0, 1, (rest, rest + added - output_padding))


def atrous_conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
    *,
    method: Method = "auto",
    activation: Activation = "none",
) -> Tensor:
    """`torch.nn.functional.conv_transpose1d`, with a say in how a dilation is computed.

    >>> import torch
    >>> x, weight = torch.tensor([[[1.0, 2.0, 3.0]]]), torch.ones(1, 1, 2)
    >>> atrous_conv_transpose1d(x, weight, dilation=2, method="batch_space")
    tensor([[[1., 2., 4., 2., 3.]]])

    Args:
        input: (N, C, L) or (C, L). weight: (C, out channels / groups, kernel). bias: (out channels,) or None.
        stride, padding, output_padding, groups, dilation: as in `torch.nn.functional.conv_transpose1d`. A dim with both a
            stride and a dilation above 1 is computed natively by either method.
        method: "native" is PyTorch's own operator; "batch_space" is space_to_batch with blocks of the dilation, a transposed
            convolution without one, and batch_to_space; "auto" is the faster of them, measured at the first call of a
            geometry and remembered (see `spacebatch.nn.method_choice`).
        activation: of the result, as in `atrous_conv1d`.

    Returns:
        (N, out channels, L') or (out channels, L'), as PyTorch's operator, equal to it up to rounding. TensorFlow's padding
        "SAME" is a padding of dilation * (kernel - 1) // 2 and the first L elements of the result.

    Raises:
        ValueError, TypeError: arguments that do not fit, named before anything is computed.
    """
    return convolution(
        1, input, weight, bias, stride, padding, output_padding, groups, dilation, method=method, activation=activation
    )


def atrous_conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
    *,
    method: Method = "auto",
    activation: Activation = "none",
) -> Tensor:
    """`torch.nn.functional.conv_transpose2d`, with a say in how a dilation is computed.

    >>> import torch
    >>> x, weight = torch.ones(1, 2, 8, 8), torch.ones(2, 4, 3, 3)
    >>> atrous_conv_transpose2d(x, weight, padding=2, dilation=(2, 3), method="batch_space").shape
    torch.Size([1, 4, 8, 10])

    Args, Returns, Raises: as `atrous_conv_transpose1d`, for (N, C, H, W) or (C, H, W).
    """
    return convolution(
        2, input, weight, bias, stride, padding, output_padding, groups, dilation, method=method, activation=activation
    )


def atrous_conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
    *,
    method: Method = "auto",
    activation: Activation = "none",
) -> Tensor:
    """`torch.nn.functional.conv_transpose3d`, with a say in how a dilation is computed.

    >>> import torch
    >>> x, weight = torch.ones(1, 2, 4, 5, 6), torch.ones(2, 4, 3, 3, 3)
    >>> atrous_conv_transpose3d(x, weight, padding=2, dilation=2, method="batch_space").shape
    torch.Size([1, 4, 4, 5, 6])

    Args, Returns, Raises: as `atrous_conv_transpose1d`, for (N, C, D, H, W) or (C, D, H, W).
    """
    return convolution(
        3, input, weight, bias, stride, padding, output_padding, groups, dilation, method=method, activation=activation
    )


FUNCTIONS = {1: atrous_conv_transpose1d, 2: atrous_conv_transpose2d, 3: atrous_conv_transpose3d}


def convolution(
    nd: int,
    x: Any,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
    *,
    method: Method,
    activation: Activation = "none",
    stays: bool = False,
    rate: tuple[int, ...] | None = None,
) -> Tensor:
    """The transposed convolution by the method that is asked for or chosen; see `functional.convolution`."""
    if not isinstance(x, Tensor) and hasattr(type(x), "__torch_function__"):  # what a tracer records with
        given = (weight, bias, stride, padding, output_padding, groups, dilation)
        return handle_torch_function(FUNCTIONS[nd], (x,), x, *given, method=method, activation=activation)
    op = f"atrous_conv_transpose{nd}d"
    check_choice(op, "method", method, METHODS)
    check_choice(op, "activation", activation, ACTIVATIONS)
    images = check_tensors(op, nd, x, weight, bias)
    per_dim = _per_dim(op, images.shape, weight.shape, bias, stride, padding, output_padding, groups, dilation)
    steps = tuple(line(*dim) for dim in per_dim)
    strides = tuple(dim[2] for dim in per_dim)
    blocks = tuple(step.block for step in steps)

    def native(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        pads, more, rates = zip(*(dim[3:] for dim in per_dim), strict=True)
        return activated(TRANSPOSED[nd](x, weight, bias, strides, pads, more, groups, rates), activation)

    def batch_space(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = functions.space_to_batch(x, blocks, tuple((0, step.added) for step in steps))
        pads, more, rates = zip(*(step[2:5] for step in steps), strict=True)
        y = TRANSPOSED[nd](x, weight, bias, strides, pads, more, groups, rates)
        return leave(y, blocks, tuple(step.crops for step in steps), activation)

    taken: str = method
    if max(blocks) == 1:
        taken = "native"
    elif method == "auto":
        calls = {"native": native, "batch_space": batch_space}
        taken = method_choice.choose(op, calls, (images, weight, bias), (*per_dim, groups))
    if stays and taken == "batch_space" and x.dim() == nd + 2:
        felt = rate or blocks
        sizes, kernel, *options = zip(*per_dim, strict=True)
        found = transposed_in_cells(sizes, felt, kernel, *options)
        if found is not None:
            return activated(transposed(entered(x, felt), found, TRANSPOSED[nd], weight, bias, groups), activation)
    y = (native if taken == "native" else batch_space)(images, weight, bias)
    return y if x.dim() == nd + 2 else y.squeeze(0)


def _per_dim(
    op: str,
    shape: Any,
    weight: Any,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: Any,
    dilation: Any,
) -> tuple[tuple[int, ...], ...]:
    """(size, kernel, stride, padding, output_padding, dilation) of every dim, or an error that names what does not fit."""
    nd, groups = len(weight) - 2, as_integer(groups, f"{op}: groups")
    if groups < 1:
        raise ValueError(f"{op}: groups must be at least 1, got {groups}")
    if shape[1] != weight[0]:
        raise ValueError(
            f"{op}: the input has {shape[1]} channels, the weight of shape {tuple(weight)} takes {weight[0]}"
        )
    if weight[0] % groups:
        raise ValueError(f"{op}: groups={groups} does not divide the {weight[0]} channels of the input")
    if bias is not None and tuple(bias.shape) != (weight[1] * groups,):
        raise ValueError(f"{op}: bias must have shape ({weight[1] * groups},), got {tuple(bias.shape)}")
    strides, rates = positive(op, "stride", stride, nd), positive(op, "dilation", dilation, nd)
    pads, more = entries(op, "padding", padding, nd), entries(op, "output_padding", output_padding, nd)
    per_dim = tuple(zip(shape[2:], weight[2:], strides, pads, more, rates, strict=True))
    for k, (size, kernel, step, pad, extra, rate) in enumerate(per_dim):
        if pad < 0:
            raise ValueError(f"{op}: padding[{k}] must not be negative, got {pad}")
        if not 0 <= extra < max(step, rate):
            raise ValueError(
                f"{op}: output_padding[{k}] must not be negative, and smaller than the stride {step} or the dilation {rate}, "
                f"got {extra}"
            )
        result = (size - 1) * step - 2 * pad + rate * (kernel - 1) + extra + 1
        if size < 1 or kernel < 1 or result < 1:
            raise ValueError(
                f"{op}: dim {2 + k} of size {size} with a kernel of {kernel} would become one of {result}: padding {pad}, "
                f"output_padding {extra}, stride {step}, dilation {rate}"
            )
    return per_dim
