"""Where the tiles of an image lie, in which order they are computed, and which of them share a batch.

>>> grid = with_halo(1, (10,), (4,), (1,))
>>> [grid.tile(number) for number in range(len(grid))]  # read, and what is kept of the result
[Tile(sample=0, read=((0, 5),), core=((0, 4),)), Tile(sample=0, read=((3, 9),), core=((4, 8),)), Tile(sample=0, read=((7, 10),), core=((8, 10),))]
>>> [start for start, _ in with_overlap(1, (10,), (4,), (3,)).reads[0]]
[0, 3, 6]
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]  # first element, and the one behind the last
Spans: TypeAlias = tuple[Span, ...]  # one per spatial dim
Scale: TypeAlias = "tuple[int | Fraction, ...]"  # sizes of the result over those of the image


@dataclass(frozen=True)
class Tile:
    """One tile: what is read of the image, and the part of it that its result is kept for."""

    sample: int
    read: Spans
    core: Spans


@dataclass(frozen=True)
class Grid:
    """All tiles of an image, numbered by sample, then row-major by position.

    Attributes:
        samples: how many images there are.
        reads, cores: for each spatial dim, the span of each position.
        before: by how much the image is padded at the front; spans count from the padded image's first element.
    """

    samples: int
    reads: tuple[Spans, ...]
    cores: tuple[Spans, ...]
    before: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Tiles along each dim."""
        return tuple(map(len, self.reads))

    def __len__(self) -> int:
        return self.samples * math.prod(self.counts)

    def place(self, number: int) -> tuple[int, tuple[int, ...]]:
        """(sample, position along each dim) of a tile."""
        places = []
        for count in reversed(self.counts):
            number, place = divmod(number, count)
            places.append(place)
        return number, tuple(reversed(places))

    def tile(self, number: int) -> Tile:
        """The tile of a number."""
        sample, places = self.place(number)
        read = tuple(map(tuple.__getitem__, self.reads, places))
        return Tile(
            sample, read, read if self.cores is self.reads else tuple(map(tuple.__getitem__, self.cores, places))
        )

    def batches(self, size: int) -> list[list[int]]:
        """Numbers of tiles that are read in one shape, at most `size` together, each batch as early as it is full.

        >>> with_halo(1, (10,), (2,), (1,)).batches(2)
        [[1, 2], [0, 4], [3]]
        """
        lengths = [sizes_of(spans) for spans in self.reads]
        waiting: dict[tuple[int, ...], list[int]] = {}
        full = []
        for number, (_, *shape) in enumerate(itertools.product(range(self.samples), *lengths)):
            batch = waiting.setdefault(tuple(shape), [])
            batch.append(number)
            if len(batch) == size:
                full.append(waiting.pop(tuple(shape)))
        return [*full, *waiting.values()]


def sizes_of(spans: Spans) -> tuple[int, ...]:
    """Lengths of spans."""
    return tuple(stop - start for start, stop in spans)


def scaled(spans: Spans, scale: Scale) -> Spans:
    """The spans of the result that belong to spans of the image; `check_scale` has made sure that they are whole."""
    return tuple((int(start * s), int(stop * s)) for (start, stop), s in zip(spans, scale, strict=True))


def edges(grid: Grid, dim: int) -> Iterator[int]:
    """Every number at which something of a dim is cut, in elements of the unpadded image's grid."""
    for spans in (grid.reads[dim], grid.cores[dim]):
        for span in spans:
            yield from span
    yield grid.before[dim]


def with_halo(samples: int, sizes: Sequence[int], tile: Sequence[int], halo: Sequence[int]) -> Grid:
    """Tiles side by side, each read with its surroundings as far as the image goes; the last ones may be smaller."""
    cores = tuple(
        tuple((start, min(start + t, size)) for start in range(0, size, t)) for size, t in zip(sizes, tile, strict=True)
    )
    reads = tuple(
        tuple((max(start - h, 0), min(stop + h, size)) for start, stop in spans)
        for spans, size, h in zip(cores, sizes, halo, strict=True)
    )
    return Grid(samples, reads, cores, (0,) * len(cores))


def with_overlap(samples: int, sizes: Sequence[int], tile: Sequence[int], steps: Sequence[int]) -> Grid:
    """Tiles of one shape, `steps` apart; the last ones are moved back into the image, and one smaller than a tile is padded.

    Source: MONAI's `sliding_window_inference` and `dense_patch_slices`.
    """
    reads = []
    for size, t, step in zip(sizes, tile, steps, strict=True):
        last = max(size, t) - t
        starts = [min(k * step, last) for k in range(-(-last // step) + 1)]
        reads.append(tuple((start, start + t) for start in starts))
    before = tuple(max(t - size, 0) // 2 for size, t in zip(sizes, tile, strict=True))
    spans = tuple(reads)
    return Grid(samples, spans, spans, before)
