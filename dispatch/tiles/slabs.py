"""Where tiles overlap, results are added up in a slab: as many rows of the image as a tile has, and no more.

Tiles come in the order of their first dim. Rows that no later tile reaches are divided by the sum of the weights and written; the
slab then moves on. The whole result never exists, unless it is what is written to.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from .output import Finish, Output
from .positions import Grid, Spans, scaled, sizes_of
from .weights import resized

Write: TypeAlias = "Callable[[int, Spans, Tensor], None]"  # sample, place in the result, values


class Slab:
    """The rows of the result that tiles are being added to.

    Attributes:
        row: (sample, position along the first dim) of the tiles that come now; None before the first and after the last.
        sums, counts: of weighted results (channels, rows, *rest) and of the weights (1, rows, *rest).
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
        grad: bool,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        dtype = torch.promote_types(output.dtype, torch.float32)  # sums of half precision would lose digits
        if not (output.dtype.is_floating_point or output.dtype.is_complex):
            raise ValueError(
                f"tiled: results that overlap are averaged, but the model's are {output.dtype}; use halo=, or no overlap"
            )
        self.grid, self.output, self.grad = grid, output, grad
        self.share, self.shares = share
        self.spans = [
            scaled(spans, (scale,) * len(spans)) for spans, scale in zip(grid.reads, output.scale, strict=True)
        ]
        tile = sizes_of(tuple(spans[0] for spans in self.spans))
        first = [int(before * scale) for before, scale in zip(grid.before, output.scale, strict=True)]
        self.kept = tuple(zip(first, (a + size for a, size in zip(first, sizes, strict=True)), strict=True))
        rest = tuple(spans[-1][1] for spans in self.spans[1:])
        self.weights = None if weights is None else resized(weights, tile).to(device, dtype.to_real())
        self.sums = torch.zeros((output.channels, tile[0], *rest), dtype=dtype, device=device)
        self.counts = torch.zeros((1, tile[0], *rest), dtype=dtype.to_real(), device=device)
        self.row_counts = self._count_row(tile)
        self.row: tuple[int, int] | None = None
        self.flushed = 0

    def _count_row(self, tile: tuple[int, ...]) -> Tensor:
        """The weights of all tiles of one row together."""
        counts = torch.zeros_like(self.counts)
        shape = tuple(map(len, self.spans[1:]))
        ones = self.weights if self.weights is not None else counts.new_ones(tile)
        for number in range(math.prod(shape)):
            places = self.grid.place(number)[1][1:]
            counts[0][(slice(None), *self._rest(places))] += ones
        return counts

    def _rest(self, places: tuple[int, ...]) -> tuple[slice, ...]:
        return tuple(slice(*spans[place]) for spans, place in zip(self.spans[1:], places, strict=True))

    def put(self, number: int, y: Tensor, write: Write, finish: Finish | None) -> None:
        """Add a tile's result (channels, *sizes); rows that it is the first not to reach are written before."""
        sample, places = self.grid.place(number)
        if (sample, places[0]) != self.row:
            self.move(sample, places[0], write, finish)
        target = self.sums[(slice(None), slice(None), *self._rest(places[1:]))]
        if self.weights is None:
            target.add_(y)
        else:
            target.addcmul_(y.to(self.sums.dtype), self.weights)

    def move(self, sample: int, place: int, write: Write, finish: Finish | None) -> None:
        """Write what is finished when tiles of this row come next, and make room for them."""
        rows = self.sums.shape[1]
        done = rows
        if self.row is not None:
            begin = self.spans[0][self.row[1]][0]
            if sample == self.row[0]:
                done = self.spans[0][place][0] - begin
            self._flush(begin, done, write, finish)
        if self.grad:  # what was recorded of the old slab must stay
            self.sums, old = torch.zeros_like(self.sums), self.sums
            self.sums[:, : rows - done] = old[:, done:]
        elif done < rows:
            _shift(self.sums, done)
        else:
            self.sums.zero_()
        if done < rows:
            _shift(self.counts, done)
        else:
            self.counts.zero_()
        self.counts += self.row_counts
        self.row = sample, place

    def close(self, write: Write, finish: Finish | None) -> None:
        """Write the last rows."""
        if self.row is not None:
            self._flush(self.spans[0][self.row[1]][0], self.sums.shape[1], write, finish)
            self.row = None

    def _flush(self, begin: int, rows: int, write: Write, finish: Finish | None) -> None:
        """Write the first `rows` rows of the slab, whose first one is row `begin` of the padded result."""
        assert self.row is not None
        low, high = self.kept[0]
        first, last = max(begin, low), min(begin + rows, high)
        if first < last and self.flushed % self.shares == self.share:
            inner = (slice(None), slice(first - begin, last - begin), *(slice(*span) for span in self.kept[1:]))
            sums, counts = self.sums[inner], self.counts[inner]
            values = sums / counts if self.grad else sums.div_(counts)
            values = values.to(self.output.dtype)
            if finish is not None:
                values = finish(values[None])[0]
            spans = ((first - low, last - low), *((0, b - a) for a, b in self.kept[1:]))
            write(self.row[0], spans, values)
        self.flushed += 1

    def state(self) -> dict[str, Any]:
        """All that changes, to go on from later."""
        return {"row": self.row, "flushed": self.flushed, "sums": self.sums, "counts": self.counts}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.row = None if state["row"] is None else (state["row"][0], state["row"][1])
        self.flushed = state["flushed"]
        self.sums.copy_(state["sums"])
        self.counts.copy_(state["counts"])


def _shift(x: Tensor, by: int) -> None:
    """Move the rows of dim 1 to the front by `by`, and set those behind to zero."""
    kept = x.shape[1] - by
    rows = x[:, by:]
    x[:, :kept] = rows if kept <= by else rows.clone()
    x[:, kept:].zero_()
