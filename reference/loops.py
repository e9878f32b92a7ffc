"""A block geometry and the strides of two tensors as nested loops over padded space. Pure Python.

Both directions walk the *padded space*: every element of the batch tensor has one place u in it, along each blocked dim
u = outer * extent + inner, where one of (outer, inner) is the phase and the other the position (see `reference.geometry`).
Batch order and arrangement are nothing but strides of outer and inner in the batch tensor, and padding and cropping the
test 0 <= u - before < covered. A cyclic shift moves the places first: t = u - wrap, plus the size of the dim where that is negative,
stands for u then in space. So there is one loop nest for everything:

    space[ sum(index * space_stride) + sum((t - before) * space_stride) ]
    batch[ sum(index * outer_stride) + sum(outer * outer_stride + inner * inner_stride) ]

Blocks of one without padding are plain dims, and plain dims that follow each other in both tensors merge into one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from .geometry import BlockGeometry

Direction: TypeAlias = Literal["space_to_batch", "batch_to_space"]

PLAIN, SPLIT, SHIFTED = 0, 1, 2  # how a loop dim maps to the batch tensor
INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1

Loop: TypeAlias = "tuple[int, int, int, int, int, int, int, int, int]"  # the fields of a `LoopDim`, without its cost
_ONE: Loop = (PLAIN, 1, 1, 1, 0, 0, 0, 0, 0)


class LoopDim(NamedTuple):
    """One loop over padded space; strides in words.

    `kind` is PLAIN: no border, no split, no cyclic shift; SHIFTED: a border or a cyclic shift; SPLIT: split into outer and inner,
    with or without them. `wrap` is the cyclic shift: the place u holds what stood at u - wrap, modulo the size.
    """

    kind: int
    size: int
    space_stride: int
    outer_stride: int
    inner_stride: int = 0
    extent: int = 0
    before: int = 0
    covered: int = 0
    wrap: int = 0

    @property
    def masked(self) -> bool:
        """Whether some steps lie in the border."""
        return self.kind != PLAIN and (self.before > 0 or self.covered < self.size)

    @property
    def settled(self) -> LoopDim:
        """The same loop with either a border before, or a cyclic shift that goes round within what is covered.

        >>> LoopDim(SHIFTED, 10, 1, 1, before=2, covered=5, wrap=3).settled[-3:]
        (5, 5, 0)
        >>> LoopDim(SHIFTED, 10, 1, 1, before=2, covered=5, wrap=4).settled[-3:]
        (0, 5, 6)
        """
        if not self.wrap:
            return self
        start = (self.before + self.wrap) % self.size
        round_ = start + self.covered > self.size
        return self._replace(before=0 if round_ else start, wrap=start if round_ else 0)


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
    def reach(self) -> int:
        """An upper bound of the offsets, padding included, in either tensor."""
        return max(_space_reach(self.dims), _batch_reach(self.dims))

    @property
    def space_words(self) -> int | None:
        """Words of the space tensor, or None where they are not one run of memory."""
        return _run((dim.covered if dim.kind != PLAIN else dim.size, dim.space_stride) for dim in self.dims)

    @property
    def batch_words(self) -> int | None:
        """Words of the batch tensor, or None where they are not one run of memory."""
        return _run(loop for dim in self.dims for loop in _batch_loops(dim))

    def place_in_space(self, word: int) -> int | None:
        """Where a word of the batch tensor goes to; None for one in the border. The batch tensor is one run of memory."""
        place = 0
        for dim in self.dims:
            (size, stride), *inner = _batch_loops(dim)
            u = word // stride % size
            for size, stride in inner:
                u = u * dim.extent + word // stride % size
            if dim.kind != PLAIN:
                u -= dim.wrap
                u += (dim.size if u < 0 else 0) - dim.before
                if not 0 <= u < dim.covered:
                    return None
            place += u * dim.space_stride
        return place

    @property
    def wide(self) -> bool:
        """Whether offsets need 64 bits."""
        return self.reach > INT32_MAX


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
    aligned = space_aligned and batch_aligned
    dims, words = loops(geometry, space_strides, batch_strides, element_bytes, aligned)
    return Nest(tuple([LoopDim(*dim) for dim in dims]), words, element_bytes == 16, space_aligned, batch_aligned)


def loops(
    geometry: BlockGeometry,
    space_strides: Sequence[int],
    batch_strides: Sequence[int],
    element_bytes: int,
    aligned: bool = True,
) -> tuple[list[Loop], int]:
    """The loops of a call as plain tuples, and the bytes of the words that they count; arguments as for `nest`.

    >>> [LoopDim(*loop).size for loop in loops(BlockGeometry((2, 3, 4, 4), 2), (48, 16, 4, 1), (12, 4, 2, 1), 4)[0]]
    [6, 4, 4]
    """
    pair = element_bytes == 16
    if pair:
        space_strides, batch_strides = [2 * s for s in space_strides], [2 * s for s in batch_strides]
    found, ordered = _loops(geometry, space_strides, batch_strides)
    if pair:
        found.append((PLAIN, 2, 1, 1, 0, 0, 0, 0, 0))
    words = 8 if pair else element_bytes
    if not ordered:
        found = _merged(found)
    elif not found:
        found.append(_ONE)
    last = found[-1]
    if last[0] == PLAIN and last[2] == 1 and last[3] == 1 and words < 8 and aligned:
        return widened(found, words)
    return found, words


def loop_dims(geometry: BlockGeometry, space_strides: Sequence[int], batch_strides: Sequence[int]) -> list[LoopDim]:
    """All loops of more than one step, in the order of the dims, with nothing merged yet.

    >>> [d.kind for d in loop_dims(BlockGeometry((2, 3, 4, 4), 2), (48, 16, 4, 1), (12, 4, 2, 1))]
    [0, 0, 1, 1]
    """
    return [LoopDim(*loop) for loop in _loops(geometry, space_strides, batch_strides, merge=False)[0]]


def _loops(
    geometry: BlockGeometry, space: Sequence[int], batch: Sequence[int], merge: bool = True
) -> tuple[list[Loop], bool]:
    """The loops of more than one step, plain dims first, and whether they are in the order of space memory and merged.

    As a rule they are, and then no loop is looked at twice.
    """
    shape = geometry.space_shape
    sample = batch[0]
    if geometry.batch_order == "block_major":
        phase = sample * geometry.samples * geometry.phases
    else:
        phase = sample = sample * geometry.phases
    found: list[Loop] = []
    ordered = True
    place = last_space = last_outer = INT64_MAX  # of the loop before
    blocked = geometry.spatial_dims
    outer = sample
    for d, size in enumerate(shape):
        if d in blocked:
            continue
        if d:
            outer = batch[d]
        if size > 1:
            stride = space[d]
            if last_space == size * stride and last_outer == size * outer and merge:
                found[-1] = (PLAIN, found[-1][1] * size, stride, outer, 0, 0, 0, 0, 0)
            else:
                found.append((PLAIN, size, stride, outer, 0, 0, 0, 0, 0))
            here = stride or outer  # as in `_merged`
            if here > place or (here == place and outer > last_outer):
                ordered = False
            place, last_space, last_outer = here, stride, outer
    interleaved = geometry.arrangement == "interleaved"
    for d, size, block, before, after, blocks, extent, wrap in geometry.axes:
        phase //= block
        steps = blocks * block
        if steps == 1:
            continue
        stride, outer = space[d], batch[d]
        if block == 1 or blocks == 1:  # only one half moves
            if block > 1:
                outer = phase
            if before or after or wrap:
                found.append((SHIFTED, steps, stride, outer, outer, steps, before, size, wrap))
            else:
                found.append((PLAIN, steps, stride, outer, outer, steps, before, size, 0))
                ordered = False  # it may merge
        elif interleaved:
            found.append((SPLIT, steps, stride, outer, phase, extent, before, size, wrap))
        else:
            found.append((SPLIT, steps, stride, phase, outer, extent, before, size, wrap))
            outer = phase
        here = stride or outer
        if here > place or (here == place and outer > last_outer):
            ordered = False
        place, last_outer = here, outer
    return found, ordered


def channel_loops(
    geometry: BlockGeometry, space: Sequence[int], batch: Sequence[int], channel_dim: int | None
) -> list[Loop]:
    """The loops of a call over elements. Those along which the channel changes have the number of channels in the place of a cyclic shift.

    Only what is inside a channel merges, or pixels whose channels are neighbours in both tensors.

    >>> [(loop[1], loop[-1]) for loop in channel_loops(BlockGeometry((2, 3, 4, 4), 2), (48, 16, 4, 1), (12, 4, 2, 1), 1)]
    [(2, 0), (3, 3), (4, 0), (4, 0)]
    """
    found, _ = _loops(geometry, space, batch, merge=False)
    shape = geometry.space_shape
    if channel_dim is not None and shape[channel_dim] > 1:
        k = sum(shape[d] > 1 for d in range(channel_dim) if d not in geometry.spatial_dims)
        found[k] = (*found[k][:-1], shape[channel_dim])
    return _merged(found)


def merged(dims: Sequence[LoopDim]) -> list[LoopDim]:
    """Loops in the order of space memory, without those of one step, plain neighbours made one."""
    return [LoopDim(*loop) for loop in _merged([dim for dim in dims if dim.size > 1])]


def _merged(loops: Sequence[Loop]) -> list[Loop]:
    """Loops of more than one step, at least one; see `merged`."""
    # expanded dims have no place in space memory, only in the batch tensor
    placed = [(loop[2] or loop[3], loop[3], loop) for loop in loops]
    placed.sort(reverse=True)
    result: list[Loop] = []
    last_kind = last_size = last_space = last_outer = last_wrap = -1
    for _, outer, loop in placed:
        kind, size, space, *_, wrap = loop
        fits = kind == PLAIN == last_kind and last_space == size * space and last_outer == size * outer
        if fits and not last_wrap and (not wrap or space == outer == 1):
            last_size *= size
            result[-1] = (PLAIN, last_size, space, outer, *loop[4:])
        else:
            last_size = size
            result.append(loop)
        last_kind, last_space, last_outer, last_wrap = kind, space, outer, wrap
    return result or [_ONE]


def widened(dims: list[Loop], words: int) -> tuple[list[Loop], int]:
    """The same loops over wider words, where the innermost is plain and everything is a multiple of them.

    Channels of channels_last travel 8 bytes at a time, an RGBA pixel as one word of 4.

    >>> widened([(PLAIN, 5, 4, 4, 0, 0, 0, 0, 0), (PLAIN, 4, 1, 1, 0, 0, 0, 0, 0)], 1)
    ([(0, 5, 1, 1, 0, 0, 0, 0, 0)], 4)

    Args:
        dims: loops, of which the last is plain and of neighbours in both tensors.
        words: bytes of the words that they count.
    """
    length = dims[-1][1]
    factor = math.gcd(8 // words, length)
    for _, _, space, outer, inner, *_ in dims[:-1]:
        while space % factor or outer % factor or inner % factor:
            factor //= 2
    if factor == 1:
        return dims, words
    wider = [
        (k, size, space // factor, outer // factor, inner // factor, extent, before, covered, wrap)
        for k, size, space, outer, inner, extent, before, covered, wrap in dims[:-1]
    ]
    if length > factor:
        wider.append((PLAIN, length // factor, 1, 1, 0, 0, 0, 0, 0))
        return wider, words * factor
    return _merged(wider), words * factor


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
    return sum((d.size - 1 + d.before + (d.size if d.wrap else 0)) * d.space_stride for d in dims)


def _batch_reach(dims: Sequence[LoopDim]) -> int:
    return sum((size - 1) * stride for d in dims for size, stride in _batch_loops(d))


def _batch_loops(dim: LoopDim) -> tuple[tuple[int, int], ...]:
    """Sizes and strides of a loop in the batch tensor."""
    if dim.kind == SPLIT:
        return (-(-dim.size // dim.extent), dim.outer_stride), (dim.extent, dim.inner_stride)
    return ((dim.size, dim.outer_stride),)


def _run(loops: Iterable[tuple[int, int]]) -> int | None:
    """How many words loops of these sizes and strides meet, where these are one run of memory, each met once."""
    count = 1
    for stride, size in sorted((stride, size) for size, stride in loops if size > 1):
        if stride != count:
            return None
        count *= size
    return count
