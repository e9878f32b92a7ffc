"""Data layouts by their letters: which dims of "NHWC", "NCDHW" or "NC..." are spatial."""

from __future__ import annotations

from reprlib import repr as shown
from typing import Any

ANY_RANK = "NC..."  # channels first, as PyTorch has them


def layout_dims(what: str, layout: Any, ndim: int) -> tuple[int, ...]:
    """The spatial dims of a layout: those of every letter but N, the batch, and C, the channels.

    >>> layout_dims("layout", "NHWC", 4), layout_dims("layout", "NCDHW", 5), layout_dims("layout", "N...C", 3)
    ((1, 2), (2, 3, 4), (1,))

    Args:
        what: the argument, for messages.
        layout: N first, then capital letters, each once, in the order of the dims; C may be missing. "..." stands for any
            number of spatial dims.
        ndim: of the tensor.

    Raises:
        ValueError: no such layout, or one of another number of dims.
        TypeError: no string.
    """
    if not isinstance(layout, str):
        raise TypeError(
            f'{what} must be a string such as "NCHW" or "NHWC", got {shown(layout)} of type {type(layout).__name__}'
        )
    letters = layout.replace("...", "", 1)
    if layout[:1] != "N" or len(set(letters)) != len(letters) or not all("A" <= letter <= "Z" for letter in letters):
        raise ValueError(
            f'{what} must be N and then capital letters, each once, with "..." for any number of spatial dims, as in '
            f'"NCHW", "NHWC" or "NC...", got {shown(layout)}'
        )
    named = len(letters)
    if letters == layout:
        if named != ndim:
            raise ValueError(f"{what} {shown(layout)} is of {named} dims, but the input is {ndim}-D")
        dims = tuple(d for d, letter in enumerate(layout) if letter not in "NC")
    else:
        start = layout.index("...")
        behind = named - start
        first = [d for d, letter in enumerate(layout[:start]) if letter not in "NC"]
        last = [ndim - behind + k for k, letter in enumerate(layout[start + 3 :]) if letter not in "NC"]
        dims = (*first, *range(start, ndim - behind), *last)
    if not dims or named > ndim:
        raise ValueError(f"{what} {shown(layout)} has no spatial dim in an input of {ndim} dims")
    return dims
