"""Loops and rows of a call: which kind of kernel it takes, and the numbers to give it. Pure Python: LLVM is not needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeAlias

from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.loops import PLAIN, SHIFTED, SPLIT, Direction, LoopDim, nest

# lanes    an interleaved blocked dim of neighbours: vectors are loaded, taken apart by shuffles, and stored
# tiles    the same in blocks too large for that: squares of positions and phases are transposed
# squares  what is next to each other in one tensor is far apart in the other, and the other way round: transposed likewise
# pixels   an interleaved blocked dim of runs, the channels of a pixel: each run is copied
# windows  neighbours on both sides: contiguous blocks, whole rows: long runs are copied
Row: TypeAlias = Literal["lanes", "tiles", "squares", "pixels", "windows"]

HEAD_NUMBERS = 4  # steps, the pad value twice (16 bytes), the offset in space of the first place, border included
LOOP_NUMBERS = 4  # of a loop: steps, bytes in space and in the batch tensor, places along its bordered dim

MOST_BLOCK_OF_LANES = 16  # a vector for each phase: more do not fit the registers
MOST_PRIME_OF_LANES = 7  # a prime factor f takes f - 1 shuffles
MOST_TILE = 16  # positions and phases
MOST_KNOWN_RUN = 1024  # bytes, of a run that a kernel is compiled for
CACHE_LINE = 64
# Rows of many phases, each a piece of a few bytes, go to places that often lie a power of two apart, where the cache holds few of them:
# 16 MiB of 64 x 64 in blocks of 32, float32, took 12 ms where PyTorch's copy takes 5; blocks of 16 (pieces of 16 bytes) 1.1 and 2.9.
LEAST_SCATTERED_PHASES = 16
LEAST_PIECE_BYTES = 16
SCATTERED_BYTES = 1 << 20
STRETCH_BYTES = 1 << 16  # of a row that is all there is, so that threads have something to share


@dataclass(frozen=True)
class Kind:
    """What a kernel is compiled for.

    Attributes:
        to_batch: the direction.
        word: bytes of what moves as one: 1, 2, 4 or 8. pair: elements have 16 bytes, which are two words.
        vector: bytes of a vector.
        row: the sort of row. block: of `lanes`, else 0. run: bytes of a run where they are known, else 0.
        bordered: whether some of a row is border.
        axes: for each loop the number of the bordered dim whose place it moves, `borders` for a row's own, or -1.
        borders: how many bordered dims there are beside a row's own.
        stream: vectors are written past the cache, all of them aligned.
    """

    to_batch: bool
    word: int
    pair: bool
    vector: int
    row: Row
    block: int
    run: int
    bordered: bool
    axes: tuple[int, ...]
    borders: int
    stream: bool = False

    @property
    def through_the_cache(self) -> Kind:
        """The same without non-temporal stores."""
        return replace(self, stream=False)

    @property
    def positions(self) -> int:
        """Of `lanes`, `tiles` and `squares`, how many positions of a row move at once."""
        here = self.vector // self.word
        return here if self.row == "lanes" else min(here, MOST_TILE)

    def __str__(self) -> str:
        """In words, for `explain`.

        >>> str(Kind(True, 4, False, 64, "lanes", 3, 0, False, (), 0))
        'rows of 3 phases by shuffles, words of 4 bytes'
        """
        what = {
            "lanes": f"rows of {self.block} phases by shuffles",
            "tiles": "rows of many phases by transposed squares",
            "squares": "transposed squares",
            "pixels": f"runs of {self.run} bytes, phase by phase" if self.run else "runs, phase by phase",
            "windows": f"runs of {self.run} bytes" if self.run else "runs",
        }[self.row]
        return f"{what}, words of {self.word} byte{'s' if self.word > 1 else ''}"


class Plan(NamedTuple):
    """A kind, the numbers for a call of it (the pad value is 0), and how many steps there are to share."""

    kind: Kind
    numbers: tuple[int, ...]
    steps: int


class _Loop(NamedTuple):
    steps: int
    space: int
    batch: int
    place: int
    axis: int


class _RowPlan(NamedTuple):
    row: Row
    block: int
    run: int
    bordered: bool
    numbers: tuple[int, ...]
    own: _Loop | None = None  # a loop whose place is the row's: phases, windows, or stretches of a long row


def make_plan(
    direction: Direction,
    geometry: BlockGeometry,
    space_strides: Sequence[int],
    batch_strides: Sequence[int],
    itemsize: int,
    vector: int = 64,
    stream: bool = False,
) -> Plan | str:
    """The plan of a call with elements, or the reason why there is none.

    >>> g = BlockGeometry((1, 3, 8, 8), 2)
    >>> make_plan("space_to_batch", g, (192, 64, 8, 1), (48, 16, 4, 1), 4).kind.row
    'lanes'
    >>> make_plan("space_to_batch", g, (384, 128, 16, 2), (48, 16, 4, 1), 4)
    'what is next to each other in one tensor is neither near nor far in the other'

    Args:
        direction: which operator.
        geometry: of the call.
        space_strides, batch_strides: of both tensors, in elements.
        itemsize: bytes of an element: 1, 2, 4, 8 or 16.
        vector: bytes of a vector of the processor.
        stream: write past the cache where all vectors of an aligned result are aligned.
    """
    if min((*space_strides, *batch_strides)) < 0:
        return "a stride is negative"
    loops = nest(geometry, space_strides, batch_strides, itemsize)
    word, dims = loops.words, list(loops.dims)
    run = 0  # words next to each other in both tensors
    if dims[-1].kind == PLAIN and dims[-1].space_stride == dims[-1].outer_stride == 1:
        run = dims.pop().size
    to_batch = direction == "space_to_batch"
    if (
        to_batch
        and not (run or geometry.padded)
        and math.prod(geometry.batch_shape) * itemsize >= SCATTERED_BYTES
        and _scatters(dims[-1], word)
    ):
        return f"rows of {dims[-1].size // dims[-1].extent} positions in {dims[-1].extent} phases are scattered"
    row = _row(dims, run, word)
    nested: list[_Loop] = []
    borders: list[int] = []
    for d in dims:
        axis = -1
        if d.masked:
            axis = len(borders) // 2
            borders += d.before, d.covered
        space, outer, inner = (s * word for s in (d.space_stride, d.outer_stride, d.inner_stride))
        if d.kind == SPLIT:
            nested.append(_Loop(d.size // d.extent, d.extent * space, outer, d.extent, axis))
            nested.append(_Loop(d.extent, space, inner, 1, axis))
        else:
            nested.append(_Loop(d.size, space, outer, 1, axis))
    if row is None:
        row = _squares(nested, borders, word)
    if row is None:
        return "what is next to each other in one tensor is neither near nor far in the other"
    if row.own is not None:
        nested.append(row.own._replace(axis=len(borders) // 2))
    # The result is written from end to end, but phases that share lines of space are done together.
    together = row.row == "pixels" and row.run < CACHE_LINE
    inside = nested.pop() if together else None
    nested.sort(key=lambda loop: -(loop.batch if to_batch else loop.space))
    if inside is not None:
        nested.append(inside)
    kind = Kind(
        to_batch,
        word,
        loops.pair,
        vector,
        row.row,
        row.block,
        row.run if row.run <= MOST_KNOWN_RUN else 0,
        row.bordered,
        tuple(loop.axis for loop in nested),
        len(borders) // 2,
        stream and not geometry.padded and _streams(row, nested, to_batch, word, vector),
    )
    steps = math.prod(loop.steps for loop in nested[:2])
    base = -word * sum(d.before * d.space_stride for d in loops.dims)
    flat = [n for loop in nested for n in loop[:LOOP_NUMBERS]]
    return Plan(kind, (steps, 0, 0, base, *flat, *borders, *row.numbers), steps)


def _scatters(dim: LoopDim, word: int) -> bool:
    """Whether a row's phases are so many and so short that a copy from end to end of the result is better."""
    if dim.kind != SPLIT or dim.outer_stride != 1:
        return False
    return dim.extent >= LEAST_SCATTERED_PHASES and dim.size // dim.extent * word < LEAST_PIECE_BYTES


