"""Dilated convolutions, equal to PyTorch's: native, or through the batch, or whichever is faster here.

>>> import torch, spacebatch
>>> x, weight = torch.randn(1, 3, 9, 9), torch.randn(8, 3, 3, 3)
>>> y = atrous_conv2d(x, weight, padding=4, dilation=4, method="batch_space")
>>> torch.allclose(y, torch.nn.functional.conv2d(x, weight, padding=4, dilation=4), atol=1e-5)
True
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from torch import Tensor
from torch.overrides import handle_torch_function

from spacebatch.reference.arguments import check_choice
from spacebatch.reference.arithmetic import ACTIVATIONS, Activation

from . import dilated, method_choice, unmoved
from .activations import activated
from .convolution_arguments import checked
from .convolution_rules import convolved, in_cells
from .entering import entered
from .explained import AtrousExplanation, explain_atrous
from .method_choice import ConvolutionMethod
from .taps import Taps
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


if not TYPE_CHECKING:

    def __getattr__(name: str) -> NoReturn:
        from ..near_names import absent

        raise absent(__name__, name, __all__)


Ints = int | tuple[int, ...]
Way: TypeAlias = Callable[[Tensor, Tensor, Tensor | None], Tensor]  # of the image, the weight and the bias


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
    method: ConvolutionMethod = "auto",
    activation: Activation = "none",
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
            ordinary convolution, and batch_to_space, or on a CPU the same with the phases side by side where they are
            (see `spacebatch.nn.unmoved`); "channels_last" is PyTorch's convolution of a channels-last copy, for two
            dims; "auto" is the fastest of them, measured at the first call of a geometry and remembered (see
            `spacebatch.nn.method_choice`).
        activation: of the result, computed in the pass that leaves batch space where there is one: "none", "relu", "silu", "gelu",
            "gelu_tanh", "sigmoid", "tanh" or "hardswish". It has no part in the choice of the method.

    Returns:
        (N, out channels, L') or (out channels, L'), in the dtype that PyTorch's convolution gives, autocast included; equal
        to it up to rounding, for the sums are the same but not always in the same order.

    Raises:
        ValueError, TypeError: arguments that do not fit, named before anything is computed.
    """
    return _atrous(1, input, weight, bias, stride, padding, dilation, groups, padding_mode, method, activation)


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
    method: ConvolutionMethod = "auto",
    activation: Activation = "none",
) -> Tensor:
    """`torch.nn.functional.conv2d`, with a say in how a dilation is computed.

    >>> import torch
    >>> x, weight = torch.ones(1, 2, 8, 8), torch.ones(4, 2, 3, 3)
    >>> atrous_conv2d(x, weight, padding="same", dilation=(2, 3), method="batch_space").shape
    torch.Size([1, 4, 8, 8])

    Args, Returns, Raises: as `atrous_conv1d`, for (N, C, H, W) or (C, H, W).
    """
    return _atrous(2, input, weight, bias, stride, padding, dilation, groups, padding_mode, method, activation)


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
    method: ConvolutionMethod = "auto",
    activation: Activation = "none",
) -> Tensor:
    """`torch.nn.functional.conv3d`, with a say in how a dilation is computed.

    >>> import torch
    >>> x, weight = torch.ones(1, 2, 5, 6, 7), torch.ones(4, 2, 3, 3, 3)
    >>> atrous_conv3d(x, weight, padding=2, dilation=2, method="batch_space").shape
    torch.Size([1, 4, 5, 6, 7])

    Args, Returns, Raises: as `atrous_conv1d`, for (N, C, D, H, W) or (C, D, H, W).
    """
    return _atrous(3, input, weight, bias, stride, padding, dilation, groups, padding_mode, method, activation)


