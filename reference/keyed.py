"""A call's arguments as a key under which nothing else is found: True is not 1, and 1.0 is not 1."""

from __future__ import annotations

import marshal
from typing import Any


def key_of(*arguments: Any) -> bytes:
    """The arguments as bytes: in C, and by type as well as by value, which no hash of them is.

    >>> key_of((1, 2), 0) == key_of((True, 2), 0)
    False

    Raises:
        ValueError: an argument that is not made of Python's own numbers, strings, tuples and lists.
    """
    return marshal.dumps(arguments, 2)  # later versions write references, which depend on more than the values


def arguments_of(key: bytes) -> Any:
    """What `key_of` was given.

    >>> arguments_of(key_of((1, 2), "auto"))
    ((1, 2), 'auto')

    Raises:
        ValueError: the key has bytes in it, which arrays become as well.
    """
    arguments = marshal.loads(key)
    if _has_bytes(arguments):
        raise ValueError("no key stands for bytes")
    return arguments


def _has_bytes(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(_has_bytes(entry) for entry in value)
    return isinstance(value, bytes)
