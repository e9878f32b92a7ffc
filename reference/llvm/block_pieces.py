"""Images of several sizes and their blocks, as pieces: one for each image.

Along each dim that is cut, a block reads `extent` cells from `place = number * block` on, in an image that has `lead` cells of border before
its first: so blocks overlap where a halo is read. What lies outside of the image is filled with the pad value, or left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .pieces import (
    Integers,
    Loop,
    Number,
    Pieces,
    Rows,
    bytes_moved,
    neighbours_by_channel,
    product,
    sorted_loops,
)
from .spec import Channels, Computation


def block_pieces(
    to_batch: bool,
    shapes: Integers,
    strides: Integers,
    batch_shape: Sequence[int],
    batch_strides: Sequence[int],
    dims: Sequence[int],
    block: Sequence[int],
    lead: Sequence[int],
    itemsize: int,
    computed: Computation | None = None,
    channel: int | None = None,
) -> list[tuple[Integers, Pieces]]:
    """Calls that together move all images, and which images each of them moves.

    Args:
        to_batch: images are read and blocks are written, or the other way round.
        shapes, strides: of the images, of shape (images, dims), in elements; no stride is negative.
        batch_shape, batch_strides: of the blocks; dim 0 counts them.
        dims: of an image, those that are cut. block, lead: along these.
        itemsize: bytes of an element of the source.
        computed: the arithmetic on the way, if there is some. channel: the dim of an image along which its operands change, if any.
    """
    sizes = (itemsize, itemsize)  # of an image's element and of a block's
    if computed is not None:
        sizes = computed.itemsizes if to_batch else computed.itemsizes[::-1]
    every = np.arange(len(shapes))
    extents = batch_shape[1:]
    inner = sorted((d for d, n in enumerate(extents) if n > 1 or d in dims), key=lambda d: -batch_strides[1 + d])
    cut = max((k for k, d in enumerate(inner) if d in dims), default=-1) + 1
    run, left = neighbours_by_channel(inner[cut:], extents, [list(strides.T), batch_strides[1:]], channel)
    inner = inner[:cut] + left
    place: Channels = "outer"
    channels = 1 if channel is None else extents[channel]
    if channels > 1 and channel not in inner:
        place = "run" if run == channels else "cyclic"
    along = inner[-1] if not left and batch_strides[1 + inner[-1]] == run else None
    groups: list[tuple[Integers, int | None]] = [(every, None)]
    if along is not None:
        whole = (strides[:, along] == run) | (shapes[:, along] <= 1)
        groups = [(every[whole], along), (every[~whole], None)]
    found = []
    for chosen, row in groups:
        if len(chosen):
            some = shapes[chosen], strides[chosen]
            unit = itemsize if computed is None else 1
            rows = _rows(
                to_batch, *some, extents, batch_strides, dims, block, lead, sizes, unit, inner, run, row, channel
            )
            moved = bytes_moved(sizes, computed, int(shapes[chosen].prod(axis=1).sum()))
            if computed is not None:
                here: Channels = "cyclic" if place == "run" and row is not None else place
                computed = computed._replace(channels=here)
            found.append((chosen, Pieces(to_batch, itemsize, rows, len(chosen), moved, computed, channels)))
    return found


def _rows(
    to_batch: bool,
    shapes: Integers,
    strides: Integers,
    extents: Sequence[int],
    batch_strides: Sequence[int],
    dims: Sequence[int],
    block: Sequence[int],
    lead: Sequence[int],
    sizes: tuple[int, int],
    unit_bytes: int,
    inner: Sequence[int],
    run: int,
    row: int | None,
    channel: int | None,
) -> Rows:
    """The loops around rows along dim `row`, or around runs of neighbours where there is none."""
    bordered = [d for d in dims if d != row]
    near_word, far_word = sizes
    unit = run * unit_bytes
    loops: list[Loop] = []
    base: Number = 0
    blocks: Number = batch_strides[0] * far_word  # bytes from one block to the next along a dim
    borders: list[tuple[Number, Number]] = []
    windows: Sequence[Number] = ()
    for k in reversed(range(len(dims))):
        d = dims[k]
        count: Number = -(-shapes[:, d] // block[k])
        step: Number = run * near_word if d == row else strides[:, d] * near_word
        base = base - lead[k] * step
        if d == row:
            windows = count, block[k], extents[d], lead[k], shapes[:, d], block[k] * step, blocks, unit
        else:
            loops.append(Loop(count, block[k] * step, blocks, block[k], bordered.index(d)))
            borders.insert(0, (lead[k], shapes[:, d]))
        blocks = product([blocks, count])
    for d in inner:
        if d != row:
            axis = bordered.index(d) if d in bordered else -1
            steps = strides[:, d] * near_word, batch_strides[1 + d] * far_word
            loops.append(Loop(extents[d], *steps, 1, axis, int(d == channel)))
    loops = sorted_loops(loops, to_batch)
    if row is None:
        return Rows("contiguous_segments", 0, unit, False, loops, borders, (run, 0, run, unit_bytes), base)
    return Rows("windows", 0, extents[row] * unit, True, loops, borders, windows, base)
