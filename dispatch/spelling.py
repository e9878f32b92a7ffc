"""What the spellings of other libraries share: a call is refused in the words of the function that was called.

The functions behind check every call. Only when they refuse one is it looked at again, to name what is wrong with it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

import numpy.typing as npt

from . import functions
from .reference.arguments import INT64_MAX, Pair

if TYPE_CHECKING:
    from torch import Tensor

ArrayT = TypeVar("ArrayT", bound="Tensor | npt.NDArray[Any]")


class Words(NamedTuple):
    """How a function names the numbers of a call, by the position of the spatial dim.

    Attributes:
        op: the function.
        block: the block of a dim. border: its padding or crop.
        phases: the product of the blocks.
        remedy: what to do about a size that its block does not divide, from the position and what is missing.
    """

    op: str
    block: Callable[[int], str]
    border: Callable[[int], str]
    phases: str
    remedy: Callable[[int, int], str]


class Blocks(NamedTuple):
    """The numbers of a call in normal form: one entry per spatial dim."""

    sizes: tuple[int, ...]
    borders: tuple[Pair, ...]
    dims: tuple[int, ...]


def is_tensor(value: Any) -> bool:
    """Whether a value is PyTorch's; nothing is where PyTorch was not imported.

    >>> is_tensor([1, 2])
    False
    """
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def check_int64(what: str, number: int) -> None:
    """`number` is one that a size can be, or ValueError; symbols pass."""
    if type(number) is int and number > INT64_MAX:
        raise ValueError(f"{what} must be at most 2**63 - 1")


def space_to_batch(words: Callable[[], Words], x: ArrayT, blocks: Blocks, pad_value: Any = 0) -> ArrayT:
    """`spacebatch.space_to_batch`, with errors in the words of the caller, which are asked for only then."""
    move: Any = functions.space_to_batch
    try:
        moved: ArrayT = move(x, blocks.sizes, blocks.borders, spatial_dims=blocks.dims, pad_value=pad_value)
        return moved
    except (TypeError, ValueError, RuntimeError) as error:
        _retell(error, "space_to_batch", words, x, blocks)


def batch_to_space(words: Callable[[], Words], y: ArrayT, blocks: Blocks) -> ArrayT:
    """`spacebatch.batch_to_space`, with errors in the words of the caller, which are asked for only then."""
    move: Any = functions.batch_to_space
    try:
        moved: ArrayT = move(y, blocks.sizes, blocks.borders, spatial_dims=blocks.dims)
        return moved
    except (TypeError, ValueError, RuntimeError) as error:
        _retell(error, "batch_to_space", words, y, blocks)


def _retell(error: Exception, name: str, words: Callable[[], Words], x: Any, blocks: Blocks) -> NoReturn:
    """Raise what is wrong with the sizes in the caller's words, and anything else under the caller's name."""
    if not str(error).startswith(f"{name}: "):
        raise error
    told = words()
    if not (is_tensor(x) and x.is_nested):  # their sizes cannot be asked for
        check = _check_space_sizes if name == "space_to_batch" else _check_batch_sizes
        check(told, x.shape, blocks)
    raise type(error)(told.op + str(error).removeprefix(name)) from None


def _check_space_sizes(words: Words, shape: Sequence[int], blocks: Blocks) -> None:
    result = [shape[0] * math.prod(blocks.sizes), *shape[1:]]
    for k, (block, (before, after), d) in enumerate(zip(*blocks, strict=True)):
        padded = shape[d] + before + after
        if padded % block:
            raise ValueError(
                f"{words.op}: dim {d} of size {shape[d]} with {words.border(k)}=({before}, {after}) is {padded}, "
                f"which {words.block(k)}={block} does not divide; {words.remedy(k, -padded % block)}"
            ) from None
        result[d] = padded // block
    _check_int64(words, result)


def _check_batch_sizes(words: Words, shape: Sequence[int], blocks: Blocks) -> None:
    phases = math.prod(blocks.sizes)
    if shape[0] % phases:
        raise ValueError(f"{words.op}: the batch of {shape[0]} is no multiple of {words.phases}={phases}") from None
    result = [shape[0] // phases, *shape[1:]]
    for k, (block, (before, after), d) in enumerate(zip(*blocks, strict=True)):
        result[d] = shape[d] * block - before - after
        if result[d] < 0:
            raise ValueError(
                f"{words.op}: {words.border(k)}=({before}, {after}) exceed dim {d}, which has {shape[d]} blocks of "
                f"{words.block(k)}={block}, {shape[d] * block} elements"
            ) from None
    _check_int64(words, result)


def _check_int64(words: Words, shape: Sequence[int]) -> None:
    if math.prod(max(size, 1) for size in shape) > INT64_MAX:
        raise ValueError(f"{words.op}: the result's shape {tuple(shape)} has more than 2**63 - 1 elements") from None
