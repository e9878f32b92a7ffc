"""Large CPU tensors by chunks that stay in the cache: some samples and channels, all of the blocked dims.

Without a border, a strided copy that writes its result from end to end reads each line of the source once for every phase; out
of a chunk, all but the first come from the cache. With one, a strided copy of a padded tensor is fast, and of its rectangles it is not:
edges and corners are columns of few elements. So a chunk is copied into a small padded buffer, whose border was filled once,
and from there to its place by one strided copy; and the other way round to crop.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from torch import Tensor

from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.memory_order import dense_strides, memory_order

from . import moves
from .moves import Part

Strides = tuple[int, ...]

# The buffer of a call. 256 KiB took up to a third longer: each chunk costs four operators (2 cores of an AMD EPYC, torch 2.13).
CHUNK_BYTES = 1 << 20


class Chunk(NamedTuple):
    """Sizes of a chunk: what the buffer holds of space, and the same with its border as the batch tensor orders it."""

    inside: tuple[int, ...]
    padded: tuple[int, ...]


class Chunks(NamedTuple):
    """How a geometry is cut; strides and offsets count elements."""

    buffer: int  # elements
    buffer_strides: Strides  # of the dims of space
    inside_offset: int
    split_strides: Strides  # of the buffer, in the order of the batch tensor's strides
    space_strides: Strides  # of space, in the same order
    batch_strides: Strides
    dims: tuple[
        tuple[int, int, int, int], ...
    ]  # of each dim not blocked: size, part, stride in space, in the batch tensor
    sizes: tuple[tuple[bool, int], ...]  # of each dim of space: whether it is blocked, and its size inside
    splits: tuple[tuple[int, int], ...]  # of each dim of the split order: which of `dims` it is or -1, and its size

    def chunk(self, parts: tuple[int, ...]) -> Chunk:
        """The sizes of a chunk of so many of each dim that is not blocked."""
        plain = iter(parts)
        inside = tuple(size if blocked else next(plain) for blocked, size in self.sizes)
        return Chunk(inside, tuple(parts[k] if k >= 0 else size for k, size in self.splits))

    def places(self) -> Iterator[tuple[tuple[int, ...], int, int]]:
        """(parts, offset in space, offset in the batch tensor) of every chunk."""
        for starts in itertools.product(*(range(0, size, part) for size, part, _, _ in self.dims)):
            space = batch = 0
            parts = []
            for start, (size, part, space_stride, batch_stride) in zip(starts, self.dims, strict=True):
                space += start * space_stride
                batch += start * batch_stride
                parts.append(min(part, size - start))
            yield tuple(parts), space, batch


@lru_cache(maxsize=4096)
def chunks_of(geometry: BlockGeometry, space_strides: Strides, batch_strides: Strides, itemsize: int) -> Chunks | None:
    """How to cut a geometry with elements, or None where no cut leaves chunks that are small enough and yet one stretch of memory.

    Only dims that lie outside of all blocked ones in memory are cut: of channels_last, samples.

    >>> chunks_of(BlockGeometry((8, 64, 126, 126), 2, 1), (1016064, 15876, 126, 1), (262144, 4096, 64, 1), 4).dims
    ((8, 1, 1016064, 262144), (64, 16, 15876, 4096))
    """
    axes = {axis.dim: axis for axis in geometry.axes}
    order = memory_order(geometry.space_shape, space_strides)
    room = CHUNK_BYTES // itemsize
    sizes = list(geometry.space_shape)
    for axis in geometry.axes:
        sizes[axis.dim] = axis.block * axis.blocks
    outermost = min(order.index(d) for d in axes)
    for d in order[outermost:]:
        room //= sizes[d]
    if room == 0:
        return None
    for d in reversed(order[:outermost]):
        sizes[d] = min(sizes[d], room)
        room = max(room // sizes[d], 1)
    steps = dense_strides(sizes, order)
    sample, phases = geometry.split_batch_stride(batch_strides[0])
    batch = (sample, *batch_strides[1:])
    plain = [d for d in range(len(sizes)) if d not in axes]
    loops = [(k, sizes[d], d, 1, batch[d]) for k, d in enumerate(plain)]  # part, size, dim, step along it, in the batch
    interleaved = geometry.arrangement == "interleaved"
    for axis, phase in zip(geometry.axes, phases, strict=True):
        position_step, phase_step = (axis.block, 1) if interleaved else (1, axis.blocks)
        loops.append((-1, axis.blocks, axis.dim, position_step, batch[axis.dim]))
        loops.append((-1, axis.block, axis.dim, phase_step, phase))
    loops.sort(key=lambda loop: -loop[4])
    return Chunks(
        buffer=max(sizes[order[0]] * steps[order[0]], 1),
        buffer_strides=steps,
        inside_offset=sum(axis.before * steps[axis.dim] for axis in geometry.axes),
        split_strides=tuple(step * steps[d] for _, _, d, step, _ in loops),
        space_strides=tuple(step * space_strides[d] for _, _, d, step, _ in loops),
        batch_strides=tuple(loop[4] for loop in loops),
        dims=tuple(
            (geometry.samples if d == 0 else geometry.space_shape[d], sizes[d], space_strides[d], batch[d])
            for d in plain
        ),
        sizes=tuple((d in axes, size) for d, size in enumerate(geometry.space_shape)),
        splits=tuple((loop[0], loop[1]) for loop in loops),
    )


def split_batch(chunks: Chunks, x: Tensor, y: Tensor) -> None:
    """Fill y, of the geometry's batch shape, from x, where there is no border."""
    for parts, space, batch in chunks.places():
        _, sizes = chunks.chunk(parts)
        moves.to_batch(Part(sizes, chunks.space_strides, space, chunks.batch_strides, batch), x, y)


def fill_batch(chunks: Chunks, x: Tensor, y: Tensor, pad_value: bool | int | float | complex) -> None:
    """Fill y, of the geometry's batch shape, from x."""
    read = x.storage_offset()
    buffer = x.new_full((chunks.buffer,), pad_value)
    for parts, space, batch in chunks.places():
        inside, padded = chunks.chunk(parts)
        source = x.as_strided(inside, x.stride(), read + space)
        buffer.as_strided(inside, chunks.buffer_strides, chunks.inside_offset).copy_(source)
        moves.to_batch(Part(padded, chunks.split_strides, 0, chunks.batch_strides, batch), buffer, y)


def fill_space(chunks: Chunks, y: Tensor, x: Tensor) -> None:
    """Fill x, of the geometry's space shape, from y."""
    write = x.storage_offset()
    buffer = y.new_empty((chunks.buffer,))
    for parts, space, batch in chunks.places():
        inside, padded = chunks.chunk(parts)
        moves.to_space(Part(padded, chunks.split_strides, 0, chunks.batch_strides, batch), y, buffer)
        target = x.as_strided(inside, x.stride(), write + space)
        target.copy_(buffer.as_strided(inside, chunks.buffer_strides, chunks.inside_offset))
