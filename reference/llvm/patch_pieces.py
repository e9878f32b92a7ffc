"""Images or videos and their patches as pieces: one for each image.

Loops go over the groups of `merge` x `merge` patches and the patches in a group, then over what is inside a token. A row is what is next to
each other on both sides; or the pixels of a line whose channels lie together on one side and apart on the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .pieces import Integers, Loop, Number, Pieces, Rows, neighbours, product, sorted_loops
from .plan import DEINTERLEAVED

FRAME, CHANNEL, HEIGHT, WIDTH = range(4)  # dims of images, and of what is inside a token


def patch_pieces(
    to_tokens: bool,
    shapes: Integers,
    strides: Integers,
    inner: Sequence[int],
    token_strides: Sequence[int],
    merge: int,
    itemsize: int,
) -> tuple[Pieces, bool]:
    """A call that moves all images, and whether the tokens are what it names space.

    Args:
        to_tokens: images are read and tokens are written, or the other way round.
        shapes, strides: of the images, (images, 4): frames, channels, height, width; in elements, and not negative.
        inner: how many of each a token has.
        token_strides: from one token to the next, and of the four inside.
        merge: patches along each side of a group. itemsize: bytes of an element.
    """
    token, *inside = token_strides
    near = [strides[:, d] for d in range(4)]
    dims = sorted((d for d in range(4) if inner[d] > 1), key=lambda d: -inside[d])
    run, left = neighbours(dims, inner, [near, inside])
    channels = inner[CHANNEL]
    turned = False  # channels together in the tokens
    split = run == 1 and channels in DEINTERLEAVED and inner[WIDTH] > 1 and itemsize < 16
    if split:
        together = [bool((near[CHANNEL] == 1).all() and (near[WIDTH] == channels).all()), inside[CHANNEL] == 1]
        apart = [inside[WIDTH] == 1, bool((near[WIDTH] == 1).all())]
        turned = together[1] and inside[WIDTH] == channels and apart[1]
        split = turned or (together[0] and apart[0])
    if split:
        left = [d for d in dims if d not in (CHANNEL, WIDTH)]
    loops: list[tuple[Number, Number, Number]] = [(inner[d], near[d], inside[d]) for d in left]
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
            loops.append((count, apart_by * near[d], step))
        step = product([step, count])
    named = [
        Loop(count, *((b * itemsize, a * itemsize) if turned else (a * itemsize, b * itemsize)))
        for count, a, b in loops
    ]
    to_batch = to_tokens != turned
    named = sorted_loops(named, to_batch)
    if split:
        phases = near[CHANNEL] if turned else inside[CHANNEL]
        line = inner[WIDTH] * channels
        rows = Rows(
            "deinterleave", channels, 0, False, named, (), (inner[WIDTH], 0, line, phases * itemsize, channels, 0)
        )
    else:
        rows = Rows("contiguous_segments", 0, run * itemsize, False, named, (), (run, 0, run, itemsize))
    moved = int(np.prod(shapes, axis=1).sum()) * 2 * itemsize
    return Pieces(to_batch, itemsize, rows, len(shapes), moved), turned
