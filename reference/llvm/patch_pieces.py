"""Images or videos and their patches as pieces: one for each image.

Loops go over the groups of `merge` x `merge` patches and the patches in a group, then over what is inside a token. A row is what is next to
each other on both sides; or the pixels of a line whose channels lie together on one side and apart on the other.
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
from .plan import DEINTERLEAVED, MOST_KNOWN_ELEMENTS
from .spec import Channels, Computation

MOST_COPIES = 4  # frames that are one and the same: each element is computed once

FRAME, CHANNEL, HEIGHT, WIDTH = range(4)  # dims of images, and of what is inside a token


def patch_pieces(
    to_tokens: bool,
    shapes: Integers,
    strides: Integers,
    inner: Sequence[int],
    token_strides: Sequence[int],
    merge: int,
    itemsize: int,
    computed: Computation | None = None,
) -> tuple[Pieces, bool]:
    """A call that moves all images, and whether the tokens are what it names space.

    Args:
        to_tokens: images are read and tokens are written, or the other way round.
        shapes, strides: of the images, (images, 4): frames, channels, height, width; in elements, and not negative.
        inner: how many of each a token has.
        token_strides: from one token to the next, and of the four inside.
        merge: patches along each side of a group. itemsize: bytes of an element of the source.
        computed: the arithmetic on the way, if there is some; its channels are those of the images.
    """
    sizes, unit = (itemsize, itemsize), itemsize  # of an image's element and of a token's; of what rows count
    if computed is not None:
        sizes, unit = computed.itemsizes if to_tokens else computed.itemsizes[::-1], 1
    token, *inside = token_strides
    near = [strides[:, d] for d in range(4)]
    dims = sorted((d for d in range(4) if inner[d] > 1), key=lambda d: -inside[d])
    copies = 1
    still = 1 < inner[FRAME] <= MOST_COPIES and not near[FRAME].any()
    if still and to_tokens and computed is not None and computed.residual is None:
        copies = inner[FRAME]
        dims.remove(FRAME)
    channels = inner[CHANNEL]
    by_channel = computed is not None and (computed.scale or computed.bias) and channels > 1
    run, left = neighbours_by_channel(dims, inner, [near, inside], CHANNEL if by_channel else None)
    place: Channels = "outer"
    if by_channel and CHANNEL not in left:
        place = "run" if run == channels else "cyclic"
    turned = False  # channels together in the tokens
    split = run == 1 and channels in DEINTERLEAVED and inner[WIDTH] > 1 and itemsize < 16
    if split:
        together = [bool((near[CHANNEL] == 1).all() and (near[WIDTH] == channels).all()), inside[CHANNEL] == 1]
        apart = [inside[WIDTH] == 1, bool((near[WIDTH] == 1).all())]
        turned = together[1] and inside[WIDTH] == channels and apart[1]
        split = turned or (together[0] and apart[0])
    if split:
        left = [d for d in dims if d not in (CHANNEL, WIDTH)]
        place = "phases" if by_channel else "outer"
    loops: list[tuple[Number, Number, Number, int]] = [
        (inner[d], near[d], inside[d], int(by_channel and d == CHANNEL)) for d in left
    ]
    across = shapes[:, WIDTH] // (inner[WIDTH] * merge)
    down = shapes[:, HEIGHT] // (inner[HEIGHT] * merge)
    step: Number = token
    for d, count, apart_by in (
        (WIDTH, merge, inner[WIDTH]),
        (HEIGHT, merge, inner[HEIGHT]),
        (WIDTH, across, merge * inner[WIDTH]),
        (HEIGHT, down, merge * inner[HEIGHT]),
        (FRAME, shapes[:, FRAME] // inner[FRAME], inner[FRAME]),
    ):
        if not (isinstance(count, int) and count == 1):
            loops.append((count, apart_by * near[d], step, 0))
        step = product([step, count])
    named = []
    for count, a, b, channel in loops:
        far = a * sizes[0], b * sizes[1]
        named.append(Loop(count, *(far[::-1] if turned else far), channel=channel))
    to_batch = to_tokens != turned
    named = sorted_loops(named, to_batch)
    copy_step = inside[FRAME] * sizes[1]
    if split:
        phases = near[CHANNEL] if turned else inside[CHANNEL]
        line = inner[WIDTH] * channels
        rows = Rows(
            "deinterleave",
            channels,
            0 if computed is None else inner[WIDTH],
            False,
            named,
            (),
            (inner[WIDTH], 0, line, phases * sizes[not turned], channels, 0),
            copy_step=copy_step,
        )
    elif computed is not None and len(named) > 1 and not named[-1].channel:
        *named, lines = named  # as part of a row, so that their channel is known to be one
        reach = (1 << (run - 1).bit_length()) - run
        adjacent = to_tokens and bool(np.all(lines.batch == run * sizes[1]) and np.all(lines.space >= reach * sizes[0]))
        if adjacent and 1 < run <= MOST_KNOWN_ELEMENTS and place != "run":
            rows = Rows("lines", 0, run, False, named, (), lines[:3], copy_step=copy_step)
        else:
            numbers = lines.steps, 1, 0, lines.steps, lines.space, lines.batch, run
            rows = Rows("strided_segments", 0, run, False, named, (), numbers, copy_step=copy_step)
    else:
        whole = run, 0, run, unit
        rows = Rows("contiguous_segments", 0, run * unit, False, named, (), whole, copy_step=copy_step)
    moved = bytes_moved(sizes, computed, int(np.prod(shapes, axis=1).sum()))
    if computed is not None:
        computed = computed._replace(channels=place, copies=copies)
    return Pieces(to_batch, itemsize, rows, len(shapes), moved, computed, channels), turned
