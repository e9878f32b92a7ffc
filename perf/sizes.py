"""Sizes that figures are told apart by."""

from __future__ import annotations

import math


def size_class(count: int) -> int:
    """The size that a number of bytes is counted under: 3.4 to 13.5 KiB as 8 KiB, and so on by factors of 4.

    >>> size_class(5000), size_class(70_000), size_class(130 << 20) >> 20
    (8192, 131072, 128)
    """
    return 1 << max(0, 13 + 2 * round((math.log2(count) - 12.75) / 2))


def in_words(count: int) -> str:
    """A size in words.

    >>> in_words(2048), in_words(3 << 20)
    ('2 KiB', '3 MiB')
    """
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{count // unit} {name}"
    return f"{count} B"
