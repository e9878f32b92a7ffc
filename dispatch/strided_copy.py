"""Strided copies by PyTorch, for eager CPU tensors: vectorised, on PyTorch's own threads, and quick to start.

Splitting dims and permuting them is nothing but sizes, strides and offsets, so source and result are looked at with one
`as_strided` each instead of a chain of views, all numbers worked out once per geometry and strides. What the input covers of
padded space is one rectangle without a border, and with one the products of up to three per blocked dim, the whole rows and
a rest at either end: as many copies, and a fill for each side of the border. Every byte is written once. Small tensors are
padded before or cropped after instead: a second pass, but fewer operators; and where a few channels fit the cache, chunks of
them are (`chunked_copy`).
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from spacebatch.reference.cpu_path import Rectangle, border, covered
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.memory_order import dense_strides, memory_order

from . import chunked_copy, moves
from .chunked_copy import Chunks, chunks_of
from .huge_pages import HUGE_BYTES, advised
from .moves import Part

# Of the input: up to here a border takes a second pass, from here on rectangles. Machines differ: padded by 1, blocks of 3, 1 MB of
# float32 took 582 us in two passes and 336 in rectangles on a Xeon, 128 and 194 on an EPYC; 4 MB 2389 and 747, 609 and 578.
TWO_PASS_BYTES = HUGE_BYTES

# From here on in chunks, elements of 1 and 2 bytes before wider ones: 16 MiB in blocks of 4, bytes 17.2 -> 7.3 ms, int16 in blocks of 3
# 7.5 -> 3.5, float32 no better; 32 MiB, int16 in blocks of 4 33 -> 19, float32 in blocks of 3 11 -> 7. 256 MB padded by 1, float32 in
# blocks of 3: 219 ms in two passes, 98 in rectangles, 77 in chunks (2 cores of an EPYC, torch 2.13). Not for less: all threads meet after
# every chunk, and where something else keeps a core busy, each meeting waits for it.
CHUNKED_BYTES = 24 << 20
CHUNKED_BYTES_OF_NARROW = 12 << 20

_CONTIGUOUS = torch.contiguous_format

Strides = tuple[int, ...]


class Parts(NamedTuple):
    """All there is to copy, and all there is to fill: strides and offsets of the latter are the batch tensor's alone."""

    copies: tuple[Part, ...]
    fills: tuple[Part, ...]


@lru_cache(maxsize=4096)
def parts_of(geometry: BlockGeometry, space_strides: Strides, batch_strides: Strides) -> Parts:
    """The rectangles of a geometry with elements.

    >>> len(parts_of(BlockGeometry((1, 4, 4), (2, 2), spatial_dims=(1, 2)), (16, 4, 1), (4, 2, 1)).copies)
    1
    """
    sample, phases = geometry.split_batch_stride(batch_strides[0])
    blocked = {axis.dim for axis in geometry.axes}
    plain = [(geometry.samples, space_strides[0], sample)]
    plain += [
        (geometry.space_shape[d], space_strides[d], batch_strides[d])
        for d in range(1, len(space_strides))
        if d not in blocked
    ]
    interleaved = geometry.arrangement == "interleaved"
    halves = [
        (batch_strides[axis.dim], phase) if interleaved else (phase, batch_strides[axis.dim])
        for axis, phase in zip(geometry.axes, phases, strict=True)
    ]

    def part(chosen: tuple[Rectangle, ...]) -> Part:
        loops, space_offset, batch_offset = list(plain), 0, 0
        for axis, r, (outer, inner) in zip(geometry.axes, chosen, halves, strict=True):
            step = space_strides[axis.dim]
            space_offset += (r.start - axis.before) * step
            batch_offset += r.outer.start * outer + r.inner.start * inner
            loops.append((r.outer.stop - r.outer.start, axis.extent * step, outer))
            loops.append((r.inner.stop - r.inner.start, step, inner))
        return _part(loops, space_offset, batch_offset)

    def fill(k: int, outers: slice, inners: slice) -> Part:
        loops, offset = list(plain), 0
        for j, (axis, (outer, inner)) in enumerate(zip(geometry.axes, halves, strict=True)):
            counts = axis.blocks * axis.block // axis.extent, axis.extent
            spans = (outers, inners) if j == k else (slice(None), slice(None))
            for span, count, stride in zip(spans, counts, (outer, inner), strict=True):
                start, stop, _ = span.indices(count)
                loops.append((stop - start, 0, stride))
                offset += start * stride
        return _part(loops, 0, offset)

    return Parts(
        tuple(part(chosen) for chosen in itertools.product(*(covered(axis) for axis in geometry.axes))),
        tuple(fill(k, *sides) for k, axis in enumerate(geometry.axes) for sides in border(axis)),
    )


