"""The loops of a dense result as kernels are given them, and the way from an index over them to its place in the source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import triton
import triton.language as tl

from .axes import advanced
from .integers import Divisor, divide, divisor, encode, encoded, number
from .steps import Step

EVEN, STRETCHES, ROUND = (
    0,
    1,
    2,
)  # how the source moves along a loop: evenly; by stretches; and round, with a cyclic shift
_EVEN, _ROUND = tl.constexpr(EVEN), tl.constexpr(ROUND)  # as kernels may read them


class StepLoop(NamedTuple):
    """One loop of the result; see `steps.Step`."""

    size: Divisor
    source_stride: int
    extent: Divisor
    inner_stride: int
    skip: int
    before: int
    pace: int
    turn: tuple[int, ...]  # none or one; no argument of a kernel where there is no cyclic shift


def step_loops(steps: Sequence[Step]) -> tuple[StepLoop, ...]:
    """Loops of a result, encoded."""
    return tuple(
        encoded(
            StepLoop(
                divisor(s.size),
                s.source_stride,
                divisor(s.extent),
                s.inner_stride,
                s.skip,
                s.before,
                s.pace,
                (encode(s.turn),) if s.turn else (),
            )
        )
        for s in steps
    )


def ways(steps: Sequence[Step]) -> tuple[int, ...]:
    """Of each loop: how its source moves."""
    return tuple((ROUND if s.turn else STRETCHES) if s.extent else EVEN for s in steps)


@triton.jit
def walk(
    rest,
    offset,
    along,
    loops,  # with what `StepLoop` says of those that are walked
    WAYS: tl.constexpr,  # of each loop
    AXES: tl.constexpr,  # of each loop: the dim of `axes` that it moves along, or -1
    FIRST: tl.constexpr,
    ND: tl.constexpr,
    WIDE: tl.constexpr,
    LONG: tl.constexpr,
):
    """Source offset of an index over the loops from FIRST on, and how far it is along each dim of `axes`.

    Counted from those of index nought.
    """
    OFFSET: tl.constexpr = tl.int64 if WIDE else tl.int32
    NUMBER: tl.constexpr = tl.int64 if LONG else tl.int32
    offset = (rest * 0).to(OFFSET) + offset
    for d in tl.static_range(FIRST, ND):
        index = rest
        if d < ND - 1:
            rest = divide(index, loops[d].size, LONG)
            index -= rest * number(loops[d].size.value, NUMBER)
        if WAYS[d] == _EVEN:
            offset += index.to(OFFSET) * number(loops[d].source_stride, OFFSET)
        else:
            offset += stretch_offset(index + number(loops[d].before, NUMBER), loops[d], WAYS[d], WIDE, LONG)
        if AXES[d] >= 0:
            along = advanced(along, AXES[d], index * number(loops[d].pace, NUMBER))
    return offset, along


@triton.jit
def stretch_offset(place, loop, WAY: tl.constexpr, WIDE: tl.constexpr, LONG: tl.constexpr):
    """Source offset of a place over a loop of stretches."""
    OFFSET: tl.constexpr = tl.int64 if WIDE else tl.int32
    if WAY == _ROUND:
        turn = number(loop.turn[0], tl.int64 if LONG else tl.int32)
        place = tl.where(place >= turn, place - turn, place)
    outer = divide(place, loop.extent, LONG)
    return place.to(OFFSET) * number(loop.inner_stride, OFFSET) + outer.to(OFFSET) * number(loop.skip, OFFSET)
