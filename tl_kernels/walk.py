"""The loops of a dense result as kernels are given them, and the way from an index over them to its place in the source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import triton
import triton.language as tl

from .axes import advanced
from .integers import Divisor, divide, divisor, encoded, number
from .steps import Step


class StepLoop(NamedTuple):
    """One loop of the result; see `steps.Step`."""

    size: Divisor
    source_stride: int
    extent: Divisor
    inner_stride: int
    skip: int
    before: int
    pace: int


def step_loops(steps: Sequence[Step]) -> tuple[StepLoop, ...]:
    """Loops of a result, encoded."""
    return tuple(
        encoded(StepLoop(divisor(s.size), s.source_stride, divisor(s.extent), s.inner_stride, s.skip, s.before, s.pace))
        for s in steps
    )


@triton.jit
def walk(
    rest,
    offset,
    along,
    loops,  # with what `StepLoop` says of those that are walked
    SPLITS: tl.constexpr,  # of each loop: goes by stretches
    AXES: tl.constexpr,  # of each loop: the bordered dim that it moves along, or -1
    FIRST: tl.constexpr,
    ND: tl.constexpr,
    WIDE: tl.constexpr,
    LONG: tl.constexpr,
):
    """Source offset of an index over the loops from FIRST on, and how far it is along each bordered dim.

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
        if SPLITS[d]:
            offset += stretch_offset(index + number(loops[d].before, NUMBER), loops[d], WIDE, LONG)
        else:
            offset += index.to(OFFSET) * number(loops[d].source_stride, OFFSET)
        if AXES[d] >= 0:
            along = advanced(along, AXES[d], index * number(loops[d].pace, NUMBER))
    return offset, along


@triton.jit
def stretch_offset(place, loop, WIDE: tl.constexpr, LONG: tl.constexpr):
    """Source offset of a place over a loop of stretches."""
    OFFSET: tl.constexpr = tl.int64 if WIDE else tl.int32
    outer = divide(place, loop.extent, LONG)
    return place.to(OFFSET) * number(loop.inner_stride, OFFSET) + outer.to(OFFSET) * number(loop.skip, OFFSET)
