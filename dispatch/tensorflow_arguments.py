"""The arguments of TensorFlow's functions: told apart by their shapes, and checked.

Each message names the function and the argument; the shorter forms that this library allows elsewhere are not TensorFlow's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import spelling
from .reference.arguments import Pair, as_integer, shown


def told_apart(
    op: str, border: str, arguments: tuple[Any, ...], named: dict[str, Any]
) -> tuple[str, Any, Any, str | None]:
    """(the block's argument, its value, the borders, the name), from either order and any keywords."""
    order: tuple[str, ...] = ("block_shape", border, "name")
    if _first_is_border(op, border, arguments, named):
        order = border, "block_size", "name", "block_shape"
    if len(arguments) > len(order):
        raise TypeError(
            f"{op}: takes at most (input, {', '.join(order)}), got {1 + len(arguments)} arguments by position"
        )
    for argument, value in zip(order, arguments, strict=False):
        if value is not None and named[argument] is not None:
            raise TypeError(f"{op}: {argument} is given by position and by keyword")
        named[argument] = value if value is not None else named[argument]
    blocks = [argument for argument in ("block_shape", "block_size") if named[argument] is not None]
    if len(blocks) != 1:
        raise TypeError(
            f"{op}: give {'block_shape or block_size, not both' if blocks else 'block_shape or block_size'}"
        )
    if named[border] is None:
        raise TypeError(f"{op}: {border} is missing")
    return blocks[0], named[blocks[0]], named[border], named["name"]


def _first_is_border(op: str, border: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> bool:
    """Whether the positional arguments stand in TensorFlow 1's order: only the borders are a matrix."""
    if not arguments:
        return False
    first = depth(arguments[0])
    if len(arguments) == 1 or arguments[1] is None:
        block_is_named = named["block_shape"] is not None or named["block_size"] is not None
        return block_is_named or (first == 2 and named[border] is None)
    second = depth(arguments[1])
    if (first == 2) == (second > 0):
        raise TypeError(
            f"{op}: takes (input, block_shape, {border}) or (input, {border}, block_size), where {border} is a matrix of "
            f"shape [M, 2]; got {shown(arguments[0])} and {shown(arguments[1])}"
        )
    return first == 2


def depth(value: Any) -> int:
    """0 for a number, 1 for a vector, 2 for a matrix and anything deeper."""
    if hasattr(value, "ndim"):
        return min(int(value.ndim), 2)
    if not isinstance(value, (list, tuple)):
        return int(_is_sequence(value))
    return 2 if any(depth(entry) for entry in value) else 1


def as_array(op: str, input: Any) -> Any:
    """The input as an array or tensor."""
    if isinstance(input, np.ndarray) or spelling.is_tensor(input):
        return input
    if not isinstance(input, (list, tuple)):
        kind = type(input).__name__
        raise TypeError(f"{op}: the input must be a torch.Tensor, a numpy.ndarray or nested lists, got {kind}")
    try:
        array = np.asarray(input)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{op}: the input's nested lists make no array: {error}") from None
    if array.dtype == object:
        raise TypeError(f"{op}: the input's nested lists must hold numbers, got {shown(input)}")
    return array


def check_name(op: str, name: Any) -> None:
    if name is not None and not isinstance(name, str):
        raise TypeError(f"{op}: name must be a string or None, got {shown(name)} of type {type(name).__name__}")


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _entries(op: str, name: str, values: Any) -> Sequence[Any]:
    listed = values.tolist() if isinstance(values, np.ndarray) or spelling.is_tensor(values) else values
    if not _is_sequence(listed):
        kind = type(values).__name__
        raise TypeError(
            f"{op}: {name} must be a sequence, list, tuple, array or tensor, got {shown(values)} of type {kind}"
        )
    return listed  # type: ignore[no-any-return]


def at_least(least: int, value: Any, what: str) -> int:
    number = as_integer(value, what)
    if number < least:
        raise ValueError(f"{what} must {f'be at least {least}' if least else 'not be negative'}, got {number}")
    spelling.check_int64(what, number)
    return number


def integers(op: str, name: str, values: Any, least: int) -> tuple[int, ...]:
    return tuple(at_least(least, value, f"{op}: {name}[{k}]") for k, value in enumerate(_entries(op, name, values)))


def pairs(op: str, name: str, borders: Any, count: int) -> tuple[Pair, ...]:
    """`borders` as one pair per dim; the shorter forms that the library allows elsewhere are not TensorFlow's."""
    rows = _entries(op, name, borders)
    if len(rows) != count:
        raise ValueError(f"{op}: {name} must hold one pair for each of the {count} blocks, got {len(rows)} entries")
    checked = []
    for k, row in enumerate(rows):
        pair = _entries(op, f"{name}[{k}]", row)
        if len(pair) != 2:
            raise ValueError(f"{op}: {name}[{k}] must be a (before, after) pair, got {shown(row)}")
        before, after = (at_least(0, value, f"{op}: {name}[{k}][{side}]") for side, value in enumerate(pair))
        checked.append((before, after))
    return tuple(checked)
