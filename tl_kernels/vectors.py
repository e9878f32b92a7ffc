"""The kernel for interleaved blocks whose phases are whole granules of 16 bytes: wide loads, an exchange, wide stores.

Index formula: `loops.py`; numbers: `vectors_plan.py`. Grid: one dimension over tiles of rows. A program owns
TILE // (LANES * PHASES) rows; a row is LANES positions of each of PHASES phases, which lie side by side in space and
PHASES granules apart in the batch tensor. The exchange between the two is Triton's: shuffles, or matrix stores and loads of
shared memory, a handful of instructions per granule.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .locate import divide, locate_rows


@triton.jit(do_not_specialize=["rows", "pad_low", "pad_high"])
def move_vectors(
    source_pointer,
    result_pointer,
    rows,
    dims,  # `rows_plan.dim_numbers`
    inner,  # granules, magic, chunks, magic, phase stride in granules, border before and size in units
    pad_low,  # bits of the pad value
    pad_high,
    KINDS: tl.constexpr,
    MASKED: tl.constexpr,
    ND: tl.constexpr,
    GRANULES: tl.constexpr,  # more than one in a row of positions
    CHUNKS: tl.constexpr,  # a block is more phases than PHASES
    INNER_MASKED: tl.constexpr,
    BLOCK: tl.constexpr,
    PHASES: tl.constexpr,
    LANES: tl.constexpr,
    SPACE_UNIT: tl.constexpr,
    TO_SPACE: tl.constexpr,
    WIDE: tl.constexpr,
    LONG: tl.constexpr,
    TILE: tl.constexpr,  # words
):
    """Copy between space and batch; see the module."""
    K: tl.constexpr = LANES * PHASES
    R: tl.constexpr = TILE // K if TILE > K else 1
    OFFSET: tl.constexpr = tl.int64 if WIDE else tl.int32
    NUMBER: tl.constexpr = tl.int64 if LONG else tl.int32
    row = tl.cast(tl.program_id(0), NUMBER) * R + tl.arange(0, R)  # [R]
    inside = row < tl.cast(rows, NUMBER)
    rest = row
    chunk = row * 0
    granule = row * 0
    if CHUNKS:
        rest = divide(row, inner[2], inner[3], LONG)
        chunk = row - rest * tl.cast(inner[2] >> 2, NUMBER)
    if GRANULES:
        within = rest
        rest = divide(within, inner[0], inner[1], LONG)
        granule = within - rest * tl.cast(inner[0] >> 2, NUMBER)
    space, batch, covered = locate_rows(rest, inside, dims, KINDS, MASKED, ND, WIDE, LONG)  # in units
    start = granule * (LANES * BLOCK // SPACE_UNIT)
    if CHUNKS:
        start += chunk * (PHASES // SPACE_UNIT)
        batch += chunk.to(OFFSET) * tl.cast(inner[4] >> 2, OFFSET) * PHASES
    if INNER_MASKED:
        start -= tl.cast(inner[5] >> 2, NUMBER)
    space += start.to(OFFSET)
    batch += granule.to(OFFSET)

    k = tl.arange(0, K)  # within a row, as it lies in space
    if CHUNKS:
        k = (k // PHASES) * BLOCK + k % PHASES
    space_2d = (space * SPACE_UNIT)[:, None] + k[None, :]  # [R, K]
    phase = tl.arange(0, PHASES).to(OFFSET) * (tl.cast(inner[4] >> 2, OFFSET) * LANES)
    lane = tl.arange(0, LANES)
    batch_3d = phase[:, None, None] + ((batch * LANES)[:, None] + lane[None, :])[None, :, :]  # [PHASES, R, LANES]
    valid = covered[:, None] & (k >= 0)[None, :]
    if INNER_MASKED:
        coordinate = (start * SPACE_UNIT)[:, None] + k[None, :]
        limit = tl.cast(inner[6] >> 2, NUMBER) * SPACE_UNIT
        if LONG:
            valid = valid & (coordinate >= 0) & (coordinate < limit)
        else:
            valid = valid & (coordinate.to(tl.uint32) < limit.to(tl.uint32))
    exists = inside[None, :, None] & (phase >= 0)[:, None, None] & (lane >= 0)[None, None, :]

    if TO_SPACE:
        value = tl.load(source_pointer + batch_3d, mask=exists)
        value = tl.reshape(tl.permute(value, [1, 2, 0]), [R, K])
        tl.store(result_pointer + space_2d, value, mask=valid)
    else:
        pad = tl.cast(pad_low, source_pointer.dtype.element_ty)
        value = tl.load(source_pointer + space_2d, mask=valid, other=pad)
        value = tl.permute(tl.reshape(value, [R, LANES, PHASES]), [2, 0, 1])
        tl.store(result_pointer + batch_3d, value, mask=exists)
