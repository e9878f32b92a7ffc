"""The kernel that fills a dense result from end to end, a granule of up to 16 bytes per thread and store.

Index formula: `steps.py`; numbers: `granules_plan.py`. Grid: one dimension over tiles of the result's memory. The places
of a granule's first row, and of the next where the row ends inside the granule, are found once for each granule; a word
costs one load of either row, by its lane. So stores are wide whatever the width of the rows is.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .locate import divide


@triton.jit
def _walk(
    rest,
    dims,
    inner,
    SPLITS: tl.constexpr,
    AXES: tl.constexpr,
    FIRST: tl.constexpr,
    ND: tl.constexpr,
    WIDE: tl.constexpr,
    LONG: tl.constexpr,
):
    """Source offset of an index over the loops from FIRST on, and how far it is along each bordered dim."""
    OFFSET: tl.constexpr = tl.int64 if WIDE else tl.int32
    NUMBER: tl.constexpr = tl.int64 if LONG else tl.int32
    zero = rest * 0
    offset = zero.to(OFFSET) + tl.cast(inner[0] >> 2, OFFSET)
    u0 = zero - tl.cast(inner[3] >> 2, NUMBER)
    u1 = zero - tl.cast(inner[5] >> 2, NUMBER)
    u2 = zero - tl.cast(inner[7] >> 2, NUMBER)
    for d in tl.static_range(FIRST, ND):
        index = rest
        if d < ND - 1:
            rest = divide(index, dims[d][0], dims[d][1], LONG)
            index -= rest * tl.cast(dims[d][0] >> 2, NUMBER)
        if SPLITS[d]:
            offset += stretch_offset(index + tl.cast(dims[d][7] >> 2, NUMBER), dims[d], WIDE, LONG)
        else:
            offset += index.to(OFFSET) * tl.cast(dims[d][2] >> 2, OFFSET)
        moved = index * tl.cast(dims[d][8] >> 2, NUMBER)
        if AXES[d] == 0:
            u0 += moved
        if AXES[d] == 1:
            u1 += moved
        if AXES[d] == 2:
            u2 += moved
    return offset, u0, u1, u2


@triton.jit
def stretch_offset(place, dim, WIDE: tl.constexpr, LONG: tl.constexpr):
    """Source offset of a place over a loop of stretches."""
    OFFSET: tl.constexpr = tl.int64 if WIDE else tl.int32
    outer = divide(place, dim[3], dim[4], LONG)
    return place.to(OFFSET) * tl.cast(dim[5] >> 2, OFFSET) + outer.to(OFFSET) * tl.cast(dim[6] >> 2, OFFSET)


@triton.jit
def covers(u, size, LONG: tl.constexpr):
    """Whether 0 <= u < size, size being coded."""
    if LONG:
        return (u >= 0) & (u < tl.cast(size >> 2, tl.int64))
    return u.to(tl.uint32) < tl.cast(size >> 2, tl.uint32)


@triton.jit
def _row_inside(inside, u0, u1, u2, inner, ROW_AXIS: tl.constexpr, BORDERS: tl.constexpr, LONG: tl.constexpr):
    """`inside`, and in no border of the dims that do not change along a row."""
    if BORDERS > 0 and ROW_AXIS != 0:
        inside = inside & covers(u0, inner[4], LONG)
    if BORDERS > 1 and ROW_AXIS != 1:
        inside = inside & covers(u1, inner[6], LONG)
    if BORDERS > 2 and ROW_AXIS != 2:
        inside = inside & covers(u2, inner[8], LONG)
    return inside


@triton.jit
def _chosen(u0, u1, u2, AXIS: tl.constexpr):
    if AXIS == 0:
        return u0
    if AXIS == 1:
        return u1
    return u2


@triton.jit(do_not_specialize=["granules", "pad_low", "pad_high"])
def move_granules(
    source_pointer,
    result_pointer,
    granules,  # whole ones
    dims,  # innermost first: size, magic, source stride, extent, magic, inner stride, outer - extent * inner, before, pace
    inner,  # source offset, words after the last whole granule, rows, then before and covered of each bordered dim
    pad_low,
    pad_high,
    SPLITS: tl.constexpr,
    AXES: tl.constexpr,
    ND: tl.constexpr,
    BORDERS: tl.constexpr,
    LANES: tl.constexpr,
    BREAKS: tl.constexpr,  # 0: rows are whole granules, 1: a granule meets at most one row end, 2: any number
    TAIL: tl.constexpr,  # words are left after the last whole granule
    DENSE: tl.constexpr,  # a word of a row is one step in the source
    WIDE: tl.constexpr,
    LONG: tl.constexpr,
    PAIR: tl.constexpr,
    TILE: tl.constexpr,  # words
):
    """Gather the result's memory in order; see the module."""
    G: tl.constexpr = TILE // LANES if TILE > LANES else 1
    OFFSET: tl.constexpr = tl.int64 if WIDE else tl.int32
    NUMBER: tl.constexpr = tl.int64 if LONG else tl.int32
    ROW_AXIS: tl.constexpr = AXES[0]
    granule = tl.cast(tl.program_id(0), NUMBER) * G + tl.arange(0, G)  # [G]
    lane = tl.arange(0, LANES)[None, :]
    whole = granule < tl.cast(granules, NUMBER)
    tail = tl.cast(inner[1] >> 2, NUMBER)
    rows = tl.cast(inner[2] >> 2, NUMBER)
    length = tl.cast(dims[0][0] >> 2, NUMBER)
    pad = tl.cast(pad_low, source_pointer.dtype.element_ty)
    # granules past the end repeat the last one, whose loads are in bounds, and store nothing
    if TAIL:
        first = tl.minimum(granule, tl.cast(granules, NUMBER)) * LANES
    else:
        first = tl.minimum(granule, tl.cast(granules, NUMBER) - 1) * LANES

    if BREAKS == 2:
        word = tl.minimum(first[:, None] + lane, rows * length - 1)  # [G, LANES]
        offset, u0, u1, u2 = _walk(word, dims, inner, SPLITS, AXES, 0, ND, WIDE, LONG)
        if BORDERS > 0:
            valid = _row_inside(word >= 0, u0, u1, u2, inner, -1, BORDERS, LONG)
            value = tl.load(source_pointer + offset, mask=valid, other=pad)
        else:
            value = tl.load(source_pointer + offset)
    else:
        row = first * 0
        if ND > 1:
            row = divide(first, dims[0][0], dims[0][1], LONG)
        start = first - row * length  # of the granule in its row
        stop = length - start  # the lane at which the row ends
        offset, u0, u1, u2 = _walk(row, dims, inner, SPLITS, AXES, 1, ND, WIDE, LONG)
        ends = lane < stop[:, None]
        if BREAKS == 1:
            following = tl.minimum(row + 1, rows - 1)
            next_offset, n0, n1, n2 = _walk(following, dims, inner, SPLITS, AXES, 1, ND, WIDE, LONG)
        if SPLITS[0]:
            before = tl.cast(dims[0][7] >> 2, NUMBER)
            if BREAKS == 1:
                place = tl.where(ends, (start + before)[:, None], (before - stop)[:, None]) + lane
                begin = tl.where(ends, offset[:, None], next_offset[:, None])
            else:
                place = (start + before)[:, None] + lane
                begin = offset[:, None]
            value = tl.load(source_pointer + (begin + stretch_offset(place, dims[0], WIDE, LONG)))
        else:
            stride = tl.cast(dims[0][2] >> 2, OFFSET)
            pace = tl.cast(dims[0][8] >> 2, NUMBER)
            steps = lane.to(OFFSET)
            if not DENSE:
                steps = steps * stride
            pointers = (source_pointer + (offset + start.to(OFFSET) * stride))[:, None] + steps
            valid = ends
            if BORDERS > 0:
                inside = _row_inside(start >= 0, u0, u1, u2, inner, ROW_AXIS, BORDERS, LONG)
                valid = valid & inside[:, None]
            if ROW_AXIS >= 0:
                along = (_chosen(u0, u1, u2, ROW_AXIS) + start * pace)[:, None] + lane * pace
                valid = valid & covers(along, inner[4 + 2 * ROW_AXIS], LONG)
            if BREAKS == 0 and BORDERS == 0:
                value = tl.load(pointers)
            elif BORDERS == 0:
                value = tl.load(pointers, mask=valid)
            else:
                value = tl.load(pointers, mask=valid, other=pad)
            if BREAKS == 1:
                pointers = (source_pointer + (next_offset - stop.to(OFFSET) * stride))[:, None] + steps
                next_valid = lane >= stop[:, None]
                if BORDERS > 0:
                    inside = _row_inside(start >= 0, n0, n1, n2, inner, ROW_AXIS, BORDERS, LONG)
                    next_valid = next_valid & inside[:, None]
                if ROW_AXIS >= 0:
                    along = (_chosen(n0, n1, n2, ROW_AXIS) - stop * pace)[:, None] + lane * pace
                    next_valid = next_valid & covers(along, inner[4 + 2 * ROW_AXIS], LONG)
                if BORDERS == 0:
                    value = tl.where(ends, value, tl.load(pointers, mask=next_valid))
                else:
                    value = tl.where(ends, value, tl.load(pointers, mask=next_valid, other=pad))
                valid = valid | next_valid
    if PAIR and BORDERS > 0:
        high = tl.cast(pad_high, source_pointer.dtype.element_ty)
        value = tl.where(valid | (lane % 2 == 0), value, high)

    pointers = result_pointer + (first.to(OFFSET)[:, None] + lane)
    tl.store(pointers, value, mask=whole[:, None] & (lane >= 0))
    if TAIL:
        if tl.program_id(0) == tl.num_programs(0) - 1:
            tl.store(pointers, value, mask=(granule == tl.cast(granules, NUMBER))[:, None] & (lane < tail))
