"""TensorFlow's spellings: [batch] + spatial shape + the rest, the spatial dims counted from 1.

>>> import numpy as np
>>> from spacebatch import tensorflow
>>> tensorflow.space_to_batch_nd(np.zeros((2, 4, 6, 3)), [2, 3], [[0, 0], [0, 0]]).shape
(12, 2, 2, 3)

Every function takes TensorFlow's `name` and ignores it. An input of nested lists becomes a NumPy array.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, overload

import numpy.typing as npt

from . import spelling
from .reference.arguments import INT64_MAX, Pair
from .spelling import ArrayT, Blocks, Words
from .tensorflow_arguments import as_array, at_least, check_name, depth, integers, pairs, told_apart

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "batch_to_space",
    "batch_to_space_nd",
    "required_space_to_batch_paddings",
    "space_to_batch",
    "space_to_batch_nd",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> NoReturn:
        from .near_names import absent

        raise absent(__name__, name, __all__)


Vector: TypeAlias = "Sequence[int] | npt.NDArray[Any] | Tensor"  # of integers, shape [M]
Pairs: TypeAlias = "Sequence[Sequence[int]] | npt.NDArray[Any] | Tensor"  # of integers, shape [M, 2]
Nested: TypeAlias = "Sequence[Any]"  # numbers in lists in lists
PadValue: TypeAlias = "bool | int | float | complex"


@overload
def space_to_batch_nd(
    input: ArrayT, block_shape: Vector, paddings: Pairs, name: str | None = ..., *, pad_value: PadValue = ...
) -> ArrayT: ...
@overload
def space_to_batch_nd(
    input: Nested, block_shape: Vector, paddings: Pairs, name: str | None = ..., *, pad_value: PadValue = ...
) -> npt.NDArray[Any]: ...
def space_to_batch_nd(
    input: Any, block_shape: Vector, paddings: Pairs, name: str | None = None, *, pad_value: PadValue = 0
) -> Any:
    """`spacebatch.space_to_batch` with TensorFlow's arguments, for any number of spatial dims.

    >>> import numpy as np
    >>> x = np.array([[1, 2, 3, 4, 5]])
    >>> space_to_batch_nd(x, [3], [[1, 0]])
    array([[0, 3],
           [1, 4],
           [2, 5]])

    Args:
        input: array, tensor or nested lists of shape [batch] + spatial shape (M dims) + the rest, any dtype, any device.
        block_shape: M positive ints, elements along each spatial dim; list, tuple, array or tensor. With M = 0 the
            result is a copy.
        paddings: M pairs (before, after) of elements added to each spatial dim, never negative.
        name: ignored.
        pad_value: what the padding holds, such as the zero point of quantized integers.

    Returns:
        Array or tensor of shape [batch * prod(block_shape)] + [(size + before + after) / block, …] + the rest; its batch
        index is the position in the block times the batch, plus the sample.

    Raises:
        ValueError: wrong lengths, values out of range, a padded size that its block does not divide.
        TypeError: not made of integers, or a bare int; an input of another type.

    Source: TensorFlow's tf.space_to_batch_nd, which is tf.space_to_batch and SpaceToBatchND.
    """
    return _moved(
        "space_to_batch_nd", "paddings", input, "block_shape", block_shape, paddings, name, pad_value=pad_value
    )


@overload
def batch_to_space_nd(input: ArrayT, block_shape: Vector, crops: Pairs, name: str | None = ...) -> ArrayT: ...
@overload
def batch_to_space_nd(input: Nested, block_shape: Vector, crops: Pairs, name: str | None = ...) -> npt.NDArray[Any]: ...
def batch_to_space_nd(input: Any, block_shape: Vector, crops: Pairs, name: str | None = None) -> Any:
    """`spacebatch.batch_to_space` with TensorFlow's arguments, for any number of spatial dims.

    >>> import numpy as np
    >>> y = np.array([[0, 3], [1, 4], [2, 5]])
    >>> batch_to_space_nd(y, [3], [[1, 0]])
    array([[1, 2, 3, 4, 5]])

    Args:
        input: array, tensor or nested lists of shape [batch * prod(block_shape)] + spatial shape (M dims) + the rest, any
            dtype, any device.
        block_shape: M positive ints, elements along each spatial dim; list, tuple, array or tensor. With M = 0 the
            result is a copy.
        crops: M pairs (before, after) of elements dropped from each spatial dim, never negative.
        name: ignored.

    Returns:
        Array or tensor of shape [batch] + [size * block - before - after, …] + the rest.

    Raises:
        ValueError: wrong lengths, values out of range, a batch that prod(block_shape) does not divide, crops beyond
            the size.
        TypeError: not made of integers, or a bare int; an input of another type.

    Source: TensorFlow's tf.batch_to_space, which is BatchToSpaceND.
    """
    return _moved("batch_to_space_nd", "crops", input, "block_shape", block_shape, crops, name)


@overload
def space_to_batch(
    input: ArrayT,
    *arguments: Vector | Pairs | int | str | None,
    block_shape: Vector | int | None = ...,
    paddings: Pairs | None = ...,
    block_size: int | None = ...,
    name: str | None = ...,
    pad_value: PadValue = ...,
) -> ArrayT: ...
@overload
def space_to_batch(
    input: Nested,
    *arguments: Vector | Pairs | int | str | None,
    block_shape: Vector | int | None = ...,
    paddings: Pairs | None = ...,
    block_size: int | None = ...,
    name: str | None = ...,
    pad_value: PadValue = ...,
) -> npt.NDArray[Any]: ...
def space_to_batch(
    input: Any,
    *arguments: Any,
    block_shape: Any = None,
    paddings: Any = None,
    block_size: Any = None,
    name: Any = None,
    pad_value: PadValue = 0,
) -> Any:
    """`space_to_batch_nd`, also in the argument order of TensorFlow 1.

    >>> x = [[[[1], [2]], [[3], [4]]]]
    >>> space_to_batch(x, [2, 2], [[0, 0], [0, 0]]).tolist()
    [[[[1]]], [[[2]]], [[[3]]], [[[4]]]]
    >>> space_to_batch(x, [[0, 0], [0, 0]], 2).tolist()
    [[[[1]]], [[[2]]], [[[3]]], [[[4]]]]

    The two orders differ in the shapes of their arguments: only `paddings` is a matrix.

    Args:
        input: array, tensor or nested lists, any dtype, any device; with `block_size` of shape
            (batch, height, width, depth), else as `space_to_batch_nd` takes it.
        arguments: `block_shape, paddings, name` as in TensorFlow 2, or `paddings, block_size, name, block_shape` as in
            TensorFlow 1; each may be given by keyword instead.
        block_shape: as in `space_to_batch_nd`; an int b stands for (b, b).
        paddings: as in `space_to_batch_nd`.
        block_size: int of at least 2, the block's height and width in elements; excludes `block_shape`.
        name: ignored.
        pad_value: what the padding holds, such as the zero point of quantized integers.

    Returns:
        As `space_to_batch_nd`.

    Raises:
        ValueError: with `block_size` not 4-D, or a block below 2; else as `space_to_batch_nd`.
        TypeError: an argument that is missing or given twice, or an order that is neither; else as `space_to_batch_nd`.

    Source: TensorFlow's tf.space_to_batch and tf.compat.v1.space_to_batch.
    """
    named = {"block_shape": block_shape, "paddings": paddings, "block_size": block_size, "name": name}
    given = told_apart("space_to_batch", "paddings", arguments, named)
    return _moved("space_to_batch", "paddings", input, *given, square=True, pad_value=pad_value)


@overload
def batch_to_space(
    input: ArrayT,
    *arguments: Vector | Pairs | int | str | None,
    block_shape: Vector | int | None = ...,
    crops: Pairs | None = ...,
    block_size: int | None = ...,
    name: str | None = ...,
) -> ArrayT: ...
@overload
def batch_to_space(
    input: Nested,
    *arguments: Vector | Pairs | int | str | None,
    block_shape: Vector | int | None = ...,
    crops: Pairs | None = ...,
    block_size: int | None = ...,
    name: str | None = ...,
) -> npt.NDArray[Any]: ...
def batch_to_space(
    input: Any,
    *arguments: Any,
    block_shape: Any = None,
    crops: Any = None,
    block_size: Any = None,
    name: Any = None,
) -> Any:
    """`batch_to_space_nd`, also in the argument order of TensorFlow 1.

    >>> import numpy as np
    >>> y = np.arange(1, 5).reshape(4, 1, 1, 1)
    >>> batch_to_space(y, [2, 2], [[0, 0], [0, 1]]).tolist(), batch_to_space(y, [[0, 0], [0, 1]], 2).tolist()
    ([[[[1]], [[3]]]], [[[[1]], [[3]]]])

    Args:
        input: array, tensor or nested lists, any dtype, any device; with `block_size` of shape
            (batch * block_size**2, height, width, depth), else as `batch_to_space_nd` takes it.
        arguments: `block_shape, crops, name` as in TensorFlow 2, or `crops, block_size, name, block_shape` as in
            TensorFlow 1; each may be given by keyword instead.
        block_shape: as in `batch_to_space_nd`; an int b stands for (b, b).
        crops: as in `batch_to_space_nd`.
        block_size: int of at least 2, the block's height and width in elements; excludes `block_shape`.
        name: ignored.

    Returns:
        As `batch_to_space_nd`.

    Raises:
        ValueError: with `block_size` not 4-D, or a block below 2; else as `batch_to_space_nd`.
        TypeError: an argument that is missing or given twice, or an order that is neither; else as `batch_to_space_nd`.

    Source: TensorFlow's tf.batch_to_space and tf.compat.v1.batch_to_space.
    """
    named = {"block_shape": block_shape, "crops": crops, "block_size": block_size, "name": name}
    given = told_apart("batch_to_space", "crops", arguments, named)
    return _moved("batch_to_space", "crops", input, *given, square=True)


def required_space_to_batch_paddings(
    input_shape: Vector, block_shape: Vector, base_paddings: Pairs | None = None, name: str | None = None
) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """The paddings that make every size divisible by its block, and the crops that undo what was added for that.

    >>> required_space_to_batch_paddings([5, 7], [2, 4], [[1, 0], [0, 0]])
    (((1, 0), (0, 1)), ((0, 0), (0, 1)))

    Args:
        input_shape: sizes of the M spatial dims, in elements.
        block_shape: M positive ints.
        base_paddings: M pairs (before, after) that are wanted in any case; zero by default.
        name: ignored.

    Returns:
        (paddings, crops), each M pairs of ints. The base paddings are in `paddings` and not in `crops`.

    Raises:
        ValueError: wrong lengths, a negative size or padding, a block below 1, a padded size beyond int64.
        TypeError: not made of integers, or a bare int.

    Source: TensorFlow's tf.required_space_to_batch_paddings.
    """
    op = "required_space_to_batch_paddings"
    check_name(op, name)
    sizes = integers(op, "input_shape", input_shape, 0)
    blocks = integers(op, "block_shape", block_shape, 1)
    if len(sizes) != len(blocks):
        raise ValueError(f"{op}: input_shape has {len(sizes)} entries and block_shape {len(blocks)}")
    base = ((0, 0),) * len(sizes) if base_paddings is None else pairs(op, "base_paddings", base_paddings, len(sizes))
    paddings, crops = [], []
    for k, (size, block, (before, after)) in enumerate(zip(sizes, blocks, base, strict=True)):
        padded = size + before + after
        extra = (padded + block - 1) // block * block - padded
        if type(padded) is int and padded + extra > INT64_MAX:
            raise ValueError(f"{op}: input_shape[{k}]={size} padded to a multiple of {block} exceeds 2**63 - 1")
        paddings.append((before, after + extra))
        crops.append((0, extra))
    return tuple(paddings), tuple(crops)


def _moved(
    op: str,
    border: str,
    input: Any,
    block_name: str,
    block: Any,
    borders: Any,
    name: Any,
    *,
    square: bool = False,
    **options: Any,
) -> Any:
    """The result of a call.

    Args:
        op, border, block_name: the function and two of its arguments, for messages.
        input, block, borders, name, options: their values.
        square: an int may stand for two equal blocks.
    """
    x = as_array(op, input)
    if block_name == "block_size" and x.ndim != 4:
        raise ValueError(f"{op}: the input must be 4-D, (batch, height, width, depth), got {x.ndim}-D")
    one = square and (block_name == "block_size" or depth(block) == 0)
    if one:
        blocks: tuple[int, ...] = (at_least(2 if block_name == "block_size" else 1, block, f"{op}: {block_name}"),) * 2
    else:
        blocks = integers(op, block_name, block, 1)
    dims = tuple(range(1, len(blocks) + 1))
    if x.ndim <= len(dims):
        raise ValueError(
            f"{op}: {block_name} is for {len(dims)} spatial dims, but a {x.ndim}-D input has only {max(x.ndim - 1, 0)} "
            "dims besides the batch"
        )
    checked = pairs(op, border, borders, len(dims))
    check_name(op, name)

    def words() -> Words:
        block_of = (block_name if one else block_name + "[{}]").format
        phases = f"{block_name}**2" if one else f"prod({block_name})"
        return Words(op, block_of, (border + "[{}]").format, phases, _remedy)

    move: Any = spelling.space_to_batch if border == "paddings" else spelling.batch_to_space
    if dims:
        return move(words, x, Blocks(blocks, checked, dims), **options)
    copied = Blocks((1,), ((0, 0),), (1,))
    return move(words, x, copied, **options) if x.ndim > 1 else move(words, x[:, None], copied, **options)[:, 0]


def _remedy(k: int, missing: int) -> str:
    return f"add {missing} to paddings[{k}], or take what required_space_to_batch_paddings returns"
