"""What the functions of this package know of an image before they cut it, kept for the next call with the same arguments."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import lru_cache
from operator import is_
from typing import Any, TypeVar

import numpy as np

from .. import functions
from ..fused.functions import mover
from ..reference.kept_geometries import arguments_of, key_of
from ..reference.memory_order import memory_order
from ..reference.words import CutWords, JoinWords, words_of

T = TypeVar("T")
MOST_MET = 1024
_met: dict[Any, tuple[Any, tuple[Any, ...]]] = {}  # what a call meets that is repeated with the same objects

_orders: dict[tuple[int, ...], tuple[int, ...]] = {}  # the same order is the same object, so that plans are met by it


def plan_of(op: str, make: Callable[..., T], x: Any, *arguments: Any) -> T:
    """`make(op, shape of x, *arguments)`, kept for the next call with the same shape and arguments.

    Args:
        op: of the call, for messages.
        make: the plan of a call; it checks the arguments.
        x: array or tensor.
    """
    if isinstance(x, np.ndarray):
        shape: Any = x.shape
    else:
        tensors = functions.tensors or functions._tensors(op, x)
        shape = tensors.shape_of(op, x)
        if tensors.is_compiling():
            return make(op, shape, *arguments)
    key = make, shape, arguments
    try:
        found = _met.get(key)
    except TypeError:  # lists, or symbols
        found = None
    # 1 equals True: only the very objects that were checked before are known to be right
    if found is not None and all(map(is_, found[1], arguments)):
        return found[0]  # type: ignore[no-any-return]
    try:
        plan = _kept(make, op, shape, key_of(*arguments))
    except (TypeError, ValueError):  # nothing to keep it by, or a mistake, which is named here
        return make(op, shape, *arguments)
    with contextlib.suppress(TypeError):
        if len(_met) >= MOST_MET:
            _met.clear()
        _met[key] = plan, arguments
    return plan  # type: ignore[no-any-return]


@lru_cache(maxsize=1024)
def _kept(make: Callable[..., Any], op: str, shape: tuple[int, ...], key: bytes) -> Any:
    return make(op, shape, *arguments_of(key))


def order_of(op: str, x: Any) -> tuple[int, ...]:
    """The dims of an array or tensor from outermost to innermost in memory; in their own order if the batch is not outermost."""
    if isinstance(x, np.ndarray):
        order = tuple(range(x.ndim)) if x.flags.c_contiguous else memory_order(x.shape, x.strides)
    else:
        tensors = functions.tensors or functions._tensors(op, x)
        tensors.shape_of(op, x)
        order = tensors.aten.output_order(x)
    if order[:1] != (0,):
        order = tuple(range(len(order)))
    return _orders.setdefault(order, order)


def permuted(x: Any, order: tuple[int, ...]) -> Any:
    """A view of x with its dims in this order."""
    if order == tuple(range(len(order))):
        return x
    return x.transpose(order) if isinstance(x, np.ndarray) else x.permute(order)


def undone(order: tuple[int, ...]) -> tuple[int, ...]:
    """The order that undoes another.

    >>> undone((0, 2, 3, 1))
    (0, 3, 1, 2)
    """
    return tuple(sorted(range(len(order)), key=order.__getitem__))


def to_batch(op: str, x: Any, arguments: Any, pad_value: Any = 0, out: Any = None, words: Any = None) -> Any:
    """`space_to_batch`, fused where there are words, with errors under the name of the function that was called."""
    move: Any = functions.space_to_batch
    try:
        if words:
            given = words_of(op, words, CutWords)
            return mover(op, x).move(op, "space_to_batch", x, *arguments.values(), pad_value, given, out)
        return move(x, **arguments, pad_value=pad_value, out=out)
    except (TypeError, ValueError, RuntimeError) as error:
        raise _retold(error, "space_to_batch", op) from None


def to_space(op: str, y: Any, arguments: Any, out: Any = None, words: Any = None) -> Any:
    """`batch_to_space`, likewise."""
    move: Any = functions.batch_to_space
    try:
        if words:
            given = words_of(op, words, JoinWords)
            return mover(op, y).move(op, "batch_to_space", y, *arguments.values(), 0, given, out)
        return move(y, **arguments, out=out)
    except (TypeError, ValueError, RuntimeError) as error:
        raise _retold(error, "batch_to_space", op) from None


def _retold(error: Exception, name: str, op: str) -> Exception:
    text = str(error)
    return type(error)(op + text.removeprefix(name)) if text.startswith(f"{name}: ") else error
