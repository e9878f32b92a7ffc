"""Both operators as PyTorch users write them by hand: what every figure is compared with, and what checks large results.

By hand the sizes stand in the code; so they are worked out once, by `by_hand`, and a call costs PyTorch's operators alone: a
pass that pads, if there is padding, a roll, if there is a shift, a pass that permutes and, if there are crops, one that crops.

>>> x, geometry = torch.arange(6.0).view(1, 1, 2, 3), BlockGeometry((1, 1, 2, 3), 2, ((0, 0), (1, 0)))
>>> y = by_hand("space_to_batch", geometry)(x)
>>> y[:, 0].tolist()
[[[0.0, 1.0]], [[0.0, 2.0]], [[0.0, 4.0]], [[3.0, 5.0]]]
>>> torch.equal(by_hand("batch_to_space", geometry)(y), x)
True
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from spacebatch.reference.geometry import BlockGeometry

Function = Callable[[Tensor], Tensor]


def by_hand(direction: str, geometry: BlockGeometry, channels_last: bool = False) -> Function:
    """The function that one would write for tensors of just this geometry.

    >>> f = by_hand("space_to_batch", BlockGeometry((1, 1, 4), (2,)))
    >>> f(torch.arange(4).view(1, 1, 4)).tolist()
    [[[0, 2]], [[1, 3]]]

    Args:
        direction: "space_to_batch" or "batch_to_space".
        geometry: of the call, any.
        channels_last: the input is, and the result is to be; the result is contiguous otherwise.
    """
    rank = len(geometry.space_shape)
    order = [0, *range(2, rank), 1] if channels_last else [*range(rank)]
    amounts, split, permutation, sizes, window = found = steps(direction, geometry, order)
    if geometry.shifted:
        return _shifted(direction, geometry, found, order)
    if channels_last:
        undo = (0, rank - 1, *range(1, rank - 1))
        if amounts:
            return lambda x: pad(x, amounts).view(split).permute(permutation).contiguous().view(sizes).permute(undo)
        if window:
            return lambda x: (
                x.view(split).permute(permutation).contiguous().view(sizes)[window].contiguous().permute(undo)
            )
        return lambda x: x.view(split).permute(permutation).contiguous().view(sizes).permute(undo)
    if amounts:
        return lambda x: pad(x, amounts).view(split).permute(permutation).contiguous().view(sizes)
    if window:
        return lambda x: x.view(split).permute(permutation).contiguous().view(sizes)[window].contiguous()
    return lambda x: x.view(split).permute(permutation).contiguous().view(sizes)


def _shifted(direction: str, geometry: BlockGeometry, found: Steps, order: list[int]) -> Function:
    """The same with a cyclic shift: two more passes, or one for each shifted dim."""
    amounts, split, permutation, sizes, window = found
    moved = {d: shift for d, shift in zip(geometry.spatial_dims, geometry.shifts, strict=True) if shift}
    undo = sorted(range(len(order)), key=order.__getitem__)
    forth, back = tuple(moved.values()), tuple(-shift for shift in moved.values())
    dims, places = tuple(moved), tuple(order.index(d) for d in moved)

    def to_batch(x: Tensor) -> Tensor:
        x = torch.roll(pad(x, amounts) if amounts else x, forth, dims)
        return x.view(split).permute(permutation).contiguous().view(sizes).permute(undo)

    def to_space(y: Tensor) -> Tensor:
        x = torch.roll(y.view(split).permute(permutation).contiguous().view(sizes), back, places)
        return (x[window].contiguous() if window else x).permute(undo)

    return to_batch if direction == "space_to_batch" else to_space


class Steps(NamedTuple):
    """pad → view → permute → copy → view → crop, with the numbers of one geometry.

    Attributes:
        amounts: of padding, from the last dim on, as PyTorch counts; empty where nothing is padded.
        split: every blocked dim, or the batch, in two. permutation: of those dims. sizes: of the copy.
        window: what is left of it; empty where nothing is cropped.
    """

    amounts: tuple[int, ...]
    split: tuple[int, ...]
    permutation: tuple[int, ...]
    sizes: tuple[int, ...]
    window: tuple[slice, ...]


def steps(direction: str, geometry: BlockGeometry, order: Sequence[int] | None = None) -> Steps:
    """The steps for arrays whose result lies in memory in `order` (outermost first), by default that of its dims.

    >>> steps("space_to_batch", BlockGeometry((1, 1, 4), (2,)))[1:4]
    ((1, 1, 2, 2), (3, 0, 1, 2), (2, 1, 2))
    """
    dims = range(len(geometry.space_shape)) if order is None else order
    return (_to_batch if direction == "space_to_batch" else _to_space)(geometry, dims)


def is_channels_last(x: Tensor) -> bool:
    """Whether x lies in memory as channels_last and not, at the same time, as a contiguous tensor.

    >>> is_channels_last(torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)), is_channels_last(torch.zeros(2, 3))
    (True, False)
    """
    if x.dim() not in (4, 5) or x.is_contiguous():
        return False
    return x.is_contiguous(memory_format=torch.channels_last if x.dim() == 4 else torch.channels_last_3d)


def _to_batch(g: BlockGeometry, order: Sequence[int]) -> Steps:
    rank, interleaved = len(order), g.arrangement == "interleaved"
    split, place, phases = [g.samples], {0: 0}, dict.fromkeys(g.spatial_dims, 0)
    borders = dict(zip(g.spatial_dims, g.paddings, strict=True))
    amounts: list[int] = []
    for d in range(rank - 1, min(g.spatial_dims) - 1, -1):
        amounts += borders.get(d, (0, 0))
    for d in range(1, rank):
        place[d] = len(split)
        if d not in phases:
            split.append(g.space_shape[d])
            continue
        block, position = g.block_shape[g.spatial_dims.index(d)], g.batch_shape[d]
        split += (position, block) if interleaved else (block, position)
        phases[d], place[d] = (place[d] + 1, place[d]) if interleaved else (place[d], place[d] + 1)
    batch = [0, *phases.values()] if g.batch_order == "batch_major" else [*phases.values(), 0]
    permutation = (*batch, *(place[d] for d in order[1:]))
    return Steps(
        tuple(amounts) if g.padded else (), tuple(split), permutation, tuple(g.batch_shape[d] for d in order), ()
    )


def _to_space(g: BlockGeometry, order: Sequence[int]) -> Steps:
    m, major = len(g.block_shape), g.batch_order == "batch_major"
    padded = [g.samples, *g.batch_shape[1:]]
    permutation = [0 if major else m]
    for d in order[1:]:
        if d not in g.spatial_dims:
            permutation.append(m + d)
            continue
        k = g.spatial_dims.index(d)
        padded[d] *= g.block_shape[k]
        halves = [m + d, k + 1 if major else k]
        permutation += halves if g.arrangement == "interleaved" else halves[::-1]
    outermost = (g.samples, *g.block_shape) if major else (*g.block_shape, g.samples)
    inside = {axis.dim: slice(axis.before, axis.before + axis.size) for axis in g.axes}
    window = tuple(inside.get(d, slice(None)) for d in order) if g.padded else ()
    return Steps((), (*outermost, *g.batch_shape[1:]), tuple(permutation), tuple(padded[d] for d in order), window)
