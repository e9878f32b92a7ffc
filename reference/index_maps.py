"""Where the elements of a space tensor and of its batch tensor lie, as arrays of flat indices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .memory_order import dense_strides

if TYPE_CHECKING:
    from .geometry import BlockGeometry


def space_indices(geometry: BlockGeometry) -> npt.NDArray[np.int64]:
    """For every element of the batch tensor, the flat index of its source in space; -1 in the padding.

    >>> from spacebatch import BlockGeometry
    >>> space_indices(BlockGeometry((1, 5), (2,), "auto"))
    array([[ 0,  2,  4],
           [ 1,  3, -1]])
    """
    shape = geometry.space_shape
    total, valid = _batch_grid(geometry, dense_strides(shape, range(len(shape))))
    return np.where(valid, total, -1)


def batch_indices(geometry: BlockGeometry) -> npt.NDArray[np.int64]:
    """For every element in space, the flat index of its place in the batch tensor."""
    source = space_indices(geometry).reshape(-1)
    places = np.empty(math.prod(geometry.space_shape), dtype=np.int64)
    valid = source >= 0
    places[source[valid]] = np.flatnonzero(valid)
    return places.reshape(geometry.space_shape)


def valid_mask(geometry: BlockGeometry) -> npt.NDArray[np.bool_]:
    """True where the batch tensor holds an element of space, False where it holds padding; read-only."""
    _, valid = _batch_grid(geometry, (0,) * len(geometry.space_shape))
    return np.broadcast_to(valid, geometry.batch_shape)


def _batch_grid(geometry: BlockGeometry, strides: Sequence[int]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """(sum of coordinate * stride, inside?) at every place of the batch tensor, broadcast over what is constant."""
    space_shape = geometry.space_shape
    ndim = len(space_shape)

    def along(dim: int, values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return values.reshape([-1 if d == dim else 1 for d in range(ndim)])

    batch = np.arange(geometry.batch_shape[0])
    if geometry.batch_order == "block_major":
        phase_index, sample = np.divmod(batch, max(geometry.samples, 1))
    else:
        sample, phase_index = np.divmod(batch, geometry.phases)
    total = along(0, sample * strides[0])
    valid = np.ones([geometry.batch_shape[0] if d == 0 else 1 for d in range(ndim)], dtype=bool)
    for d in range(1, ndim):
        if d not in geometry.spatial_dims and strides[d]:
            total = total + along(d, np.arange(space_shape[d]) * strides[d])
    remaining = geometry.phases
    for axis in geometry.axes:
        remaining //= axis.block
        phase = along(0, phase_index // remaining % axis.block)
        i = along(axis.dim, np.arange(axis.blocks))
        u = i * axis.block + phase if geometry.arrangement == "interleaved" else phase * axis.blocks + i
        if axis.shift:
            u = (u - axis.shift) % (axis.blocks * axis.block)
        coordinate = u - axis.before
        valid = valid & (coordinate >= 0) & (coordinate < axis.size)
        total = total + coordinate * strides[axis.dim]
    return total, valid