def _atrous(nd: int, input: Any, *arguments: Any) -> Tensor:
    if not isinstance(input, Tensor) and hasattr(type(input), "__torch_function__"):  # what a tracer records with
        call = (atrous_conv1d, atrous_conv2d, atrous_conv3d)[nd - 1]
        options = dict(zip(("padding_mode", "method", "activation"), arguments[-3:], strict=True))
        return handle_torch_function(call, (input,), input, *arguments[:-3], **options)
    names = ("weight", "bias", "stride", "padding", "dilation", "groups", "padding_mode", "method", "activation")
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
    method: ConvolutionMethod,
    activation: Activation = "none",
    nd: int | None = None,
    stays: bool = False,
    rate: tuple[int, ...] | None = None,
    otherwise: bool = False,
) -> Tensor:
    """The convolution by the method that is asked for or chosen.

    Args:
        stays: whether the result may stay in batch space, where the padding allows it. rate: blocks other than the dilation.
        otherwise: whether "batch_space" may be channels last where that is known to be the faster of the two.
    """
    nd = weight.dim() - 2 if nd is None else nd
    check_choice(f"atrous_conv{nd}d", "activation", activation, ACTIVATIONS)
    x, taps, arguments = checked(nd, input, weight, bias, stride, padding, dilation, groups, padding_mode, method)
    taken: str = settled(method, x, weight, taps, groups, otherwise)
    if taken == "auto":
        taken = method_choice.choose(f"atrous_conv{nd}d", _ways(x, weight, taps, groups), (x, weight, bias), arguments)
    y = _way(taken, x, weight, taps, groups, stays, rate, activation)(x, weight, bias)
    return y if input.dim() == nd + 2 else y.squeeze(0)


def plan(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    rate: tuple[int, ...] | None,
    otherwise: bool,
    activation: Activation,
    options: dict[str, Any],
) -> Way | None:
    """What `convolution` does with such an input, once that is settled.

    Returns:
        None where it is not settled, or where the input must be padded or squeezed before.
    """
    nd, groups = weight.dim() - 2, options["groups"]
    if x.dim() != nd + 2 or options["padding_mode"] != "zeros" or x.device.type == "meta":
        return None
    _, taps, arguments = checked(nd, x, weight, bias, **options)
    taken: str = settled(options["method"], x, weight, taps, groups, otherwise)
    if taken == "auto":
        choice = method_choice.known(f"atrous_conv{nd}d", (x, weight, bias), arguments)
        if choice is None:
            return None
        taken = choice.method
    return _way(taken, x, weight, taps, groups, True, rate, activation)


def settled(method: str, x: Tensor, weight: Tensor, taps: Taps, groups: int, otherwise: bool) -> str:
    """The method as far as it needs no measurement."""
    if all(step == 1 or size == 1 for step, size in zip(taps.dilation, taps.kernel, strict=True)):
        return "native"
    if otherwise and method == "batch_space" and unmoved.channels_last_fit(x, weight, taps.before, groups):
        return "channels_last"
    return method


def _ways(x: Tensor, weight: Tensor, taps: Taps, groups: int) -> dict[str, Way]:
    """All ways worth a measurement; their results are images."""
    names = ["native", "batch_space"]
    if unmoved.channels_last_fit(x, weight, taps.before, groups):
        names.append("channels_last")
    return {name: _way(name, x, weight, taps, groups, False, None) for name in names}


def _way(
    name: str,
    x: Tensor,
    weight: Tensor,
    taps: Taps,
    groups: int,
    stays: bool,
    rate: tuple[int, ...] | None,
    activation: Activation = "none",
) -> Way:
    """The convolution by one method, for tensors such as these."""
    call = dilated.CONVOLUTIONS[len(taps.kernel)]
    amount: Any = taps.before
    if taps.before != taps.after:
        amount = "same"  # nothing else pads the sides differently

    def native(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return activated(call(x, weight, bias, taps.stride, amount, taps.dilation, groups), activation)

    def batch_space(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return dilated.convolve(x, weight, bias, taps, groups, activation)

    blocks = rate or blocks_of(taps.kernel, taps.dilation, x.shape[2:])
    if name == "channels_last":
        return unmoved.in_channels_last(native)
    if name == "native" or max(blocks) == 1:
        return native
    found = in_cells(tuple(x.shape[2:]), blocks, taps.kernel, taps.stride, amount, taps.dilation) if stays else None
    if found is None or (rate is None and unmoved.columns_fit(x, weight, blocks[0])):
        return batch_space
    kept = found

    def staying(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return activated(convolved(entered(x, blocks), kept, call, weight, bias, groups), activation)

    return staying


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
