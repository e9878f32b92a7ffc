"""The family for interleaved rows and windows of any size, back to space: runs of the source, woven into a dense result.

Index formula: `steps.py`. Grid: one dimension over stretches of the result's memory, of whole granules. A row of the result
is woven of `phases` runs, whose words lie side by side in the source: every word of a run takes a turn (interleaved), or a
run is a stretch of the row (windows). A program reads the words of all the runs that its stretch is made of, so that lanes
of a warp read neighbouring words, and finds the rows' places once, in a table. Its tile goes through shared memory, out of
which each thread takes a granule in the result's order, so that stores are wide whatever the width of the rows is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import triton
import triton.language as tl

from spacebatch.reference.loops import INT32_MAX, Direction, Nest

from .arithmetic import channels_of, finished, looked_up
from .family import Arguments, Config, access, eased, fitted, power_of_two, table_size
from .integers import Divisor, divide, divisor, encode, encoded, few, number, part
from .planes import WARP_FIRST
from .steps import Step, Steps, steps_of
from .walk import step_loops, walk, ways
from .work import Work

MOST_PHASES = 32
MOST_ROW = 1024  # words of a row of windows, which a tile must hold


class Weave(NamedTuple):
    """What the kernel is told of the result's memory and of its rows; counts are of words."""

    base: int  # the source's offset of the first run
    granules: int  # of a program
    tail: int  # words after the last whole granule
    rows: int
    length: Divisor  # of a row
    before: int  # words of the first round, or run, ahead of a row
    short: int  # what a row lacks of whole rounds
    run: int
    phases: Divisor
    phase_stride: int
    length_part: int  # see `integers.part`
    run_part: int
    phases_part: int
    turn: tuple[int, ...]  # see `RunsPlan.turn`; no argument of a kernel where rows have no cyclic shift


