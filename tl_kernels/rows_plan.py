"""The launch plan of `rows`: which elements make up a row, and with which strides rows follow each other.

It serves every geometry and any strides. Where rows are runs of memory on both sides it is the fastest family as well:
channels_last, windows, paddings alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from spacebatch.reference.loops import INT32_MAX, SHIFTED, SPLIT, Direction, LoopDim, Nest, common_unit

from .coded import coded, divider
from .family import Arguments, Config, fitted, power_of_two

RUN, HALF, WHOLE = 0, 1, 2  # what the elements of a row are
MAX_DIMS = 8


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
    long: bool  # row numbers or coordinates need 64 bits
    pair: bool  # 16-byte elements: two 8-byte words, each with its own half of the pad value
    words: int  # bytes of a word

    family = "rows"

    @property
    def payload(self) -> int:
        """Bytes of the result that are written."""
        return self.rows * self.length * self.words

    @property
    def access(self) -> tuple[int, int]:
        """Bits of the widest load and store of one thread."""
        space = self.space_unit * self.words * 8 if self.space_step == 1 else self.words * 8
        batch = self.batch_unit * self.words * 8 if self.batch_step == 1 and self.mode != WHOLE else self.words * 8
        return (space, batch) if self.direction == "space_to_batch" else (batch, space)

    @property
    def bucket(self) -> str:
        """What is alike for the tuning: kind of access, and magnitudes of the row and of the whole."""
        kinds = "/".join(str(d.kind + (4 if d.masked else 0)) for d in self.dims)
        units = f"{self.words}x{self.space_unit}x{self.batch_unit}"
        sizes = f"{self.length.bit_length()}x{min((self.rows * self.length).bit_length(), 28)}"
        dense = f"{int(self.space_step == 1)}{int(self.batch_step == 1)}{int(self.inner.masked)}"
        return f"rows {self.direction} {self.mode} {dense} {units} {sizes} {kinds}"

    @property
    def rule(self) -> Config:
        """128 bytes a thread; with narrow loads or stores 32 or 16 words, each of which takes a register or two."""
        load, store = self.access
        if min(load, store) >= 128:
            return fitted(self.family, 8192, 2, self.payload)
        return fitted(self.family, min(8192, 128 * self.words * (32 if store >= 128 else 16)), 4, self.payload)

    def programs(self, tile: int) -> int:
        """How many programs a launch with tiles of so many words takes."""
        k = min(power_of_two(self.length), tile)
        return -(-self.rows // (tile // k)) * -(-self.length // k)

    def arguments(self, tile: int) -> Arguments:
        """What the kernel takes, with tiles of so many words."""
        inner, s, b = self.inner, self.space_unit, self.batch_unit
        half, whole = self.mode == HALF, self.mode == WHOLE
        numbers = (
            coded(self.length // self.length_unit),
            coded(self.halves),
            divider(inner.extent if whole else self.halves),
            coded((inner.inner_stride if whole else self.half_stride) // b),
            coded(self.half_step // s),
            coded(self.step),
            coded(self.space_step),
            coded(inner.outer_stride if whole else self.batch_step),
            coded(inner.before // s if half else inner.before),
            coded(inner.covered // s),
            coded(inner.extent),
            coded(inner.space_stride),
        )
        flags = {
            "KINDS": tuple(dim.kind for dim in self.dims),
            "MASKED": tuple(dim.masked for dim in self.dims),
            "ND": len(self.dims),
            "MODE": self.mode,
            "HALVES": self.halves > 1,
            "INNER_MASKED": half and inner.masked,
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
        return Arguments(self.rows, dim_numbers(self.dims, s, b), numbers, flags)

    def __str__(self) -> str:
        row = ("run", "half", "whole")[self.mode]
        return (
            f"{self.rows} rows of {self.length} words of {self.words} bytes ({row}), units {self.space_unit} in space "
            f"and {self.batch_unit} in batch"
        )


def dim_numbers(dims: tuple[LoopDim, ...], space_unit: int, batch_unit: int) -> tuple[tuple[int, ...], ...]:
    """The row loops as `locate.locate_rows` takes them."""
    return tuple(
        (
            coded(dim.size),
            divider(dim.size),
            coded(dim.space_stride // space_unit),
            coded(dim.outer_stride // batch_unit),
            coded(dim.inner_stride // batch_unit),
            coded(dim.extent),
            divider(dim.extent),
            coded(dim.before),
            coded(dim.covered),
        )
        for dim in dims
    )


def offsets_of(dims: list[LoopDim]) -> tuple[list[int], list[int]]:
    """What the offsets of rows are sums of multiples of: in space, and in the batch tensor."""
    return [d.space_stride for d in dims], [s for d in dims for s in (d.outer_stride, d.inner_stride)]


def plan_rows(direction: Direction, nest: Nest) -> RowsPlan | None:
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
    if len(dims) > MAX_DIMS:
        return None
    rows = halves
    for dim in dims:
        rows *= dim.size

    space_values, batch_values = offsets_of(dims)
    batch_values.append(half_stride)
    space_values += [half_step * inner.space_stride, inner.before * inner.space_stride] if mode == HALF else []
    if mode == HALF and inner.masked:
        space_values.append(inner.covered)
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
    )
