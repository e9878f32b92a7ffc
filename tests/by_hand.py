"""What one writes by hand in PyTorch today, for the last two dims of a 4-D tensor: pad, view, permute, copy."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

Pair = tuple[int, int]


def space_to_batch(x: Tensor, block: Pair, pairs: tuple[Pair, Pair], batch_order: str, arrangement: str) -> Tensor:
    """The 4-D operator, pad value 0."""
    (b, c), ((top, bottom), (left, right)) = block, pairs
    x = functional.pad(x, (left, right, top, bottom))
    N, C, H, W = x.shape
    if arrangement == "interleaved":
        x = x.view(N, C, H // b, b, W // c, c).permute(3, 5, 0, 1, 2, 4)
    else:
        x = x.view(N, C, b, H // b, c, W // c).permute(2, 4, 0, 1, 3, 5)
    if batch_order == "batch_major":
        x = x.permute(2, 0, 1, 3, 4, 5)
    return x.reshape(N * b * c, C, H // b, W // c)


def batch_to_space(y: Tensor, block: Pair, pairs: tuple[Pair, Pair], batch_order: str, arrangement: str) -> Tensor:
    """The 4-D inverse."""
    (b, c), ((top, bottom), (left, right)) = block, pairs
    _, C, h, w = y.shape
    N = y.shape[0] // (b * c)
    split = (
        y.view(b, c, N, C, h, w) if batch_order == "block_major" else y.view(N, b, c, C, h, w).permute(1, 2, 0, 3, 4, 5)
    )
    order = (2, 3, 4, 0, 5, 1) if arrangement == "interleaved" else (2, 3, 0, 4, 1, 5)
    x = split.permute(*order).reshape(N, C, h * b, w * c)
    return x[:, :, top : h * b - bottom, left : w * c - right].clone(memory_format=torch.contiguous_format)
