"""The family for single bytes in interleaved blocks of 2 and 4 and of any width: words at any address, back to space.

Index formula: `steps.py`. Grid: one dimension over tiles of the result's memory. A thread makes SPAN bytes of a row, SPAN //
BLOCK of which lie side by side in each phase: it reads the aligned words around them, shifts them to their place, and puts
the phases together within registers. Where the row ends among them, the others come from the next row in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import NamedTuple

import triton
import triton.language as tl

from spacebatch.reference.loops import Direction, Nest

from .axes import borders
from .family import LEAST_SPANS, Arguments, Config, spanning
from .funnel import PERMUTES, chosen, joined, permuted, reached, spread, stream
from .granules import GranulesPlan, Memory, plan_granules
from .integers import divide, encoded, number
from .walk import walk

SPANS = (32, 16)  # bytes of the result that a thread makes at once
NARROWEST = 8  # bytes of a phase that it reads at once, at least
FARTHEST = 24  # and bytes from the first of them to the end of the words that are read, at most


class Run(NamedTuple):
    """What the kernel is told beside the loops."""

    memory: Memory  # its tail is what is left after the last whole span
    size: int  # bytes of the source
    low: int  # the first and the last span whose words may reach past the source's end
    high: int


@dataclass(frozen=True)
class InterleavePlan(GranulesPlan):
    """What a launch needs; see `granules.GranulesPlan`."""

    size: int = field(kw_only=True)  # bytes of the source
    span: int = field(kw_only=True)  # bytes of the result that a thread makes at once
    last: tuple[int, ...] = field(kw_only=True)  # where the source's FARTHEST last bytes go to

    family = "interleave"

    @property
    def access(self) -> tuple[int, int]:
        """Bits of the widest load and store of one thread."""
        return min(self.span * 8 // self.steps.steps[0].extent, 64), 128

    @property
    def bucket(self) -> str:
        """What is alike for the tuning."""
        return f"interleave {super().bucket}"

    @property
    def rule(self) -> Config:
        """Where nothing was measured."""
        return spanning(self.family, self.payload)

    def _spans(self, tile: int) -> int:
        return max(tile // self.span, LEAST_SPANS)

    def programs(self, tile: int) -> int:
        """How many programs a launch with tiles of so many words takes."""
        return -(-self.steps.total // (self._spans(tile) * self.span))

    def arguments(self, tile: int) -> Arguments:
        """What the kernel takes, with tiles of so many words."""
        found = super().arguments(tile)
        spans, tail = divmod(self.steps.total, self.span)
        low = min(self.last, default=-1) // self.span
        high = max(self.last, default=-1) // self.span
        row = self.steps.steps[0]
        memory = encoded(Memory(self.steps.base, tail, self.steps.total // row.size, borders(())))
        flags = {
            "ND": found.flags["ND"],
            "WAYS": found.flags["WAYS"],
            "AXES": found.flags["AXES"],
            "BLOCK": row.extent,
            "SPAN": self.span,
            "SPANS": self._spans(tile),
            "NEXT": row.size % self.span > 0,
            "TAIL": tail > 0,
            "WIDE": self.wide,
            "LONG": self.long,
            "PERMUTES": PERMUTES,
        }
        return Arguments(spans, found.loops, encoded(Run(memory, self.size, low, high)), flags)


def plan_interleave(direction: Direction, nest: Nest) -> InterleavePlan | None:
    """The plan of a nest, or None where it is not of single bytes in small blocks side by side, in a dense, aligned source.

    Nor where rows have a cyclic shift, with which the words around those that are needed would lie in two places: others serve.
    """
    size = nest.batch_words
    aligned = nest.space_aligned and nest.batch_aligned
    if direction != "batch_to_space" or nest.words != 1 or not aligned or size is None:
        return None
    found = plan_granules(direction, nest)
    if found is None:
        return None
    row = found.steps.steps[0]
    if row.extent not in (2, 4) or row.source_stride != 1 or row.turn:
        return None
    for span in SPANS:
        # the rest of a span, after a row's end, fits the next row
        if row.size >= span - 1 and span >= NARROWEST * row.extent:
            values = {f.name: getattr(found, f.name) for f in fields(found)}
            ends = [nest.place_in_space(n) for n in range(max(size - FARTHEST, 0), size)]
            last = tuple(n for n in ends if n is not None)
            return InterleavePlan(**values, size=size, span=span, last=last)
    return None


@triton.jit(do_not_specialize=["spans", "pad_low", "pad_high"])
def move_interleave(
    source_pointer,
    result_pointer,
    spans: tl.int64,  # whole ones
    loops,  # of `StepLoop`, innermost first
    inner,  # `Run`
    pad_low: tl.int64,  # not read
    pad_high: tl.int64,  # not read
    ND: tl.constexpr,
    WAYS: tl.constexpr,
    AXES: tl.constexpr,  # none
    BLOCK: tl.constexpr,
    SPAN: tl.constexpr,
    SPANS: tl.constexpr,  # of a program
    NEXT: tl.constexpr,  # rows end among the bytes that a thread makes
    TAIL: tl.constexpr,  # bytes are left after the last whole span
    WIDE: tl.constexpr,
    LONG: tl.constexpr,
    PERMUTES: tl.constexpr,
    TILE: tl.constexpr,
):
    """Put phases together; see the module."""
    OFFSET: tl.constexpr = tl.int64 if WIDE else tl.int32
    NUMBER: tl.constexpr = tl.int64 if LONG else tl.int32
    start_span = tl.cast(tl.program_id(0), NUMBER) * SPANS
    span = start_span + tl.arange(0, SPANS)
    whole = span < tl.cast(spans, NUMBER)
    # spans past the end repeat the last one, whose loads are in bounds, and store nothing
    if TAIL:
        first = tl.minimum(span, tl.cast(spans, NUMBER)) * SPAN
    else:
        first = tl.minimum(span, tl.cast(spans, NUMBER) - 1) * SPAN
    memory = inner.memory
    length = number(loops[0].size.value, NUMBER)
    row = first * 0
    if ND > 1:
        row = divide(first, loops[0].size, LONG)
    begin = first - row * length  # of the span in its row
    stop = tl.minimum(length - begin, SPAN).to(tl.int32)  # the byte at which the row ends
    before = number(loops[0].before, NUMBER)
    base = number(memory.base, OFFSET)
    offset, _ = walk(row, base, (), loops, WAYS, AXES, 1, ND, WIDE, LONG)
    starts = starts_of(offset, begin + before, loops[0], BLOCK, OFFSET)
    next_starts = starts
    if NEXT:
        rows = number(memory.rows, NUMBER)
        ends = (stop < SPAN) & (row + 1 < rows)
        following = tl.minimum(row + 1, rows - 1)
        next_offset, _ = walk(following, base, (), loops, WAYS, AXES, 1, ND, WIDE, LONG)
        next_starts = starts_of(next_offset, before - stop, loops[0], BLOCK, OFFSET)

    size = number(inner.size, OFFSET)
    if (start_span <= number(inner.high, NUMBER)) & (start_span + SPANS > number(inner.low, NUMBER)):
        words = _interleaved(source_pointer, starts, size, BLOCK, SPAN, True, PERMUTES)
        others = words
        if NEXT:
            others = _interleaved(source_pointer, where_each(ends, next_starts), size, BLOCK, SPAN, True, PERMUTES)
    else:
        words = _interleaved(source_pointer, starts, size, BLOCK, SPAN, False, PERMUTES)
        others = words
        if NEXT:
            others = _interleaved(source_pointer, where_each(ends, next_starts), size, BLOCK, SPAN, False, PERMUTES)

    limit = spread(stop, SPAN)
    parts = ()
    for n in tl.static_range(SPAN // 8):
        low, high = words[2 * n], words[2 * n + 1]
        if NEXT:
            low = chosen(reached(limit, 2 * n, PERMUTES), others[2 * n], low)
            high = chosen(reached(limit, 2 * n + 1, PERMUTES), others[2 * n + 1], high)
        parts = parts + (joined(low, high),)
    if SPAN == 16:
        value = tl.join(parts[0], parts[1])
    else:
        value = tl.reshape(tl.join(tl.join(parts[0], parts[2]), tl.join(parts[1], parts[3])), [SPANS, 4])
    place = tl.arange(0, SPAN // 8)[None, :]
    pointers = result_pointer.to(tl.pointer_type(tl.int64), bitcast=True) + (first.to(OFFSET) // 8)[:, None] + place
    tl.store(pointers, value, mask=whole[:, None] & (place >= 0))
    if TAIL:
        if tl.program_id(0) == tl.num_programs(0) - 1:
            left = tl.where(span == tl.cast(spans, NUMBER), number(memory.tail, tl.int32), 0)
            for byte in tl.static_range(SPAN):
                there = result_pointer + first.to(OFFSET) + byte
                part = (parts[byte // 8] >> (8 * (byte % 8))).to(tl.int8)
                tl.store(there, part, mask=byte < left)


@triton.jit
def starts_of(offset, place, loop, BLOCK: tl.constexpr, OFFSET: tl.constexpr):
    """Source offsets of BLOCK places of a row, from one on, which may lie ahead of the row."""
    stride = number(loop.inner_stride, OFFSET)
    phase = place & (BLOCK - 1)
    start = offset + ((place - phase) // BLOCK).to(OFFSET) + phase.to(OFFSET) * stride
    starts = (start,)
    for n in tl.static_range(BLOCK - 1):
        last = ((place + n) & (BLOCK - 1)) == BLOCK - 1
        start += tl.where(last, 1 - (BLOCK - 1) * stride, stride)
        starts = starts + (start,)
    return starts


@triton.jit
def where_each(condition, starts):
    """The starts where the condition holds, the source's first byte elsewhere."""
    result = ()
    for n in tl.static_range(len(starts)):
        result = result + (tl.where(condition, starts[n], 0),)
    return result


@triton.jit
def _interleaved(
    pointer, starts, size, BLOCK: tl.constexpr, SPAN: tl.constexpr, EDGE: tl.constexpr, PERMUTES: tl.constexpr
):
    """SPAN bytes as words: one of each of BLOCK streams by turns."""
    streams = ()
    for n in tl.static_range(BLOCK):
        streams = streams + (stream(pointer, starts[n], size, SPAN // BLOCK, EDGE, PERMUTES),)
    words = ()
    for n in tl.static_range(SPAN // BLOCK // 4):
        if BLOCK == 2:
            words = words + (
                permuted(streams[0][n], streams[1][n], 0x5140, PERMUTES),
                permuted(streams[0][n], streams[1][n], 0x7362, PERMUTES),
            )
        else:
            for half in tl.static_range(2):
                low = permuted(streams[0][n], streams[1][n], 0x7362 if half else 0x5140, PERMUTES)
                high = permuted(streams[2][n], streams[3][n], 0x7362 if half else 0x5140, PERMUTES)
                words = words + (permuted(low, high, 0x5410, PERMUTES), permuted(low, high, 0x7632, PERMUTES))
    return words
