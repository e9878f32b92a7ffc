"""The CPU path in NumPy: every element is read once and written once, and only the border is filled.

The padded coordinate of a blocked dim, u = before + coordinate, splits into u = outer * extent + inner. What the input
covers, [before, before + size), or two such runs after a cyclic shift, is at most three rectangles of (outer, inner) each: the
rest of a first row, whole rows, the start of a last one; or one for each phase. Each product of such rectangles over the dims is one strided copy between two views, and the
complement is the border. With no padding that is a single copy. NumPy lets go of the interpreter while it copies, so that large
copies are shared out among threads.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .geometry import Axis, BlockGeometry
from .threads import THREADED_BYTES, run_in_threads, thread_limit

Array = npt.NDArray[Any]


class Rectangle(NamedTuple):
    """A part of one blocked dim: start, stop and step count coordinates in space, the slices outer and inner indices."""

    start: int
    stop: int
    outer: slice
    inner: slice
    step: int = 1


def rectangles(start: int, stop: int, extent: int) -> list[tuple[int, int, slice, slice]]:
    """The places start to stop as rectangles of (outer, inner): (first place, past the last, outer, inner).

    >>> [tuple(r)[:2] for r in rectangles(1, 8, extent=3)]
    [(1, 3), (3, 6), (6, 8)]
    """
    first, skipped = divmod(start, extent)
    last, reached = divmod(stop, extent)
    if first == last:
        return [(start, stop, slice(first, first + 1), slice(skipped, reached))] if start < stop else []
    parts = []
    if skipped:
        parts.append((start, (first + 1) * extent, slice(first, first + 1), slice(skipped, extent)))
        first += 1
    if first < last:
        parts.append((first * extent, last * extent, slice(first, last), slice(0, extent)))
    if reached:
        parts.append((last * extent, stop, slice(last, last + 1), slice(0, reached)))
    return parts


def covered(axis: Axis) -> list[Rectangle]:
    """The rectangles of (outer, inner) that the input covers, in order of the coordinate.

    >>> [tuple(r)[:2] for r in covered(Axis(dim=2, size=7, block=3, before=1, after=1, blocks=3, extent=3))]
    [(0, 2), (2, 5), (5, 7)]
    """
    return [
        Rectangle(begin - start + coordinate, end - start + coordinate, outer, inner)
        for start, stop, coordinate in axis.runs
        for begin, end, outer, inner in rectangles(start, stop, axis.extent)
    ]


def covered_by_phase(axis: Axis) -> list[Rectangle]:
    """The rectangles of (outer, inner) that the input covers, one for each inner index, the coordinates `extent` apart.

    >>> [tuple(r)[:2] for r in covered_by_phase(Axis(dim=2, size=7, block=3, before=1, after=1, blocks=3, extent=3))]
    [(2, 6), (0, 7), (1, 5)]
    """
    extent = axis.extent
    parts = []
    for start, stop, coordinate in axis.runs:
        for inner in range(extent):
            first = -((inner - start) // extent)  # the first outer index at or past the start
            past = -((inner - stop) // extent)
            if first < past:
                begin = first * extent + inner - start + coordinate
                end = begin + (past - 1 - first) * extent + 1
                parts.append(Rectangle(begin, end, slice(first, past), slice(inner, inner + 1), extent))
    return parts


def border(axis: Axis) -> list[tuple[slice, slice]]:
    """The rectangles of (outer, inner) that are padding: the complement of `covered`."""
    gaps, place = [], 0
    for start, stop, _ in sorted(axis.runs):
        gaps.append((place, start))
        place = stop
    gaps.append((place, axis.blocks * axis.block))
    return [part[2:] for start, stop in gaps for part in rectangles(start, stop, axis.extent)]


# Writing to space, a first or last part of a block along the innermost dim is a column whose every element costs a line
# of memory. A copy for each phase, which writing takes anyway, spares it: 5.1 ms instead of 7.5 for 8x64x128x128 float16
# cropped by 1, two threads. Writing to the batch, 14 became 20 ms for 16x3x600x512 float32, so it is not done there.
MOST_PHASES = 32


class Step(NamedTuple):
    """The views of one product of rectangles: x[space].reshape(sizes).transpose(order), and batch[batch]."""

    space: tuple[slice, ...]
    sizes: tuple[int, ...]
    order: tuple[int, ...]
    batch: tuple[slice, ...]


def _split_batch_view(geometry: BlockGeometry, y: Array) -> Array:
    """y as (phase_1 … phase_M, sample, rest): its phase dims come first, the rest keep their order; a view."""
    blocks, rest = geometry.block_shape, geometry.batch_shape[1:]
    if geometry.batch_order == "block_major":
        return y.reshape((*blocks, geometry.samples, *rest))
    return np.moveaxis(y.reshape((geometry.samples, *blocks, *rest)), 0, len(blocks))


def _steps(geometry: BlockGeometry, choices: list[list[Rectangle]]) -> Iterator[Step]:
    """A step for every product of the rectangles chosen for each axis."""
    m, ndim = len(geometry.axes), len(geometry.space_shape)
    interleaved = geometry.arrangement == "interleaved"
    for parts in itertools.product(*choices):
        space_index = [slice(None)] * ndim
        batch_index = [slice(None)] * (m + ndim)
        split: dict[int, tuple[int, int]] = {}
        for k, (axis, part) in enumerate(zip(geometry.axes, parts, strict=True)):
            space_index[axis.dim] = slice(part.start, part.stop, part.step)
            position, phase = (part.outer, part.inner) if interleaved else (part.inner, part.outer)
            batch_index[k], batch_index[m + axis.dim] = phase, position
            split[axis.dim] = (part.outer.stop - part.outer.start, part.inner.stop - part.inner.start)
        sizes = [size for d in range(ndim) for size in split.get(d, (geometry.space_shape[d],))]
        where, dims = {}, 0  # of each dim, after the blocked ones were split
        for d in range(ndim):
            where[d] = dims
            dims += 2 if d in split else 1
        phase_offset, position_offset = (1, 0) if interleaved else (0, 1)
        order = [where[axis.dim] + phase_offset for axis in geometry.axes]
        order += [where[d] + (position_offset if d in split else 0) for d in range(ndim)]
        yield Step(tuple(space_index), tuple(sizes), tuple(order), tuple(batch_index))


@lru_cache(maxsize=256)
def _copy_steps(geometry: BlockGeometry, by_phase: int | None) -> list[Step]:
    """The steps of strided copies, which hold every element of space once; the axis `by_phase` goes phase by phase."""
    choices = [covered(axis) for axis in geometry.axes]
    if by_phase is not None and len(choices[by_phase]) > 1 and geometry.axes[by_phase].block <= MOST_PHASES:
        choices[by_phase] = covered_by_phase(geometry.axes[by_phase])
    return list(_steps(geometry, choices))


def _copies(geometry: BlockGeometry, x: Array, y: Array, to_space: bool) -> list[tuple[Array, Array]]:
    """Pairs of views, the target first, whose copies take every element to its place."""
    nearest = min(range(len(geometry.axes)), key=lambda k: abs(x.strides[geometry.axes[k].dim]))
    interleaved = geometry.arrangement == "interleaved"
    batch = _split_batch_view(geometry, y)
    copies = []
    for step in _copy_steps(geometry, nearest if to_space and interleaved else None):
        # The reshape splits single dims, hence is a view.
        pair = x[step.space].reshape(step.sizes).transpose(step.order), batch[step.batch]
        copies.append(pair if to_space else pair[::-1])
    return copies


@lru_cache(maxsize=256)
def _border_steps(geometry: BlockGeometry) -> list[tuple[slice, ...]]:
    """Where the split batch tensor holds no element of space."""
    m, steps = len(geometry.axes), []
    for k, axis in enumerate(geometry.axes):
        for outer, inner in border(axis):
            index = [slice(None)] * (m + len(geometry.space_shape))
            position, phase = (outer, inner) if geometry.arrangement == "interleaved" else (inner, outer)
            index[k], index[m + axis.dim] = phase, position
            steps.append(tuple(index))
    return steps


def fill_border(geometry: BlockGeometry, y: Array, pad_value: Any) -> None:
    """Write the pad value where the batch tensor holds no element of space, and nowhere else."""
    batch = _split_batch_view(geometry, y)
    for index in _border_steps(geometry):
        batch[index] = pad_value


def copy_to_batch(geometry: BlockGeometry, x: Array, y: Array, pad_value: Any, threads: int | None = None) -> None:
    """Fill y, of the geometry's batch shape, from x, with at most `threads` threads (by default `thread_limit()`)."""
    if y.size == 0:
        return
    if geometry.padded:
        fill_border(geometry, y, pad_value)
    _run_all(_copies(geometry, x, y, to_space=False), threads)


