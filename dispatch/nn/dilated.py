"""A dilated convolution through the batch: space_to_batch, an ordinary convolution, batch_to_space.

Output o of a dim with dilation d reads x[o + j * d - before]: positions that leave the same rest when divided by d. So
with blocks of d every phase is an image of its own, which an ordinary kernel convolves, and the phases go back to their
places. Where the padding is the same multiple of d on both sides, the convolution pads in batch space and space_to_batch
moves aligned memory; otherwise space_to_batch holds the padding.

With a stride s and g = gcd(s, d), only every g-th element is ever read: those alone are kept, which leaves s / g and d / g.
Where both of these are still above 1, all outputs of stride 1 are computed and every (s / g)-th is kept.

Along a single dim of a CPU, phases may be columns of one image instead, which moves nothing; see `unmoved`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from spacebatch.reference.arithmetic import Activation

from .. import functions
from .activations import activated, leave
from .taps import Taps, missing
from .unmoved import columns, columns_fit

CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {
    1: torch.nn.functional.conv1d,
    2: torch.nn.functional.conv2d,
    3: torch.nn.functional.conv3d,
}


class Line(NamedTuple):
    """What happens along one dim, in this order."""

    start: int  # elements start, start + step, … are kept
    step: int
    length: int  # of these, this many
    block: int
    paddings: tuple[int, int]  # of space_to_batch
    padding: int  # of the convolution, on both sides
    stride: int  # of the convolution
    crop: int  # after batch_to_space, at the end
    keep: int  # every keep-th element of the result


def lines(sizes: tuple[int, ...], taps: Taps) -> tuple[Line, ...]:
    """The steps along every dim, for spatial sizes and taps."""
    return tuple(_line(size, *(entry[k] for entry in taps)) for k, size in enumerate(sizes))


def _line(size: int, kernel: int, stride: int, dilation: int, before: int, after: int, result: int) -> Line:
    dilation = 1 if kernel == 1 else dilation
    start, step, keep = 0, math.gcd(stride, dilation), 1
    if step > 1:
        start = missing(before, step)
        stride, dilation = stride // step, dilation // step
        before, size = (before + start) // step, max(0, (size - start + step - 1) // step)
    if step > 1 or (stride > 1 and dilation > 1):
        read = (result - 1) * stride + dilation * (kernel - 1) + 1  # with the padding; what follows is cut off
        before = min(before, read)
        size = min(size, read - before)
        after = read - before - size
        if dilation > 1:
            keep, stride = stride, 1
    if before == after and before % dilation == 0 and size > 0:  # PyTorch pads no empty tensor
        rest = missing(size, dilation)
        return Line(start, step, size, dilation, (0, rest), before // dilation, stride, rest, keep)
    rest = missing(size + before + after, dilation)
    return Line(start, step, size, dilation, (before, after + rest), 0, stride, rest, keep)


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, taps: Taps, groups: int, activation: Activation = "none"
) -> Tensor:
    """The convolution of a batched x, through the batch.

    Args:
        x: (N, C, *spatial). weight: (out channels, C / groups, *kernel). bias: (out channels,) or None.
        taps: from `taps.normalize`. groups: as in `torch.nn.functional.conv2d`. activation: of the result.
    """
    steps = lines(tuple(x.shape[2:]), taps)
    for k, line in enumerate(steps):
        x = _every(x, 2 + k, line.start, line.step, line.length)
    blocks = tuple(line.block for line in steps)
    paddings = tuple(line.paddings for line in steps)
    through = any(block > 1 for block in blocks)
    if len(steps) == 1 and columns_fit(x, weight, blocks[0]):
        line = steps[0]
        y = columns(x, weight, bias, line.block, line.paddings, line.padding, line.crop, groups)
        return activated(_every(y, 2, 0, line.keep), activation)
    if through or any(before or after for before, after in paddings):
        x = functions.space_to_batch(x, blocks, paddings)
    y = CONVOLUTIONS[len(steps)](
        x, weight, bias, tuple(line.stride for line in steps), tuple(line.padding for line in steps), 1, groups
    )
    crops = tuple((0, line.crop) for line in steps)
    if through and all(line.keep == 1 for line in steps):
        return leave(y, blocks, crops, activation)
    if through:
        y = functions.batch_to_space(y, blocks, crops)
    for k, line in enumerate(steps):
        y = _every(y, 2 + k, 0, line.keep)
    return activated(y, activation)


def _every(x: Tensor, dim: int, start: int, step: int, length: int | None = None) -> Tensor:
    """x[start::step] along a dim, no more than `length` elements of it: a view, or x itself."""
    if step > 1:
        x = x[(slice(None),) * dim + (slice(start, None, step),)]
    return x if length is None or x.shape[dim] <= length else x.narrow(dim, 0, length)
