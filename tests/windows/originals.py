"""The functions of other libraries, written from their descriptions: what ours must equal bit for bit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def swin_partition(x: Tensor, window: tuple[int, ...], shift: tuple[int, ...] = ()) -> Tensor:
    """Swin, Video Swin, torchvision, MONAI: pad the end, roll, view, permute; channels last, any number of spatial dims."""
    m = len(window)
    x = functional.pad(x, [0, 0, *[n for d in reversed(range(m)) for n in (0, -x.shape[1 + d] % window[d])]])
    if shift:
        x = torch.roll(x, [-s for s in shift], tuple(range(1, m + 1)))
    sizes = [n for d in range(m) for n in (x.shape[1 + d] // window[d], window[d])]
    order = [0, *range(1, 2 * m, 2), *range(2, 2 * m + 1, 2), 2 * m + 1]
    return x.view(x.shape[0], *sizes, x.shape[-1]).permute(order).reshape(-1, *window, x.shape[-1])


def swin_reverse(y: Tensor, window: tuple[int, ...], size: tuple[int, ...], shift: tuple[int, ...] = ()) -> Tensor:
    """The way back: view, permute, roll, crop."""
    m = len(window)
    counts = [-(-n // w) for n, w in zip(size, window, strict=True)]
    order = [0, *[p for d in range(m) for p in (1 + d, 1 + m + d)], 2 * m + 1]
    padded = [c * w for c, w in zip(counts, window, strict=True)]
    x = y.view(-1, *counts, *window, y.shape[-1]).permute(order).reshape(-1, *padded, y.shape[-1])
    if shift:
        x = torch.roll(x, shift, tuple(range(1, m + 1)))
    return x[(slice(None), *[slice(n) for n in size])]


def swin_mask(size: tuple[int, ...], window: tuple[int, ...], shift: tuple[int, ...]) -> Tensor:
    """Regions numbered by slices of the rolled image, and -100 between cells of different regions."""
    padded = [-(-n // w) * w for n, w in zip(size, window, strict=True)]
    image = torch.zeros(1, *padded, 1)
    cuts = [[slice(0, -w), slice(-w, -s), slice(-s, None)] for w, s in zip(window, shift, strict=True)]
    regions: list[list[slice]] = [[]]
    for cut in cuts:
        regions = [[*region, part] for region in regions for part in cut]
    for number, region in enumerate(regions):
        image[(slice(None), *region)] = number
    cells = swin_partition(image, window).flatten(1)
    difference = cells[:, None, :] - cells[:, :, None]
    return difference.masked_fill(difference != 0, -100.0)


def maxvit_grid(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """MaxViT's grid partition, channels last, divisible sizes."""
    n, h, w, c = x.shape
    x = x.view(n, grid[0], h // grid[0], grid[1], w // grid[1], c)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(-1, *grid, c)


def natten_permute(x: Tensor, tile: tuple[int, ...], dilation: tuple[int, ...]) -> Tensor:
    """NATTEN's token permutation, channels last: (N * groups, tokens, C)."""
    m = len(tile)
    steps = [t * d for t, d in zip(tile, dilation, strict=True)]
    x = functional.pad(x, [0, 0, *[n for k in reversed(range(m)) for n in (0, -x.shape[1 + k] % steps[k])]])
    sizes = [n for k in range(m) for n in (x.shape[1 + k] // steps[k], tile[k], dilation[k])]
    groups, rest, cells = ([1 + 3 * k + part for k in range(m)] for part in (2, 0, 1))
    y = x.view(x.shape[0], *sizes, x.shape[-1]).permute(0, *groups, *rest, *cells, 3 * m + 1)
    count = x.shape[0]
    for d in dilation:
        count *= d
    return y.reshape(count, -1, x.shape[-1])


def wavenet_time_to_batch(x: Tensor, dilation: int) -> Tensor:
    """(batch, time, channels): pad the end, reshape, transpose, reshape."""
    x = functional.pad(x, (0, 0, 0, -x.shape[1] % dilation))
    shape: Any = x.shape
    return x.reshape(-1, dilation, shape[2]).transpose(0, 1).reshape(shape[0] * dilation, -1, shape[2])


def tensorflow_depth(x: Tensor, block: int) -> Tensor:
    """tf.nn.space_to_depth, NHWC."""
    n, h, w, c = x.shape
    x = x.reshape(n, h // block, block, w // block, block, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(n, h // block, w // block, block * block * c)


def onnx_depth_to_space(x: Tensor, block: int, mode: str) -> Tensor:
    """ONNX's DepthToSpace, NCHW, as its specification writes it."""
    n, c, h, w = x.shape
    if mode == "DCR":
        x = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        x = x.reshape(n, c // block**2, block, block, h, w).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(n, c // block**2, h * block, w * block)
