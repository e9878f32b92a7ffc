"""TensorFlow's spellings: [batch] + spatial shape + the rest, the spatial dims counted from 1.

>>> import numpy as np
>>> from spacebatch import tensorflow
>>> tensorflow.space_to_batch_nd(np.zeros((2, 4, 6, 3)), [2, 3], [[0, 0], [0, 0]]).shape
(12, 2, 2, 3)

An empty `block_shape`, which TensorFlow takes for a copy, is an error here as everywhere in this library.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from .functions import ArrayT
from .functions import batch_to_space as _batch_to_space
from .functions import space_to_batch as _space_to_batch
from .reference.arguments import Pair, as_integer, normalize_blocks, normalize_borders
from .reference.geometry import required_paddings

__all__ = [
    "batch_to_space",
    "batch_to_space_nd",
    "required_space_to_batch_paddings",
    "space_to_batch",
    "space_to_batch_nd",
]

Vector: TypeAlias = "Sequence[int] | npt.NDArray[Any] | Tensor"  # of integers, shape [M]
Pairs: TypeAlias = "Sequence[Sequence[int]] | npt.NDArray[Any] | Tensor"  # of integers, shape [M, 2]


def space_to_batch_nd(input: ArrayT, block_shape: Vector, paddings: Pairs) -> ArrayT:
    """`spacebatch.space_to_batch` with TensorFlow's arguments, for any number of spatial dims.

    >>> x = np.array([[1, 2, 3, 4, 5]])
    >>> space_to_batch_nd(x, [3], [[1, 0]])
    array([[0, 3],
           [1, 4],
           [2, 5]])

    Args:
        input: array or tensor of shape [batch] + spatial shape (M dims) + the rest, any dtype, any device.
        block_shape: M positive ints, elements along each spatial dim; list, tuple, array or tensor.
        paddings: M pairs (before, after) of zeros added to each spatial dim, never negative.

    Returns:
        What the input is, of shape [batch * prod(block_shape)] + [(size + before + after) / block, …] + the rest; its
        batch index is the position in the block times the batch, plus the sample.

    Raises:
        ValueError: wrong lengths, values out of range, a padded size that its block does not divide.
        TypeError: not made of integers, or a bare int; an input that is neither array nor tensor.

    Source: TensorFlow's tf.space_to_batch_nd, which is tf.space_to_batch and SpaceToBatchND.
    """
    blocks, pairs, dims = _spatial("space_to_batch_nd", input, block_shape, "paddings", paddings)
    return _space_to_batch(input, blocks, pairs, spatial_dims=dims)


def batch_to_space_nd(input: ArrayT, block_shape: Vector, crops: Pairs) -> ArrayT:
    """`spacebatch.batch_to_space` with TensorFlow's arguments, for any number of spatial dims.

    >>> y = np.array([[0, 3], [1, 4], [2, 5]])
    >>> batch_to_space_nd(y, [3], [[1, 0]])
    array([[1, 2, 3, 4, 5]])

    Args:
        input: array or tensor of shape [batch * prod(block_shape)] + spatial shape (M dims) + the rest, any dtype, any
            device.
        block_shape: M positive ints, elements along each spatial dim; list, tuple, array or tensor.
        crops: M pairs (before, after) of elements dropped from each spatial dim, never negative.

    Returns:
        What the input is, of shape [batch] + [size * block - before - after, …] + the rest.

    Raises:
        ValueError: wrong lengths, values out of range, a batch that prod(block_shape) does not divide, crops beyond
            the size.
        TypeError: not made of integers, or a bare int; an input that is neither array nor tensor.

    Source: TensorFlow's tf.batch_to_space, which is BatchToSpaceND.
    """
    blocks, pairs, dims = _spatial("batch_to_space_nd", input, block_shape, "crops", crops)
    return _batch_to_space(input, blocks, pairs, spatial_dims=dims)


def space_to_batch(input: ArrayT, paddings: Pairs, block_size: int) -> ArrayT:
    """`space_to_batch_nd` for images in NHWC and square blocks: TensorFlow's legacy operator.

    >>> space_to_batch(np.array([[[[1], [2]], [[3], [4]]]]), [[0, 0], [0, 0]], 2).tolist()
    [[[[1]]], [[[2]]], [[[3]]], [[[4]]]]

    Args:
        input: array or tensor of shape (batch, height, width, depth), any dtype, any device.
        paddings: [[top, bottom], [left, right]], zeros added to the height and width, never negative.
        block_size: int of at least 2, the block's height and width in elements.

    Returns:
        What the input is, of shape (batch * block_size**2, (top + height + bottom) / block_size,
        (left + width + right) / block_size, depth).

    Raises:
        ValueError: not 4-D, a block below 2, a padded size that the block does not divide, a negative padding.
        TypeError: not made of integers; an input that is neither array nor tensor.

    Source: TensorFlow's tf.compat.v1.space_to_batch.
    """
    block = _checked_block_size("space_to_batch", input, block_size)
    blocks, pairs, dims = _spatial("space_to_batch", input, (block, block), "paddings", paddings)
    return _space_to_batch(input, blocks, pairs, spatial_dims=dims)


def batch_to_space(input: ArrayT, crops: Pairs, block_size: int) -> ArrayT:
    """`batch_to_space_nd` for images in NHWC and square blocks: TensorFlow's legacy operator.

    >>> batch_to_space(np.arange(1, 5).reshape(4, 1, 1, 1), [[0, 0], [0, 1]], 2).tolist()
    [[[[1]], [[3]]]]

    Args:
        input: array or tensor of shape (batch * block_size**2, height, width, depth), any dtype, any device.
        crops: [[top, bottom], [left, right]], elements dropped from the height and width, never negative.
        block_size: int of at least 2, the block's height and width in elements.

    Returns:
        What the input is, of shape (batch, height * block_size - top - bottom, width * block_size - left - right,
        depth).

    Raises:
        ValueError: not 4-D, a block below 2, a batch that block_size**2 does not divide, crops beyond the size.
        TypeError: not made of integers; an input that is neither array nor tensor.

    Source: TensorFlow's tf.compat.v1.batch_to_space.
    """
    block = _checked_block_size("batch_to_space", input, block_size)
    blocks, pairs, dims = _spatial("batch_to_space", input, (block, block), "crops", crops)
    return _batch_to_space(input, blocks, pairs, spatial_dims=dims)


def required_space_to_batch_paddings(
    input_shape: Vector, block_shape: Vector, base_paddings: Pairs | None = None
) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """The paddings that make every size divisible by its block, and the crops that undo what was added for that.

    >>> paddings, crops = required_space_to_batch_paddings([5, 7], [2, 4], [[1, 0], [0, 0]])
    >>> np.array(paddings).tolist(), np.array(crops).tolist()
    ([[1, 0], [0, 1]], [[0, 0], [0, 1]])

    Args:
        input_shape: sizes of the M spatial dims, in elements.
        block_shape: M positive ints.
        base_paddings: M pairs (before, after) that are wanted in any case; zero by default.

    Returns:
        (paddings, crops), each M pairs of ints. The base paddings are in `paddings` and not in `crops`.

    Raises:
        ValueError: wrong lengths, a negative size or padding, a block below 1.
        TypeError: not made of integers, or a bare int.

    Source: TensorFlow's tf.required_space_to_batch_paddings.
    """
    op = "required_space_to_batch_paddings"
    entries = enumerate(_vector(op, "input_shape", input_shape))
    sizes = tuple(as_integer(size, f"{op}: input_shape[{k}]") for k, size in entries)
    for k, size in enumerate(sizes):
        if size < 0:
            raise ValueError(f"{op}: input_shape[{k}] must not be negative, got {size}")
    blocks, dims = _blocks(op, block_shape)
    if len(sizes) != len(blocks):
        raise ValueError(f"{op}: input_shape has {len(sizes)} entries and block_shape {len(blocks)}")
    base = None if base_paddings is None else _pairs(op, "base_paddings", base_paddings, dims)
    return required_paddings(sizes, blocks, base)


def _spatial(
    op: str, input: Any, block_shape: Any, name: str, borders: Any
) -> tuple[tuple[int, ...], tuple[Pair, ...], tuple[int, ...]]:
    """(block sizes, borders, spatial dims) in normal form, and the input has that many dims."""
    _check_array(op, input)
    blocks, dims = _blocks(op, block_shape)
    if input.ndim <= len(blocks):
        raise ValueError(
            f"{op}: block_shape has {len(blocks)} entries, but a {input.ndim}-D input has only {input.ndim - 1} dims "
            "besides the batch"
        )
    return blocks, _pairs(op, name, borders, dims), dims


def _check_array(op: str, input: Any) -> None:
    if not isinstance(input, (np.ndarray, Tensor)):
        raise TypeError(f"{op}: the input must be a torch.Tensor or a numpy.ndarray, got {type(input).__name__}")


def _checked_block_size(op: str, input: Any, block_size: Any) -> int:
    _check_array(op, input)
    if input.ndim != 4:
        raise ValueError(f"{op}: the input must be 4-D, (batch, height, width, depth), got {input.ndim}-D")
    block = as_integer(block_size, f"{op}: block_size")
    if block < 2:
        raise ValueError(f"{op}: block_size must be at least 2, got {block}")
    return block


def _vector(op: str, name: str, values: Any) -> Sequence[Any]:
    listed = values.tolist() if isinstance(values, (np.ndarray, Tensor)) else values
    if not isinstance(listed, Sequence) or isinstance(listed, (str, bytes)):
        kind = type(values).__name__
        raise TypeError(f"{op}: {name} must be a sequence, list, tuple, array or tensor, got {values!r} of type {kind}")
    return listed


def _blocks(op: str, block_shape: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(block sizes, spatial dims), the dims 1, …, M."""
    blocks = _vector(op, "block_shape", block_shape)
    if not blocks:
        raise ValueError(f"{op}: block_shape is empty; give one block size per spatial dim")
    return normalize_blocks(op, len(blocks) + 1, blocks, tuple(range(1, len(blocks) + 1)))


def _pairs(op: str, name: str, borders: Any, dims: Sequence[int]) -> tuple[Pair, ...]:
    """`borders` as one pair per dim; the shorter forms that the library allows elsewhere are not TensorFlow's."""
    rows = _vector(op, name, borders)
    if len(rows) != len(dims):
        raise ValueError(f"{op}: {name} must hold one pair for each of the {len(dims)} blocks, got {len(rows)} entries")
    for k, row in enumerate(rows):
        if len(_vector(op, f"{name}[{k}]", row)) != 2:
            raise ValueError(f"{op}: {name}[{k}] must be a (before, after) pair, got {row!r}")
    pairs = normalize_borders(op, name, rows, dims)
    assert pairs is not None
    return pairs
