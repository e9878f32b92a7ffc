"""What a call costs when the process has never seen its size, as in inference on pictures and recordings of any size.

Small images (1, 3, H, W) and signals (1, 1, L) on the CPU, blocks of 2, plain and with a border of 1; ours and what one writes
by hand for any size get the same sizes, one after the other, and no size comes twice.
"""

from __future__ import annotations

import itertools
import math
import random
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import pad

from spacebatch.timing import rotated

from .overhead import Row, ours_of, turns


def image_to_batch(x: Tensor, border: int) -> Tensor:
    """By hand, for any even height and width."""
    if border:
        x = pad(x, (border,) * 4)
    N, C, H, W = x.shape
    y = x.view(N, C, H // 2, 2, W // 2, 2).permute(3, 5, 0, 1, 2, 4).contiguous()
    return y.view(4 * N, C, H // 2, W // 2)


def image_to_space(y: Tensor, border: int) -> Tensor:
    """By hand, for any height and width."""
    N, C, H, W = y.shape
    x = y.view(2, 2, N // 4, C, H, W).permute(2, 3, 4, 0, 5, 1).contiguous().view(N // 4, C, 2 * H, 2 * W)
    return x[:, :, border : 2 * H - border, border : 2 * W - border].contiguous() if border else x


def signal_to_batch(x: Tensor, border: int) -> Tensor:
    """By hand, for any even length."""
    if border:
        x = pad(x, (border, border))
    N, C, L = x.shape
    return x.view(N, C, L // 2, 2).permute(3, 0, 1, 2).contiguous().view(2 * N, C, L // 2)


def signal_to_space(y: Tensor, border: int) -> Tensor:
    """By hand, for any length."""
    N, C, L = y.shape
    x = y.view(2, N // 2, C, L).permute(1, 2, 3, 0).contiguous().view(N // 2, C, 2 * L)
    return x[:, :, border : 2 * L - border].contiguous() if border else x


NEW_SIZES = {
    "new size, 4-D": {"space_to_batch": image_to_batch, "batch_to_space": image_to_space},
    "new size, 1-D": {"space_to_batch": signal_to_batch, "batch_to_space": signal_to_space},
}


def _sizes(dims: int, count: int) -> list[tuple[int, ...]]:
    """So many different even sizes of small images or signals, in a random order.

    >>> sorted(_sizes(1, 3)), len({*_sizes(2, 100)})
    ([(8,), (10,), (12,)], 100)
    """
    edge = math.ceil(count ** (1 / dims))
    sizes = list(itertools.product(range(8, 8 + 2 * edge, 2), repeat=dims))[:count]
    random.Random(0).shuffle(sizes)
    return sizes


def new_size_rows(*, calls: int = 40, rounds: int = 15) -> list[Row]:
    """A new size at every call, on the CPU with one thread and without a gradient; ours and by hand get the same ones.

    >>> len(new_size_rows(calls=2, rounds=2))
    8
    """
    rows, threads = [], torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for mode, by_hands in NEW_SIZES.items():
            dims = 2 if mode.endswith("4-D") else 1
            count = calls * (rounds + 1)  # the first round warms up
            fresh = iter(_sizes(dims, 4 * count))  # shared by the rows: no two of them see the same size
            for (operation, hand), border in itertools.product(by_hands.items(), (0, 1)):
                samples = 1 if operation == "space_to_batch" else 2**dims
                lead = (samples, 3) if dims == 2 else (samples, 1)
                inputs = [torch.rand((*lead, *size)) for size in itertools.islice(fresh, count)]
                pair = ours_of(operation, border), partial(hand, border=border)
                times = turns([rotated(f, inputs) for f in pair], torch.device("cpu"), calls, rounds)
                rows.append(Row.of(operation, bool(border), mode, *times))
    finally:
        torch.set_num_threads(threads)
    return rows
