"""The family that fills any dense result from end to end, a granule of up to 16 bytes per thread and store.

Index formula: `steps.py`. Grid: one dimension over tiles of the result's memory. The places of a granule's first row, and
of the next where the row ends inside the granule, are found once for each granule; a word costs one load of either row, by
its lane. So stores are wide whatever the width of the rows is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import triton
import triton.language as tl

from spacebatch.reference.loops import INT32_MAX, Direction, Nest

from .arithmetic import channels_of, finished, looked_up
from .axes import Borders, borders, covers, starts, turned, turned_along, within
from .family import Arguments, Config, access, eased, fitted
from .integers import divide, encoded, number
from .steps import Steps, steps_of
from .walk import step_loops, stretch_offset, walk, ways
from .work import Work

WITHIN, ONE, ANY = 0, 1, 2  # row ends inside a granule: none, for rows are whole granules; one at most; any number
_WITHIN, _ONE, _ANY = tl.constexpr(WITHIN), tl.constexpr(ONE), tl.constexpr(ANY)  # as kernels may read them


class Memory(NamedTuple):
    """What the kernel is told of the result's memory."""

    base: int  # the source's offset of the first word
    tail: int  # words after the last whole granule
    rows: int
    borders: Borders


@dataclass(frozen=True)
class GranulesPlan:
    """What a launch needs; counts are of words."""

    direction: Direction
    steps: Steps
    lanes: int  # words of a granule
    breaks: int
    wide: bool
    long: bool
    pair: bool
    words: int
    work: Work | None = None

    family = "granules"

    @property
    def payload(self) -> int:
        """Bytes of the result that are written."""
        return self.steps.total * self.words

    @property
    def access(self) -> tuple[int, int]:
        """Bits of the widest load and store of one thread."""
        return access(self, 1, self.lanes)

    @property
    def bucket(self) -> str:
        """What is alike for the tuning."""
        steps = self.steps.steps
        first = steps[0]
        row = f"{min(first.extent or first.source_stride, 32)} {first.axis >= 0:d}"
        size = min(self.payload.bit_length(), 30)
        return f"granules {self.direction} {self.words}x{self.lanes} {self.breaks} {row} {size} {self.steps.kinds_of(steps)}{self.work or ''}"

    @property
    def rule(self) -> Config:
        """Several granules a thread, whose scalar work they share; fewer of single bytes, each of which takes a register."""
        found = fitted(self.family, 4096 if self.words == 1 else 8192, 4, self.payload)
        return eased(found, self.words, self.work)

    def programs(self, tile: int) -> int:
        """How many programs a launch with tiles of so many words takes."""
        return -(-self.steps.total // max(tile, self.lanes))

    def arguments(self, tile: int) -> Arguments:
        """What the kernel takes, with tiles of so many words."""
        steps = self.steps.steps
        granules, tail = divmod(self.steps.total, self.lanes)
        memory = Memory(self.steps.base, tail, self.steps.total // steps[0].size, borders(self.steps.axes))
        flags = {
            "WAYS": ways(steps),
            "AXES": tuple(s.axis for s in steps),
            "ND": len(steps),
            "BORDERS": self.steps.borders,
            "TURNS": self.steps.turns,
            "LANES": self.lanes,
            "BREAKS": self.breaks,
            "TAIL": tail > 0,
            "DENSE": steps[0].source_stride == 1 and not steps[0].extent,
            "WIDE": self.wide,
            "LONG": self.long,
            "PAIR": self.pair,
        }
        return Arguments(granules, step_loops(steps), encoded(memory), flags)

    def __str__(self) -> str:
        row = self.steps.steps[0].size
        ends = ("whole granules", "at most one row end in a granule", "several row ends in a granule")[self.breaks]
        return f"{self.steps.total // row} rows of {row} words of {self.words} bytes, {self.lanes} to a granule, {ends}"


def plan_granules(direction: Direction, nest: Nest, work: Work | None = None) -> GranulesPlan | None:
    """The plan of a nest, or None where the result is not dense and aligned."""
    steps = steps_of(direction, nest)
    if steps is None:
        return None
    row = steps.steps[0].size
    lanes, breaks = nest.full, ANY
    for fewer in (nest.full, nest.full // 2):
        if fewer and row >= fewer - 1:  # then the rest of a granule, after a row's end, fits the next row
            lanes, breaks = fewer, WITHIN if row % fewer == 0 else ONE
            break
    return GranulesPlan(
        direction,
        steps,
        lanes,
        breaks,
        # where a row ends inside a granule, the next one is addressed from before its first word
        wide=nest.reach + (lanes * steps.steps[0].source_stride if breaks == ONE else 0) > INT32_MAX,
        long=max(steps.total, *(s.before + max(s.size, s.extent, s.turn) for s in steps.steps)) > INT32_MAX - 2**16,
        pair=nest.pair,
        words=nest.words,
        work=work,
    )


@triton.jit(do_not_specialize=["granules", "pad_low", "pad_high"])
def move_granules(
    source_pointer,
    result_pointer,
    granules: tl.int64,  # whole ones
    loops,  # of `StepLoop`, innermost first
    inner,  # `Memory`
    pad_low: tl.int64,
    pad_high: tl.int64,
    WAYS: tl.constexpr,
    AXES: tl.constexpr,
    ND: tl.constexpr,
    BORDERS: tl.constexpr,
    TURNS: tl.constexpr,  # of each dim of `axes`: has a cyclic shift
    LANES: tl.constexpr,
    BREAKS: tl.constexpr,
    TAIL: tl.constexpr,  # words are left after the last whole granule
    DENSE: tl.constexpr,  # a word of a row is one step in the source
    WIDE: tl.constexpr,
    LONG: tl.constexpr,
    PAIR: tl.constexpr,
    TILE: tl.constexpr,  # words
    WORK: tl.constexpr = None,
    tables=None,
):
    """Gather the result's memory in order; see the module."""
    G: tl.constexpr = TILE // LANES if TILE > LANES else 1
    OFFSET: tl.constexpr = tl.int64 if WIDE else tl.int32
    NUMBER: tl.constexpr = tl.int64 if LONG else tl.int32
    ROW_AXIS: tl.constexpr = AXES[0]
    granule = tl.cast(tl.program_id(0), NUMBER) * G + tl.arange(0, G)  # [G]
    lane = tl.arange(0, LANES)[None, :]
    whole = granule < tl.cast(granules, NUMBER)
    tail = number(inner.tail, NUMBER)
    rows = number(inner.rows, NUMBER)
    length = number(loops[0].size.value, NUMBER)
    base = number(inner.base, OFFSET)
    beginning = starts(inner.borders, NUMBER)
    pad = tl.cast(pad_low, source_pointer.dtype.element_ty)
    # granules past the end repeat the last one, whose loads are in bounds, and store nothing
    if TAIL:
        first = tl.minimum(granule, tl.cast(granules, NUMBER)) * LANES
    else:
        first = tl.minimum(granule, tl.cast(granules, NUMBER) - 1) * LANES

    if BREAKS == _ANY:
        word = tl.minimum(first[:, None] + lane, rows * length - 1)  # [G, LANES]
        offset, along = walk(word, base, beginning, loops, WAYS, AXES, 0, ND, WIDE, LONG)
        offset, along = turned(offset, along, inner.borders, TURNS, -1, LONG, OFFSET)
        if BORDERS > 0:
            valid = within(word >= 0, along, inner.borders, BORDERS, -1, LONG)
            value = tl.load(source_pointer + offset, mask=valid, other=pad)
        else:
            value = tl.load(source_pointer + offset)
    else:
        row = first * 0
        if ND > 1:
            row = divide(first, loops[0].size, LONG)
        start = first - row * length  # of the granule in its row
        stop = length - start  # the lane at which the row ends
        offset, along = walk(row, base, beginning, loops, WAYS, AXES, 1, ND, WIDE, LONG)
        offset, along = turned(offset, along, inner.borders, TURNS, ROW_AXIS, LONG, OFFSET)
        ends = lane < stop[:, None]
        if BREAKS == _ONE:
            following = tl.minimum(row + 1, rows - 1)
            next_offset, next_along = walk(following, base, beginning, loops, WAYS, AXES, 1, ND, WIDE, LONG)
            next_offset, next_along = turned(next_offset, next_along, inner.borders, TURNS, ROW_AXIS, LONG, OFFSET)
        if WAYS[0] > 0:
            before = number(loops[0].before, NUMBER)
            if BREAKS == _ONE:
                place = tl.where(ends, (start + before)[:, None], (before - stop)[:, None]) + lane
                begin = tl.where(ends, offset[:, None], next_offset[:, None])
            else:
                place = (start + before)[:, None] + lane
                begin = offset[:, None]
            value = tl.load(source_pointer + (begin + stretch_offset(place, loops[0], WAYS[0], WIDE, LONG)))
        else:
            stride = number(loops[0].source_stride, OFFSET)
            pace = number(loops[0].pace, NUMBER)
            steps = lane.to(OFFSET)
            if not DENSE:
                steps = steps * stride
            pointers = (source_pointer + (offset + start.to(OFFSET) * stride))[:, None] + steps
            valid = ends
            if BORDERS > 0:
                inside = within(start >= 0, along, inner.borders, BORDERS, ROW_AXIS, LONG)
                valid = valid & inside[:, None]
            if ROW_AXIS >= 0:
                place = (along[ROW_AXIS] + start * pace)[:, None] + lane * pace
                if TURNS[ROW_AXIS]:
                    pointers, place = turned_along(pointers, place, inner.borders[ROW_AXIS].turn, LONG, OFFSET)
                if ROW_AXIS < BORDERS:
                    valid = valid & covers(place, inner.borders[ROW_AXIS].covered, LONG)
            if BREAKS == _WITHIN and BORDERS == 0:
                value = tl.load(pointers)
            elif BORDERS == 0:
                value = tl.load(pointers, mask=valid)
            else:
                value = tl.load(pointers, mask=valid, other=pad)
            if BREAKS == _ONE:
                pointers = (source_pointer + (next_offset - stop.to(OFFSET) * stride))[:, None] + steps
                next_valid = lane >= stop[:, None]
                if BORDERS > 0:
                    inside = within(start >= 0, next_along, inner.borders, BORDERS, ROW_AXIS, LONG)
                    next_valid = next_valid & inside[:, None]
                if ROW_AXIS >= 0:
                    place = (next_along[ROW_AXIS] - stop * pace)[:, None] + lane * pace
                    if TURNS[ROW_AXIS]:
                        pointers, place = turned_along(pointers, place, inner.borders[ROW_AXIS].turn, LONG, OFFSET)
                    if ROW_AXIS < BORDERS:
                        next_valid = next_valid & covers(place, inner.borders[ROW_AXIS].covered, LONG)
                if BORDERS == 0:
                    value = tl.where(ends, value, tl.load(pointers, mask=next_valid))
                else:
                    value = tl.where(ends, value, tl.load(pointers, mask=next_valid, other=pad))
                valid = valid | next_valid
    if PAIR and BORDERS > 0:
        high = tl.cast(pad_high, source_pointer.dtype.element_ty)
        value = tl.where(valid | (lane % 2 == 0), value, high)

    pointers = result_pointer + (first.to(OFFSET)[:, None] + lane)
    if WORK is not None:
        begin = tl.cast(tl.program_id(0), NUMBER) * (G * LANES)
        channel = channels_of(begin, (first - begin).to(tl.int32), tables, LANES, WORK)
        if BORDERS == 0:
            valid = lane >= 0
        exists = whole[:, None] & (lane >= 0)
        if TAIL:
            exists = exists | ((granule == tl.cast(granules, NUMBER))[:, None] & (lane < tail))
        place = first.to(OFFSET)[:, None] + lane
        found = looked_up(channel, None, pad_low, result_pointer, tables, WORK)
        value = finished(value, valid, place, exists, found, tables, WORK)
    tl.store(pointers, value, mask=whole[:, None] & (lane >= 0))
    if TAIL:
        if tl.program_id(0) == tl.num_programs(0) - 1:
            tl.store(pointers, value, mask=(granule == tl.cast(granules, NUMBER))[:, None] & (lane < tail))
