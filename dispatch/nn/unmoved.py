"""Dilated convolutions on a CPU where oneDNN has a fast kernel, and nothing is moved to the batch.

oneDNN's compiled kernel takes a dilation as it is while the padding fits into its block of outputs; beyond that it falls back on a
matrix product over copies. docs/atrous.md has the figures.

*Columns.* Along one dim whose size the rate divides, the image of shape (N, C, L) is one of shape (N, C, L / rate, rate): a column
is a phase. A kernel of (k, 1) convolves all of them at once, side by side, and the result lies as the image does.

*Channels last.* With the channels innermost, oneDNN has another kernel, which leaves out what a tap would read in the padding; with
a large rate that is much. Two copies change the layout.

>>> x, weight = torch.randn(1, 2, 32), torch.randn(4, 2, 3)
>>> columns_fit(x, weight, 8), columns(x, weight, None, 8, (0, 0), 1, 0, 1).shape
(True, torch.Size([1, 4, 32]))
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .. import routes

RATE = 8  # the least where the compiled kernel begins to refuse, and where a row is long enough for it
CHANNELS = 64  # from here on two copies cost little beside the sums
FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}
FEW = 256  # more channels of a 16-bit type are faster as a batch


def _dense(x: Tensor, weight: Tensor) -> bool:
    """On the CPU, outside of transforms and graphs, with the layout that results have natively."""
    plain = routes.route_of(x) in ("eager", "autograd")
    return plain and x.device.type == "cpu" and x.is_contiguous() and weight.is_contiguous() and x.numel() > 0


def columns_fit(x: Tensor, weight: Tensor, rate: int) -> bool:
    """Whether phases as columns are the better batch space for x of shape (N, C, L) and a rate."""
    fast = x.dtype == torch.float32 or (x.dtype == torch.bfloat16 and weight.shape[1] <= FEW)
    return x.dim() == 3 and rate >= RATE and fast and _dense(x, weight)


def columns(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    rate: int,
    paddings: tuple[int, int],
    padding: int,
    crop: int,
    groups: int,
) -> Tensor:
    """The convolution of rate `rate` and stride 1, all phases side by side.

    Args:
        paddings: in the image; with them the rate divides its size. padding: in rows. crop: of the result, at its end.
    """
    if any(paddings):
        x = torch.nn.functional.pad(x, paddings)
    rows = x.view(*x.shape[:2], -1, rate)
    y = torch.nn.functional.conv2d(rows, weight.unsqueeze(-1), bias, 1, (padding, 0), 1, groups).flatten(-2)
    return y.narrow(-1, 0, y.shape[-1] - crop).contiguous() if crop else y


def channels_last_fit(x: Tensor, weight: Tensor, padding: tuple[int, ...], groups: int) -> bool:
    """Whether a dilated convolution of x, (N, C, H, W), may be faster in a channels-last copy."""
    fast = x.dtype in (torch.float32, torch.bfloat16) and groups == 1 and min(weight.shape[:2]) >= CHANNELS
    return x.dim() == 4 and fast and min(padding) >= RATE and _dense(x, weight)


def in_channels_last(native: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A convolution of channels-last copies, for two or three dims; its result lies as the native one does."""

    def convolved(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        form = FORMATS.get(x.dim())
        if form is None or not (x.is_contiguous() and weight.is_contiguous()):
            return native(x, weight, bias)
        return native(x.contiguous(memory_format=form), weight, bias).contiguous()

    return convolved
