"""The family for interleaved blocks, windows and pixels of any size and width: several phases gathered at once, to batch.

Index formula: `steps.py`. Grid: one dimension; a program owns STRETCH consecutive words of a plane of the result in each of
PHASES phases, or windows side by side; see `planes.py`. Its place is found once, by scalars, and its rows' places once, in a
table; a word of the stretch adds a look-up, which all phases share, or, without borders, one division per loop of the plane.
Lanes of a warp read neighbouring words, and Triton hands them over so that each thread stores a granule, or half of one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import triton
import triton.language as tl

from spacebatch.reference.loops import Direction, Nest

from .arithmetic import channels_of, finished, looked_up, marked
from .axes import advanced, covers, gone_round, placed, turned, turned_along, within
from .family import Arguments, Config, access, power_of_two, table_size
from .integers import divide, few, number
from .planes import LONGEST, WARP_FIRST, Planes, planes_of, stretch_of_program
from .steps import steps_of
from .walk import walk, ways
from .work import Work

NOWHERE = tl.constexpr(-1)  # offsets of rows are never negative


@dataclass(frozen=True)
class PhasesPlan(Planes):
    """What a launch needs."""

    wide: bool
    words: int
    work: Work | None = None

    family = "phases"
    direction: Direction = "space_to_batch"

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
        kinds = self.steps.kinds_of(self.plane)
        size = min(self.payload.bit_length(), 30)
        step = min(self.plane[0].source_stride, 32)
        return f"phases {self.words}x{self.lanes}x{self.shared.size} {step} {size} {min(self.plane_size.bit_length(), 15)} {kinds}{self.work or ''}"

    @property
    def rule(self) -> Config:
        """A granule of every phase for each thread, two of few phases; fewer warps where a plane is small or the call is."""
        granule = 16 * power_of_two(self.shared.size)
        most = 256 if self.shared.size <= 2 and self.words > 1 else 128
        tile = min(most * granule, power_of_two(self.plane_size // self.lanes) * granule)
        while tile > 32 * granule and self.payload // tile < 512:
            tile //= 2
        return Config(self.family, max(tile, 1024), min(max(tile // (32 * granule), 1), 4))

    @property
    def rows(self) -> bool:
        """Whether the plane is of rows, in whose border no word or every word of a row is but for the phases' own dim."""
        first, *rest = self.plane
        still = len(self.steps.axes) - (first.axis >= 0)  # borders and turns that do not change along a row
        if first.size == 2 or len(rest) + still < 2:  # then a table costs more than it spares
            return False
        return (
            bool(rest)
            and self.shared.axis in (-1, first.axis)
            and all(s.axis < 0 or s.axis != first.axis for s in rest)
        )

    def _stretch(self, tile: int) -> int:
        return int(max(tile // power_of_two(self.shared.size), 32))

    def programs(self, tile: int) -> int:
        """How many programs a launch with tiles of so many words takes."""
        return self.chunks(self._stretch(tile)) * math.prod(step.size for step in (*self.near, *self.far))

    def arguments(self, tile: int) -> Arguments:
        """What the kernel takes, with tiles of so many words."""
        stretch = self._stretch(tile)
        row = self.plane[0].size
        flags = self.flags(stretch) | {
            "TURNS": self.steps.turns,
            "STILL": self.steps.borders - (0 <= self.plane[0].axis < self.steps.borders),
            "WAYS": ways(self.plane),
            "SHARED_AXIS": self.shared.axis,
            "SIDE_BY_SIDE": self.shared.source_stride == 1,
            "ROWS": table_size((stretch + row - 2) // row + 1) if self.rows else 0,
            "WIDE": self.wide,
        }
        return Arguments(self.programs(tile), self.loops(stretch), self.place(), flags)

    def __str__(self) -> str:
        return f"planes of {self.plane_size} words of {self.words} bytes, {self.shared.size} phases at once"


def plan_phases(direction: Direction, nest: Nest, work: Work | None = None) -> PhasesPlan | None:
    """The plan of a nest, or None where it has no planes and phases; see `planes.planes_of`.

    Nor where a dim or a plane needs more than 32 bits: others serve.
    """
    steps = steps_of(direction, nest) if direction == "space_to_batch" and not nest.pair else None
    if steps is None or max(dim.size for dim in nest.dims) > LONGEST:
        return None
    planes = planes_of(steps, nest.full)
    return PhasesPlan(**vars(planes), wide=nest.wide, words=nest.words, work=work) if planes is not None else None


@triton.jit
def _row(
    row,
    along,
    loops,
    borders,
    WAYS: tl.constexpr,
    AXES: tl.constexpr,
    NP: tl.constexpr,
    BORDERS: tl.constexpr,
    TURNS: tl.constexpr,
    STILL: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Source offset of a plane's row; NOWHERE, where a border that does not change along a row is all of it."""
    offset, along = walk(row, 0, along, loops, WAYS, AXES, 1, NP, WIDE, False)
    offset, along = turned(offset, along, borders, TURNS, AXES[0], False, tl.int64 if WIDE else tl.int32)
    if STILL > 0:
        # of all rows: a comparison that is folded away
        offset = tl.where(within(row == row, along, borders, BORDERS, AXES[0], False), offset, NOWHERE)
    return offset


@triton.jit(do_not_specialize=["programs", "pad_low", "pad_high"])
def move_phases(
    source_pointer,
    result_pointer,
    programs: tl.int64,  # not read
    loops,  # of `PlaneLoop`: of the plane, innermost first, then the others
    inner,  # `Place`
    pad_low: tl.int64,
    pad_high: tl.int64,
    AXES: tl.constexpr,  # of each loop: the bordered dim that it moves along, or -1
    MOVING: tl.constexpr,  # of each loop: more than one step
    NP: tl.constexpr,  # loops of the plane
    ND: tl.constexpr,
    CHUNK_AT: tl.constexpr,  # the loop over the stretches of a plane
    BORDERS: tl.constexpr,
    TURNS: tl.constexpr,  # of each dim of `axes`: has a cyclic shift
    STILL: tl.constexpr,  # borders that do not change along a row
    WAYS: tl.constexpr,  # even ones
    PHASES: tl.constexpr,
    SHARED_AXIS: tl.constexpr,
    SIDE_BY_SIDE: tl.constexpr,  # phases are one word apart in space
    LANES: tl.constexpr,
    WIDE: tl.constexpr,
    STRETCH: tl.constexpr,
    ROWS: tl.constexpr,  # of a table of the plane's rows; 0: none
    RAGGED: tl.constexpr,  # the last stretch of a plane is shorter
    TILE: tl.constexpr,
    WORK: tl.constexpr = None,
    tables=None,
):
    """Gather; see the module."""
    OFFSET: tl.constexpr = tl.int64 if WIDE else tl.int32
    source, result, first, left, along = stretch_of_program(
        loops, inner, AXES, MOVING, NP, ND, CHUNK_AT, LANES, STRETCH, WIDE
    )

    # words of the stretch, lanes of a warp side by side
    WARP: tl.constexpr = 32
    if WARP_FIRST:
        k = tl.arange(0, WARP)[:, None] + tl.arange(0, STRETCH // WARP)[None, :] * WARP
    else:
        k = tl.arange(0, STRETCH // WARP)[:, None] * WARP + tl.arange(0, WARP)[None, :]
    if RAGGED and ROWS == 0:
        valid = k < left
    else:
        valid = k >= 0
    if ROWS > 0:
        # a word's row is looked up: where it begins, unless it is all border
        row = divide(first, loops[0].size, False)
        length = number(loops[0].size.value, tl.int32)
        begin = first - row * length
        column = k + begin
        if RAGGED:  # words past the end repeat the last one
            column = tl.minimum(column, left - 1 + begin)
        nth = few(column, length, inner.row_part, ROWS)
        if ROWS == 2:
            here = _row(row, along, loops, inner.borders, WAYS, AXES, NP, BORDERS, TURNS, STILL, WIDE)
            following = _row(row + 1, along, loops, inner.borders, WAYS, AXES, NP, BORDERS, TURNS, STILL, WIDE)
            offset = tl.where(nth == 0, here, following)
        else:
            table = _row(
                row + tl.arange(0, ROWS), along, loops, inner.borders, WAYS, AXES, NP, BORDERS, TURNS, STILL, WIDE
            )
            if WARP_FIRST:
                nth = tl.trans(nth)
            offset = tl.reshape(tl.gather(table, tl.reshape(nth, [STRETCH]), 0), nth.shape)
            if WARP_FIRST:
                nth, offset = tl.trans(nth), tl.trans(offset)
        if STILL > 0:
            valid = valid & (offset != NOWHERE)
        column -= nth * length
        offset += column.to(OFFSET) * number(loops[0].source_stride, OFFSET)
        if AXES[0] >= 0:
            column = column * number(loops[0].pace, tl.int32) + along[AXES[0]]
            if TURNS[AXES[0]] and SHARED_AXIS < 0:
                offset, column = turned_along(offset, column, inner.borders[AXES[0]].turn, False, OFFSET)
            if AXES[0] < BORDERS:
                # one comparison is left for each phase: what is not valid is far outside of the border
                column = tl.where(valid, column, -(2**31))
                if SHARED_AXIS >= 0:
                    valid = k >= 0
                else:
                    valid = covers(column, inner.borders[AXES[0]].covered, False)
            along = placed(along, AXES[0], column)
    else:
        carry = k
        offset = (k * 0).to(OFFSET)
        rest = first
        for d in tl.static_range(NP):
            begin = rest
            if d < NP - 1:
                rest = divide(begin, loops[d].size, False)
                begin -= rest * number(loops[d].size.value, tl.int32)
            source += tl.cast(begin, OFFSET) * number(loops[d].source_stride, OFFSET)
            offset += carry.to(OFFSET) * number(loops[d].delta, OFFSET)
            index = carry + begin
            if d < NP - 1:
                carry = divide(index, loops[d].size, False)
            if AXES[d] >= 0:
                if d < NP - 1:
                    index -= carry * number(loops[d].size.value, tl.int32)
                along = advanced(along, AXES[d], index * number(loops[d].pace, tl.int32))
        offset, along = turned(offset, along, inner.borders, TURNS, SHARED_AXIS, False, OFFSET)
        valid = within(valid, along, inner.borders, BORDERS, SHARED_AXIS, False)

    pad = tl.cast(pad_low, source_pointer.dtype.element_ty)
    word = tl.arange(0, STRETCH)
    if RAGGED:
        stored = word < left
    else:
        stored = word >= 0
    pointer = result_pointer + result + tl.cast(first, OFFSET)
    if SHARED_AXIS >= 0 and TURNS[SHARED_AXIS]:
        farther = offset + number(inner.borders[SHARED_AXIS].turn.words, OFFSET)
    if WORK is not None:
        MARKED: tl.constexpr = source_pointer.dtype.element_ty.primitive_bitwidth < 64
        granule = tl.arange(0, STRETCH // LANES) * LANES
        granules = granule[:, None] + tl.arange(0, LANES)[None, :]
        stored_2d = granules < left
        channel = channels_of(result + tl.cast(first, OFFSET), granule, tables, LANES, WORK)
        found = looked_up(channel, None, pad_low, result_pointer, tables, WORK)
    for phase in tl.static_range(PHASES):
        inside = valid
        there = offset
        if SHARED_AXIS >= 0:
            border = inner.borders[SHARED_AXIS]
            moved = phase * number(inner.phase_pace, tl.int32)
            column = along[SHARED_AXIS] + k * 0
            if TURNS[SHARED_AXIS]:
                there = tl.where(column < -moved, farther, offset)
            column += moved
            if SHARED_AXIS < BORDERS:
                if TURNS[SHARED_AXIS]:
                    column = gone_round(column, border.turn.size, False)
                inside = inside & covers(column, border.covered, False)
        if SIDE_BY_SIDE:
            value = tl.load(source_pointer + source + (there + phase), mask=inside, other=pad)
        else:
            step = phase * number(inner.phase_source_stride, OFFSET)
            value = tl.load(source_pointer + (source + step) + there, mask=inside, other=pad)
        if WORK is not None and BORDERS > 0:  # words go to other threads, and take along whether they are in the border
            if MARKED:
                value = marked(value, inside)
            else:
                mark = inside.to(tl.int8)
                if WARP_FIRST:
                    mark = tl.trans(mark)
        if WARP_FIRST:
            value = tl.trans(value)
        step = phase * (number(inner.phase_result_stride, OFFSET) * LANES)
        value = tl.reshape(value, [STRETCH])
        if WORK is None:
            tl.store(pointer + step + word, value, mask=stored)
        else:
            # granule by granule, so that what belongs to a channel is looked up once for each
            value = tl.reshape(value, granules.shape)
            there = stored_2d
            if BORDERS > 0 and MARKED:
                there = value >= 0
                value = value.to(source_pointer.dtype.element_ty)
            elif BORDERS > 0:
                there = tl.reshape(mark, granules.shape) != 0
            place = result + tl.cast(first, OFFSET) + step + granules
            value = finished(value, there, place, stored_2d, found, tables, WORK)
            tl.store(pointer + step + granules, value, mask=stored_2d)
