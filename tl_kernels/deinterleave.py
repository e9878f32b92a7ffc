"""The family for single bytes in interleaved blocks of 2 and 4 and of any width: words at any address, to batch.

Index formula: `steps.py`. Grid: one dimension, as in `phases`; a program owns STRETCH consecutive bytes of a plane of the
result in each phase of the last blocked dim. A thread makes SPAN // PHASES bytes of every phase of SPAN bytes that lie side
by side in space: it reads the aligned words around them, shifts them to their place, and takes the phases apart within
registers. Where the row ends among them, the others come from the next row in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import NamedTuple

import triton
import triton.language as tl

from spacebatch.reference.loops import INT32_MAX, Direction, Nest

from .axes import advanced, within
from .family import LEAST_SPANS, Arguments, Config, spanning
from .funnel import PERMUTES, chosen, joined, permuted, reached, spread, window
from .integers import divide, encoded, number
from .phases import PhasesPlan, plan_phases
from .planes import Place, stretch_of_program

SPANS = (32, 16)  # bytes in space that a thread takes apart at once
NARROWEST = 8  # bytes of a phase that it stores at once, at least


class Window(NamedTuple):
    """What the kernel is told beside the loops."""

    place: Place
    size: int  # bytes of the source
    below: int  # a program reads at most so many bytes ahead of where its first byte lies
    above: int  # and up to so many after


@dataclass(frozen=True)
class DeinterleavePlan(PhasesPlan):
    """What a launch needs; see `phases.PhasesPlan`."""

    size: int = field(kw_only=True)  # bytes of the source
    span: int = field(kw_only=True)  # bytes in space that a thread takes apart at once

    family = "deinterleave"

    @property
    def access(self) -> tuple[int, int]:
        """Bits of the widest load and store of one thread."""
        return 128, min(self.span // self.shared.size, self.lanes) * 8

    @property
    def bucket(self) -> str:
        """What is alike for the tuning."""
        return f"deinterleave {super().bucket}"

    @property
    def rule(self) -> Config:
        """Where nothing was measured."""
        return spanning(self.family, self.payload)

    def _stretch(self, tile: int) -> int:
        return max(tile, LEAST_SPANS * self.span) // self.shared.size

    def arguments(self, tile: int) -> Arguments:
        """What the kernel takes, with tiles of so many words."""
        count = self._stretch(tile)
        below, above = 0, count * self.shared.size + 2 * self.span
        moved = self.plane[0].size * self.plane[0].source_stride
        for inside, step in zip(self.plane, self.plane[1:], strict=False):
            count = count // inside.size + 2  # at most so many steps, that of the next row included
            below += count * max(moved - step.source_stride, 0)
            above += count * max(step.source_stride - moved, 0)
            moved = step.size * step.source_stride
        flags = self.flags(self._stretch(tile)) | {"WIDE": self.wide}
        window = encoded(Window(self.place(), self.size, below, above))
        row = self.plane[0]
        flags |= {
            "SPAN": self.span,
            "NEXT": row.size % (self.span // self.shared.size) > 0,
            "AHEAD": row.axis >= 0 and self.steps.axes[row.axis].before > 0,
            "PERMUTES": PERMUTES,
        }
        return Arguments(self.programs(tile), self.loops(self._stretch(tile)), window, flags)


def plan_deinterleave(direction: Direction, nest: Nest) -> DeinterleavePlan | None:
    """The plan of a nest, or None where it is not of single bytes in small blocks side by side, in a dense, aligned source.

    Nor with a cyclic shift, with which the words around those that are needed would lie in two places: others serve.
    """
    found = plan_phases(direction, nest) if nest.words == 1 and nest.space_aligned else None
    size = nest.space_words
    if found is None or size is None or any(found.steps.turns):
        return None
    shared, row = found.shared, found.plane[0]
    side_by_side = shared.source_stride == 1 and row.source_stride == shared.size and row.axis == shared.axis
    reach = row.size * shared.size
    if shared.size not in (2, 4) or not side_by_side or reach > INT32_MAX - 2**16:
        return None
    if row.axis >= 0:
        border = found.steps.axes[row.axis]
        reach = min(reach, border.before + border.covered + shared.size)
    for span in SPANS:
        # the rest of a span, after a row's end, fits the next row
        fits = len(found.plane) == 1 or reach >= span
        if fits and span >= NARROWEST * shared.size:
            values = {f.name: getattr(found, f.name) for f in fields(found)}
            return DeinterleavePlan(**values, size=size, span=span)
    return None


@triton.jit(do_not_specialize=["programs", "pad_low", "pad_high"])
def move_deinterleave(
    source_pointer,
    result_pointer,
    programs: tl.int64,  # not read
    loops,  # of `PlaneLoop`: of the plane, innermost first, then the others
    inner,  # `Window`
    pad_low: tl.int64,
    pad_high: tl.int64,
    AXES: tl.constexpr,  # of each loop: the bordered dim that it moves along, or -1
    MOVING: tl.constexpr,  # of each loop: more than one step
    NP: tl.constexpr,  # loops of the plane
    ND: tl.constexpr,
    CHUNK_AT: tl.constexpr,  # the loop over the stretches of a plane
    BORDERS: tl.constexpr,
    PHASES: tl.constexpr,
    LANES: tl.constexpr,
    WIDE: tl.constexpr,
    STRETCH: tl.constexpr,
    RAGGED: tl.constexpr,  # the last stretch of a plane is shorter
    SPAN: tl.constexpr,
    NEXT: tl.constexpr,  # rows end among the bytes that a thread makes
    AHEAD: tl.constexpr,  # rows have a border ahead of them
    PERMUTES: tl.constexpr,
    TILE: tl.constexpr,
):
    """Take phases apart; see the module."""
    OFFSET: tl.constexpr = tl.int64 if WIDE else tl.int32
    OUT: tl.constexpr = SPAN // PHASES
    ROW_AXIS: tl.constexpr = AXES[0]
    source, result, first, left, along = stretch_of_program(
        loops, inner.place, AXES, MOVING, NP, ND, CHUNK_AT, LANES, STRETCH, WIDE
    )
    borders = inner.place.borders

    # what a thread makes of each phase, from k on, and the place of its first byte; `next_` is of the row after
    k = tl.arange(0, STRETCH // OUT) * OUT
    carry = k
    offset = (k * 0).to(OFFSET)
    further = offset
    stop = k * 0 + SPAN
    before = 0
    if ROW_AXIS >= 0:
        before = -along[ROW_AXIS]
    x = k * 0 - before
    next_along = along
    wraps = k >= 0
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
            size = number(loops[d].size.value, tl.int32)
            carry = divide(index, loops[d].size, False)
            index -= carry * size
        if d == 0:
            if NP > 1:
                stop = (size - index) * PHASES
            if ROW_AXIS >= 0:
                x += index * PHASES
        else:
            further += tl.where(wraps, number(loops[d].delta, OFFSET), 0)
            following = index + tl.where(wraps, 1, 0)
            if d < NP - 1:
                wraps = following == size
                following = tl.where(wraps, 0, following)
            if AXES[d] >= 0:
                pace = number(loops[d].pace, tl.int32)
                along = advanced(along, AXES[d], index * pace)
                next_along = advanced(next_along, AXES[d], following * pace)

    stored = k < left
    valid = within(stored, along, borders, BORDERS, ROW_AXIS, False)
    next_valid = within(stored & (stop + before < SPAN), next_along, borders, BORDERS, ROW_AXIS, False)

    here = source + offset
    size = number(inner.size, OFFSET)
    if (source < number(inner.below, OFFSET)) | (source + number(inner.above, OFFSET) > size):
        words = window(source_pointer, here, valid, source, size, SPAN, True, PERMUTES)
        if NEXT:
            others = window(source_pointer, here + further, next_valid, source, size, SPAN, True, PERMUTES)
    else:
        words = window(source_pointer, here, valid, source, size, SPAN, False, PERMUTES)
        if NEXT:
            others = window(source_pointer, here + further, next_valid, source, size, SPAN, False, PERMUTES)

    # padding stands ahead of the row's bytes and behind them, up to those of the next row
    pad = (tl.cast(pad_low, tl.int32) & 255) * 0x01010101
    if BORDERS > 0:
        end = stop
        if ROW_AXIS >= 0:
            end = number(borders[ROW_AXIS].covered, tl.int32) - x
        behind = spread(tl.where(valid, end, 0), SPAN)
        following = spread(tl.where(next_valid, stop + before, SPAN), SPAN)
    else:
        following = spread(stop, SPAN)
    if AHEAD:
        ahead = spread(-x, SPAN)
    mixed = ()
    for n in tl.static_range(SPAN // 4):
        word = words[n]
        if AHEAD:
            word = chosen(reached(ahead, n, PERMUTES), word, pad)
        if BORDERS > 0:
            word = chosen(reached(behind, n, PERMUTES), pad, word)
        if NEXT:
            word = chosen(reached(following, n, PERMUTES), others[n], word)
        mixed = mixed + (word,)

    target = result_pointer + result + tl.cast(first, OFFSET) + k
    stride = number(inner.place.phase_result_stride, OFFSET) * LANES
    for phase in tl.static_range(PHASES):
        parts = ()
        for n in tl.static_range(SPAN // 4 // PHASES):
            if PHASES == 2:
                part = permuted(mixed[2 * n], mixed[2 * n + 1], 0x7531 if phase else 0x6420, PERMUTES)
            else:
                low = permuted(mixed[4 * n], mixed[4 * n + 1], 0x7362 if phase >= 2 else 0x5140, PERMUTES)
                high = permuted(mixed[4 * n + 2], mixed[4 * n + 3], 0x7362 if phase >= 2 else 0x5140, PERMUTES)
                part = permuted(low, high, 0x7632 if phase % 2 else 0x5410, PERMUTES)
            parts = parts + (part,)
        there = target + phase * stride
        if OUT == 8:
            tl.store(there.to(tl.pointer_type(tl.int64), bitcast=True), joined(parts[0], parts[1]), mask=stored)
        else:
            pair = tl.arange(0, 2)[None, :]
            both = tl.join(joined(parts[0], parts[1]), joined(parts[2], parts[3]))
            pointers = there.to(tl.pointer_type(tl.int64), bitcast=True)[:, None] + pair
            tl.store(pointers, both, mask=stored[:, None] & (pair >= 0))
