"""Where tiles overlap, results are added up in a slab: as many rows of the image as a tile has, and no more.

Tiles come in the order of their first dim. Rows that no later tile reaches are divided by the sum of the weights and written; the
slab then moves on. Where the result is a tensor in memory that can hold the sums, the slab is a part of it, and nothing is kept twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from .output import Finish, Output
from .positions import Grid, Spans, sizes_of
from .weights import resized

Write: TypeAlias = "Callable[[int, Spans, Tensor], None]"  # sample, place in the result, values


_SOME_BYTES = (
    1 << 20
)  # that are set to zero or divided at once, at least, where the result itself holds the sums: they fit a cache


class Slab:
    """The rows of the result that tiles are being added to.

    Attributes:
        row: (sample, position along the first dim) of the tiles that come now; None before the first and after the last.
        sums: of weighted results, (channels, rows, *rest). base: which row of the padded result its first one is.
        whole: the result of all samples, where the sums are parts of it; of the sample at hand, rows up to `zeroed` can be
            added to, and rows up to `divided` are finished.
        flushed: how many times rows were finished; of several processes with one `out`, one writes them, and the next the next.
    """

    def __init__(
        self,
        grid: Grid,
        sizes: tuple[int, ...],
        output: Output,
        weights: Tensor | None,
        device: torch.device,
        *,
        finish: Finish | None = None,
        grad: bool = False,
        share: tuple[int, int] = (0, 1),
        result: Tensor | None = None,
    ) -> None:
        if not (output.dtype.is_floating_point or output.dtype.is_complex):
            raise ValueError(
                f"tiled: results that overlap are averaged, but the model's are {output.dtype}; use halo=, or no overlap"
            )
        self.grid, self.output, self.finish, self.grad = grid, output, finish, grad
        self.share, self.shares = share
        self.spans = [
            tuple((int(a * f), int(b * f)) for a, b in spans) for spans, f in zip(grid.reads, output.scale, strict=True)
        ]
        self.slices = [[slice(*span) for span in spans] for spans in self.spans[1:]]
        tile = sizes_of(tuple(spans[0] for spans in self.spans))
        first = [int(before * f) for before, f in zip(grid.before, output.scale, strict=True)]
        self.kept = tuple((a, a + size) for a, size in zip(first, sizes, strict=True))
        self.tile_rows, rest = tile[0], tuple(spans[-1][1] for spans in self.spans[1:])
        dtype = torch.promote_types(output.dtype, torch.float32)  # sums of half precision would lose digits
        self.weights = None if weights is None else resized(weights, tile).to(device, dtype.to_real())
        self.row_counts = self._count_row(tile, rest, dtype.to_real(), device)
        self._counts: tuple[Any, Tensor | None] = None, None
        self.row: tuple[int, int] | None = None
        self.base = self.flushed = 0
        fits = result is not None and (result.dtype, result.device) == (dtype, device) and not any(first)
        self.whole = result if fits and finish is None and not grad else None
        self.divided = self.zeroed = 0
        self.some = max(_SOME_BYTES // (output.channels * math.prod(rest) * dtype.itemsize), 1)
        if self.whole is None:
            self.sums = torch.zeros((output.channels, tile[0], *rest), dtype=dtype, device=device)

    def _count_row(
        self, tile: tuple[int, ...], rest: tuple[int, ...], dtype: torch.dtype, device: torch.device
    ) -> Tensor:
        """The weights of all tiles of one row together, (rows, *rest)."""
        counts = torch.zeros((tile[0], *rest), dtype=dtype, device=device)
        ones = self.weights if self.weights is not None else counts.new_ones(tile)
        for number in range(math.prod(map(len, self.spans[1:]))):
            counts[(slice(None), *self._rest(self.grid.place(number)[1][1:]))] += ones
        return counts

    def _rest(self, places: tuple[int, ...]) -> tuple[slice, ...]:
        return tuple(map(list.__getitem__, self.slices, places))

    def put(self, number: int, y: Tensor, write: Write) -> None:
        """Add a tile's result (channels, *sizes); rows that it is the first not to reach are written before."""
        sample, places = self.grid.place(number)
        if (sample, places[0]) != self.row:
            self.move(sample, places[0], write)
        start = self.spans[0][places[0]][0] - self.base
        target = self.sums[(slice(None), slice(start, start + self.tile_rows), *self._rest(places[1:]))]
        if self.weights is None:
            target.add_(y)
        else:
            target.addcmul_(y.to(target.dtype), self.weights)

    def move(self, sample: int, place: int, write: Write) -> None:
        """Write what is finished when tiles of this row come next, and make room for them."""
        begin, done = self.spans[0][place][0], self.tile_rows
        if self.whole is not None:
            self._move_inside(self.whole[sample], begin, write, new=self.row is None or sample != self.row[0])
        else:
            if self.row is not None:
                before = self.spans[0][self.row[1]][0]
                done = begin - before if sample == self.row[0] else self.tile_rows
                self._flush(before, done, write)
            self.base = begin
            self._shift(done)
        self.row = sample, place

    def _move_inside(self, sums: Tensor, begin: int, write: Write, new: bool) -> None:
        """As `move`, where nothing has to move: rows are set to zero and divided some at a time."""
        if new:
            self.close(write)
            self.sums, self.divided, self.zeroed = sums, 0, 0
        elif begin - self.divided >= self.some:
            self._flush(self.divided, begin - self.divided, write)
            self.divided = begin
        if begin + self.tile_rows > self.zeroed:
            start, self.zeroed = self.zeroed, max(begin + self.tile_rows, self.zeroed + self.some)
            self.sums[:, start : self.zeroed].zero_()

    def _shift(self, by: int) -> None:
        """Move the rows of the slab to the front, and set those behind to zero."""
        if self.grad:  # what was recorded of the old slab must stay
            old, self.sums = self.sums, torch.zeros_like(self.sums)
            self.sums[:, : self.tile_rows - by] = old[:, by:]
            return
        kept = self.tile_rows - by
        if kept:
            rows = self.sums[:, by:]
            self.sums[:, :kept] = rows if kept <= by else rows.clone()
        self.sums[:, kept:].zero_()

    def close(self, write: Write) -> None:
        """Write the last rows."""
        if self.row is not None:
            start, stop = self.spans[0][self.row[1]]
            first = start if self.whole is None else self.divided
            self._flush(first, stop - first, write)
            self.row = None

    def _flush(self, begin: int, rows: int, write: Write) -> None:
        """Write `rows` rows, from row `begin` of the padded result on."""
        assert self.row is not None
        low, high = self.kept[0]
        first, last = max(begin, low), min(begin + rows, high)
        if first < last and self.flushed % self.shares == self.share:
            rest = tuple(slice(*span) for span in self.kept[1:])
            values = self.sums[(slice(None), slice(first - self.base, last - self.base), *rest)]
            counts = self._count(begin, rows)
            if counts is not None:
                counts = counts[(slice(first - begin, last - begin), *rest)]
                values = values / counts if self.grad else values.div_(counts)
            if self.whole is None:
                values = values.to(self.output.dtype)
                if self.finish is not None:
                    values = self.finish(values[None])[0]
                write(self.row[0], ((first - low, last - low), *((0, b - a) for a, b in self.kept[1:])), values)
        self.flushed += 1

    def _count(self, begin: int, rows: int) -> Tensor | None:
        """The weights of all tiles over some finished rows, (rows, *rest); None where they are ones. The last answer is kept."""
        assert self.row is not None
        starts = []  # of the rows of tiles that reach them, relative to the first of them
        for start, stop in reversed(self.spans[0][: self.row[1] + 1]):
            if stop <= begin:
                break
            starts.append(start - begin)
        key = (rows, *starts)
        if key != self._counts[0]:
            counts = self.row_counts.new_zeros((rows, *self.row_counts.shape[1:]))
            for start in reversed(starts):
                counts[max(start, 0) : start + self.tile_rows] += self.row_counts[max(-start, 0) : rows - start]
            self._counts = key, None if bool((counts == 1).all()) else counts
        return self._counts[1]

    def state(self) -> dict[str, Any]:
        """All that changes, to go on from later."""
        return {"row": self.row, "flushed": self.flushed, "base": self.base, "sums": self.sums}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.row = None if state["row"] is None else (state["row"][0], state["row"][1])
        self.flushed, self.base = state["flushed"], state["base"]
        self.sums.copy_(state["sums"])
