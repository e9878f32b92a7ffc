"""Blocks of one image by NumPy's strided copies: what serves where no kernel does. Blocks may overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def copy_to_blocks(
    x: Array, y: Array, dims: Sequence[int], block: Sequence[int], lead: Sequence[int], pad: Any
) -> None:
    """Fill the blocks of an image.

    >>> y = np.empty((2, 4), int)
    >>> copy_to_blocks(np.arange(1, 4), y, (0,), (2,), (1,), 0)
    >>> y.tolist()
    [[0, 1, 2, 3], [2, 3, 0, 0]]

    Args:
        x: the image. y: its blocks, of shape (blocks, ...).
        dims: of the image, those that are cut. block: how far apart blocks begin. lead: cells of border before the first cell.
        pad: what the border holds.
    """
    if not y.size:
        return
    grid = [-(-x.shape[d] // b) for d, b in zip(dims, block, strict=True)]
    extents = tuple([y.shape[1 + d] for d in dims])
    shape, inside, steps = list(x.shape), [slice(None)] * x.ndim, [slice(None)] * x.ndim
    for d, count, extent, b, start in zip(dims, grid, extents, block, lead, strict=True):
        shape[d] = (count - 1) * b + extent
        inside[d], steps[d] = slice(start, start + x.shape[d]), slice(None, None, b)
    whole = np.full(shape, pad, x.dtype)
    whole[tuple(inside)] = x
    windows = np.lib.stride_tricks.sliding_window_view(whole, extents, tuple(dims))[tuple(steps)]
    places = {d: x.ndim + k for k, d in enumerate(dims)}
    order = [*dims, *(places.get(d, d) for d in range(x.ndim))]
    y.reshape(*grid, *y.shape[1:])[...] = windows.transpose(order)


def copy_to_image(y: Array, x: Array, dims: Sequence[int], block: Sequence[int], lead: Sequence[int]) -> None:
    """Fill an image from its blocks, without their halo.

    >>> x = np.empty(3, int)
    >>> copy_to_image(np.array([[0, 1, 2, 3], [2, 3, 0, 0]]), x, (0,), (2,), (1,))
    >>> x.tolist()
    [1, 2, 3]
    """
    if not x.size:
        return
    grid = [-(-x.shape[d] // b) for d, b in zip(dims, block, strict=True)]
    shape, inside, inner = list(x.shape), [slice(None)] * x.ndim, [slice(None)] * y.ndim
    for d, count, b, start in zip(dims, grid, block, lead, strict=True):
        shape[d] = count * b
        inside[d], inner[1 + d] = slice(x.shape[d]), slice(start, start + b)
    y = y[tuple(inner)]
    whole = x if tuple(shape) == x.shape else np.empty(shape, x.dtype)
    sizes: list[int] = []
    counts: list[int] = []
    places: list[int] = []
    for d in range(x.ndim):
        if d in dims:
            k = list(dims).index(d)
            counts.append(len(sizes))
            sizes.append(grid[k])
        places.append(len(sizes))
        sizes.append(y.shape[1 + d])
    by_dim = dict(zip(sorted(dims), counts, strict=True))
    whole.reshape(sizes).transpose([*(by_dim[d] for d in dims), *places])[...] = y.reshape(*grid, *y.shape[1:])
    if whole is not x:
        x[...] = whole[tuple(inside)]
