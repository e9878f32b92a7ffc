"""The family for interleaved blocks, windows and pixels of any size and width: several phases gathered at once, to batch.

Index formula: `steps.py`. Grid: one dimension; a program owns STRETCH consecutive words of a plane of the result in each of
PHASES phases, or windows side by side. Its place is found once, by scalars, and its rows' places once, in a table; a word of
the stretch adds a look-up, which all phases share, or, without borders, one division per loop of the plane. Lanes of a warp
read neighbouring words, and Triton hands them over so that each thread stores a granule, or half of one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import triton
import triton.language as tl

from spacebatch.reference.loops import INT32_MAX, Direction, Nest

from .family import Arguments, Config, power_of_two, table_size
from .integers import Divisor, divide, divisor, encoded, few, number, part
from .steps import Borders, Step, Steps, borders, chosen, covers, steps_of

MOST_PHASES = 8
LONGEST = INT32_MAX - 2**16  # words of a plane, after which tiles may end
NOWHERE = tl.constexpr(-1)  # offsets of rows are never negative
LARGE_PLANE = 1 << 15  # words: the last tile of a plane wastes little; so it does where tiles just fill a plane

# Of a tile whose dims are alike to it, Triton before 3.7 lays a warp along the first dim, later ones along the last.
WARP_FIRST = tl.constexpr(tuple(int(part) for part in triton.__version__.split(".")[:2]) < (3, 7))


class PhaseLoop(NamedTuple):
    """One loop of the result; see `steps.Step`."""

    size: Divisor
    source_stride: int
    delta: int  # the source's stride, less what the loops inside went; outside of the plane, the stride
    result_stride: int  # in granules
    pace: int


class Place(NamedTuple):
    """What the kernel is told beside the loops."""

    base: int  # the source's offset of the first word
    granules: int  # of a plane
    phase_source_stride: int
    phase_result_stride: int  # in granules
    phase_pace: int
    row_part: int  # see `integers.part`
    borders: Borders


@dataclass(frozen=True)
class PhasesPlan:
    """What a launch needs; counts are of words.

    A program owns a stretch of a *plane* (the innermost loops of the result, `plane` of them) of one place of the other
    loops, and the same stretch of `shared.size` phases, whose words lie side by side in space.
    """

    steps: Steps
    plane: tuple[Step, ...]  # innermost first
    near: tuple[Step, ...]  # the loops that move less in space than the plane does, the least first
    far: tuple[Step, ...]
    shared: Step
    lanes: int
    wide: bool
    long: bool
    words: int

    family = "phases"
    direction: Direction = "space_to_batch"

    @property
    def payload(self) -> int:
        """Bytes of the result that are written."""
        return self.steps.total * self.words

    @property
    def plane_size(self) -> int:
        """Words of a plane."""
        last = self.plane[-1]
        return last.size * last.result_stride

    @property
    def access(self) -> tuple[int, int]:
        """Bits of the widest load and store of one thread."""
        return self.words * 8, self.lanes * self.words * 8

    @property
    def bucket(self) -> str:
        """What is alike for the tuning."""
        kinds = "/".join("b" if s.axis >= 0 else "p" for s in self.plane)
        size = min(self.payload.bit_length(), 30)
        step = min(self.plane[0].source_stride, 32)
        return f"phases {self.words}x{self.lanes}x{self.shared.size} {step} {size} {min(self.plane_size.bit_length(), 15)} {kinds}"

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
        still = len(self.steps.axes) - (first.axis >= 0)  # borders that do not change along a row
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
        count = -(-self.plane_size // self._stretch(tile))
        for step in (*self.near, *self.far):
            count *= step.size
        return count

    def arguments(self, tile: int) -> Arguments:
        """What the kernel takes, with tiles of so many words."""
        stretch = self._stretch(tile)
        chunks = Step(-(-self.plane_size // stretch), 0, 0)
        planes = []
        moved = 0
        for s in self.plane:
            # from one step to the next, less what the steps inside went
            planes.append((s, s.source_stride - moved))
            moved = s.size * s.source_stride
        outer = (*self.near, chunks, *self.far)
        loops = tuple(_loop(s, delta, self.lanes) for s, delta in planes)
        loops += tuple(_loop(s, s.source_stride, self.lanes) for s in outer)
        place = Place(
            base=self.steps.base,
            granules=self.plane_size // self.lanes,
            phase_source_stride=self.shared.source_stride,
            phase_result_stride=self.shared.result_stride // self.lanes,
            phase_pace=self.shared.pace,
            row_part=part(self.plane[0].size),
            borders=borders(self.steps.axes),
        )
        flags = {
            "AXES": tuple(s.axis for s in (*self.plane, *outer)),
            "MOVING": tuple(s.size > 1 for s in (*self.plane, *outer)),
            "NP": len(self.plane),
            "ND": len(self.plane) + len(outer),
            "CHUNK_AT": len(self.plane) + len(self.near),
            "BORDERS": len(self.steps.axes),
            "PHASES": self.shared.size,
            "SHARED_AXIS": self.shared.axis,
            "SIDE_BY_SIDE": self.shared.source_stride == 1,
            "LANES": self.lanes,
            "WIDE": self.wide,
            "LONG": self.long,
            "STRETCH": stretch,
            "ROWS": table_size((stretch + self.plane[0].size - 2) // self.plane[0].size + 1) if self.rows else 0,
            "RAGGED": self.plane_size % stretch != 0,
        }
        return Arguments(self.programs(tile), loops, encoded(place), flags)

    def __str__(self) -> str:
        return f"planes of {self.plane_size} words of {self.words} bytes, {self.shared.size} phases at once"


def _loop(step: Step, delta: int, lanes: int) -> PhaseLoop:
    return encoded(PhaseLoop(divisor(step.size), step.source_stride, delta, step.result_stride // lanes, step.pace))


def plan_phases(direction: Direction, nest: Nest) -> PhasesPlan | None:
    """The plan of a nest, or None where no phases lie between the words of a row or beside it, or planes are not whole halves of granules.

    Nor where a dim or a plane needs more than 32 bits: others serve.
    """
    steps = steps_of(direction, nest) if direction == "space_to_batch" and not nest.pair else None
    if steps is None or max(dim.size for dim in nest.dims) > LONGEST:
        return None
    first = steps.steps[0]
    between = [s for s in steps.steps[1:] if 0 < s.source_stride < first.source_stride]
    if first.source_stride == 1:  # windows side by side, or pixels
        between = [s for s in steps.steps[1:] if s.source_stride == first.size]
    if not between:
        return None
    shared = min(between, key=lambda s: s.source_stride)
    inside = [s for s in steps.steps if s.result_stride < shared.result_stride]
    plane: list[Step] = []
    lanes = nest.full
    while not plane and lanes >= nest.full // 2:
        for count in range(1, len(inside) + 1):
            size = inside[count - 1].size * inside[count - 1].result_stride
            if size % lanes == 0:
                plane = inside[:count]
                if size >= LARGE_PLANE or -size % (128 * lanes) * 16 <= size:
                    break
        lanes = lanes if plane else lanes // 2
    if not plane or plane[-1].size * plane[-1].result_stride > LONGEST:
        return None
    others = [s for s in steps.steps if s not in plane and s != shared]
    phases = next(n for n in range(min(MOST_PHASES, shared.size), 0, -1) if shared.size % n == 0)
    if phases < shared.size:
        others.append(
            replace(
                shared,
                size=shared.size // phases,
                result_stride=shared.result_stride * phases,
                source_stride=shared.source_stride * phases,
                pace=shared.pace * phases,
            )
        )
        shared = replace(shared, size=phases)
    others.sort(key=lambda s: s.source_stride)
    reach = max(s.source_stride for s in plane)
    return PhasesPlan(
        steps,
        tuple(plane),
        tuple(s for s in others if s.source_stride < reach),
        tuple(s for s in others if s.source_stride >= reach),
        shared,
        lanes,
        wide=nest.wide,
        long=False,
        words=nest.words,
    )


@triton.jit
def program_place(
    loops,
    place,
    AXES: tl.constexpr,
    MOVING: tl.constexpr,
    NP: tl.constexpr,
    ND: tl.constexpr,
    CHUNK_AT: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Scalars: a program's offsets in the source and, in granules, in the result; its stretch; and how far along each border."""
    OFFSET: tl.constexpr = tl.int64 if WIDE else tl.int32
    rest = tl.program_id(0)
    source = number(place.base, OFFSET)
    result = tl.cast(0, OFFSET)  # in granules
    chunk = rest * 0
    u0 = -number(place.borders[0].before, tl.int32)
    u1 = -number(place.borders[1].before, tl.int32)
    u2 = -number(place.borders[2].before, tl.int32)
    for d in tl.static_range(NP, ND):
        if MOVING[d] or d == CHUNK_AT:
            index = rest
            if d < ND - 1:
                if MOVING[d]:
                    rest = divide(index, loops[d].size, False)
                    index -= rest * number(loops[d].size.value, tl.int32)
                else:
                    index = index * 0
            if d == CHUNK_AT:
                chunk = index
            else:
                source += tl.cast(index, OFFSET) * number(loops[d].source_stride, OFFSET)
                result += tl.cast(index, OFFSET) * number(loops[d].result_stride, OFFSET)
                if AXES[d] == 0:
                    u0 += index * number(loops[d].pace, tl.int32)
                if AXES[d] == 1:
                    u1 += index * number(loops[d].pace, tl.int32)
                if AXES[d] == 2:
                    u2 += index * number(loops[d].pace, tl.int32)
    return source, result, chunk, u0, u1, u2


