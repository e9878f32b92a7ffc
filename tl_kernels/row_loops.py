"""The loops over rows, as the kernels of `rows` and `vectors` are given them, and the way from a row's number to its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import triton
import triton.language as tl

from spacebatch.reference.loops import PLAIN, SPLIT, LoopDim

from .axes import gone_round
from .integers import Divisor, divide, divisor, encoded, number

MAX_LOOPS = 8
_PLAIN, _SPLIT = tl.constexpr(PLAIN), tl.constexpr(SPLIT)  # as kernels may read them


class RowLoop(NamedTuple):
    """One loop over rows; strides in units of alignment. See `reference.loops.LoopDim`."""

    size: Divisor
    space_stride: int
    outer_stride: int
    inner_stride: int
    extent: Divisor
    before: int  # or of a cyclic shift
    covered: int


def row_loops(dims: Sequence[LoopDim], space_unit: int, batch_unit: int) -> tuple[RowLoop, ...]:
    """The loops of a plan, innermost first, encoded."""
    return tuple(
        encoded(
            RowLoop(
                divisor(dim.size),
                dim.space_stride // space_unit,
                dim.outer_stride // batch_unit,
                dim.inner_stride // batch_unit,
                divisor(dim.extent),
                dim.before + dim.wrap,
                dim.covered,
            )
        )
        for dim in dims
    )


def kinds_of(dims: Sequence[LoopDim]) -> str:
    """What loops are like, for the tuning."""
    return "/".join(str(dim.kind + (4 if dim.masked else 0) + (8 if dim.wrap else 0)) for dim in dims)


def offsets_of(dims: Sequence[LoopDim]) -> tuple[list[int], list[int]]:
    """What the offsets of rows are sums of multiples of: in space, and in the batch tensor."""
    return [d.space_stride for d in dims], [s for d in dims for s in (d.outer_stride, d.inner_stride)]


@triton.jit
def locate_rows(
    rest,  # row numbers, any shape
    covered,  # mask of the rows that exist
    loops,  # of `RowLoop`
    KINDS: tl.constexpr,
    MASKED: tl.constexpr,
    TURNS: tl.constexpr,
    ND: tl.constexpr,
    WIDE: tl.constexpr,
    LONG: tl.constexpr,
    CHANNEL_AT: tl.constexpr = -1,  # the loop over channels
):
    """Offsets of rows in space and in the batch tensor, in units of alignment; which are in no border; and their channels."""
    OFFSET: tl.constexpr = tl.int64 if WIDE else tl.int32
    NUMBER: tl.constexpr = tl.int64 if LONG else tl.int32
    space = (rest * 0).to(OFFSET)
    batch = space
    channel = rest * 0
    for d in tl.static_range(ND):
        index = rest
        if d < ND - 1:
            quotient = divide(rest, loops[d].size, LONG)
            index = rest - quotient * number(loops[d].size.value, NUMBER)
            rest = quotient
        if d == CHANNEL_AT:
            channel = index
        coordinate = index
        if KINDS[d] != _PLAIN:
            coordinate = index - number(loops[d].before, NUMBER)
            if TURNS[d]:
                coordinate = gone_round(coordinate, loops[d].size.value, LONG)
            if MASKED[d]:
                covered = covered & (coordinate >= 0) & (coordinate < number(loops[d].covered, NUMBER))
        space += coordinate.to(OFFSET) * number(loops[d].space_stride, OFFSET)
        if KINDS[d] == _SPLIT:
            outer = divide(index, loops[d].extent, LONG)
            within = index - outer * number(loops[d].extent.value, NUMBER)
            batch += outer.to(OFFSET) * number(loops[d].outer_stride, OFFSET)
            batch += within.to(OFFSET) * number(loops[d].inner_stride, OFFSET)
        else:
            batch += index.to(OFFSET) * number(loops[d].outer_stride, OFFSET)
    return space, batch, covered, channel