def _part(loops: list[tuple[int, int, int]], space_offset: int, batch_offset: int) -> Part:
    moving = sorted((loop for loop in loops if loop[0] != 1), key=lambda loop: -loop[2]) or [(1, 1, 1)]
    sizes, space, batch = zip(*moving, strict=True)
    return Part(sizes, space, space_offset, batch, batch_offset)


def fill_batch(geometry: BlockGeometry, x: Tensor, y: Tensor, pad_value: bool | int | float | complex) -> None:
    """Fill y, of the geometry's batch shape, from x."""
    parts = parts_of(geometry, x.stride(), y.stride())
    write = y.storage_offset()
    for part in parts.fills:
        y.as_strided(part.sizes, part.batch_strides, write + part.batch_offset).fill_(pad_value)
    for part in parts.copies:
        moves.to_batch(part, x, y)


def fill_space(geometry: BlockGeometry, y: Tensor, x: Tensor) -> None:
    """Fill x, of the geometry's space shape, from y; what the crops cover is not read."""
    for part in parts_of(geometry, x.stride(), y.stride()).copies:
        moves.to_space(part, y, x)


@lru_cache(maxsize=4096)
def _batch_strides(geometry: BlockGeometry, strides: Strides) -> Strides:
    return dense_strides(geometry.batch_shape, memory_order(geometry.space_shape, strides))


@lru_cache(maxsize=4096)
def _space_strides(geometry: BlockGeometry, strides: Strides) -> Strides:
    return dense_strides(geometry.space_shape, memory_order(geometry.batch_shape, strides))


@lru_cache(maxsize=4096)
def _unpadded(geometry: BlockGeometry) -> BlockGeometry:
    """The geometry of what is padded before, or cropped after."""
    shape = list(geometry.space_shape)
    for axis in geometry.axes:
        shape[axis.dim] = axis.block * axis.blocks
    return BlockGeometry(
        shape,
        geometry.block_shape,
        spatial_dims=geometry.spatial_dims,
        batch_order=geometry.batch_order,
        arrangement=geometry.arrangement,
    )


def _pad_amounts(geometry: BlockGeometry) -> tuple[int, ...]:
    borders = dict(zip(geometry.spatial_dims, geometry.paddings, strict=True))
    dims = range(len(geometry.space_shape) - 1, min(borders) - 1, -1)
    return tuple(side for d in dims for side in borders.get(d, (0, 0)))


class Whole(NamedTuple):
    """The copy of a contiguous tensor that is padded before, cropped after, or neither, in two operators each.

    `as_strided` puts the elements in order, and `reshape` copies them where the order has more dims than the result, which
    ends in no view, as a chain of views would; else `clone` does.
    """

    sizes: tuple[int, ...]
    strides: Strides
    shape: tuple[int, ...]  # of the result, before it is cropped
    merges: bool  # the order has more dims than the result
    pads: tuple[int, ...]
    crop: tuple[tuple[int, ...], Strides, int] | None  # sizes, strides and offset of what stays
    most_bytes: int  # of the input: beyond, the result is made first, in huge pages, and filled as `moves` has it

    def to_batch(self, x: Tensor, pad_value: bool | int | float | complex) -> Tensor:
        """space_to_batch of a contiguous tensor."""
        if self.pads:
            x = torch.constant_pad_nd(x, self.pads, pad_value)
        return self._copied(x)

    def to_space(self, y: Tensor) -> Tensor:
        """batch_to_space of a contiguous tensor."""
        x = self._copied(y)
        return x if self.crop is None else x.as_strided(*self.crop).clone(memory_format=_CONTIGUOUS)

    def _copied(self, x: Tensor) -> Tensor:
        swift = moves.swift_dtype(x)
        bits = x if swift is None else x.view(swift)
        ordered = bits.as_strided(self.sizes, self.strides, x.storage_offset())
        result = ordered.reshape(self.shape) if self.merges else ordered.clone(memory_format=_CONTIGUOUS)
        return result if swift is None else result.view(x.dtype).data  # no view of its own copy


def whole_of(direction: str, geometry: BlockGeometry) -> Whole:
    """What to do with contiguous tensors of a geometry with elements."""
    whole = _unpadded(geometry) if geometry.padded else geometry
    to_batch = direction == "space_to_batch"
    space, batch = (dense_strides(s, range(len(s))) for s in (whole.space_shape, whole.batch_shape))
    (part,) = parts_of(whole, space, batch).copies
    result, source = (whole.batch_shape, part.space_strides) if to_batch else (whole.space_shape, part.batch_strides)
    sizes = part.sizes
    if not to_batch:  # largest steps of the result first
        order = sorted(range(len(sizes)), key=lambda d: -part.space_strides[d])
        sizes, source = tuple(sizes[d] for d in order), tuple(source[d] for d in order)
    trial = torch.empty(result, device="meta").as_strided(sizes, source).reshape(result)
    merges = not trial._is_view()
    if not merges:
        sizes, source = result, trial.stride()
    crop = None
    if geometry.padded and not to_batch:
        offset = sum(axis.before * space[axis.dim] for axis in geometry.axes)
        crop = geometry.space_shape, space, offset
    pads = _pad_amounts(geometry) if geometry.padded and to_batch else ()
    phased = None if to_batch else moves.in_phases(part.sizes, part.space_strides, part.batch_strides)
    return Whole(sizes, source, result, merges, pads, crop, phased or TWO_PASS_BYTES)