@triton.jit
def _row(
    row,
    u0,
    u1,
    u2,
    loops,
    inner,
    AXES: tl.constexpr,
    NP: tl.constexpr,
    BORDERS: tl.constexpr,
    WIDE: tl.constexpr,
    LONG: tl.constexpr,
):
    """Source offset of a plane's row; NOWHERE, where a border that does not change along a row is all of it."""
    OFFSET: tl.constexpr = tl.int64 if WIDE else tl.int32
    NUMBER: tl.constexpr = tl.int64 if LONG else tl.int32
    rest = row
    offset = (row * 0).to(OFFSET)
    for d in tl.static_range(1, NP):
        place = rest
        if d < NP - 1:
            rest = divide(place, loops[d].size, LONG)
            place -= rest * number(loops[d].size.value, NUMBER)
        offset += place.to(OFFSET) * number(loops[d].source_stride, OFFSET)
        moved = place.to(tl.int32) * number(loops[d].pace, tl.int32)
        if AXES[d] == 0:
            u0 += moved
        if AXES[d] == 1:
            u1 += moved
        if AXES[d] == 2:
            u2 += moved
    still = row.to(tl.int32) * 0
    if BORDERS > 0 and AXES[0] != 0:
        offset = tl.where(covers(u0 + still, inner.borders[0].covered, False), offset, NOWHERE)
    if BORDERS > 1 and AXES[0] != 1:
        offset = tl.where(covers(u1 + still, inner.borders[1].covered, False), offset, NOWHERE)
    if BORDERS > 2 and AXES[0] != 2:
        offset = tl.where(covers(u2 + still, inner.borders[2].covered, False), offset, NOWHERE)
    return offset


