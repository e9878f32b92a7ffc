"""The family for interleaved blocks of 1, 2, 4 … elements whose results are whole 16-byte granules.

Wide loads, an exchange, wide stores. Index formula: `reference.loops`. Grid: one dimension over tiles of rows. A program
owns TILE // (LANES * PHASES) rows; a row is a granule of each of PHASES phases of the last blocked dim: LANES positions
times PHASES words, which lie side by side in space (or, where a block is cut into chunks, in runs of PHASES words) and
PHASES granules apart in the batch tensor. The exchange between the two is Triton's: shuffles, or matrix stores and loads
of shared memory, a handful of instructions per granule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import triton
import triton.language as tl

from spacebatch.reference.loops import INT32_MAX, SPLIT, Direction, LoopDim, Nest, common_unit

from .arithmetic import PLACE, finished, looked_up
from .family import Arguments, Config, access, eased, fitted
from .integers import Divisor, divide, divisor, encode, encoded, number
from .row_loops import MAX_LOOPS, kinds_of, locate_rows, offsets_of, row_loops
from .work import Work

MOST_PHASE_BYTES, MOST_PHASES = 64, 32  # of a run in space: whole sectors, and a tile still holds many rows


class Positions(NamedTuple):
    """What the kernel is told of the last blocked dim."""

    granules: Divisor  # of a row of positions
    chunks: Divisor  # of phases
    phase_stride: int  # in granules
    before: int  # in units of alignment
    covered: int
    turn: tuple[int, ...]  # its size, where it has a cyclic shift, whose part `before` is then


@dataclass(frozen=True)
class VectorsPlan:
    """What a launch needs; counts are of words."""

    direction: Direction
    dims: tuple[LoopDim, ...]  # of the rows but for granules and chunks, innermost first
    rows: int
    inner: LoopDim  # the last blocked dim
    lanes: int  # positions of a granule
    phases: int  # of a tile row
    granules: int  # of a row of positions
    chunks: int  # of phases
    space_unit: int
    wide: bool
    long: bool
    words: int
    work: Work | None = None

    family = "vectors"

    @property
    def payload(self) -> int:
        """Bytes of the result that are written."""
        return self.rows * self.lanes * self.phases * self.words

    @property
    def access(self) -> tuple[int, int]:
        """Bits of the widest load and store of one thread."""
        sides = (self.space_unit, self.lanes) if self.direction == "space_to_batch" else (self.lanes, self.space_unit)
        return access(self, *sides)

    @property
    def bucket(self) -> str:
        """What is alike for the tuning."""
        kinds = kinds_of(self.dims) + " round" * (self.inner.wrap > 0)
        size = min(self.payload.bit_length(), 30)
        shape = f"{self.words}x{self.space_unit} {self.inner.extent}x{self.phases} {int(self.inner.masked)}"
        return f"vectors {self.direction} {shape} {size} {kinds}{self.work or ''}"

    @property
    def rule(self) -> Config:
        """128 bytes a thread: enough loads in flight, the scalar work shared, and about 60 registers."""
        return eased(fitted(self.family, 8192, 2, self.payload), self.words, self.work)

    def programs(self, tile: int) -> int:
        """How many programs a launch with tiles of so many words takes."""
        return -(-self.rows // max(tile // (self.lanes * self.phases), 1))

    def arguments(self, tile: int) -> Arguments:
        """What the kernel takes, with tiles of so many words."""
        inner, s = self.inner, self.space_unit
        positions = Positions(
            granules=divisor(self.granules),
            chunks=divisor(self.chunks),
            phase_stride=inner.inner_stride // self.lanes,
            before=(inner.before + inner.wrap) // s,
            covered=inner.covered // s,
            turn=(encode(inner.size // s),) if inner.wrap else (),
        )
        flags = {
            "KINDS": tuple(dim.kind for dim in self.dims),
            "MASKED": tuple(dim.masked for dim in self.dims),
            "TURNS": tuple(dim.wrap > 0 for dim in self.dims),
            "ND": len(self.dims),
            "GRANULES": self.granules > 1,
            "CHUNKS": self.chunks > 1,
            "INNER_MASKED": inner.masked,
            "INNER_TURNS": inner.wrap > 0,
            "BLOCK": inner.extent,
            "PHASES": self.phases,
            "LANES": self.lanes,
            "SPACE_UNIT": s,
            "TO_SPACE": self.direction == "batch_to_space",
            "WIDE": self.wide,
            "LONG": self.long,
        }
        return Arguments(self.rows, row_loops(self.dims, s, self.lanes), encoded(positions), flags)

    def __str__(self) -> str:
        return (
            f"{self.rows} rows of {self.lanes} positions by {self.phases} phases of {self.words}-byte words, "
            f"unit {self.space_unit} in space"
        )


def plan_vectors(direction: Direction, nest: Nest, work: Work | None = None) -> VectorsPlan | None:
    """The plan of a nest, or None where its results are not made of whole granules of interleaved blocks."""
    *dims, inner = nest.dims
    block, lanes = inner.extent, nest.full
    fits = (
        inner.kind == SPLIT
        and inner.space_stride == 1
        and inner.outer_stride == 1
        and block & (block - 1) == 0
        and len(dims) <= MAX_LOOPS
        and nest.batch_aligned
    )
    if not fits:
        return None
    space_values, batch_values = offsets_of(dims)
    positions = inner.size // block
    if common_unit([positions, inner.inner_stride, *batch_values], lanes) < lanes:
        return None
    phases = min(block, MOST_PHASE_BYTES // nest.words, MOST_PHASES)
    granules, chunks = positions // lanes, block // phases
    rows = granules * chunks
    for dim in dims:
        rows *= dim.size
    space_values += [inner.before, inner.covered] if inner.masked else []
    space_values += [inner.wrap, inner.size] if inner.wrap else []
    run = lanes * block if chunks == 1 else phases
    space_unit = common_unit([run, *space_values], lanes) if nest.space_aligned else 1
    return VectorsPlan(
        direction,
        tuple(reversed(dims)),
        rows,
        inner,
        lanes,
        phases,
        granules,
        chunks,
        space_unit,
        wide=nest.wide,
        long=max(rows, *(d.size for d in nest.dims)) > INT32_MAX // 2,
        words=nest.words,
        work=work,
    )


@triton.jit(do_not_specialize=["rows", "pad_low", "pad_high"])
def move_vectors(
    source_pointer,
    result_pointer,
    rows: tl.int64,
    loops,  # of `RowLoop`
    inner,  # `Positions`
    pad_low: tl.int64,  # bits of the pad value
    pad_high: tl.int64,
    KINDS: tl.constexpr,
    MASKED: tl.constexpr,
    TURNS: tl.constexpr,
    ND: tl.constexpr,
    GRANULES: tl.constexpr,  # more than one in a row of positions
    CHUNKS: tl.constexpr,  # a block is more phases than PHASES
    INNER_MASKED: tl.constexpr,
    INNER_TURNS: tl.constexpr,
    BLOCK: tl.constexpr,
    PHASES: tl.constexpr,
    LANES: tl.constexpr,
    SPACE_UNIT: tl.constexpr,
    TO_SPACE: tl.constexpr,
    WIDE: tl.constexpr,
    LONG: tl.constexpr,
    TILE: tl.constexpr,  # words
    WORK: tl.constexpr = None,
    tables=None,
):
    """Copy between space and batch; see the module."""
    K: tl.constexpr = LANES * PHASES
    R: tl.constexpr = TILE // K if TILE > K else 1
    OFFSET: tl.constexpr = tl.int64 if WIDE else tl.int32
    NUMBER: tl.constexpr = tl.int64 if LONG else tl.int32
    row = tl.cast(tl.program_id(0), NUMBER) * R + tl.arange(0, R)  # [R]
    inside = row < tl.cast(rows, NUMBER)
    rest = row
    chunk = row * 0
    granule = row * 0
    if CHUNKS:
        rest = divide(row, inner.chunks, LONG)
        chunk = row - rest * number(inner.chunks.value, NUMBER)
    if GRANULES:
        within = rest
        rest = divide(within, inner.granules, LONG)
        granule = within - rest * number(inner.granules.value, NUMBER)
    CHANNEL_AT: tl.constexpr = -1 if WORK is None else WORK[PLACE]
    space, batch, covered, channel = locate_rows(
        rest, inside, loops, KINDS, MASKED, TURNS, ND, WIDE, LONG, CHANNEL_AT
    )  # in units
    start = granule * (LANES * BLOCK // SPACE_UNIT)
    if CHUNKS:
        start += chunk * (PHASES // SPACE_UNIT)
        batch += chunk.to(OFFSET) * number(inner.phase_stride, OFFSET) * PHASES
    if INNER_MASKED or INNER_TURNS:
        start -= number(inner.before, NUMBER)
    if not INNER_TURNS:
        space += start.to(OFFSET)
    batch += granule.to(OFFSET)

    k = tl.arange(0, K)  # within a row, as it lies in space
    if CHUNKS:
        k = (k // PHASES).to(NUMBER) * BLOCK + k % PHASES
    space_2d = (space * SPACE_UNIT)[:, None] + k[None, :]  # [R, K]
    phase = tl.arange(0, PHASES).to(OFFSET) * (number(inner.phase_stride, OFFSET) * LANES)
    lane = tl.arange(0, LANES)
    batch_3d = phase[:, None, None] + ((batch * LANES)[:, None] + lane[None, :])[None, :, :]  # [PHASES, R, LANES]
    valid = covered[:, None] & (k >= 0)[None, :]
    if INNER_MASKED or INNER_TURNS:
        coordinate = (start * SPACE_UNIT)[:, None] + k[None, :]
    if INNER_TURNS:
        size = number(inner.turn[0], NUMBER) * SPACE_UNIT
        coordinate = tl.where(coordinate < 0, coordinate + size, coordinate)
        space_2d = (space * SPACE_UNIT)[:, None] + coordinate.to(OFFSET)
    if INNER_MASKED:
        limit = number(inner.covered, NUMBER) * SPACE_UNIT
        if LONG:
            valid = valid & (coordinate >= 0) & (coordinate < limit)
        else:
            valid = valid & (coordinate.to(tl.uint32) < limit.to(tl.uint32))
    exists = inside[None, :, None] & (phase >= 0)[:, None, None] & (lane >= 0)[None, None, :]

    if WORK is not None:
        if CHANNEL_AT < 0:
            channel, known = 0, None
        elif TO_SPACE:
            channel, known = channel[:, None], inside[:, None]
        else:
            channel, known = channel[None, :, None], inside[None, :, None]
    if TO_SPACE:
        value = tl.load(source_pointer + batch_3d, mask=exists)
        value = tl.reshape(tl.permute(value, [1, 2, 0]), [R, K])
        if WORK is not None:
            found = looked_up((channel,), known, pad_low, result_pointer, tables, WORK)
            value = finished(value, valid, space_2d, valid, found, tables, WORK)
        tl.store(result_pointer + space_2d, value, mask=valid)
    else:
        pad = tl.cast(pad_low, source_pointer.dtype.element_ty)
        value = tl.load(source_pointer + space_2d, mask=valid, other=pad)
        value = tl.permute(tl.reshape(value, [R, LANES, PHASES]), [2, 0, 1])
        if WORK is not None:
            there = exists & covered[None, :, None]
            if INNER_MASKED:
                place = (
                    (start * SPACE_UNIT)[None, :, None]
                    + (lane * BLOCK)[None, None, :]
                    + tl.arange(0, PHASES)[:, None, None]
                )
                if INNER_TURNS:
                    place = tl.where(place < 0, place + size, place)
                there = there & (place >= 0) & (place < limit)
            found = looked_up((channel,), known, pad_low, result_pointer, tables, WORK)
            value = finished(value, there, batch_3d, exists, found, tables, WORK)
        tl.store(result_pointer + batch_3d, value, mask=exists)