@dataclass(frozen=True)
class RunsPlan:
    """What a launch needs; counts are of words."""

    steps: Steps
    loops: tuple[Step, ...]  # the innermost, along a row, and those over rows
    base: int
    windows: bool  # runs are stretches of a row
    length: int  # of a row
    before: int
    run: int
    phases: int
    phase_stride: int
    count: int  # where rows have a cyclic shift, the words that a run, or a row of windows, goes round by; else 0
    turn: int  # and the word of a run, or of a row, from which on it has gone round
    lanes: int
    wide: bool
    long: bool
    words: int
    work: Work | None = None

    family = "runs"
    direction: Direction = "batch_to_space"

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
        size, row = min(self.payload.bit_length(), 30), min(self.length.bit_length(), 13)
        turns = " round" * (self.count > 0)
        return f"runs {self.words}x{power_of_two(self.phases)} {self.windows:d} {row} {size}{turns}{self.work or ''}"

    @property
    def rule(self) -> Config:
        """128 bytes a thread, which share the scalar work; half with windows, many phases or single bytes, which take more registers."""
        config = fitted(
            self.family, 4096 if self.words == 1 else 8192, 4 if self.windows or self.phases > 8 else 2, self.payload
        )
        config = config._replace(tile_bytes=max(config.tile_bytes, 4096), warps=max(config.warps, 2))
        return eased(config, self.words, self.work)

    def positions(self, tile: int) -> int:
        """Words of each phase that a program reads."""
        least = power_of_two(2 * self.run) if self.windows else 2 * self.lanes
        return max(tile // power_of_two(self.phases), least)

    def _rows(self, stretch: int) -> int:
        """How many rows a stretch of so many words touches at most."""
        return (stretch + self.length - 2) // self.length + 1

    def stretch(self, tile: int) -> int:
        """Words of the result that a program owns: as many as its tile serves, wherever the stretch begins in a row."""
        positions, lanes = self.positions(tile), self.lanes
        if self.windows:  # whole rows are read
            rows = positions // self.run
            whole = math.lcm(self.length, lanes)
            return max(rows * self.length // whole * whole, ((rows - 1) * self.length + 1) // lanes * lanes)
        step = 2 * lanes if positions >= 4 * lanes else lanes  # whole sectors
        short = self.run * self.phases - self.length  # what a row lacks of whole rounds
        stretch = positions * self.phases // math.lcm(step, self.phases) * math.lcm(step, self.phases)
        if short or not stretch:
            stretch = positions * self.phases // step * step
            while (stretch + self.phases - 2 + (self._rows(stretch) - 1) * short) // self.phases + 1 > positions:
                stretch -= step
        return stretch

    def programs(self, tile: int) -> int:
        """How many programs a launch with tiles of so many words takes."""
        return -(-self.steps.total // self.stretch(tile))

    def arguments(self, tile: int) -> Arguments:
        """What the kernel takes, with tiles of so many words."""
        stretch = self.stretch(tile)
        granules, tail = divmod(self.steps.total, self.lanes)
        weave = Weave(
            base=self.base,
            granules=stretch // self.lanes,
            tail=tail,
            rows=self.steps.total // self.length,
            length=divisor(self.length),
            before=self.before,
            short=self.run * self.phases - self.length,
            run=self.run,
            phases=divisor(self.phases),
            phase_stride=self.phase_stride,
            length_part=part(self.length),
            run_part=part(self.run),
            phases_part=part(self.phases),
            turn=(encode(self.turn), encode(self.count)) if self.count else (),
        )
        flags = {
            "WAYS": ways(self.loops),
            "ROUND": self.count > 0,
            "AXES": tuple(s.axis for s in self.loops),
            "ND": len(self.loops),
            "WINDOWS": self.windows,
            "PHASES": power_of_two(self.phases),
            "COUNT": 0 if self.windows and self.phases < power_of_two(self.phases) else self.phases,
            "POSITIONS": self.positions(tile),
            "ROWS": table_size(self._rows(stretch)),
            "LANES": self.lanes,
            "TAIL": tail > 0,
            "WIDE": self.wide,
            "LONG": self.long,
        }
        return Arguments(granules, step_loops(self.loops), encoded(weave), flags)

    def __str__(self) -> str:
        kind = ("windows" if self.windows else "interleaved") + ", round" * (self.count > 0)
        return f"rows of {self.length} words of {self.words} bytes, woven of {self.phases} runs of {self.run} ({kind})"


def plan_runs(direction: Direction, nest: Nest, work: Work | None = None) -> RunsPlan | None:
    """The plan of a nest, or None where rows are not made of a few runs whose words lie side by side."""
    steps = steps_of(direction, nest) if direction == "batch_to_space" and not nest.pair else None
    if steps is None:
        return None
    first, *outer = steps.steps
    base, before, count, turn = steps.base, 0, 0, 0
    if first.extent and first.source_stride == 1:  # interleaved
        windows, length, phases, phase_stride = False, first.size, first.extent, first.inner_stride
        skipped, before = divmod(first.before, phases)
        base += skipped
        run = (before + length - 1) // phases + 1
        if first.turn:
            count = first.turn // phases
            turn = count - skipped
    elif first.extent and first.inner_stride == 1:  # windows, some of them cropped
        windows, length, run, phase_stride = True, first.size, first.extent, first.source_stride
        if first.turn:  # every window is read, and thought of as whole
            before, phases = first.before, first.turn // run
            count, turn = first.turn, first.turn - before
        else:
            skipped, before = divmod(first.before, run)
            base += skipped * phase_stride
            phases = (before + length - 1) // run + 1
    elif not first.extent and first.source_stride == 1 and outer and not outer[0].extent:
        windows, run, phases, phase_stride = True, first.size, outer[0].size, outer[0].source_stride
        length = run * phases
        outer = outer[1:]
    else:
        return None
    most = MOST_ROW if windows else INT32_MAX // 2
    if phases > MOST_PHASES or run == 1 or length > most:
        return None
    return RunsPlan(
        steps,
        (first, *outer),
        base,
        windows,
        length,
        before,
        run,
        phases,
        phase_stride,
        count,
        turn,
        nest.full,
        wide=nest.wide,
        long=max(steps.total, *(s.before + max(s.size, s.extent, s.turn) for s in steps.steps)) > INT32_MAX - 2**16,
        words=nest.words,
        work=work,
    )


@triton.jit(do_not_specialize=["granules", "pad_low", "pad_high"])
def move_runs(
    source_pointer,
    result_pointer,
    granules: tl.int64,  # whole ones
    loops,  # of `StepLoop`, innermost first
    inner,  # `Weave`
    pad_low: tl.int64,  # not read
    pad_high: tl.int64,
    WAYS: tl.constexpr,
    AXES: tl.constexpr,  # none
    ND: tl.constexpr,
    ROUND: tl.constexpr,  # rows have a cyclic shift
    WINDOWS: tl.constexpr,
    PHASES: tl.constexpr,  # up to the next power of two
    COUNT: tl.constexpr,  # of them; 0: known at run time alone
    POSITIONS: tl.constexpr,
    ROWS: tl.constexpr,
    LANES: tl.constexpr,
    TAIL: tl.constexpr,  # words are left after the last whole granule
    WIDE: tl.constexpr,
    LONG: tl.constexpr,
    TILE: tl.constexpr,
    WORK: tl.constexpr = None,
    tables=None,
):
    """Weave; see the module."""
    WORDS: tl.constexpr = POSITIONS * PHASES
    OFFSET: tl.constexpr = tl.int64 if WIDE else tl.int32
    NUMBER: tl.constexpr = tl.int64 if LONG else tl.int32
    run = number(inner.run, tl.int32)
    before = number(inner.before, tl.int32)
    phases = number(inner.phases.value, tl.int32)
    short = number(inner.short, tl.int32)
    # scalars: the stretch, its first row, and the first and last positions of the runs that it takes words of
    own = number(inner.granules, tl.int32)
    first = tl.cast(tl.program_id(0), NUMBER) * own
    left = tl.minimum(tl.cast(granules, NUMBER) - first, own).to(tl.int32)  # whole granules
    word = first * LANES
    row = divide(word, inner.length, LONG)
    start = (word - row * number(inner.length.value, NUMBER)).to(tl.int32)
    last = start + left * LANES - 1
    if TAIL:
        last += tl.where(left < own, number(inner.tail, tl.int32), 0)
    last_row = divide(last, inner.length, False)
    skip = start * 0
    end = (last_row + 1) * run
    if not WINDOWS:
        skip = divide(start + before, inner.phases, False)
        end = divide(last + last_row * short + before, inner.phases, False) + 1

    # words in the order of the runs
    position = tl.minimum(tl.arange(0, POSITIONS) + skip, end - 1)
    rows = number(inner.rows, NUMBER) - 1
    base = number(inner.base, OFFSET)
    if ROWS == 2:
        place, _ = walk(row, base, (), loops, WAYS, AXES, 1, ND, WIDE, LONG)
        following, _ = walk(tl.minimum(row + 1, rows), base, (), loops, WAYS, AXES, 1, ND, WIDE, LONG)
        offset = tl.where(position < run, place, following - run) + position
    else:
        nth = tl.arange(0, ROWS)
        table, _ = walk(tl.minimum(row + nth, rows), base, (), loops, WAYS, AXES, 1, ND, WIDE, LONG)
        offset = tl.gather(table - (nth * run).to(OFFSET), few(position, run, inner.run_part, ROWS), 0) + position
    if ROUND and not WINDOWS:
        word_of_run = position - few(position, run, inner.run_part, ROWS) * run
        offset -= tl.where(word_of_run >= number(inner.turn[0], tl.int32), number(inner.turn[1], OFFSET), 0)
    phase = tl.arange(0, PHASES)
    pointer = source_pointer + phase.to(OFFSET) * number(inner.phase_stride, OFFSET)
    present = phase < (COUNT if COUNT > 0 else phases)
    if WARP_FIRST:
        value = tl.load(pointer[None, :] + offset[:, None], mask=present[None, :])
    else:
        value = tl.trans(tl.load(pointer[:, None] + offset[None, :], mask=present[:, None]))
    staged = tl.reshape(value, [WORDS])

    # words in the order of the result: a gather for each bit of the number of phases, whose sizes are powers of two
    BITS: tl.constexpr = COUNT if COUNT > 0 and POSITIONS >= 64 * LANES else PHASES
    for bit in tl.static_range(6):
        if BITS >> bit & 1:
            granule = tl.arange(0, (POSITIONS << bit) // LANES) + (BITS >> (bit + 1) << (bit + 1)) * POSITIONS // LANES
            _store(
                staged,
                result_pointer + word.to(OFFSET),
                word,
                granule,
                left,
                start,
                skip,
                inner,
                ROUND,
                WINDOWS,
                COUNT,
                PHASES,
                ROWS,
                LANES,
                TAIL,
                WIDE,
                tables,
                WORK,
            )


@triton.jit
def _store(
    staged,
    result_pointer,  # of the stretch
    word,  # its first one
    granule,
    left,
    start,
    skip,
    inner,
    ROUND: tl.constexpr,
    WINDOWS: tl.constexpr,
    COUNT: tl.constexpr,
    PHASES: tl.constexpr,
    ROWS: tl.constexpr,
    LANES: tl.constexpr,
    TAIL: tl.constexpr,
    WIDE: tl.constexpr,
    tables,
    WORK: tl.constexpr,
):
    """Store granules of a stretch out of the tile of runs."""
    WORDS: tl.constexpr = granule.shape[0] * LANES
    length = number(inner.length.value, tl.int32)
    run = number(inner.run, tl.int32)
    before = number(inner.before, tl.int32)
    phases = number(inner.phases.value, tl.int32)
    short = number(inner.short, tl.int32)
    own = number(inner.granules, tl.int32)
    # granules past the end repeat the last one, and store nothing
    within = tl.minimum(granule, tl.minimum(left, own - 1) if TAIL else left - 1) * LANES
    lane = tl.arange(0, LANES)[None, :]
    nth = few((within + start)[:, None] + lane, length, inner.length_part, ROWS)
    if WINDOWS:
        # rows are thought of as whole windows, and windows counted through; what has gone round is a row of windows too far
        place = ((within + (start + before))[:, None] + lane) + nth * short
        window = tl.umulhi(place.to(tl.uint32), number(inner.run_part, tl.uint32)).to(tl.int32)
        at = (within + (start + before))[:, None] * PHASES + lane * PHASES
        at += nth * ((run + short) * PHASES - phases) + window * (1 - run * PHASES)
        if ROUND:
            since_turn = (within + (start + length - number(inner.turn[0], tl.int32)))[:, None] + lane
            turns = tl.umulhi(since_turn.to(tl.uint32), number(inner.length_part, tl.uint32)).to(tl.int32)
            at += (nth - turns) * phases
    else:
        at = ((within + (start + before - skip * COUNT))[:, None] + lane) + nth * short
        if COUNT < PHASES:
            at += tl.umulhi(at.to(tl.uint32), number(inner.phases_part, tl.uint32)).to(tl.int32) * (PHASES - COUNT)
    value = tl.reshape(tl.gather(staged, tl.reshape(at, [WORDS]), 0), [granule.shape[0], LANES])
    if WORK is not None:
        channel = channels_of(word, within, tables, LANES, WORK)
        exists = (granule < left)[:, None] & (lane >= 0)
        if TAIL:
            exists = exists | ((granule == left)[:, None] & (lane < number(inner.tail, tl.int32)))
        place = (word.to(tl.int64 if WIDE else tl.int32) + within)[:, None] + lane
        found = looked_up(channel, None, 0, result_pointer, tables, WORK)
        value = finished(value, exists, place, exists, found, tables, WORK)
    pointers = (result_pointer + within)[:, None] + lane
    tl.store(pointers, value, mask=(granule < left)[:, None] & (lane >= 0))
    if TAIL:
        if tl.program_id(0) == tl.num_programs(0) - 1:
            tl.store(pointers, value, mask=(granule == left)[:, None] & (lane < number(inner.tail, tl.int32)))