@triton.jit(do_not_specialize=["programs", "pad_low", "pad_high"])
def move_phases(
    source_pointer,
    result_pointer,
    programs: tl.int64,  # not read
    loops,  # of `PhaseLoop`: of the plane, innermost first, then the others
    inner,  # `Place`
    pad_low: tl.int64,
    pad_high: tl.int64,
    AXES: tl.constexpr,  # of each loop: the bordered dim that it moves along, or -1
    MOVING: tl.constexpr,  # of each loop: more than one step
    NP: tl.constexpr,  # loops of the plane
    ND: tl.constexpr,
    CHUNK_AT: tl.constexpr,  # the loop over the stretches of a plane
    BORDERS: tl.constexpr,
    PHASES: tl.constexpr,
    SHARED_AXIS: tl.constexpr,
    SIDE_BY_SIDE: tl.constexpr,  # phases are one word apart in space
    LANES: tl.constexpr,
    WIDE: tl.constexpr,
    LONG: tl.constexpr,
    STRETCH: tl.constexpr,
    ROWS: tl.constexpr,  # of a table of the plane's rows; 0: none
    RAGGED: tl.constexpr,  # the last stretch of a plane is shorter
    TILE: tl.constexpr,
):
    """Gather; see the module."""
    OFFSET: tl.constexpr = tl.int64 if WIDE else tl.int32
    NUMBER: tl.constexpr = tl.int64 if LONG else tl.int32
    source, result, chunk, u0, u1, u2 = program_place(loops, inner, AXES, MOVING, NP, ND, CHUNK_AT, WIDE)
    first = tl.cast(chunk, NUMBER) * STRETCH
    granules = number(inner.granules, NUMBER)
    left = tl.minimum(granules - tl.cast(chunk, NUMBER) * (STRETCH // LANES), STRETCH // LANES).to(tl.int32) * LANES

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
        row = divide(first, loops[0].size, LONG)
        begin = (first - row * number(loops[0].size.value, NUMBER)).to(tl.int32)
        along = k + begin
        if RAGGED:  # words past the end repeat the last one
            along = tl.minimum(along, left - 1 + begin)
        length = number(loops[0].size.value, tl.int32)
        nth = few(along, length, inner.row_part, ROWS)
        if ROWS == 2:
            place = _row(row, u0, u1, u2, loops, inner, AXES, NP, BORDERS, WIDE, LONG)
            following = _row(row + 1, u0, u1, u2, loops, inner, AXES, NP, BORDERS, WIDE, LONG)
            begin = tl.where(nth == 0, place, following)
        else:
            table = _row(row + tl.arange(0, ROWS), u0, u1, u2, loops, inner, AXES, NP, BORDERS, WIDE, LONG)
            if WARP_FIRST:
                nth = tl.trans(nth)
            begin = tl.reshape(tl.gather(table, tl.reshape(nth, [STRETCH]), 0), nth.shape)
            if WARP_FIRST:
                nth, begin = tl.trans(nth), tl.trans(begin)
        place = along - nth * length
        offset = begin + place.to(OFFSET) * number(loops[0].source_stride, OFFSET)
        if BORDERS > 1 or (BORDERS > 0 and AXES[0] < 0):
            valid = valid & (begin != NOWHERE)
        if AXES[0] >= 0:
            # one comparison is left for each phase: what is not valid is far outside of the border
            column = place * number(loops[0].pace, tl.int32) + chosen(u0, u1, u2, AXES[0])
            column = tl.where(valid, column, -(2**31))
            if SHARED_AXIS >= 0:
                valid = k >= 0
            else:
                valid = covers(column, inner.borders[AXES[0]].covered, False)
            if AXES[0] == 0:
                u0 = column
            if AXES[0] == 1:
                u1 = column
            if AXES[0] == 2:
                u2 = column
    else:
        carry = k
        offset = (k * 0).to(OFFSET)
        rest_of_plane = first
        for d in tl.static_range(NP):
            begin = rest_of_plane
            if d < NP - 1:
                rest_of_plane = divide(begin, loops[d].size, LONG)
                begin -= rest_of_plane * number(loops[d].size.value, NUMBER)
            source += tl.cast(begin, OFFSET) * number(loops[d].source_stride, OFFSET)
            offset += carry.to(OFFSET) * number(loops[d].delta, OFFSET)
            place = carry + begin.to(tl.int32)
            if d < NP - 1:
                carry = divide(place, loops[d].size, False)
            if AXES[d] >= 0:
                if d < NP - 1:
                    place -= carry * number(loops[d].size.value, tl.int32)
                moved = place * number(loops[d].pace, tl.int32)
                if AXES[d] == 0:
                    u0 = u0 + moved
                if AXES[d] == 1:
                    u1 = u1 + moved
                if AXES[d] == 2:
                    u2 = u2 + moved
        if BORDERS > 0 and SHARED_AXIS != 0:
            valid = valid & covers(u0 + k * 0, inner.borders[0].covered, False)
        if BORDERS > 1 and SHARED_AXIS != 1:
            valid = valid & covers(u1 + k * 0, inner.borders[1].covered, False)
        if BORDERS > 2 and SHARED_AXIS != 2:
            valid = valid & covers(u2 + k * 0, inner.borders[2].covered, False)

    pad = tl.cast(pad_low, source_pointer.dtype.element_ty)
    word = tl.arange(0, STRETCH)
    if RAGGED:
        stored = word < left
    else:
        stored = word >= 0
    pointer = result_pointer + result * LANES + tl.cast(first, OFFSET)
    for phase in tl.static_range(PHASES):
        inside = valid
        if SHARED_AXIS == 0:
            inside = inside & covers(
                u0 + k * 0 + phase * number(inner.phase_pace, tl.int32), inner.borders[0].covered, False
            )
        if SHARED_AXIS == 1:
            inside = inside & covers(
                u1 + k * 0 + phase * number(inner.phase_pace, tl.int32), inner.borders[1].covered, False
            )
        if SHARED_AXIS == 2:
            inside = inside & covers(
                u2 + k * 0 + phase * number(inner.phase_pace, tl.int32), inner.borders[2].covered, False
            )
        if SIDE_BY_SIDE:
            value = tl.load(source_pointer + source + (offset + phase), mask=inside, other=pad)
        else:
            shift = phase * number(inner.phase_source_stride, OFFSET)
            value = tl.load(source_pointer + (source + shift) + offset, mask=inside, other=pad)
        if WARP_FIRST:
            value = tl.trans(value)
        target = pointer + phase * (number(inner.phase_result_stride, OFFSET) * LANES) + word
        tl.store(target, tl.reshape(value, [STRETCH]), mask=stored)