def space_to_batch(
    geometry: BlockGeometry, x: Tensor, pad_value: bool | int | float | complex, out: Tensor | None = None
) -> Tensor:
    """`spacebatch.space_to_batch` of a plain CPU tensor with elements."""
    y = out
    if y is None:
        y = advised(x.new_empty_strided(geometry.batch_shape, _batch_strides(geometry, x.stride())))
    if geometry.padded and x.nbytes < TWO_PASS_BYTES:
        fill_batch(_unpadded(geometry), torch.constant_pad_nd(x, _pad_amounts(geometry), pad_value), y, 0)
    elif x.nbytes < _chunked_bytes(x) or (chunks := _chunks(geometry, x, y)) is None:
        fill_batch(geometry, x, y, pad_value)
    elif geometry.padded:
        chunked_copy.fill_batch(chunks, x, y, pad_value)
    else:
        chunked_copy.split_batch(chunks, x, y)
    return y


def batch_to_space(geometry: BlockGeometry, y: Tensor, out: Tensor | None = None) -> Tensor:
    """`spacebatch.batch_to_space` of a plain CPU tensor with elements."""
    x = out
    if x is None:
        x = advised(y.new_empty_strided(geometry.space_shape, _space_strides(geometry, y.stride())))
    if geometry.padded and y.nbytes < TWO_PASS_BYTES:
        whole = _unpadded(geometry)
        cropped = y.new_empty_strided(whole.space_shape, _space_strides(whole, y.stride()))
        fill_space(whole, y, cropped)
        for axis in geometry.axes:
            cropped = cropped.narrow(axis.dim, axis.before, axis.size)
        x.copy_(cropped)
    elif not geometry.padded or y.nbytes < _chunked_bytes(y) or (chunks := _chunks(geometry, x, y)) is None:
        fill_space(geometry, y, x)
    else:
        chunked_copy.fill_space(chunks, y, x)
    return x


def _chunked_bytes(source: Tensor) -> int:
    return CHUNKED_BYTES_OF_NARROW if source.itemsize <= 2 else CHUNKED_BYTES


def _chunks(geometry: BlockGeometry, x: Tensor, y: Tensor) -> Chunks | None:
    """How to cut what lies between space and its batch tensor."""
    return chunks_of(geometry, x.stride(), y.stride(), x.element_size())


def describe(direction: str, geometry: BlockGeometry, source: Tensor) -> str:
    """What is copied, in a line, for `explain`."""
    to_batch = direction == "space_to_batch"
    if not geometry.padded and (source.nbytes < _chunked_bytes(source) or not to_batch):
        return _describe_one(to_batch, geometry, source)
    if source.nbytes < TWO_PASS_BYTES:
        return "padded, then one strided copy" if to_batch else "one strided copy, then cropped"
    strides = source.stride()
    pair = (strides, _batch_strides(geometry, strides)) if to_batch else (_space_strides(geometry, strides), strides)
    if source.nbytes >= _chunked_bytes(source) and chunks_of(geometry, *pair, source.element_size()) is not None:
        if not geometry.padded:
            return "strided copies of chunks that stay in the cache"
        return f"{'padded' if to_batch else 'cropped'} in chunks that stay in the cache, each by a strided copy"
    copies = 1
    for axis in geometry.axes:
        copies *= len(covered(axis))
    if copies == 1 and not geometry.padded:
        return _describe_one(to_batch, geometry, source)
    fills = ", border filled apart" if to_batch else ""
    return f"strided copies of {copies} rectangle{'s' if copies > 1 else ''}{fills}"


def _describe_one(to_batch: bool, geometry: BlockGeometry, source: Tensor) -> str:
    """How the only rectangle of a geometry is moved."""
    text = "one strided copy"
    if source.nbytes < moves.SWIFT_BYTES:
        return text
    strides = source.stride()
    pair = (strides, _batch_strides(geometry, strides)) if to_batch else (_space_strides(geometry, strides), strides)
    (part,) = parts_of(geometry, *pair).copies
    plan = moves.plan_of(part.sizes, part.space_strides, part.batch_strides, source.itemsize)
    if plan.phases is not None and not to_batch:
        text = f"{plan.sizes[plan.phases]} strided copies, one for each phase of the innermost blocked dim"
    direction = "space_to_batch" if to_batch else "batch_to_space"
    dtype = plan.dtype
    if source.is_contiguous() and source.nbytes < whole_of(direction, geometry).most_bytes:
        dtype = moves.swift_dtype(source) or source.dtype
    return text if dtype is source.dtype else f"{text}, as {dtype}"
