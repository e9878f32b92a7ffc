"""The kernel that serves every geometry: tiles of rows times elements over the padded space.

Index formula: `loops.py`; numbers: `rows_plan.py`. Grid: one dimension, row tiles times element tiles, elements fastest. A program owns TILE // K
rows of K elements. Whatever belongs to a row (divisions, the border tests of all dims but the last) is computed once per
row; an element costs a multiply-add and, at a border, a comparison.

Numbers arrive `loops.coded`, so that no size or stride leads to another compilation; what the compiler must know (units
of alignment, which dims are split or masked) are constexprs. Offsets are counted in units of alignment, which is how the
compiler learns that it may read and write 16 bytes at once.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .locate import divide, locate_rows


@triton.jit(do_not_specialize=["rows", "pad_low", "pad_high"])
def move_rows(
    source_pointer,
    result_pointer,
    rows,
    dims,  # innermost first: size, its magic, space stride, outer stride, inner stride, extent, its magic, before, covered
    inner,  # of the dim that rows run along
    pad_low,  # bits of the pad value; of 16-byte elements, of their first word
    pad_high,
    KINDS: tl.constexpr,  # of each dim: 0 plain, 1 split, 2 shifted
    MASKED: tl.constexpr,  # of each dim: has a border
    ND: tl.constexpr,
    MODE: tl.constexpr,  # 0 run, 1 half, 2 whole
    HALVES: tl.constexpr,  # the other half takes more than one value
    INNER_MASKED: tl.constexpr,
    SPACE_UNIT: tl.constexpr,
    BATCH_UNIT: tl.constexpr,
    LENGTH_UNIT: tl.constexpr,
    SPACE_DENSE: tl.constexpr,  # an element is one step in space
    BATCH_DENSE: tl.constexpr,
    TO_SPACE: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit offsets
    LONG: tl.constexpr,  # 64-bit row numbers
    PAIR: tl.constexpr,  # 16-byte elements
    LONGEST: tl.constexpr,  # length up to the next power of two
    TILE: tl.constexpr,  # elements
):
    """Copy between space and batch; see the module."""
    K: tl.constexpr = LONGEST if LONGEST < TILE else TILE
    R: tl.constexpr = TILE // K
    OFFSET: tl.constexpr = tl.int64 if WIDE else tl.int32
    NUMBER: tl.constexpr = tl.int64 if LONG else tl.int32
    length = tl.cast(inner[0] >> 2, tl.int32) * LENGTH_UNIT
    program = tl.program_id(0)
    k = tl.arange(0, K)  # [K]
    if LONGEST > TILE:
        tiles = tl.cdiv(length, K)
        k += (program % tiles) * K
        program = program // tiles
    row = tl.cast(program, NUMBER) * R + tl.arange(0, R)  # [R]
    inside = row < tl.cast(rows, NUMBER)
    rest = row
    half = tl.zeros([R], NUMBER)
    if HALVES:
        rest = divide(row, inner[1], inner[2], LONG)
        half = row - rest * tl.cast(inner[1] >> 2, NUMBER)
    space, batch, covered = locate_rows(rest, inside, dims, KINDS, MASKED, ND, WIDE, LONG)  # in units
    if HALVES:
        batch += half.to(OFFSET) * tl.cast(inner[3] >> 2, OFFSET)

    exists = inside[:, None] & (k < length)[None, :]  # [R, K]
    valid = covered[:, None] & (k < length)[None, :]
    if MODE == 1:
        start = half * tl.cast(inner[4] >> 2, NUMBER) - tl.cast(inner[8] >> 2, NUMBER)  # [R], in units
        if SPACE_DENSE:
            space += start.to(OFFSET)
        else:
            space += start.to(OFFSET) * tl.cast(inner[11] >> 2, OFFSET)
        if INNER_MASKED:
            if SPACE_DENSE:
                coordinate = (start * SPACE_UNIT)[:, None] + k[None, :]
                limit = tl.cast(inner[9] >> 2, NUMBER) * SPACE_UNIT
            else:
                coordinate = start[:, None] + (k * tl.cast(inner[5] >> 2, NUMBER))[None, :]
                limit = tl.cast(inner[9] >> 2, NUMBER)
            if LONG:
                valid = valid & (coordinate >= 0) & (coordinate < limit)
            else:
                valid = valid & (coordinate.to(tl.uint32) < limit.to(tl.uint32))
    if SPACE_DENSE:
        space_2d = (space * SPACE_UNIT)[:, None] + k[None, :]
    else:
        space_2d = space[:, None] + (k.to(OFFSET) * tl.cast(inner[6] >> 2, OFFSET))[None, :]
    if MODE == 2:
        padded = k.to(NUMBER) + tl.cast(inner[8] >> 2, NUMBER)
        outer = divide(padded, inner[10], inner[2], LONG)
        within = padded - outer * tl.cast(inner[10] >> 2, NUMBER)
        element = outer.to(OFFSET) * tl.cast(inner[7] >> 2, OFFSET) + within.to(OFFSET) * tl.cast(inner[3] >> 2, OFFSET)
        batch_2d = batch[:, None] + element[None, :]
    elif BATCH_DENSE:
        batch_2d = (batch * BATCH_UNIT)[:, None] + k[None, :]
    else:
        batch_2d = batch[:, None] + (k.to(OFFSET) * tl.cast(inner[7] >> 2, OFFSET))[None, :]

    if TO_SPACE:
        value = tl.load(source_pointer + batch_2d, mask=valid)
        tl.store(result_pointer + space_2d, value, mask=valid)
    else:
        pad = tl.cast(pad_low, source_pointer.dtype.element_ty)
        value = tl.load(source_pointer + space_2d, mask=valid, other=pad)
        if PAIR:
            high = tl.cast(pad_high, source_pointer.dtype.element_ty)
            value = tl.where(valid | ((k % 2) == 0)[None, :], value, high)
        tl.store(result_pointer + batch_2d, value, mask=exists)
