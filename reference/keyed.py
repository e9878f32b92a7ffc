"""A call's arguments as a key under which nothing else is found: True is not 1, and 1.0 is not 1."""

from __future__ import annotations

import marshal
from typing import Any


def key_of(*arguments: Any) -> bytes:
    """The arguments as bytes: in C, and by type as well as by value, which no hash of them is.

    >>> key_of((1, 2), 0) == key_of((True, 2), 0)
    False

    Raises:
        ValueError: an argument that is made of anything but Python's own types and buffers.
    """
    return marshal.dumps(arguments, 2)  # later versions write references, which depend on more than the values


def arguments_of(key: bytes) -> Any:
    """What `key_of` was given; arrays have become bytes, which no argument of a geometry may be.

    >>> arguments_of(key_of((1, 2), "auto"))
    ((1, 2), 'auto')
    """
    return marshal.loads(key)
