"""Calls of many pieces: one kernel, and for each piece a source, a result and numbers. Threads share the whole list.

The numbers of all pieces are worked out together, as columns of a table: each is an int, the same for all, or an array of one for each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from spacebatch.reference.arithmetic import NO_OPERANDS, SOURCES, Operands

from . import openmp, workers
from .compiler import Kernel, ask, finish, kernel_of
from .operands import given
from .plan import MOST_KNOWN_ELEMENTS, MOST_KNOWN_SEGMENT
from .prepare import CHUNK_BYTES, SHARED_BYTES, SHARED_BYTES_OF_OUR_OWN
from .spec import HEAD_NUMBERS, LOOP_NUMBERS, OPERAND_NUMBERS, Computation, KernelSpec, Row

Integers: TypeAlias = npt.NDArray[np.int64]
Number: TypeAlias = "int | Integers"


class Loop(NamedTuple):
    """A loop around the rows: steps, bytes in space and in the batch tensor, places along its bordered dim, and which that is, or -1;
    and by how many channels it moves."""

    steps: Number
    space: Number
    batch: Number
    place: int = 1
    axis: int = -1
    channel: int = 0


class Rows(NamedTuple):
    """What all pieces have in common, and their numbers; see `spec.KernelSpec` and `kernel`.

    Attributes:
        row, block, segment, bordered: of the spec.
        loops: outermost first.
        borders: (before, covered) of each bordered dim beside the row's own.
        numbers: of the row.
        base: bytes in space from a piece's address to its first place.
        copy_step: bytes from a result to its next copy, where the arithmetic has several.
    """

    row: Row
    block: int
    segment: int
    bordered: bool
    loops: Sequence[Loop]
    borders: Sequence[tuple[Number, Number]]
    numbers: Sequence[Number]
    base: Number = 0
    copy_step: Number = 0


class Pieces:
    """A call of many pieces, ready but for addresses and pad value."""

    def __init__(
        self,
        to_batch: bool,
        itemsize: int,
        rows: Rows,
        count: int,
        moved: int,
        computed: Computation | None = None,
        channels: int = 1,
    ) -> None:
        """
        Args:
            to_batch: which side is written. itemsize: bytes of an element of the source: 1, 2, 4, 8 or 16.
            rows, count: of the pieces. moved: bytes of all sources and results.
            computed, channels: the arithmetic on the way, if there is some, and how many entries its tables have.
        """
        most = MOST_KNOWN_SEGMENT if computed is None else MOST_KNOWN_ELEMENTS
        segment = rows.segment if rows.segment <= most else 0
        axes = tuple(loop.axis for loop in rows.loops)
        word, pair = min(itemsize, 8), itemsize == 16
        borders = len(rows.borders)
        spec = KernelSpec(to_batch, word, pair, rows.row, rows.block, segment, rows.bordered, axes, borders)
        self.kernel: Kernel = kernel_of(spec._replace(computed=computed))
        self.count, self.moved, self.channels = count, moved, channels
        columns: list[Number] = [0, 0, 0, rows.base]
        first, width = HEAD_NUMBERS, LOOP_NUMBERS
        if computed is not None:
            columns += [0] * OPERAND_NUMBERS
            first, width = first + OPERAND_NUMBERS, width + 1
        for loop in rows.loops:
            columns += loop[:LOOP_NUMBERS]
            if computed is not None:
                columns.append(loop.channel)
        for border in rows.borders:
            columns += border
        if computed is not None and computed.copies > 1:
            columns.append(rows.copy_step)
        columns += rows.numbers
        self._numbers = np.empty((count, len(columns)), np.int64)  # with a pad value of 0
        for k, column in enumerate(columns):
            self._numbers[:, k] = column
        steps = self._numbers[:, first : first + 2 * width : width][:, : len(axes)].prod(axis=1)
        self._numbers[:, 0] = steps
        self._table = np.zeros((count + 1, len(workers.PIECE)), np.int64)
        np.cumsum(steps, out=self._table[1:, 0])
        self._table[:count, 3] = self._numbers.ctypes.data + self._numbers.strides[0] * np.arange(count)

    def ready(self, wait: bool = False) -> bool:
        """Whether it can run at once; if not, its kernel is loaded or compiled, behind or before this returns."""
        if wait:
            finish(self.kernel)
        return ask(self.kernel)

    def __call__(
        self,
        space: Number,
        batch: Number,
        pad: bytes,
        threads: int,
        library: openmp.OpenMP | None,
        operands: Operands = NO_OPERANDS,
    ) -> None:
        """Move all pieces.

        Args:
            space, batch: the addresses of each. pad: the bytes of one element of padding, empty for zero bits.
            threads, library: at most so many threads share a large call, those of the library if there is one.
            operands: addresses, of the residual one for each piece.
        """
        functions = self.kernel.functions
        assert functions is not None
        steps = int(self._table[-1, 0])
        if not steps:
            return
        table, numbers = self._table.copy(), self._numbers  # threads may call at the same time
        kept: list[bytes] = []
        if self.kernel.spec.computed is not None:
            numbers = numbers.copy()
            columns, pad, kept = given(self.kernel.spec, self.channels, operands, pad, self.channels)
            numbers[:, HEAD_NUMBERS : HEAD_NUMBERS + OPERAND_NUMBERS] = columns
            if operands.residual is not None:
                numbers[:, HEAD_NUMBERS + 2] = np.asarray(operands.residual)
        elif pad.strip(b"\0"):
            numbers = numbers.copy()
        if pad.strip(b"\0"):
            numbers[:, 1:3] = np.frombuffer((pad * 16)[:16], np.int64)
        if numbers is not self._numbers:
            table[:-1, 3] += numbers.ctypes.data - self._numbers.ctypes.data
        table[:-1, 1], table[:-1, 2] = space, batch
        least = SHARED_BYTES if library is not None else SHARED_BYTES_OF_OUR_OWN
        chunk = max(1, steps * CHUNK_BYTES // max(self.moved, 1))
        workers.run_pieces(
            functions,
            table.ctypes.data,
            self.count,
            steps,
            chunk,
            threads if self.moved >= least else 1,
            library,
            (table, numbers, kept),
        )

    def __str__(self) -> str:
        """What runs, in a line."""
        return f"{self.count} pieces: {self.kernel.spec}"


def neighbours(dims: Sequence[int], sizes: Sequence[int], strides: Sequence[Sequence[Number]]) -> tuple[int, list[int]]:
    """How many elements from the innermost dim on are next to each other in all tensors, and the dims that are left.

    >>> neighbours([0, 1, 2], (4, 5, 3), [[np.array([15]), np.array([3]), np.array([1])], [60, 6, 1]])
    (3, [0, 1])

    Args:
        dims: outermost first. sizes: of each dim.
        strides: of each dim, for each tensor, in elements.
    """
    run, left = 1, list(dims)
    while left and all(bool(np.all(of[left[-1]] == run)) for of in strides):
        run *= sizes[left.pop()]
    return run, left


def neighbours_by_channel(
    dims: Sequence[int], sizes: Sequence[int], strides: Sequence[Sequence[Number]], channel: int | None
) -> tuple[int, list[int]]:
    """The same of one channel, or of whole pixels where the channels are innermost; None: there are none."""
    start = dims.index(channel) + 1 if channel in dims and dims[-1] != channel else 0
    run, left = neighbours(dims[start:], sizes, strides)
    return run, [*dims[:start], *left]


def sorted_loops(loops: Sequence[Loop], to_batch: bool) -> list[Loop]:
    """The loops in the order in which the result of the first piece is written."""
    first: Callable[[Number], int] = lambda n: int(n if isinstance(n, int) else n[0])  # noqa: E731
    return sorted(loops, key=lambda loop: first(loop.batch if to_batch else loop.space), reverse=True)


def bytes_moved(itemsizes: Sequence[int], computed: Computation | None, cells: int) -> int:
    """Of so many elements on either side, of so many bytes each there, and of the residual."""
    residual = computed.residual if computed is not None else None
    return cells * (sum(itemsizes) + (SOURCES[residual] if residual is not None else 0))


def product(numbers: Sequence[Number]) -> Number:
    """Of ints and arrays."""
    return math.prod(numbers)