def copy_to_space(geometry: BlockGeometry, y: Array, x: Array, threads: int | None = None) -> None:
    """Fill x, of the geometry's space shape, from y; what lies in the cropped border is not read."""
    if x.size == 0:
        return
    _run_all(_copies(geometry, x, y, to_space=True), threads)


# A tile stays in the cache until every phase of it was read or written. 8x64x128x128 float16 in blocks of 4, one thread:
# 3.8 ms instead of 7.7 to the batch, and 4.4 instead of 8.5 back. Smaller ones cost more calls, larger ones leave a thread
# without.
TILE_BYTES = 1 << 18


def _run_all(copies: list[tuple[Array, Array]], threads: int | None) -> None:
    """Make all copies, tile by tile; large ones are shared out among threads."""
    tiles = [tile for target, source in copies for tile in _tiles(target, source)]
    count = 1
    total = sum(target.nbytes for target, _ in copies)
    if total >= THREADED_BYTES and not copies[0][0].dtype.hasobject:
        count = min(thread_limit() if threads is None else threads, len(tiles))
    if count <= 1:
        _copy_tiles(tiles)
    else:
        bounds = [len(tiles) * part // count for part in range(count + 1)]
        run_in_threads([(_copy_tiles, (tiles[a:b],)) for a, b in itertools.pairwise(bounds)])


def _tiles(target: Array, source: Array) -> Iterator[tuple[Array, Array]]:
    """The pair in parts of about TILE_BYTES, cut along the dims that are outermost in the memory of both."""
    if target.nbytes <= TILE_BYTES:
        yield target, source
        return
    steps = [
        min(abs(a), abs(b)) if size > 1 else -1
        for a, b, size in zip(target.strides, source.strides, target.shape, strict=True)
    ]
    dim = max(range(target.ndim), key=steps.__getitem__)
    size = target.shape[dim]
    if steps[dim] <= target.itemsize:  # a copy of a single run, as good as any tile
        yield target, source
        return
    length = max(1, size * TILE_BYTES // target.nbytes)
    before = (slice(None),) * dim
    for start in range(0, size, length):
        index = (*before, slice(start, start + length))
        yield from _tiles(target[index], source[index])


def _copy_tiles(tiles: list[tuple[Array, Array]]) -> None:
    for target, source in tiles:
        for part, values in _long_runs(target, source):
            np.copyto(part, values)


def _long_runs(target: Array, source: Array) -> list[tuple[Array, Array]]:
    """The pair in parts over whose innermost dim NumPy can run far: interleaving writes a phase at a time.

    NumPy runs along the dim of the smallest stride in the target. Where that dim is a short one that is not dense in the
    source, the phases of a row, each of its indices is a part: 4.1 ms instead of 14.2 for 8x64x128x128 float16. But not
    where the next dim is hardly longer: 3.8 ms instead of 10.8 for 8x64x128x128 uint8 in blocks of 4 to the batch.
    """
    dims = sorted((d for d in range(target.ndim) if target.shape[d] > 1), key=lambda d: abs(target.strides[d]))
    if target.nbytes < 4096 or len(dims) < 2:
        return [(target, source)]
    dim, following = dims[:2]
    short = target.shape[dim] <= 32 and 2 * target.shape[dim] <= target.shape[following]
    if not short or abs(source.strides[dim]) <= source.itemsize:
        return [(target, source)]
    targets, sources = np.moveaxis(target, dim, 0), np.moveaxis(source, dim, 0)
    return [(targets[q], sources[q]) for q in range(targets.shape[0])]
