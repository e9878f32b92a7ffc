"""Data layouts by their letters: which dims of "NHWC", "NCDHW" or "NC..." are spatial; and shapes that look like another layout."""

from __future__ import annotations

from collections.abc import Sequence
from reprlib import repr as shown
from typing import Any

ANY_RANK = "NC..."  # channels first, as PyTorch has them
MOST_CHANNELS = 4  # of a picture: red, green, blue, alpha
LEAST_SIDE = 8  # of a picture whose layout is guessed


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


def other_layout(shape: Sequence[int], dims: Sequence[int], *, doubt: bool = True) -> str:
    """What a caller may have meant who did not say which dims are spatial, of a shape that looks like a picture's; or nothing.

    >>> other_layout((8, 50, 70, 3), (2, 3))
    'dim 3 of size 3 is blocked; if it is the channels, say spatial_dims="NHWC"'
    >>> other_layout((3, 50, 70), (2,))
    'dim 0 of size 3 is the batch; if it is the channels, add a batch: x[None]'
    >>> other_layout((8, 3, 50, 70), (2, 3)), other_layout((4, 50, 70), (2,), doubt=False)
    ('', '')

    Args:
        shape: of an image, or of its blocks. dims: those that are blocked, counted from 0.
        doubt: whether shapes count that signals often have, too.
    """
    rank, last = len(shape), len(shape) - 1
    if rank not in (3, 4, 5) or not all(type(size) is int for size in shape):
        return ""
    if last in dims and 0 < shape[last] <= MOST_CHANNELS:
        if rank == 3 and _sides_of_a_picture(shape[:2]):
            return (
                f"dim 2 of size {shape[2]} is blocked; if it is the channels of one picture, add a batch and name the layout: "
                'x[None] and spatial_dims="NHWC"'
            )
        if rank > 3 and _sides_of_a_picture(shape[1:last]):
            layout = "NHWC" if rank == 4 else "NDHWC"
            return f'dim {last} of size {shape[last]} is blocked; if it is the channels, say spatial_dims="{layout}"'
    channels = range(1, MOST_CHANNELS + 1) if doubt else (3,)
    if rank == 3 and tuple(dims) == (2,) and shape[0] in channels and _sides_of_a_picture(shape[1:]):
        return f"dim 0 of size {shape[0]} is the batch; if it is the channels, add a batch: x[None]"
    return ""


def _sides_of_a_picture(sizes: Sequence[int]) -> bool:
    return min(sizes) >= LEAST_SIDE and max(sizes) <= 4 * min(sizes)
