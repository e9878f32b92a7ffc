"""Blocks of images of several sizes in PyTorch's own operators: for every device, for transforms, and for gradients of gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .torch_backend import KNOWN_DTYPES

if TYPE_CHECKING:
    from .block_tensors import Cut
    from .checks import PadValue


def blocks_of(images: Sequence[Tensor], cut: Cut, number: PadValue) -> Tensor:
    """All blocks: each image is padded, seen as overlapping windows, and copied."""
    found = [blocks_of_image(x, k, cut, number) for k, x in enumerate(images)]
    return torch.cat(found) if len(found) > 1 else found[0]


def blocks_of_image(x: Tensor, k: int, cut: Cut, number: PadValue) -> Tensor:
    """The blocks of image number k."""
    grids, dims = cut
    counts, block, extents = grids.grids[k].tolist(), grids.block, grids.extents
    amounts = [(0, 0)] * x.dim()
    for d, count, b, extent, before in zip(dims, counts, block, extents, grids.before, strict=True):
        amounts[d] = before, max(count - 1, 0) * b + extent - before - x.shape[d]
    windows = _padded(x, amounts, number)
    for d, b, extent in zip(dims, block, extents, strict=True):
        windows = windows.unfold(d, extent, b)
    inner = {d: x.dim() + j for j, d in enumerate(dims)}
    order = [*dims, *(inner.get(d, d) for d in range(x.dim()))]
    sizes = [extents[dims.index(d)] if d in inner else x.shape[d] for d in range(x.dim())]
    if 0 in counts:
        return windows.reshape(-1)[:0].reshape(0, *sizes)
    return windows.permute(order).reshape(-1, *sizes)


def _padded(x: Tensor, amounts: Sequence[tuple[int, int]], number: PadValue) -> Tensor:
    if not any(map(any, amounts)):
        return x
    if isinstance(number, complex) or x.is_complex() or x.dtype not in KNOWN_DTYPES or not x.numel():
        whole = x.new_full([n + sum(pair) for n, pair in zip(x.shape, amounts, strict=True)], 0)
        whole = whole if not number else torch.full_like(whole, number)
        inner = whole
        for d, (before, _) in enumerate(amounts):
            inner = inner.narrow(d, before, x.shape[d])
        inner.copy_(x)
        return whole
    return torch.constant_pad_nd(x, [side for pair in reversed(amounts) for side in pair], number)


def images_of(y: Tensor, cut: Cut) -> list[Tensor]:
    """All images, without halo and padding."""
    return _images(_without_halo(y, cut), cut)


def _without_halo(y: Tensor, cut: Cut) -> Tensor:
    for d, before, b in zip(cut.dims, cut.grids.before, cut.grids.block, strict=True):
        y = y.narrow(1 + d, before, b)
    return y


def _images(y: Tensor, cut: Cut) -> list[Tensor]:
    grids, dims = cut.grids, cut.dims
    found = []
    for k, sizes in enumerate(grids.sizes):
        start, stop = grids.offsets[k : k + 2]
        counts = grids.grids[k].tolist()
        x = y[int(start) : int(stop)]
        shape, order = list(x.shape[1:]), []
        for d in range(x.dim() - 1):
            if d in dims:
                order.append(dims.index(d))
                shape[d] *= counts[dims.index(d)]
            order.append(len(dims) + d)
        x = x.reshape(*counts, *x.shape[1:]).permute(order).reshape(shape)
        for d, size in zip(dims, sizes, strict=True):
            x = x.narrow(d, 0, size)
        found.append(x.contiguous() if x.numel() else x)
    return found


def with_halo(inner: Tensor, cut: Cut) -> Tensor:
    """Blocks with a halo of zeros around them."""
    amounts = [(0, 0)] * inner.dim()
    for d, pair in zip(cut.dims, cut.grids.halo, strict=True):
        amounts[1 + d] = pair
    return _padded(inner, amounts, 0)


def summed_images(y: Tensor, cut: Cut) -> list[Tensor]:
    """The adjoint of `blocks_of`: each cell of an image is the sum of the cells of all blocks that read it."""
    grids, dims = cut
    found = []
    for k, sizes in enumerate(grids.sizes):
        start, stop = grids.offsets[k : k + 2]
        counts = grids.grids[k].tolist()
        x = y[int(start) : int(stop)].reshape(*counts, *y.shape[1:])
        for j, d in reversed([*enumerate(dims)]):
            # dim j counts the blocks along dim d, which stands behind the j others that are left
            x = _overlapped(x.movedim(j, j + d), j + d, grids.block[j]).narrow(j + d, grids.before[j], sizes[j])
        found.append(x)
    return found


def _overlapped(x: Tensor, dim: int, block: int) -> Tensor:
    """Blocks in dim, their cells in the next one, as one dim in which they begin `block` apart and are added up."""
    count, extent = x.shape[dim], x.shape[dim + 1]
    length = max(count - 1, 0) * block + -(-extent // block) * block
    total = x.new_zeros([*x.shape[:dim], length, *x.shape[dim + 2 :]])
    for start in range(0, extent if count else 0, block):
        size = min(block, extent - start)
        part = x.narrow(dim + 1, start, size)
        amounts = [(0, 0)] * x.dim()
        amounts[dim + 1] = 0, block - size
        part = _padded(part, amounts, 0).flatten(dim, dim + 1)
        amounts = [(0, 0)] * part.dim()
        amounts[dim] = start, length - start - part.shape[dim]
        total = total + _padded(part, amounts, 0)
    return total
