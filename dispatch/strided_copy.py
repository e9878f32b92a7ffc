"""One strided copy by PyTorch, for eager CPU tensors: what starts fastest, and hence serves small tensors.

Splitting dims and permuting them is nothing but sizes and strides, so that source and result can be looked at with one
`as_strided` each instead of a chain of views; all numbers are worked out once per geometry and strides. A border is padded
before or cropped after, which is a second pass, and why large tensors go another way.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.memory_order import dense_strides, memory_order


class Copy(NamedTuple):
    """What the copy is given."""

    shape: tuple[int, ...]  # of the result, or of what it is cropped from
    strides: tuple[int, ...]
    sizes: tuple[int, ...]  # of both views
    source_strides: tuple[int, ...]
    result_strides: tuple[int, ...]


def _loops(
    geometry: BlockGeometry, space_strides: tuple[int, ...], batch_strides: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """(sizes, space strides, batch strides) of the loops over padded space, each blocked dim split in two."""
    sample, phases = geometry.split_batch_stride(batch_strides[0])
    loops = [(geometry.samples, space_strides[0], sample)]
    axes = {axis.dim: (axis, phase) for axis, phase in zip(geometry.axes, phases, strict=True)}
    for d in range(1, len(space_strides)):
        if d not in axes:
            loops.append((geometry.space_shape[d], space_strides[d], batch_strides[d]))
            continue
        (axis, phase), step = axes[d], space_strides[d]
        interleaved = geometry.arrangement == "interleaved"
        loops.append((axis.block, step * (1 if interleaved else axis.blocks), phase))
        loops.append((axis.blocks, step * (axis.block if interleaved else 1), batch_strides[d]))
    sizes, space, batch = zip(*loops, strict=True)
    return sizes, space, batch


def _padded_shape(geometry: BlockGeometry) -> tuple[int, ...]:
    shape = list(geometry.space_shape)
    for axis in geometry.axes:
        shape[axis.dim] = axis.block * axis.blocks
    return tuple(shape)


@lru_cache(maxsize=4096)
def to_batch(geometry: BlockGeometry, strides: tuple[int, ...], padded_strides: tuple[int, ...] | None = None) -> Copy:
    """The copy of `space_to_batch`, for the strides of its input and of the padded input, if there is padding."""
    result = dense_strides(geometry.batch_shape, memory_order(geometry.space_shape, strides))
    return Copy(geometry.batch_shape, result, *_loops(geometry, padded_strides or strides, result))


@lru_cache(maxsize=4096)
def to_space(geometry: BlockGeometry, strides: tuple[int, ...]) -> Copy:
    """The copy of `batch_to_space`, whose result has yet to be cropped."""
    shape = _padded_shape(geometry)
    result = dense_strides(shape, memory_order(geometry.batch_shape, strides))
    sizes, space, batch = _loops(geometry, result, strides)
    return Copy(shape, result, sizes, batch, space)


@lru_cache(maxsize=4096)
def _cropped_strides(geometry: BlockGeometry, strides: tuple[int, ...]) -> tuple[int, ...]:
    """Of the result of `batch_to_space`; a clone would keep what the crops left behind in the stride of a dim of size 1."""
    return dense_strides(geometry.space_shape, memory_order(geometry.batch_shape, strides))


@lru_cache(maxsize=4096)
def _pad_amounts(geometry: BlockGeometry) -> tuple[int, ...]:
    borders = dict(zip(geometry.spatial_dims, geometry.paddings, strict=True))
    dims = range(len(geometry.space_shape) - 1, min(borders) - 1, -1)
    return tuple(side for d in dims for side in borders.get(d, (0, 0)))


def space_to_batch(geometry: BlockGeometry, x: Tensor, pad_value: bool | int | float) -> Tensor:
    """`spacebatch.space_to_batch` of a plain CPU tensor with elements."""
    if not geometry.padded:
        return _copied(to_batch(geometry, x.stride()), x)
    padded = torch.constant_pad_nd(x, _pad_amounts(geometry), pad_value)
    return _copied(to_batch(geometry, x.stride(), padded.stride()), padded)


def batch_to_space(geometry: BlockGeometry, y: Tensor) -> Tensor:
    """`spacebatch.batch_to_space` of a plain CPU tensor with elements."""
    x = _copied(to_space(geometry, y.stride()), y)
    if not geometry.padded:
        return x
    for axis in geometry.axes:
        x = x.narrow(axis.dim, axis.before, axis.size)
    return y.new_empty_strided(x.shape, _cropped_strides(geometry, y.stride())).copy_(x)


def _copied(copy: Copy, source: Tensor) -> Tensor:
    shape, strides, sizes, source_strides, result_strides = copy
    result = source.new_empty_strided(shape, strides)
    result.as_strided(sizes, result_strides).copy_(source.as_strided(sizes, source_strides))
    return result
