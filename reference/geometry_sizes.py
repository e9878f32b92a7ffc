"""A block geometry is filled: the shapes of one side from those of the other.

A new size at every call is an ordinary use: what follows is straight-line code. The sizes may be symbols, which are compared only
where a number could be wrong.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from . import arguments
from .arguments import INT64_MAX, Blocking, Pair, check_int64, reduced_shift, shown
from .data_layout import other_layout

if TYPE_CHECKING:
    from .geometry import BlockGeometry


def from_space_shape(self: BlockGeometry, blocking: Blocking, shape: tuple[int, ...], op: str) -> BlockGeometry:
    """Fill a geometry by its shape in space.

    >>> from spacebatch.reference.geometry import BlockGeometry
    >>> BlockGeometry((1, 5), (2,), "auto").batch_shape
    (2, 3)
    """
    batch = list(shape)
    batch[0] *= blocking.phases
    pairs = blocking.pairs
    if pairs is None:
        after = []
        for d, b in zip(blocking.dims, blocking.blocks):  # noqa: B905
            # written so that a symbol for the padded size is a multiple of b without a question
            batch[d] = count = (shape[d] + b - 1) // b
            after.append((0, count * b - shape[d]))
        pairs = tuple(after)
    else:
        for d, b, (before, behind) in zip(blocking.dims, blocking.blocks, pairs):  # noqa: B905
            padded = shape[d] + before + behind
            if padded % b:
                raise ValueError(
                    f"{op}: dim {d} of size {shape[d]} padded by {shown((before, behind))} is {shown(padded)}, which is "
                    f'not divisible by its block size {shown(b)}; paddings="auto" pads the end as needed'
                    f"{_hint(shape, blocking)}"
                )
            batch[d] = padded // b
    return _set(self, op, blocking, shape, tuple(batch), pairs)


def from_batch_shape(self: BlockGeometry, blocking: Blocking, shape: tuple[int, ...], op: str) -> BlockGeometry:
    """Fill a geometry by the shape of its batch tensor.

    >>> from spacebatch.reference.geometry import BlockGeometry
    >>> BlockGeometry.from_batch((2, 3), (2,), ((0, 1),)).space_shape
    (1, 5)
    """
    phases, pairs = blocking.phases, blocking.pairs
    assert pairs is not None  # "auto" is refused for crops
    if shape[0] % phases:
        raise ValueError(
            f"{op}: the batch size {shape[0]} is not divisible by the {shown(phases)} positions of a block "
            f"(product of block_shape){_hint(shape, blocking)}"
        )
    space = list(shape)
    space[0] //= phases
    for d, b, (before, after) in zip(blocking.dims, blocking.blocks, pairs):  # noqa: B905
        space[d] = size = shape[d] * b - before - after
        if size < 0:
            raise ValueError(
                f"{op}: crops {shown((before, after))} exceed dim {d}, which has {shape[d]} blocks of {shown(b)}, "
                f"{shown(shape[d] * b)} elements in space{_hint(shape, blocking)}"
            )
    return _set(self, op, blocking, tuple(space), shape, pairs)


def _hint(shape: tuple[int, ...], blocking: Blocking) -> str:
    """What may be behind a mistake: a picture whose layout is another one."""
    told = other_layout(shape, blocking.dims)
    return told and f"; {told}"


def _set(
    self: BlockGeometry,
    op: str,
    blocking: Blocking,
    space_shape: tuple[int, ...],
    batch_shape: tuple[int, ...],
    paddings: tuple[Pair, ...],
) -> BlockGeometry:
    blocks, dims, _, phases, batch_order, arrangement, shifts = blocking
    own = self.__dict__  # frozen for everybody else
    own["space_shape"] = space_shape
    own["batch_shape"] = batch_shape
    own["block_shape"] = blocks
    own["paddings"] = paddings
    own["spatial_dims"] = dims
    own["batch_order"] = batch_order
    own["arrangement"] = arrangement
    if shifts is None:
        own["shifts"] = (0,) * len(dims)
    else:
        own["shifts"] = tuple(
            [reduced_shift(s, batch_shape[d] * b) for d, b, s in zip(dims, blocks, shifts, strict=True)]
        )
    own["samples"] = space_shape[0]
    own["phases"] = phases
    own["_prepared"] = {}
    elements = math.prod(space_shape)
    if arguments.may_be_symbol(elements):
        return self  # to ask would bound the symbols from above, and an export wants them unbounded
    if not (0 < elements <= INT64_MAX and 0 < math.prod(batch_shape) <= INT64_MAX):
        check_int64(op, space_shape, "space")
        check_int64(op, (phases * max(space_shape[0], 1), *batch_shape[1:]), "batch")
    return self
