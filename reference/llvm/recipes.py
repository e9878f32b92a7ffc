"""Recipes: prepared calls whose sizes are left open, for shapes that were never met before.

What a small call of dense tensors needs is a few products of its sizes, the same ones for all shapes of a class: small sizes (most
often 1) belong to the class, and so do those behind the blocked dims, which kernels are compiled for. Classes that are met again get
a function that computes it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from spacebatch.reference.kept_geometries import key_of
from spacebatch.reference.prepared import Direction

from .prepare import with_pad
from .recipe_writer import Class, Computed, Kind, Recipe, written

MET_BEFORE = 2  # shapes of a class that are prepared one by one: its recipe takes as long as fifty of them
MOST_KINDS = 256
MOST_CLASSES = 64  # of a kind; those that come later have no recipe
MOST_MET = 1024  # shapes that a kind remembers


class Known(NamedTuple):
    """What is kept of a kind of calls.

    Attributes:
        arguments: as given. key: the same in bytes.
        classes: their recipes; None of a class that can have none, and the number of shapes met of one that has none yet.
        met: shapes that were computed by a recipe; the second time they are worth a call of their own.
    """

    kind: Kind
    arguments: tuple[Any, ...]
    key: bytes
    classes: dict[Class, Recipe | int | None]
    met: set[tuple[int, ...]]


_known: dict[tuple[Any, ...], Known] = {}
_shifted: set[tuple[Any, ...]] = set()  # kinds with a cyclic shift, which have no recipes


def find(
    direction: Direction,
    shape: tuple[int, ...],
    itemsize: int,
    last: bool,
    block_shape: Any,
    borders: Any,
    spatial_dims: Any,
    batch_order: Any,
    arrangement: Any,
    shifts: Any = 0,
) -> tuple[Recipe, Computed] | None:
    """A recipe and what it computes for a shape; None where the call is to be prepared, with whatever it raises.

    Args:
        direction, block_shape, borders, spatial_dims, batch_order, arrangement, shifts: of the call, not checked.
        shape, itemsize: of its source.
        last: the source is in channels_last memory format, else in row-major order.
    """
    key = direction, len(shape), itemsize, last, block_shape, borders, spatial_dims, batch_order, arrangement, shifts
    try:
        known = _known.get(key) or _new(key)
        if known is None:
            return None
        kind, (block, border, dims, *_, moved), in_bytes, classes, met = known
        same = block_shape is block and borders is border and spatial_dims is dims and shifts is moved
        if not same and key_of(*key[4:]) != in_bytes:  # 1 equals True
            return None
    except (TypeError, ValueError):
        return None
    if shape in met:
        return None
    of_shape = kind.class_of(*shape)
    recipe = classes.get(of_shape, 0)
    if isinstance(recipe, int):
        recipe = _met_again(known, of_shape, recipe, shape)
    if recipe is None or recipe.kernel.functions is None:
        return None
    computed = recipe.compute(*shape)
    if computed is None:
        return None
    if len(met) >= MOST_MET:
        met.clear()
    met.add(shape)
    return recipe, computed


def _new(key: tuple[Any, ...]) -> Known | None:
    if key in _shifted:
        return None
    in_bytes = key_of(*key[4:])
    if len(_known) >= MOST_KINDS:
        _known.clear()
    kind = Kind(key[0], key[1], key[2], key[3], in_bytes)
    if kind.blocking.shifts is not None:
        if len(_shifted) >= MOST_KINDS:
            _shifted.clear()
        _shifted.add(key)
        return None
    known = _known[key] = Known(kind, key[4:], in_bytes, {}, set())
    return known


def _met_again(known: Known, of_shape: Class, times: int, shape: tuple[int, ...]) -> Recipe | None:
    """The recipe of a class, if it was met often enough and has one."""
    if times >= MET_BEFORE:
        found = known.classes[of_shape] = written(known.kind, of_shape, shape)
        return found
    if times or len(known.classes) < MOST_CLASSES:
        known.classes[of_shape] = times + 1
    return None


def run(recipe: Recipe, source: int, result: int, numbers: bytes, pad: bytes) -> None:
    """Fill a result.

    Args:
        recipe, numbers: as found. source, result: addresses.
        pad: the bytes of one element of padding; empty for zero bits.
    """
    kernel = recipe.kernel
    assert kernel.functions is not None
    if pad:
        numbers = with_pad(numbers, pad)
    if kernel.spec.to_batch:
        kernel.functions.short(source, result, numbers)
    else:
        kernel.functions.short(result, source, numbers)
