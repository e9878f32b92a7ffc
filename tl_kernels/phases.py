"""The kernel that gathers interleaved blocks of any size and width for several phases at once.

Index formula: `steps.py`; numbers: `phases_plan.py`. Grid: one dimension; a program owns STRETCH consecutive words of a
plane of the result in each of PHASES phases. Its place is found once, by scalars; a word of the stretch adds one division
per loop of the plane, which all phases share. Lanes of a warp read neighbouring words, and Triton hands them over so that
each thread stores 16 bytes.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .granules import covers
from .locate import divide

# Of a tile whose dims are alike to it, Triton before 3.7 lays a warp along the first dim, later ones along the last.
WARP_FIRST = tl.constexpr(tuple(int(part) for part in triton.__version__.split(".")[:2]) < (3, 7))


@triton.jit(do_not_specialize=["programs", "pad_low", "pad_high"])
def move_phases(
    source_pointer,
    result_pointer,
    programs,  # not read
    dims,  # plane, then the others: size, magic, source stride, its change from the loop inside, result stride, pace
    inner,  # source offset, granules of a plane, strides and pace of the phases, before and covered of bordered dims
    pad_low,
    pad_high,
    AXES: tl.constexpr,  # of each loop: the bordered dim that it moves along, or -1
    MOVING: tl.constexpr,  # of each loop: more than one step
    NP: tl.constexpr,  # loops of the plane
    ND: tl.constexpr,
    CHUNK_AT: tl.constexpr,  # the loop over the stretches of a plane
    BORDERS: tl.constexpr,
    PHASES: tl.constexpr,
    SHARED_AXIS: tl.constexpr,
    SIDE_BY_SIDE: tl.constexpr,  # phases are one word apart in space
    LANES: tl.constexpr,
    WIDE: tl.constexpr,
    LONG: tl.constexpr,
    STRETCH: tl.constexpr,
    RAGGED: tl.constexpr,  # the last stretch of a plane is shorter
    TILE: tl.constexpr,
):
    """Gather; see the module."""
    OFFSET: tl.constexpr = tl.int64 if WIDE else tl.int32
    NUMBER: tl.constexpr = tl.int64 if LONG else tl.int32
    # scalars: the place of the program
    rest = tl.program_id(0)
    source = tl.cast(inner[0] >> 2, OFFSET)
    result = tl.cast(0, OFFSET)  # in granules
    chunk = rest * 0
    u0 = -tl.cast(inner[5] >> 2, tl.int32)
    u1 = -tl.cast(inner[7] >> 2, tl.int32)
    u2 = -tl.cast(inner[9] >> 2, tl.int32)
    for d in tl.static_range(NP, ND):
        if MOVING[d] or d == CHUNK_AT:
            index = rest
            if d < ND - 1:
                if MOVING[d]:
                    rest = divide(index, dims[d][0], dims[d][1], False)
                    index -= rest * tl.cast(dims[d][0] >> 2, tl.int32)
                else:
                    index = index * 0
            if d == CHUNK_AT:
                chunk = index
            else:
                source += tl.cast(index, OFFSET) * tl.cast(dims[d][2] >> 2, OFFSET)
                result += tl.cast(index, OFFSET) * tl.cast(dims[d][4] >> 2, OFFSET)
                if AXES[d] == 0:
                    u0 += index * tl.cast(dims[d][5] >> 2, tl.int32)
                if AXES[d] == 1:
                    u1 += index * tl.cast(dims[d][5] >> 2, tl.int32)
                if AXES[d] == 2:
                    u2 += index * tl.cast(dims[d][5] >> 2, tl.int32)
    first = tl.cast(chunk, NUMBER) * STRETCH
    granules = tl.cast(inner[1] >> 2, NUMBER)
    left = tl.minimum(granules - tl.cast(chunk, NUMBER) * (STRETCH // LANES), STRETCH // LANES).to(tl.int32) * LANES

    # words of the stretch, lanes of a warp side by side
    WARP: tl.constexpr = 32
    if WARP_FIRST:
        k = tl.arange(0, WARP)[:, None] + tl.arange(0, STRETCH // WARP)[None, :] * WARP
    else:
        k = tl.arange(0, STRETCH // WARP)[:, None] * WARP + tl.arange(0, WARP)[None, :]
    if RAGGED:
        valid = k < left
    else:
        valid = k >= 0
    carry = k
    offset = (k * 0).to(OFFSET)
    rest_of_plane = first
    for d in tl.static_range(NP):
        begin = rest_of_plane
        if d < NP - 1:
            rest_of_plane = divide(begin, dims[d][0], dims[d][1], LONG)
            begin -= rest_of_plane * tl.cast(dims[d][0] >> 2, NUMBER)
        source += tl.cast(begin, OFFSET) * tl.cast(dims[d][2] >> 2, OFFSET)
        offset += carry.to(OFFSET) * tl.cast(dims[d][3] >> 2, OFFSET)
        place = carry + begin.to(tl.int32)
        if d < NP - 1:
            carry = divide(place, dims[d][0], dims[d][1], False)
        if AXES[d] >= 0:
            if d < NP - 1:
                place -= carry * tl.cast(dims[d][0] >> 2, tl.int32)
            moved = place * tl.cast(dims[d][5] >> 2, tl.int32)
            if AXES[d] == 0:
                u0 = u0 + moved
            if AXES[d] == 1:
                u1 = u1 + moved
            if AXES[d] == 2:
                u2 = u2 + moved
    if BORDERS > 0 and SHARED_AXIS != 0:
        valid = valid & covers(u0 + k * 0, inner[6], False)
    if BORDERS > 1 and SHARED_AXIS != 1:
        valid = valid & covers(u1 + k * 0, inner[8], False)
    if BORDERS > 2 and SHARED_AXIS != 2:
        valid = valid & covers(u2 + k * 0, inner[10], False)

    pad = tl.cast(pad_low, source_pointer.dtype.element_ty)
    word = tl.arange(0, STRETCH)
    if RAGGED:
        stored = word < left
    else:
        stored = word >= 0
    pointer = result_pointer + result * LANES + tl.cast(first, OFFSET)
    for phase in tl.static_range(PHASES):
        inside = valid
        if SHARED_AXIS == 0:
            inside = inside & covers(u0 + k * 0 + phase * tl.cast(inner[4] >> 2, tl.int32), inner[6], False)
        if SHARED_AXIS == 1:
            inside = inside & covers(u1 + k * 0 + phase * tl.cast(inner[4] >> 2, tl.int32), inner[8], False)
        if SHARED_AXIS == 2:
            inside = inside & covers(u2 + k * 0 + phase * tl.cast(inner[4] >> 2, tl.int32), inner[10], False)
        if SIDE_BY_SIDE:
            value = tl.load(source_pointer + source + (offset + phase), mask=inside, other=pad)
        else:
            shift = phase * tl.cast(inner[2] >> 2, OFFSET)
            value = tl.load(source_pointer + (source + shift) + offset, mask=inside, other=pad)
        if WARP_FIRST:
            value = tl.trans(value)
        target = pointer + phase * (tl.cast(inner[3] >> 2, OFFSET) * LANES) + word
        tl.store(target, tl.reshape(value, [STRETCH]), mask=stored)
