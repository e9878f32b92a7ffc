"""Loops and rows of a call: the spec of the kernel it takes, and the numbers to give it. Pure Python: LLVM is not needed.

A new size at every call passes here each time, so loops are plain tuples, and nothing is worked out twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple, TypeAlias

from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.loops import PLAIN, SHIFTED, SPLIT, Direction, Loop, channel_loops, loops

from .spec import OPERAND_NUMBERS, Channels, Computation, KernelSpec, Row, Spec

MOST_DEINTERLEAVED = 16  # phases: a vector for each, and more do not fit the registers
MOST_PRIME_DEINTERLEAVED = 7  # a prime factor f takes f - 1 shuffles
MOST_KNOWN_SEGMENT = 1024  # bytes, of a segment that a kernel is compiled for
MOST_KNOWN_ELEMENTS = 64  # the same where there is arithmetic
CACHE_LINE = 64
# Rows of many phases, each a piece of a few bytes, go to places that often lie a power of two apart, where the cache holds few of them:
# 16 MiB of 64 x 64 in blocks of 32, float32, took 12 ms where PyTorch's copy takes 5; blocks of 16 (pieces of 16 bytes) 1.1 and 2.9.
LEAST_SCATTERED_PHASES = 16
LEAST_PIECE_BYTES = 16
SCATTERED_BYTES = 1 << 20
# The same with border, where places are whole pages apart, so that a row's lines share a set of the first cache: an ASPP head's 256 x 33 x
# 33 in blocks of 18, twice, took 0.95 ms, by hand 0.30; 255 channels 0.45 and 0.63. For larger
# results a copy gains little or loses, since all of it is padded first, and memory is taken for that.
PAGE_BYTES = 1 << 12
# By word. 12 lines of float32, in blocks of 12, took 8.4 ms where PyTorch's copy takes 6.7, but NumPy 7.9 and 14.
LINES_OF_A_SET = {1: 12, 2: 12, 4: 16, 8: 16}
LEAST_CROWDED_PHASES = 12
MOST_CROWDED_BYTES = 16 << 20
STRETCH_BYTES = 1 << 16  # of a row that is all there is, so that threads have something to share

_Loop: TypeAlias = "tuple[int, int, int, int, int, int]"  # steps, bytes in space, bytes in the batch tensor, places, bordered dim, channels
_SPACE, _BATCH = itemgetter(1), itemgetter(2)


class Plan(NamedTuple):
    """A spec, the numbers for a call of it (the pad value is 0), and how many steps there are to share.

    `whole` tells of which vectors an aligned result is made: all of them have so many bytes at most, and stand at multiples of
    that. It is 0 where there is border, or was not asked for.
    """

    spec: KernelSpec
    numbers: list[int]
    steps: int
    whole: int


def make_plan(
    direction: Direction,
    geometry: BlockGeometry,
    space_strides: Sequence[int],
    batch_strides: Sequence[int],
    itemsize: int,
    stream: bool = False,
    computed: Computation | None = None,
    channel_dim: int | None = None,
) -> Plan | str:
    """The plan of a call with elements, or the reason why there is none.

    >>> g = BlockGeometry((1, 3, 8, 8), 2)
    >>> make_plan("space_to_batch", g, (192, 64, 8, 1), (48, 16, 4, 1), 4).spec.row
    'deinterleave'
    >>> make_plan("space_to_batch", g, (384, 128, 16, 2), (48, 16, 4, 1), 4)
    'what is next to each other in one tensor is neither near nor far in the other'

    Args:
        direction: which operator.
        geometry: of the call.
        space_strides, batch_strides: of both tensors, in elements.
        itemsize: bytes of an element of the source: 1, 2, 4, 8 or 16.
        stream: non-temporal stores are wanted.
        computed: arithmetic on the way; where its channels are is found here.
        channel_dim: of these, None if there are none.
    """
    found = plan_of(direction, geometry, space_strides, batch_strides, itemsize, stream, computed, channel_dim)
    return found if isinstance(found, str) else Plan(KernelSpec(*found[0]), *found[1:])


def plan_of(
    direction: Direction,
    geometry: BlockGeometry,
    space_strides: Sequence[int],
    batch_strides: Sequence[int],
    itemsize: int,
    stream: bool = False,
    computed: Computation | None = None,
    channel_dim: int | None = None,
) -> tuple[Spec, list[int], int, int] | str:
    """The same as plain tuples: the fields of a `KernelSpec`, and the rest of a `Plan`."""
    if min(space_strides) < 0 or min(batch_strides) < 0:
        return "a stride is negative"
    to_batch = direction == "space_to_batch"
    if computed is None:
        dims, word = loops(geometry, space_strides, batch_strides, itemsize)
        near_word = far_word = unit_bytes = word
    else:
        dims, word, unit_bytes = channel_loops(geometry, space_strides, batch_strides, channel_dim), itemsize, 1
        near_word, far_word = computed.itemsizes if to_batch else computed.itemsizes[::-1]
    channels: Channels = "outer"
    base = 0
    wrapped = geometry.shifted
    gaps = geometry.padded or not wrapped  # if there is border at all
    if wrapped:
        dims = [_in_two_runs(dim) for dim in dims]
    if wrapped or geometry.padded:
        for _, _, space, _, _, _, before, _, _ in dims:
            base -= before * space
    # The row: what lies along the innermost dim, and the one around it where the innermost is the same in both tensors.
    row: Row | None = None
    numbers: list[int] = []
    own: _Loop | None = None  # a loop whose place is the row's: phases, contiguous blocks, or stretches of a long row
    block = segment = run = 0  # run: words next to each other in both tensors
    bordered = apart = False  # apart: neighbours in space are segments of several phases
    kind, size, space, outer, inner, extent, before, covered, head = dims[-1]
    if kind == PLAIN and space == 1 and outer == 1:
        run = size
        if computed is not None and head:
            channels = "run" if size == head else "cyclic"
        dims.pop()
        kind, size, space, outer, inner, extent, before, covered, head = dims[-1] if dims else _NO_LOOP
    elif (
        kind == SPLIT
        and outer == 1
        and extent >= LEAST_CROWDED_PHASES
        and to_batch
        and computed is None
        and math.prod(geometry.batch_shape) * itemsize >= SCATTERED_BYTES
        and _scattered(size // extent, extent, word, inner * word, geometry)
    ):
        return f"rows of {size // extent} positions in {extent} phases are scattered"
    if kind == SPLIT:
        bordered = before > 0 or covered < size
        unit = run or 1
        if space == inner == unit:
            row = "contiguous_segments"
            segment = 0 if bordered and gaps else extent * unit * unit_bytes
            own = (size // extent, extent * space * near_word, outer * far_word, extent, 0, 0)
            numbers = [extent, before, covered, unit * unit_bytes]
            if channels == "run":
                channels = "cyclic"
        elif run:
            apart = CACHE_LINE <= run * word <= MOST_KNOWN_SEGMENT
            if run * word < CACHE_LINE:
                row = "strided_segments"
                segment = run * unit_bytes
                own = (extent, space * near_word, inner * far_word, 1, 0, 0)
                numbers = [
                    size // extent,
                    extent,
                    before,
                    covered,
                    extent * space * near_word,
                    outer * far_word,
                    segment,
                ]
        elif space == outer == 1:
            positions, stretch = size // extent, 0
            if len(dims) == 1:
                stretch = max(1, STRETCH_BYTES // (extent * word))
                own = (1 if size * word <= STRETCH_BYTES else -(-positions // stretch), 0, 0, stretch, 0, 0)
            row, block = ("deinterleave", extent) if extent in DEINTERLEAVED else ("tiles", 0)
            numbers = [positions, before, covered, inner * far_word, extent, stretch]
        if row is not None:
            dims.pop()
    elif kind == SHIFTED and space == outer == (run or 1):
        row, bordered = "contiguous_segments", True
        segment = 0 if gaps else size * (run or 1) * unit_bytes
        numbers = [size, before, covered, (run or 1) * unit_bytes]
        if channels == "run":
            channels = "cyclic"
        dims.pop()
    if row is None and run:
        row, bordered, segment = "contiguous_segments", False, run * unit_bytes
        numbers = [run, 0, run, unit_bytes]
    if wrapped and bordered:
        numbers += head, size * space * near_word
    nested: list[_Loop] = []
    borders: list[tuple[int, ...]] = []
    for kind, size, space, outer, inner, extent, before, covered, head in dims:
        axis = -1
        if kind != PLAIN and (before or covered < size):
            axis = len(borders)
            borders.append((before, covered, head, size * space * near_word) if wrapped else (before, covered))
        if kind == SPLIT:
            nested.append((size // extent, extent * space * near_word, outer * far_word, extent, axis, 0))
            nested.append((extent, space * near_word, inner * far_word, 1, axis, 0))
        else:
            nested.append((size, space * near_word, outer * far_word, 1, axis, 1 if kind == PLAIN and head else 0))
    if row is None:
        transposed = _transpose(nested, borders, near_word, far_word)
        if transposed is None:
            return "what is next to each other in one tensor is neither near nor far in the other"
        row, (bordered, numbers, channels) = "transpose", transposed
    # The result is written from end to end, but phases that share lines of space are done together, and rows of segments in the order of
    # space: phase by phase these jump ahead of what the processor fetches, and took 1.3 to 1.6 times as long beyond its second cache.
    result = _BATCH if to_batch else _SPACE
    axis = len(borders)
    if apart:
        nested = [*sorted(nested[:-2], key=result, reverse=True), *nested[-2:]]
    elif own is None:
        if len(nested) > 1:
            nested.sort(key=result, reverse=True)
    elif row == "strided_segments":
        nested.sort(key=result, reverse=True)
        nested.append((*own[:4], axis, 0))
    else:
        nested.append((*own[:4], axis, 0))
        nested.sort(key=result, reverse=True)
    whole = 0
    if stream and not (geometry.padded or wrapped):
        written = far_word if to_batch else near_word
        whole = _whole(row, numbers, [result(loop) for loop in nested], to_batch, written, written // unit_bytes)
    steps = 1
    flat: list[int] = [0, 0, 0, base * near_word]
    if computed is not None:
        flat += [0] * OPERAND_NUMBERS
        computed = computed._replace(channels=channels)
    axes = []
    for k, (count, near, far, place, along, channel) in enumerate(nested):
        if k < 2:
            steps *= count
        flat += count, near, far, place
        if computed is not None:
            flat.append(channel)
        axes.append(along)
    flat[0] = steps
    for border in borders:
        flat += border
    flat += numbers
    if segment > (MOST_KNOWN_SEGMENT if computed is None else MOST_KNOWN_ELEMENTS):
        segment = 0
    pair = itemsize == 16
    spec = to_batch, word, pair, row, block, segment, bordered, tuple(axes), axis, False, wrapped, gaps, computed
    return spec, flat, steps, whole


def _scattered(positions: int, phases: int, word: int, apart: int, geometry: BlockGeometry) -> bool:
    """Whether a strided copy is faster than the rows of a result of `SCATTERED_BYTES` and more.

    >>> aspp = [BlockGeometry((2, channels, 33, 33), 18, "auto") for channels in (256, 255)]
    >>> [_scattered(2, 18, 4, 2 * channels * 2 * 2 * 4, g) for channels, g in zip((256, 255), aspp)]
    [True, False]

    Args:
        positions: of each of the phases, which are so many bytes `apart`.
    """
    piece = positions * word
    # lines that a set of the cache has to hold, where each is met more than once: no vector has all positions of a phase
    if piece <= LEAST_PIECE_BYTES and positions > 1 and (geometry.padded or positions & (positions - 1)):
        lines = phases * math.gcd(apart, PAGE_BYTES)
        if lines >= LINES_OF_A_SET[word] * PAGE_BYTES and math.prod(geometry.batch_shape) * word < MOST_CROWDED_BYTES:
            return True
    return piece < LEAST_PIECE_BYTES and phases >= LEAST_SCATTERED_PHASES and not geometry.padded


def _in_two_runs(dim: Loop) -> Loop:
    """A loop by the runs of places that space covers, after its cyclic shift: `before` and `covered` are of the first one in space,
    and, in place of the shift, how many places from 0 on the second one has, which is what is left of it.

    >>> _in_two_runs((SHIFTED, 8, 1, 1, 1, 8, 1, 6, 3))[-3:], _in_two_runs((SHIFTED, 8, 1, 1, 1, 8, 1, 6, 7))[-3:]
    ((4, 4, 2), (0, 6, 0))
    """
    kind, size, space, outer, inner, extent, before, covered, wrap = dim
    if kind == PLAIN:
        return dim
    start = before + wrap
    if start >= size:
        start -= size
    first = min(covered, size - start)
    return kind, size, space, outer, inner, extent, start, first, covered - first


def _transpose(
    nested: list[_Loop], borders: list[tuple[int, ...]], near_word: int, far_word: int
) -> tuple[bool, list[int], Channels] | None:
    """Rows along a loop of neighbours in the batch tensor, of phases that are neighbours in space; both loops are taken out.

    The result tells whether there is border, the row's numbers, and where channels are; None where there are no such loops.
    """
    phases = next((k for k, loop in enumerate(nested) if loop[1] == near_word and loop[0] > 1), None)
    if phases is None or (phases > 0 and nested[phases - 1][4] == nested[phases][4] >= 0):
        return None  # half of a bordered dim
    near = next((k for k, loop in enumerate(nested) if loop[2] == far_word and loop[4] < 0 and loop[0] > 1), None)
    if near is None or near == phases:
        return None
    along, across = nested[near], nested[phases]
    axis, (before, covered, *second) = across[4], (0, across[0])
    if axis >= 0:
        before, covered, *second = borders.pop(axis)
    nested[:] = [
        (*loop[:4], loop[4] - 1, loop[5]) if loop[4] > axis >= 0 else loop
        for k, loop in enumerate(nested)
        if k not in (near, phases)
    ]
    channels: Channels = "positions" if along[5] else "phases" if across[5] else "outer"
    return axis >= 0, [along[0], across[0], before, covered, along[1], across[2], *second], channels


def _whole(row: Row, numbers: list[int], steps: list[int], to_batch: bool, word: int, unit_bytes: int) -> int:
    """The largest power of two up to 64 that divides whatever lies between vectors of a result; see `Plan`.

    Args:
        word: bytes of one of the result. unit_bytes: of what lengths of segments count.
    """
    if row == "deinterleave":
        positions, _, _, phase_step, *_ = numbers
        steps += [positions * word, phase_step if to_batch else 0]
    elif row == "strided_segments":
        _, _, _, _, space_step, batch_step, segment = numbers
        steps += [segment * unit_bytes, batch_step if to_batch else space_step]
    elif row == "contiguous_segments":
        extent, _, _, unit = numbers
        steps += [extent * unit * unit_bytes]
    else:
        return 0
    return math.gcd(64, *steps)


def _largest_prime(number: int) -> int:
    """The largest prime factor, 1 of 1.

    >>> _largest_prime(12), _largest_prime(13), _largest_prime(1)
    (3, 13, 1)
    """
    largest, factor = 1, 2
    while number > 1:
        if number % factor:
            factor += 1
        else:
            number //= factor
            largest = factor
    return largest


_NO_LOOP = (PLAIN, 1, 0, 0, 0, 0, 0, 0, 0)
DEINTERLEAVED = frozenset(n for n in range(2, MOST_DEINTERLEAVED + 1) if _largest_prime(n) <= MOST_PRIME_DEINTERLEAVED)
