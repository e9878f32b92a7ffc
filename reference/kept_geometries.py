"""Geometries by arguments and shape, kept for the next call with the same ones.

A call that is repeated with the same objects is one look-up in a dictionary. Else the arguments become a key under which nothing
else is found: True is not 1, and 1.0 is not 1.
"""

from __future__ import annotations

import contextlib
import marshal
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from .arguments import Blocking, normalize
from .geometry import BlockGeometry
from .geometry_sizes import from_batch_shape, from_space_shape
from .prepared import Direction

MOST_MET = 1024
_Met: TypeAlias = "dict[Any, tuple[BlockGeometry, Any, Any, Any, Any]]"
_met_space: _Met = {}  # what a call meets when it is repeated with the same objects
_met_batch: _Met = {}


def met(
    direction: Direction,
    shape: Sequence[int],
    block_shape: Any,
    borders: Any,
    spatial_dims: Any,
    batch_order: Any,
    arrangement: Any,
    shifts: Any = 0,
    op: str = "",
) -> BlockGeometry | None:
    """The geometry that was returned for the same shape and the same objects before, if it is kept.

    Args:
        direction: whether `shape` is one of `space_geometry` or of `batch_geometry`, whose arguments the others are.
    """
    kept = _met_space if direction == "space_to_batch" else _met_batch
    try:
        found = kept.get((shape, block_shape, borders, spatial_dims, batch_order, arrangement, shifts, op or direction))
    except TypeError:
        return None
    # 1 equals True: only the very objects that were checked before are known to be right
    if found and found[1] is block_shape and found[2] is borders and found[3] is spatial_dims and found[4] is shifts:
        return found[0]
    return None


def space_geometry(
    shape: Sequence[int],
    block_shape: Any,
    paddings: Any,
    spatial_dims: Any,
    batch_order: Any,
    arrangement: Any,
    shifts: Any = 0,
    op: str = "space_to_batch",
) -> BlockGeometry:
    """`BlockGeometry(shape, …)` of a tensor, kept for the next call with the same shape and arguments.

    >>> space_geometry((1, 4), 2, 0, 1, "block_major", "interleaved").batch_shape
    (2, 2)

    Args:
        shape: of a tensor or an array, not checked; symbolic sizes are not kept.
        block_shape, paddings, spatial_dims, batch_order, arrangement, shifts: see `BlockGeometry`; kept if they are made of
            Python's own ints, strings, tuples and lists.
        op: what messages call the operator.
    """
    arguments = block_shape, paddings, spatial_dims, batch_order, arrangement, shifts, op
    return met("space_to_batch", shape, *arguments) or _found("space_to_batch", shape, *arguments)


def batch_geometry(
    shape: Sequence[int],
    block_shape: Any,
    crops: Any,
    spatial_dims: Any,
    batch_order: Any,
    arrangement: Any,
    shifts: Any = 0,
    op: str = "batch_to_space",
) -> BlockGeometry:
    """`BlockGeometry.from_batch(shape, …)` of a tensor, likewise.

    >>> batch_geometry((2, 2), 2, 0, 1, "block_major", "interleaved").space_shape
    (1, 4)
    """
    arguments = block_shape, crops, spatial_dims, batch_order, arrangement, shifts, op
    return met("batch_to_space", shape, *arguments) or _found("batch_to_space", shape, *arguments)


def _found(
    direction: Direction,
    shape: Sequence[int],
    block_shape: Any,
    borders: Any,
    spatial_dims: Any,
    batch_order: Any,
    arrangement: Any,
    shifts: Any,
    op: str,
) -> BlockGeometry:
    """The geometry by the values of its arguments, or a new one; the next call meets it by the same objects."""
    arguments = block_shape, borders, spatial_dims, batch_order, arrangement, shifts, op
    try:
        geometry = _kept(direction, shape, key_of(*arguments))
    except (TypeError, ValueError):  # nothing to keep it by, or a mistake, which is named here
        make = BlockGeometry if direction == "space_to_batch" else BlockGeometry.from_batch
        order = {"batch_order": batch_order, "arrangement": arrangement, "shifts": shifts}
        return make(shape, block_shape, borders, spatial_dims=spatial_dims, op=op, **order)
    known = _met_space if direction == "space_to_batch" else _met_batch
    with contextlib.suppress(TypeError):  # lists are no keys
        if len(known) >= MOST_MET:
            known.clear()
        known[(shape, *arguments)] = geometry, block_shape, borders, spatial_dims, shifts
    return geometry


@lru_cache(maxsize=2048)
def _kept(direction: Direction, shape: Sequence[int], key: bytes) -> BlockGeometry:
    to_batch = direction == "space_to_batch"
    blocking, op = _kept_blocking("paddings" if to_batch else "crops", len(shape), key)
    make = from_space_shape if to_batch else from_batch_shape
    return make(BlockGeometry.__new__(BlockGeometry), blocking, tuple(shape), op)


@lru_cache(maxsize=1024)
def _kept_blocking(name: str, ndim: int, key: bytes) -> tuple[Blocking, str]:
    *arguments, op = arguments_of(key)
    return normalize(op, name, ndim, *arguments), op


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
