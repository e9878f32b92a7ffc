"""Wide integers for small elements: a word holds one element of every phase, and a shift takes each to its place.

Along the innermost blocked dim, an interleaved block of b elements is a word of b * itemsize bytes. A row in space is a row
of words, and phase q of it is the words shifted right by q elements and cut to one: whole vectors move where a strided
copy moves an element at a time. Back, each phase is widened, shifted left and or-ed into the words.

    words            0x0b0a      0x0d0c      0x0f0e
    phases           0x0a 0x0c 0x0e    and    0x0b 0x0d 0x0f
"""

from __future__ import annotations

import math
import sys
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .geometry import BlockGeometry

Array = npt.NDArray[Any]

# (bytes of an element, block): the words in a row from which shifts pay, both ways. The casts between words and elements go
# row by row, so that short rows do not. Blocks of b x b, one of 2 cores of an AMD EPYC, NumPy 2.4, us for 1 MiB in planes of
# 256 x 256 to the batch and back, by strided copies and by shifts:
#     1 byte,  b = 2: 330 -> 123 and 357 -> 163        2 bytes, b = 2: 200 -> 116 and 220 -> 130
#     1 byte,  b = 4: 379 -> 259 and 386 -> 309        4 bytes, b = 2: 120 -> 110 and 145 -> 127
# Not worth it, a word takes more shifts: 1 byte, b = 8 (421 -> 492 and 453 -> 645), 2 bytes, b = 4 (218 -> 221, 238 -> 289).
LEAST_WORDS = {(1, 2): 12, (1, 4): 16, (2, 2): 8, (4, 2): 12}

# Of the array in space, since setting out costs 2 to 5 us more than for a strided copy, measured there, too: 11.9 -> 10.5 us to
# the batch for 16 KiB of bytes with b = 2, but 8.1 -> 9.5 for 3 KiB.
LEAST_BYTES = 1 << 14

SMALL_END_FIRST = sys.byteorder == "little"  # else the first element of a word is not its lowest bits


class Words(NamedTuple):
    """How the rows of an array in space are read as words."""

    axis: int  # of `geometry.axes`, the innermost dim of both arrays
    dim: int
    block: int
    words: int  # of a row; what is left of it is less than a block
    element: np.dtype[Any]
    word: np.dtype[Any]


def serves(
    geometry: BlockGeometry,
    itemsize: int,
    space_strides: tuple[int, ...],
    batch_strides: tuple[int, ...],
    space_address: int = 0,
) -> bool:
    """Whether the CPU path moves words between two such arrays of a plain dtype; cached, and nothing is allocated.

    >>> pixels = BlockGeometry((1, 16, 64, 64), 2)
    >>> serves(pixels, 1, (65536, 4096, 64, 1), (16384, 1024, 32, 1))
    True
    >>> channels_last = (65536, 1, 1024, 16), (16384, 1, 512, 16)
    >>> serves(pixels, 1, *channels_last)
    False

    Args:
        geometry: of both arrays.
        itemsize: bytes of an element.
        space_strides, batch_strides: of the two arrays, in bytes.
        space_address: where the array in space begins; memory newly allocated is aligned, so that 0 stands for it.
    """
    found = find(geometry, itemsize, space_strides, batch_strides)
    return found is not None and space_address % found.word.itemsize == 0


@lru_cache(maxsize=1024)
def find(
    geometry: BlockGeometry,
    itemsize: int,
    space_strides: tuple[int, ...],
    batch_strides: tuple[int, ...],
) -> Words | None:
    """The words of the rows, None where shifts can not run or do not pay; strides in bytes.

    >>> find(BlockGeometry((1, 20_000), (2,)), 1, (20_000, 1), (10_000, 1))
    Words(axis=0, dim=1, block=2, words=10000, element=dtype('uint8'), word=dtype('uint16'))
    """
    if geometry.arrangement != "interleaved" or not SMALL_END_FIRST:
        return None
    if math.prod(geometry.space_shape) * itemsize < LEAST_BYTES:
        return None
    for k, axis in enumerate(geometry.axes):
        count = axis.size // axis.block
        least = LEAST_WORDS.get((itemsize, axis.block), math.inf)
        if space_strides[axis.dim] == batch_strides[axis.dim] == itemsize and count >= least:
            width = itemsize * axis.block
            others = (s for d, s in enumerate(space_strides) if d != axis.dim and geometry.space_shape[d] > 1)
            if any(stride % width for stride in others):  # NumPy would go through a buffer
                return None
            return Words(k, axis.dim, axis.block, count, np.dtype(f"u{itemsize}"), np.dtype(f"u{width}"))
    return None


def views(geometry: BlockGeometry, x: Array, y: Array) -> tuple[Words, Array, Array] | None:
    """(words, x as words, y as unsigned integers) if shifts are to move them: x in space, y the batch.

    >>> g = BlockGeometry((1, 20_000), (2,))
    >>> _, words, elements = views(g, np.full((1, 20_000), True), np.full((2, 10_000), False))
    >>> words.shape, hex(words[0, 0]), elements.dtype
    ((1, 10000), '0x101', dtype('uint8'))
    """
    if x.dtype.kind not in "biuf":
        return None
    found = find(geometry, x.itemsize, x.strides, y.strides)
    if found is None:
        return None
    rows = x.swapaxes(found.dim, -1)[..., : found.words * found.block]
    words = rows.view(found.word).swapaxes(found.dim, -1)
    elements = y.view(found.element)
    return (found, words, elements) if words.flags.aligned and elements.flags.aligned else None


def split(words: Array, *lanes: Array) -> None:
    """Element q of every word goes to lanes[q].

    >>> low, high = np.zeros((2, 3), np.uint8)
    >>> split(np.array([0x0B0A, 0x0D0C, 0x0F0E], np.uint16), low, high)
    >>> low.tolist(), high.tolist()
    ([10, 12, 14], [11, 13, 15])
    """
    np.copyto(lanes[0], words, casting="unsafe")
    shifted = None
    for q, lane in enumerate(lanes[1:], 1):
        shifted = np.right_shift(words, 8 * lane.itemsize * q, out=shifted)
        np.copyto(lane, shifted, casting="unsafe")


def join(words: Array, *lanes: Array) -> None:
    """Element q of every word comes from lanes[q]: the inverse of `split`.

    >>> words = np.zeros(3, np.uint16)
    >>> join(words, np.array([10, 12, 14], np.uint8), np.array([11, 13, 15], np.uint8))
    >>> [hex(word) for word in words]
    ['0xb0a', '0xd0c', '0xf0e']
    """
    np.copyto(words, lanes[0])
    wide = np.empty_like(
        words
    )  # a cast within the shift would go through a buffer: 58 us instead of 34 for 128 KiB, b = 4
    for q, lane in enumerate(lanes[1:], 1):
        np.copyto(wide, lane)
        np.left_shift(wide, 8 * lane.itemsize * q, out=wide)
        np.bitwise_or(words, wide, out=words)
