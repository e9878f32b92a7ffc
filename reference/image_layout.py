"""What the dims of an image are, by a letter each: C is channels, and the others are space or time."""

from __future__ import annotations

from typing import Any

from .arguments import shown


def cut_dims(op: str, layout: Any, ndim: int) -> tuple[int, ...]:
    """The dims of an image that are no channels.

    >>> cut_dims("to_blocks", "HWC", 3), cut_dims("to_blocks", None, 4)
    ((0, 1), (1, 2, 3))

    Args:
        op: what messages call the operation.
        layout: one letter for each dim; None: channels first.
        ndim: of the images.

    Raises:
        ValueError: a letter twice, another number of letters than dims, nothing but channels. TypeError: no string.
    """
    if layout is None:
        if ndim < 2:
            raise ValueError(f"{op}: the images are {ndim}-D; without layout= they need channels, and one dim more")
        return tuple(range(1, ndim))
    letters(op, layout)
    if len(layout) != ndim:
        raise ValueError(f"{op}: layout {layout!r} names {len(layout)} dims, but the images are {ndim}-D")
    found = tuple([d for d, letter in enumerate(layout) if letter != "C"])
    if not found:
        raise ValueError(f"{op}: layout {layout!r} names nothing but channels")
    return found


def letters(op: str, layout: Any, name: str = "layout") -> str:
    """A layout, each of whose capital letters occurs once.

    >>> letters("patchify", "TCHW")
    'TCHW'
    """
    if not isinstance(layout, str):
        raise TypeError(f'{op}: {name} must be a string of one letter per dim, as "CHW", got {shown(layout)}')
    if not (layout.isascii() and layout.isalpha() and layout.isupper()) or len({*layout}) < len(layout):
        raise ValueError(f'{op}: {name} must be different capital letters, as "CHW", got {shown(layout)}')
    return layout
