"""The definition, index by index: slow, and obviously right. Everything else in this library is compared with it.

With P = prod(block), p = (p_1 … p_M) a phase, |p| its row-major index and S'_k = (S_k + before_k + after_k) / b_k:

    interleaved:  y[|p| * N + n, …, i_k, …] = x[n, …, i_k * b_k + p_k - before_k, …]
    contiguous:   y[|p| * N + n, …, i_k, …] = x[n, …, p_k * S'_k + i_k - before_k, …]

and the pad value where that lies outside x. A shift s_k moves the padded image before that, as `torch.roll` does: with
u = i_k * b_k + p_k or p_k * S'_k + i_k, the coordinate is (u - s_k) mod (S'_k * b_k) - before_k. `batch_order="batch_major"` writes to n * P + |p| instead. Interleaved and
block-major is the operator of Caffe2 and TensorFlow. `batch_to_space` is the inverse map; cropped elements are dropped.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from .geometry import BlockGeometry
from .pad_value import numpy_pad_value


def space_to_batch(
    x: npt.NDArray[Any], block_shape: Any, paddings: Any = 0, *, pad_value: Any = 0, **options: Any
) -> npt.NDArray[Any]:
    """`spacebatch.space_to_batch` by its formula.

    >>> x = np.array([[[[1, 2], [3, 4]]]])
    >>> space_to_batch(x, 2).tolist()
    [[[[1]]], [[[2]]], [[[3]]], [[[4]]]]
    >>> space_to_batch(np.array([[1, 2, 3, 4, 5, 6]]), (2,), ((1, 1),), pad_value=-1)
    array([[-1,  2,  4,  6],
           [ 1,  3,  5, -1]])
    >>> space_to_batch(np.array([[1, 2, 3, 4, 5, 6]]), (2,), shifts=-1)
    array([[2, 4, 6],
           [3, 5, 1]])
    """
    geometry = BlockGeometry(x.shape, block_shape, paddings, **options)
    y = np.full(geometry.batch_shape, numpy_pad_value(pad_value, x.dtype), dtype=x.dtype)
    for batch, space in _pairs(geometry):
        if all(0 <= s < size for s, size in zip(space, x.shape, strict=True)):
            y[batch] = x[space]
    return y


def batch_to_space(y: npt.NDArray[Any], block_shape: Any, crops: Any = 0, **options: Any) -> npt.NDArray[Any]:
    """`spacebatch.batch_to_space` by its formula.

    >>> batch_to_space(np.array([[-1, 2, 4, 6], [1, 3, 5, -1]]), (2,), ((1, 1),))
    array([[1, 2, 3, 4, 5, 6]])
    """
    geometry = BlockGeometry.from_batch(y.shape, block_shape, crops, **options)
    x = np.empty(geometry.space_shape, dtype=y.dtype)
    for batch, space in _pairs(geometry):
        if all(0 <= s < size for s, size in zip(space, x.shape, strict=True)):
            x[space] = y[batch]
    return x


def _pairs(geometry: BlockGeometry) -> Any:
    """Every (batch index, space index) of the formula above; the space index may lie in the border."""
    N, P = geometry.space_shape[0], geometry.phases
    phases = list(itertools.product(*(range(b) for b in geometry.block_shape)))
    for n in range(N):
        for number, p in enumerate(phases):
            row = number * N + n if geometry.batch_order == "block_major" else n * P + number
            for rest in np.ndindex(geometry.batch_shape[1:]):
                batch = (row, *rest)
                space = [n, *rest]
                for k, d in enumerate(geometry.spatial_dims):
                    if geometry.arrangement == "interleaved":
                        u = batch[d] * geometry.block_shape[k] + p[k]
                    else:
                        u = p[k] * geometry.batch_shape[d] + batch[d]
                    total = geometry.batch_shape[d] * geometry.block_shape[k]
                    space[d] = (u - geometry.shifts[k]) % total - geometry.paddings[k][0]
                yield batch, tuple(space)
