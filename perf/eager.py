"""Both operators as PyTorch users write them by hand: what every figure is compared with.

>>> x = torch.arange(6.0).view(1, 1, 2, 3)
>>> eager_space_to_batch(x, (2, 2), ((0, 0), (1, 0)))[:, 0].tolist()
[[[0.0, 1.0]], [[0.0, 2.0]], [[0.0, 4.0]], [[3.0, 5.0]]]
>>> torch.equal(eager_batch_to_space(eager_space_to_batch(x, (2, 2), ((0, 0), (1, 0))), (2, 2), ((0, 0), (1, 0))), x)
True
"""

from __future__ import annotations

import torch
from torch import Tensor

Pairs = tuple[tuple[int, int], ...]


def eager_space_to_batch(x: Tensor, block: tuple[int, ...], paddings: Pairs) -> Tensor:
    """(N, C, H, W) → (bh * bw * N, C, …): a pass that pads, if there is padding, and a pass that permutes."""
    if any(map(any, paddings)):
        x = torch.nn.functional.pad(x, (*paddings[1], *paddings[0]))
    (N, C, H, W), (bh, bw) = x.shape, block
    phases = x.view(N, C, H // bh, bh, W // bw, bw).permute(3, 5, 0, 1, 2, 4)
    return phases.contiguous().view(bh * bw * N, C, H // bh, W // bw)


def eager_batch_to_space(y: Tensor, block: tuple[int, ...], crops: Pairs) -> Tensor:
    """(bh * bw * N, C, h, w) → (N, C, …): a pass that permutes and, if there is a border, one that crops."""
    (B, C, h, w), (bh, bw) = y.shape, block
    N, H, W = B // (bh * bw), h * bh, w * bw
    x = y.view(bh, bw, N, C, h, w).permute(2, 3, 4, 0, 5, 1).contiguous().view(N, C, H, W)
    if not any(map(any, crops)):
        return x
    (top, bottom), (left, right) = crops
    return x[:, :, top : H - bottom, left : W - right].contiguous()
