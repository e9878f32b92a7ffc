"""A block geometry and the strides of two tensors as nested loops over padded space. Pure Python.

Both directions walk the *padded space*: every element of the batch tensor has one place u in it, along each blocked dim
u = outer * extent + inner, where one of (outer, inner) is the phase and the other the position (see `reference.geometry`).
Batch order and arrangement are nothing but strides of outer and inner in the batch tensor, and padding and cropping the
test 0 <= u - before < covered. So there is one loop nest for everything:

    space[ sum(index * space_stride) + sum((u - before) * space_stride) ]
    batch[ sum(index * outer_stride) + sum(outer * outer_stride + inner * inner_stride) ]

Blocks of one without padding are plain dims, and plain dims that follow each other in both tensors merge into one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from .geometry import BlockGeometry

Direction: TypeAlias = Literal["space_to_batch", "batch_to_space"]

PLAIN, SPLIT, SHIFTED = 0, 1, 2  # how a loop dim maps to the batch tensor
INT32_MAX = 2**31 - 1


@dataclass(frozen=True)
class LoopDim:
    """One loop over padded space; strides in words.

    `kind` is PLAIN: no border, no split; SHIFTED: a border; SPLIT: split into outer and inner, with or without border.
    """

    kind: int
    size: int
    space_stride: int
    outer_stride: int
    inner_stride: int = 0
    extent: int = 0
    before: int = 0
    covered: int = 0

    @property
    def masked(self) -> bool:
        """Whether some steps lie in the border."""
        return self.kind != PLAIN and (self.before > 0 or self.covered < self.size)


@dataclass(frozen=True)
class Nest:
    """The loops of a call, outermost in space first, and the words that are moved.

    Attributes:
        dims: the loops, plain neighbours merged.
        words: bytes of a word: 1, 2, 4 or 8.
        pair: 16-byte elements, which are two words each.
        space_aligned, batch_aligned: whether the tensors start at a multiple of 16 bytes.
    """

    dims: tuple[LoopDim, ...]
    words: int
    pair: bool
    space_aligned: bool
    batch_aligned: bool

    @property
    def full(self) -> int:
        """Words of an access of 16 bytes."""
        return 16 // self.words

    @property
    def wide(self) -> bool:
        """Whether offsets need 64 bits."""
        return max(_space_reach(self.dims), _batch_reach(self.dims)) > INT32_MAX


def nest(
    geometry: BlockGeometry,
    space_strides: Sequence[int],
    batch_strides: Sequence[int],
    element_bytes: int,
    space_aligned: bool = True,
    batch_aligned: bool = True,
) -> Nest:
    """The loops of a call, in the widest words that it can be moved in.

    Args:
        geometry: of the call, with at least one element to write.
        space_strides, batch_strides: of both tensors, in elements.
        element_bytes: 1, 2, 4, 8 or 16.
        space_aligned, batch_aligned: whether the first element stands at a multiple of 16 bytes.
    """
    pair = element_bytes == 16
    scale = 2 if pair else 1
    dims = loop_dims(geometry, [s * scale for s in space_strides], [s * scale for s in batch_strides])
    if pair:
        dims.append(LoopDim(PLAIN, 2, 1, 1))
    dims = merged(dims) or [LoopDim(PLAIN, 1, 1, 1)]
    words = min(element_bytes, 8)
    if space_aligned and batch_aligned:
        dims, words = widened(dims, words)
    return Nest(tuple(dims), words, pair, space_aligned, batch_aligned)


def loop_dims(geometry: BlockGeometry, space_strides: Sequence[int], batch_strides: Sequence[int]) -> list[LoopDim]:
    """All loops, outermost in space first, with nothing merged yet.

    >>> [d.kind for d in loop_dims(BlockGeometry((2, 3, 4, 4), 2), (48, 16, 4, 1), (12, 4, 2, 1))]
    [0, 0, 1, 1]
    """
    sample, phases = geometry.split_batch_stride(batch_strides[0])
    dims = [LoopDim(PLAIN, geometry.samples, space_strides[0], sample)]
    axes = {axis.dim: (axis, phase) for axis, phase in zip(geometry.axes, phases, strict=True)}
    for d in range(1, len(geometry.space_shape)):
        if d not in axes:
            dims.append(LoopDim(PLAIN, geometry.space_shape[d], space_strides[d], batch_strides[d]))
            continue
        axis, phase = axes[d]
        size = axis.blocks * axis.block
        position = batch_strides[d]
        outer, inner = (position, phase) if geometry.arrangement == "interleaved" else (phase, position)
        if axis.block == 1 or axis.blocks == 1:  # only one half moves
            moving = position if axis.block == 1 else phase
            kind = SHIFTED if axis.before or axis.after else PLAIN
            dims.append(LoopDim(kind, size, space_strides[d], moving, moving, size, axis.before, axis.size))
        else:
            dims.append(LoopDim(SPLIT, size, space_strides[d], outer, inner, axis.extent, axis.before, axis.size))
    return dims


def merged(dims: Sequence[LoopDim]) -> list[LoopDim]:
    """Loops in the order of space memory, without those of one step, plain neighbours made one."""
    # expanded dims have no place in space memory, only in the batch tensor
    moving = [d for d in dims if d.size > 1]
    ordered = sorted(moving, key=lambda d: (-(d.space_stride or d.outer_stride), -d.outer_stride))
    result: list[LoopDim] = []
    for dim in ordered:
        last = result[-1] if result else None
        if (
            last is not None
            and last.kind == dim.kind == PLAIN
            and last.space_stride == dim.size * dim.space_stride
            and last.outer_stride == dim.size * dim.outer_stride
        ):
            result[-1] = replace(dim, size=last.size * dim.size)
        else:
            result.append(dim)
    return result


def widened(dims: list[LoopDim], words: int) -> tuple[list[LoopDim], int]:
    """The same loops over wider words, where the innermost is plain and everything is a multiple of them.

    Channels of channels_last travel 8 bytes at a time, an RGBA pixel as one word of 4.

    >>> widened([LoopDim(PLAIN, 5, 4, 4), LoopDim(PLAIN, 4, 1, 1)], 1)
    ([LoopDim(kind=0, size=5, space_stride=1, outer_stride=1, inner_stride=0, extent=0, before=0, covered=0)], 4)
    """
    inner = dims[-1]
    if inner.kind != PLAIN or inner.space_stride != 1 or inner.outer_stride != 1:
        return dims, words
    strides = [s for d in dims[:-1] for s in (d.space_stride, d.outer_stride, d.inner_stride)]
    factor = common_unit([inner.size, *strides], 8 // words)
    if factor == 1:
        return dims, words
    wider = [
        replace(
            d,
            space_stride=d.space_stride // factor,
            outer_stride=d.outer_stride // factor,
            inner_stride=d.inner_stride // factor,
        )
        for d in dims[:-1]
    ]
    wider.append(replace(inner, size=inner.size // factor))
    return merged(wider) or [LoopDim(PLAIN, 1, 1, 1)], words * factor


def common_unit(values: Sequence[int], most: int) -> int:
    """The largest power of two up to `most` that divides all values.

    >>> common_unit([24, 40], 16), common_unit([], 16)
    (8, 16)
    """
    unit = most
    while any(value % unit for value in values):
        unit //= 2
    return unit


def _space_reach(dims: Sequence[LoopDim]) -> int:
    """An upper bound of the offsets, padding included, that the space tensor is addressed with."""
    return sum((d.size - 1 + d.before) * d.space_stride for d in dims)


def _batch_reach(dims: Sequence[LoopDim]) -> int:
    total = 0
    for d in dims:
        outers, inners = (-(-d.size // d.extent), d.extent) if d.kind == SPLIT else (d.size, 1)
        total += (outers - 1) * d.outer_stride + (inners - 1) * d.inner_stride
    return total
