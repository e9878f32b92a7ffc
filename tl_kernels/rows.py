"""The family that serves every geometry and any strides: tiles of rows times elements over the padded space.

Index formula: `reference.loops`. Grid: one dimension, row tiles times element tiles, elements fastest. A program owns
TILE // K rows of K elements. Whatever belongs to a row (divisions, the border tests of all dims but the last) is computed
once per row; an element costs a multiply-add and, at a border, a comparison. Where rows are runs of memory on both sides
this is the fastest family as well: channels_last, windows, paddings alone.

What the compiler must know (units of alignment, which dims are split or masked) are constexprs. Offsets are counted in
units of alignment, which is how the compiler learns that it may read and write 16 bytes at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import triton
import triton.language as tl

from spacebatch.reference.loops import INT32_MAX, SHIFTED, SPLIT, Direction, LoopDim, Nest, common_unit

from .arithmetic import PLACE, finished, looked_up
from .family import Arguments, Config, access, eased, fitted, power_of_two
from .integers import Divisor, divide, divisor, encode, encoded, number
from .row_loops import MAX_LOOPS, kinds_of, locate_rows, offsets_of, row_loops
from .work import Work

RUN, HALF, WHOLE = 0, 1, 2  # what the elements of a row are
_HALF, _WHOLE = tl.constexpr(HALF), tl.constexpr(WHOLE)  # as kernels may read them


class Row(NamedTuple):
    """What the kernel is told of the dim that rows run along; lengths and strides in units of alignment."""

    length: int
    halves: Divisor
    half_stride: int  # WHOLE: the inner stride
    half_step: int
    step: int
    space_step: int
    batch_step: int  # WHOLE: the outer stride
    before: int
    covered: int
    extent: Divisor
    space_stride: int
    turn: tuple[int, ...]  # the dim's size, where it has a cyclic shift, whose part `before` is then


@dataclass(frozen=True)
class RowsPlan:
    """What a launch needs; hashable, and readable as the explanation of a call.

    A program owns a tile of rows times elements. The elements of a row are, by `mode`:
    RUN, a plain dim (channels of channels_last, a merged rest); HALF, the outer or the inner half of the last blocked dim,
    whichever is dense in the batch tensor; WHOLE, a stretch of the last dim in space, read from all its phases at once.
    """

    direction: Direction
    mode: int
    dims: tuple[LoopDim, ...]  # of the rows, innermost first
    rows: int
    length: int  # words of a row
    halves: int  # HALF: how many values the other half takes, the innermost part of the row index
    half_stride: int  # HALF: of the other half in the batch tensor
    half_step: int  # HALF: padded coordinates per step of the other half
    step: int  # HALF: padded coordinates per element
    space_step: int  # stride of an element in space
    batch_step: int  # and in the batch tensor
    inner: LoopDim  # the dim that the row runs along
    space_unit: int  # every space offset of a row is a multiple of this many words
    batch_unit: int
    length_unit: int
    wide: bool  # offsets need 64 bits
    long: bool  # row numbers, lengths or coordinates need 64 bits
    pair: bool  # 16-byte elements: two 8-byte words, each with its own half of the pad value
    words: int  # bytes of a word
    work: Work | None = None

    family = "rows"

    @property
    def payload(self) -> int:
        """Bytes of the result that are written."""
        return self.rows * self.length * self.words

    @property
    def access(self) -> tuple[int, int]:
        """Bits of the widest load and store of one thread."""
        space = self.space_unit if self.space_step == 1 else 1
        batch = self.batch_unit if self.batch_step == 1 and self.mode != WHOLE else 1
        return access(self, *((space, batch) if self.direction == "space_to_batch" else (batch, space)))

    @property
    def bucket(self) -> str:
        """What is alike for the tuning: kind of access, and magnitudes of the row and of the whole."""
        kinds = kinds_of(self.dims) + " round" * (self.inner.wrap > 0)
        units = f"{self.words}x{self.space_unit}x{self.batch_unit}"
        sizes = f"{self.length.bit_length()}x{min((self.rows * self.length).bit_length(), 28)}"
        dense = f"{int(self.space_step == 1)}{int(self.batch_step == 1)}{int(self.inner.masked)}"
        return f"rows {self.direction} {self.mode} {dense} {units} {sizes} {kinds}{self.work or ''}"

    @property
    def rule(self) -> Config:
        """128 bytes a thread; with narrow loads or stores 32 or 16 words, each of which takes a register or two."""
        load, store = self.access
        if min(load, store) >= 128:
            return eased(fitted(self.family, 8192, 2, self.payload), self.words, self.work)
        found = fitted(self.family, min(8192, 128 * self.words * (32 if store >= 128 else 16)), 4, self.payload)
        return eased(found, self.words, self.work)

    def programs(self, tile: int) -> int:
        """How many programs a launch with tiles of so many words takes."""
        k = min(power_of_two(self.length), tile)
        return -(-self.rows // (tile // k)) * -(-self.length // k)

    def arguments(self, tile: int) -> Arguments:
        """What the kernel takes, with tiles of so many words."""
        inner, s, b = self.inner, self.space_unit, self.batch_unit
        half, whole = self.mode == HALF, self.mode == WHOLE
        row = Row(
            length=self.length // self.length_unit,
            halves=divisor(self.halves),
            half_stride=(inner.inner_stride if whole else self.half_stride) // b,
            half_step=self.half_step // s,
            step=self.step,
            space_step=self.space_step,
            batch_step=inner.outer_stride if whole else self.batch_step,
            before=(inner.before + inner.wrap) // (s if half else 1),
            covered=inner.covered // s,
            extent=divisor(inner.extent),
            space_stride=inner.space_stride,
            turn=(encode(inner.size // (s if half else 1)),) if inner.wrap else (),
        )
        flags = {
            "KINDS": tuple(dim.kind for dim in self.dims),
            "MASKED": tuple(dim.masked for dim in self.dims),
            "TURNS": tuple(dim.wrap > 0 for dim in self.dims),
            "ND": len(self.dims),
            "MODE": self.mode,
            "HALVES": self.halves > 1,
            "INNER_MASKED": half and inner.masked,
            "INNER_TURNS": inner.wrap > 0,
            "SPACE_UNIT": s,
            "BATCH_UNIT": b,
            "LENGTH_UNIT": self.length_unit,
            "SPACE_DENSE": self.space_step == 1,
            "BATCH_DENSE": self.batch_step == 1,
            "TO_SPACE": self.direction == "batch_to_space",
            "WIDE": self.wide,
            "LONG": self.long,
            "PAIR": self.pair,
            "LONGEST": power_of_two(self.length),
        }
        return Arguments(self.rows, row_loops(self.dims, s, b), encoded(row), flags)

    def __str__(self) -> str:
        row = ("run", "half", "whole")[self.mode]
        return (
            f"{self.rows} rows of {self.length} words of {self.words} bytes ({row}), units {self.space_unit} in space "
            f"and {self.batch_unit} in batch"
        )


def plan_rows(direction: Direction, nest: Nest, work: Work | None = None) -> RowsPlan | None:
    """The plan of a nest, or None where its loops are more than the kernel takes."""
    dims = list(nest.dims)
    inner = dims.pop()
    mode, halves, half_stride, half_step, step = RUN, 1, 0, 0, 1
    length, space_step, batch_step = inner.size, inner.space_stride, inner.outer_stride
    if inner.kind == SHIFTED:
        mode = HALF
    elif inner.kind == SPLIT:
        mode = HALF
        outers = inner.size // inner.extent
        if inner.inner_stride <= inner.outer_stride:  # contiguous: rows are stretches of one window
            length, halves = inner.extent, outers
            batch_step, half_stride = inner.inner_stride, inner.outer_stride
            half_step = inner.extent
        elif direction == "space_to_batch":  # interleaved: rows are every block-th element
            length, halves = outers, inner.extent
            batch_step, half_stride = inner.outer_stride, inner.inner_stride
            half_step, step = 1, inner.extent
            space_step *= step
        else:
            mode, length = WHOLE, inner.covered
    if len(dims) > MAX_LOOPS:
        return None
    rows = halves
    for dim in dims:
        rows *= dim.size

    space_values, batch_values = offsets_of(dims)
    batch_values.append(half_stride)
    space_values += [half_step * inner.space_stride, inner.before * inner.space_stride] if mode == HALF else []
    if mode == HALF and inner.masked:
        space_values.append(inner.covered)
    if mode == HALF and inner.wrap:
        space_values += [inner.wrap, inner.size]
    length_unit = common_unit([length], nest.full)
    space_unit = common_unit(space_values, length_unit) if space_step == 1 and nest.space_aligned else 1
    dense = batch_step == 1 and nest.batch_aligned and mode != WHOLE
    batch_unit = common_unit(batch_values, length_unit) if dense else 1
    return RowsPlan(
        direction,
        mode,
        tuple(reversed(dims)),
        rows,
        length,
        halves,
        half_stride,
        half_step,
        step,
        space_step,
        batch_step,
        inner,
        space_unit,
        batch_unit,
        length_unit,
        wide=nest.wide,
        long=max(rows, *(d.size for d in nest.dims)) > INT32_MAX // 2,
        pair=nest.pair,
        words=nest.words,
        work=work,
    )


@triton.jit(do_not_specialize=["rows", "pad_low", "pad_high"])
def move_rows(
    source_pointer,
    result_pointer,
    rows: tl.int64,
    loops,  # of `RowLoop`
    inner,  # `Row`
    pad_low: tl.int64,  # bits of the pad value; of 16-byte elements, of their first word
    pad_high: tl.int64,
    KINDS: tl.constexpr,  # of each dim
    MASKED: tl.constexpr,  # of each dim: has a border
    TURNS: tl.constexpr,  # of each dim: has a cyclic shift
    ND: tl.constexpr,
    MODE: tl.constexpr,
    HALVES: tl.constexpr,  # the other half takes more than one value
    INNER_MASKED: tl.constexpr,
    INNER_TURNS: tl.constexpr,  # has a cyclic shift
    SPACE_UNIT: tl.constexpr,
    BATCH_UNIT: tl.constexpr,
    LENGTH_UNIT: tl.constexpr,
    SPACE_DENSE: tl.constexpr,  # an element is one step in space
    BATCH_DENSE: tl.constexpr,
    TO_SPACE: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit offsets
    LONG: tl.constexpr,  # 64-bit row numbers and lengths
    PAIR: tl.constexpr,  # 16-byte elements
    LONGEST: tl.constexpr,  # length up to the next power of two
    TILE: tl.constexpr,  # elements
    WORK: tl.constexpr = None,
    tables=None,
):
    """Copy between space and batch; see the module."""
    K: tl.constexpr = LONGEST if LONGEST < TILE else TILE
    R: tl.constexpr = TILE // K
    OFFSET: tl.constexpr = tl.int64 if WIDE else tl.int32
    NUMBER: tl.constexpr = tl.int64 if LONG else tl.int32
    length = number(inner.length, NUMBER) * LENGTH_UNIT
    program = tl.cast(tl.program_id(0), NUMBER)
    k = tl.arange(0, K).to(NUMBER)  # [K]
    if LONGEST > TILE:
        tiles = tl.cdiv(length, K)
        k += (program % tiles) * K
        program = program // tiles
    row = program * R + tl.arange(0, R)  # [R]
    inside = row < tl.cast(rows, NUMBER)
    rest = row
    half = tl.zeros([R], NUMBER)
    if HALVES:
        rest = divide(row, inner.halves, LONG)
        half = row - rest * number(inner.halves.value, NUMBER)
    CHANNEL_AT: tl.constexpr = -1 if WORK is None else WORK[PLACE]
    space, batch, covered, channel = locate_rows(
        rest, inside, loops, KINDS, MASKED, TURNS, ND, WIDE, LONG, CHANNEL_AT
    )  # in units
    if HALVES:
        batch += half.to(OFFSET) * number(inner.half_stride, OFFSET)

    exists = inside[:, None] & (k < length)[None, :]  # [R, K]
    valid = covered[:, None] & (k < length)[None, :]
    if MODE == _HALF:
        start = half * number(inner.half_step, NUMBER) - number(inner.before, NUMBER)  # [R], in units
        if SPACE_DENSE:
            coordinate = (start * SPACE_UNIT)[:, None] + k[None, :]
        else:
            coordinate = start[:, None] + (k * number(inner.step, NUMBER))[None, :]
        if INNER_TURNS:  # elements have places of their own
            size = number(inner.turn[0], NUMBER) * SPACE_UNIT
            coordinate = tl.where(coordinate < 0, coordinate + size, coordinate)
        elif SPACE_DENSE:
            space += start.to(OFFSET)
        else:
            space += start.to(OFFSET) * number(inner.space_stride, OFFSET)
        if INNER_MASKED:
            limit = number(inner.covered, NUMBER) * SPACE_UNIT  # one, where elements lie apart
            if LONG:
                valid = valid & (coordinate >= 0) & (coordinate < limit)
            else:
                valid = valid & (coordinate.to(tl.uint32) < limit.to(tl.uint32))
    if MODE == _HALF and INNER_TURNS:
        if SPACE_DENSE:
            space_2d = (space * SPACE_UNIT)[:, None] + coordinate.to(OFFSET)
        else:
            space_2d = space[:, None] + coordinate.to(OFFSET) * number(inner.space_stride, OFFSET)
    elif SPACE_DENSE:
        space_2d = (space * SPACE_UNIT)[:, None] + k[None, :]
    else:
        space_2d = space[:, None] + (k.to(OFFSET) * number(inner.space_step, OFFSET))[None, :]
    if MODE == _WHOLE:
        padded = k + number(inner.before, NUMBER)
        if INNER_TURNS:
            size = number(inner.turn[0], NUMBER)
            padded = tl.where(padded >= size, padded - size, padded)
        outer = divide(padded, inner.extent, LONG)
        within = padded - outer * number(inner.extent.value, NUMBER)
        element = outer.to(OFFSET) * number(inner.batch_step, OFFSET)
        element += within.to(OFFSET) * number(inner.half_stride, OFFSET)
        batch_2d = batch[:, None] + element[None, :]
    elif BATCH_DENSE:
        batch_2d = (batch * BATCH_UNIT)[:, None] + k[None, :]
    else:
        batch_2d = batch[:, None] + (k.to(OFFSET) * number(inner.batch_step, OFFSET))[None, :]

    if WORK is not None:
        if CHANNEL_AT < 0:
            channel, known = 0, None
        elif CHANNEL_AT == ND:
            channel, known = k[None, :], (k < length)[None, :]
        else:
            channel, known = channel[:, None], inside[:, None]
        found = looked_up((channel,), known, pad_low, result_pointer, tables, WORK)
        if TO_SPACE:
            value = tl.load(source_pointer + batch_2d, mask=valid)
            value = finished(value, valid, space_2d, valid, found, tables, WORK)
            tl.store(result_pointer + space_2d, value, mask=valid)
        else:
            value = tl.load(source_pointer + space_2d, mask=valid)
            value = finished(value, valid, batch_2d, exists, found, tables, WORK)
            tl.store(result_pointer + batch_2d, value, mask=exists)
    elif TO_SPACE:
        value = tl.load(source_pointer + batch_2d, mask=valid)
        tl.store(result_pointer + space_2d, value, mask=valid)
    else:
        pad = tl.cast(pad_low, source_pointer.dtype.element_ty)
        value = tl.load(source_pointer + space_2d, mask=valid, other=pad)
        if PAIR:
            high = tl.cast(pad_high, source_pointer.dtype.element_ty)
            value = tl.where(valid | ((k % 2) == 0)[None, :], value, high)
        tl.store(result_pointer + batch_2d, value, mask=exists)
