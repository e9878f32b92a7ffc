"""What is made of a call's arguments, kept for the next call with the same ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

T = TypeVar("T")


class _NoKeyError(Exception):
    """An argument that no key stands for."""


def _key(value: Any) -> Any:
    """`value` as a key under which nothing else is found: True is not 1 and 1.0 is not 1."""
    kind = type(value)
    if kind is tuple or kind is list:
        for entry in value:
            if type(entry) is not int:
                return tuple([_key(entry) for entry in value])
        return tuple(value)
    if kind is int or kind is str or value is None:
        return value
    raise _NoKeyError


def keyed(maxsize: int) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Have a function of (shape, block, borders, dims, order, arrangement) remember what it made.

    >>> made = keyed(maxsize=8)(lambda *arguments: list(arguments))
    >>> made((4,), 2, [1], None, "a", "b") is made((4,), 2, (1,), None, "a", "b")
    True

    Arguments other than ints, strings, tuples and lists are passed on, and nothing is remembered.
    """

    def decorate(make: Callable[..., T]) -> Callable[..., T]:
        kept = lru_cache(maxsize=maxsize)(make)

        def call(shape: Any, block: Any, borders: Any, dims: Any, order: Any, arrangement: Any) -> T:
            try:
                return kept(
                    shape,
                    block if type(block) is int else _key(block),
                    borders if type(borders) is int else _key(borders),
                    None if dims is None else _key(dims),
                    order if type(order) is str else _key(order),
                    arrangement if type(arrangement) is str else _key(arrangement),
                )
            except _NoKeyError:
                return make(shape, block, borders, dims, order, arrangement)

        return call

    return decorate