def _row(dims: list[LoopDim], run: int, word: int) -> _RowPlan | None:
    """The row, whose dim is taken from the dims, given what runs in both tensors within it; None where nothing does."""
    unit = max(run, 1)
    last = dims[-1] if dims else None
    numbers: tuple[int, ...]
    if last is not None and last.kind == SPLIT and last.space_stride == last.inner_stride == unit:
        dims.pop()
        step = last.extent * last.space_stride * word
        windows = _Loop(last.size // last.extent, step, last.outer_stride * word, last.extent, 0)
        numbers = (last.extent, last.before, last.covered, unit * word)
        return _RowPlan("windows", 0, 0 if last.masked else last.extent * unit * word, last.masked, numbers, windows)
    if last is not None and last.kind == SHIFTED and last.space_stride == last.outer_stride == unit:
        dims.pop()
        return _RowPlan("windows", 0, 0, True, (last.size, last.before, last.covered, unit * word))
    if last is not None and last.kind == SPLIT and run:
        return _pixels(dims.pop(), run, word)
    if last is not None and last.kind == SPLIT and last.space_stride == last.outer_stride == 1:
        row: Row = "lanes"
        if last.extent > MOST_BLOCK_OF_LANES or _largest_prime(last.extent) > MOST_PRIME_OF_LANES:
            row = "tiles"
        dims.pop()
        positions, stretch, own = last.size // last.extent, 0, None
        if not dims:
            stretch = max(1, STRETCH_BYTES // (last.extent * word))
            own = _Loop(-(-positions // stretch), 0, 0, stretch, 0)
        numbers = (positions, last.before, last.covered, last.inner_stride * word, last.extent, stretch)
        return _RowPlan(row, last.extent if row == "lanes" else 0, 0, last.masked, numbers, own)
    if run:
        return _RowPlan("windows", 0, run * word, False, (run, 0, run, word))
    return None


def _pixels(dim: LoopDim, run: int, word: int) -> _RowPlan:
    """Runs of so many words along an interleaved dim, phase by phase."""
    space, outer, inner = (s * word for s in (dim.space_stride, dim.outer_stride, dim.inner_stride))
    step = dim.extent * space
    numbers = (dim.size // dim.extent, dim.extent, dim.before, dim.covered, step, outer, run * word)
    return _RowPlan("pixels", 0, run * word, dim.masked, numbers, _Loop(dim.extent, space, inner, 1, 0))


def _squares(loops: list[_Loop], borders: list[int], word: int) -> _RowPlan | None:
    """Rows along a loop of neighbours in the batch tensor, of phases that are neighbours in space; both loops are taken out."""
    phases = next((k for k, loop in enumerate(loops) if loop.space == word and loop.steps > 1), None)
    if phases is None or (phases > 0 and loops[phases - 1].axis == loops[phases].axis >= 0):
        return None  # half of a bordered dim
    near = next((k for k, loop in enumerate(loops) if loop.batch == word and loop.axis < 0 and loop.steps > 1), None)
    if near is None or near == phases:
        return None
    along, across = loops[near], loops[phases]
    before, covered = 0, across.steps
    bordered = across.axis >= 0
    if bordered:
        before, covered = borders[2 * across.axis : 2 * across.axis + 2]
        del borders[2 * across.axis : 2 * across.axis + 2]
    loops[:] = [
        loop._replace(axis=loop.axis - 1) if bordered and loop.axis > across.axis else loop
        for k, loop in enumerate(loops)
        if k not in (near, phases)
    ]
    numbers = along.steps, across.steps, before, covered, along.space, across.batch
    return _RowPlan("squares", 0, 0, bordered, numbers)


def _streams(row: _RowPlan, loops: list[_Loop], to_batch: bool, word: int, vector: int) -> bool:
    """Whether a result that begins at a multiple of a vector is made of whole vectors, all at multiples of one."""
    steps = [loop.batch if to_batch else loop.space for loop in loops]
    if row.row == "lanes":
        positions, _, _, phase_step, *_ = row.numbers
        steps += [positions * word, phase_step if to_batch else 0]
    elif row.row == "pixels":
        _, _, _, _, space_step, batch_step, run = row.numbers
        steps += [run, batch_step if to_batch else space_step]
    elif row.row == "windows":
        extent, _, _, unit = row.numbers
        steps += [extent * unit]
    else:
        return False
    return all(step % vector == 0 for step in steps)


def _largest_prime(number: int) -> int:
    """The largest prime factor, 1 of 1.

    >>> _largest_prime(12), _largest_prime(13), _largest_prime(1)
    (3, 13, 1)
    """
    largest, factor = 1, 2
    while number > 1:
        if number % factor:
            factor += 1
        else:
            number //= factor
            largest = factor
    return largest
