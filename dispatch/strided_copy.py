"""Strided copies by PyTorch, for eager CPU tensors where the vector kernels do not run: threaded, and quick to start.

Splitting dims and permuting them is nothing but sizes, strides and offsets, so source and result are looked at with one
`as_strided` each instead of a chain of views, all numbers worked out once per geometry and strides. What the input covers of
padded space is one rectangle without a border, and with one the products of up to three per blocked dim, the whole rows and
a rest at either end: as many copies, and a fill for each side of the border. Every byte is written once. Small tensors are
padded before or cropped after instead: a second pass, but fewer operators.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from spacebatch.reference.cpu_path import Rectangle, border, covered
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.memory_order import dense_strides, memory_order

from .huge_pages import HUGE_BYTES, advised

# Of the input: up to here a border takes a second pass, from here on rectangles. Machines differ: padded by 1, blocks of 3, 1 MB of
# float32 took 582 us in two passes and 336 in rectangles on a Xeon, 128 and 194 on an EPYC; 4 MB 2389 and 747, 609 and 578.
TWO_PASS_BYTES = HUGE_BYTES

# What all of PyTorch's CPU operators know; the others travel as integers of the same width.
DTYPES = frozenset(
    {
        torch.bool,
        torch.uint8,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
        torch.float16,
        torch.bfloat16,
        torch.float32,
        torch.float64,
        torch.complex64,
        torch.complex128,
    }
)

Strides = tuple[int, ...]


class Part(NamedTuple):
    """A rectangle in both tensors, counted in elements, largest steps of the batch tensor first."""

    sizes: tuple[int, ...]
    space_strides: Strides
    space_offset: int
    batch_strides: Strides
    batch_offset: int

    def views(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Its elements in the space tensor x and in the batch tensor y."""
        space = x.as_strided(self.sizes, self.space_strides, x.storage_offset() + self.space_offset)
        return space, y.as_strided(self.sizes, self.batch_strides, y.storage_offset() + self.batch_offset)


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
        space, batch = part.views(x, y)
        batch.copy_(space)


def fill_space(geometry: BlockGeometry, y: Tensor, x: Tensor) -> None:
    """Fill x, of the geometry's space shape, from y; what the crops cover is not read."""
    for part in parts_of(geometry, x.stride(), y.stride()).copies:
        space, batch = part.views(x, y)
        space.copy_(batch)


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


def space_to_batch(
    geometry: BlockGeometry, x: Tensor, pad_value: bool | int | float | complex, out: Tensor | None = None
) -> Tensor:
    """`spacebatch.space_to_batch` of a plain CPU tensor with elements."""
    y = out
    if y is None:
        y = advised(x.new_empty_strided(geometry.batch_shape, _batch_strides(geometry, x.stride())))
    if geometry.padded and x.nbytes < TWO_PASS_BYTES:
        fill_batch(_unpadded(geometry), torch.constant_pad_nd(x, _pad_amounts(geometry), pad_value), y, 0)
    else:
        fill_batch(geometry, x, y, pad_value)
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
    else:
        fill_space(geometry, y, x)
    return x


def describe(direction: str, geometry: BlockGeometry, source: Tensor) -> str:
    """What is copied, in a line, for `explain`."""
    to_batch = direction == "space_to_batch"
    if not geometry.padded:
        return "one strided copy"
    if source.nbytes < TWO_PASS_BYTES:
        return "padded, then one strided copy" if to_batch else "one strided copy, then cropped"
    copies = math.prod(len(covered(axis)) for axis in geometry.axes)
    fills = ", border filled apart" if to_batch else ""
    return f"strided copies of {copies} rectangle{'s' if copies > 1 else ''}{fills}"
