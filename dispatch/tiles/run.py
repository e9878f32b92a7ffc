"""One run: batches are read, computed and put where they belong, in rounds of one batch per process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .arguments import Tiling
from .arrays import Image, Result, check_result, new_result, result_shape
from .output import Finish, Output, check_scale, output_of
from .positions import Spans, Tile, scaled, sizes_of
from .ranks import Ranks
from .record import Record
from .slabs import Slab


class Run:
    """All that a run keeps.

    Attributes:
        output, result, slab: known when the first batch was computed; the slab only where tiles overlap.
        last: (sample, place, checksum) of what was written last, for the record.
    """

    output: Output
    result: Result
    slab: Slab | None = None

    def __init__(
        self,
        model: Callable[[Tensor], Tensor],
        image: Image,
        tiling: Tiling,
        finish: Finish | None,
        pad_value: float,
        device: torch.device,
        ranks: Ranks,
        grad: bool,
    ) -> None:
        self.model, self.image, self.tiling, self.finish = model, image, tiling, finish
        self.pad_value, self.device, self.ranks, self.grad = pad_value, device, ranks, grad
        self.grid = tiling.grid
        self.shift = self.grid.before
        self.last: tuple[int, Spans] | None = None

    def complete(self, out: Any, record: Record | None, advance: Callable[[int], object]) -> Any:
        """Compute what is not done yet; the result."""
        batches = self.grid.batches(self.tiling.batch)
        size = self.ranks.size
        done = self._go_on(out, record) if record is not None else 0
        advance(sum(map(len, batches[:done])))
        settled = False
        try:
            while done < len(batches):
                shared = batches[done : done + size]  # of this round; the last one may not have any for some ranks
                mine = shared[self.ranks.rank] if self.ranks.rank < len(shared) else []
                pieces = self._compute(mine, out)
                settled = False
                self._put(shared, pieces)
                del pieces  # before the next ones are made
                done += len(shared)
                if done == len(batches) and self.slab is not None:
                    self.slab.close(self._write)
                settled = True
                if record is not None and (self.slab is None or self._moved() or done == len(batches)):
                    self.ranks.wait()  # until all have written
                    self._save(record, done)
                advance(sum(map(len, batches[:done])) if done < len(batches) else len(self.grid))
        except BaseException:
            if record is not None and settled and self.slab is not None and size == 1:
                self._save(record, done)
            raise
        if self.result.shared and size > 1:
            if hasattr(self.result.data, "flush"):
                self.result.data.flush()
            self.ranks.wait()
        return self.result.data

    def _compute(self, numbers: Sequence[int], out: Any) -> list[Tensor]:
        """The results of a batch, one per tile, of its core alone; the first batch tells what results are like."""
        error: Exception | None = None
        y: Any = None
        tiles = [self._tile(number) for number in numbers]
        if tiles:
            try:
                x = self.image.read(tiles, self.pad_value, self.device)
                y = self.model(x)
                if not hasattr(self, "output"):
                    output = output_of(y, len(tiles), sizes_of(tiles[0].read), self.finish)
                else:
                    self.output.check(y, len(tiles), sizes_of(tiles[0].read))
            except (ValueError, TypeError) as found:
                error = found if str(found).startswith("tiled: ") else self._failed(tiles, found)
            except Exception as found:
                error = self._failed(tiles, found)
        self.ranks.go_on(error)
        if not hasattr(self, "output"):
            self._begin(self.ranks.first(output if tiles else None), out)
            other = None
            if tiles and output != self.output:
                other = ValueError(
                    f"tiled: ranks disagree: the model's result is {output} here and {self.output} on rank 0"
                )
            self.ranks.go_on(other)
        if not tiles:
            return []
        y = y.detach() if not self.grad else y
        if self.slab is not None:
            return list(y)
        if self.finish is not None:
            y = self.finish(y)
        pieces = []
        for tile, each in zip(tiles, y, strict=True):
            starts = (int(read[0] * s) for read, s in zip(tile.read, self.output.scale, strict=True))
            core = scaled(tile.core, self.output.scale)
            pieces.append(each[(slice(None), *(slice(a - s, b - s) for (a, b), s in zip(core, starts, strict=True)))])
        return pieces

    def _tile(self, number: int) -> Tile:
        """A tile in the coordinates of the image itself."""
        tile = self.grid.tile(number)
        if not any(self.shift):
            return tile
        read = tuple((a - before, b - before) for (a, b), before in zip(tile.read, self.shift, strict=True))
        return Tile(tile.sample, read, read)

    def _failed(self, tiles: Sequence[Tile], error: Exception) -> RuntimeError:
        places = "; ".join(
            (f"sample {tile.sample}, " if self.image.samples > 1 else "") + ", ".join(f"{a}:{b}" for a, b in tile.read)
            for tile in tiles
        )
        wrapped = RuntimeError(
            f"tiled: the model failed on the tiles that are read at [{places}]: {type(error).__name__}: {error}"
        )
        wrapped.__cause__ = error
        return wrapped

    def _begin(self, output: Output, out: Any) -> None:
        """Lay out the result."""
        sizes = check_scale(self.grid, self.image.sizes, output)
        shape = result_shape(self.image, output.final_channels, sizes)
        if out is None:
            out = new_result(self.image, shape, output.final_dtype)
        else:
            check_result(out, shape, output.final_dtype)
        self.result = Result(out, len(sizes))
        if self.tiling.steps is not None:
            share = (self.ranks.rank, self.ranks.size) if self.result.shared else (0, 1)
            weights = self.tiling.weights()
            self.slab = Slab(
                self.grid,
                sizes,
                output,
                weights,
                self.device,
                finish=self.finish,
                grad=self.grad,
                share=share,
                result=self.result.in_memory(),
            )
        self.output = output

    def _put(self, shared: Sequence[Sequence[int]], pieces: list[Tensor]) -> None:
        """Write the round's results, or add them to the slab; those of other ranks where this one needs them."""
        rank = self.ranks.rank
        each: list[Sequence[Tensor]] = [pieces if r == rank else [] for r in range(len(shared))]
        if self.ranks.size == 1 or (self.slab is None and self.result.shared):
            pass  # nobody needs what others made
        else:
            output, slab = self.output, self.slab
            channels = output.final_channels if slab is None else output.channels
            dtype = output.final_dtype if slab is None else output.dtype
            shapes = [
                [(channels, *sizes_of(scaled(self.grid.tile(number).core, output.scale))) for number in numbers]
                for numbers in shared
            ]
            each = self.ranks.exchange(pieces, shapes, dtype, self.device)
        for numbers, values in zip(shared, each, strict=True):
            for number, y in zip(numbers, values, strict=False):  # none of another rank's
                if self.slab is not None:
                    self.slab.put(number, y, self._write)
                else:
                    tile = self.grid.tile(number)
                    self._write(tile.sample, scaled(tile.core, self.output.scale), y)

    def _write(self, sample: int, spans: Spans, values: Tensor) -> None:
        self.result.write(sample, spans, values)
        self.last = sample, spans

    def _moved(self) -> bool:
        """Whether rows were finished since this was asked."""
        assert self.slab is not None
        before, self._flushed = getattr(self, "_flushed", 0), self.slab.flushed
        return before != self.slab.flushed

    def _save(self, record: Record, done: int) -> None:
        if self.ranks.rank == 0:
            last = None if self.last is None else (*self.last, self.result.probe(*self.last))
            state = None if self.slab is None or self.slab.row is None else self.slab.state()
            record.save(done, self.output.as_dict(), last, state)

    def _go_on(self, out: Any, record: Record) -> int:
        """How many batches an earlier run has done; rank 0 reads its record."""
        data = state = error = None
        if self.ranks.rank == 0:
            try:
                data = record.load()
                state = None if data is None else record.slab()
            except Exception as found:
                error = found
        self.ranks.go_on(error)
        data, state = self.ranks.first((data, state))
        if data is None:
            return 0
        self._begin(Output.from_dict(data["output"]), out)
        if data["last"] is not None:
            sample, spans, checksum = data["last"]
            self.last = sample, tuple((a, b) for a, b in spans)
            if self.result.probe(*self.last) != checksum:
                raise ValueError(
                    f"tiled: out does not hold what the record {record.path} says was written; was it made anew? "
                    "Open it without emptying it, or delete the record"
                )
        if self.slab is not None and state is not None:
            self.slab.restore(state)
            self._flushed = self.slab.flushed
        return int(data["done"])
