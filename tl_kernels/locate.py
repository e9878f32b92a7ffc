"""What kernels share: division by launch-time constants, and the walk from a row number through the loops.

Numbers arrive `loops.coded`, so that no size or stride leads to another compilation.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def divide(n, divisor, code, LONG: tl.constexpr):
    """n // divisor, by multiplication while n fits 31 bits."""
    if LONG:
        return n // tl.cast(divisor >> 2, tl.int64)
    multiplier = tl.cast(code >> 8, tl.uint32)
    shift = tl.cast((code >> 2) & 63, tl.uint32)
    return (tl.umulhi(n.to(tl.uint32), multiplier) >> shift).to(tl.int32)


@triton.jit
def locate_rows(
    rest,  # row numbers, any shape
    covered,  # mask of the rows that exist
    dims,  # `rows_plan.dim_numbers`
    KINDS: tl.constexpr,
    MASKED: tl.constexpr,
    ND: tl.constexpr,
    WIDE: tl.constexpr,
    LONG: tl.constexpr,
):
    """Offsets of rows in space and in the batch tensor, in units of alignment, and which of them are in no border."""
    OFFSET: tl.constexpr = tl.int64 if WIDE else tl.int32
    NUMBER: tl.constexpr = tl.int64 if LONG else tl.int32
    space = (rest * 0).to(OFFSET)
    batch = space
    for d in tl.static_range(ND):
        index = rest
        if d < ND - 1:
            quotient = divide(rest, dims[d][0], dims[d][1], LONG)
            index = rest - quotient * tl.cast(dims[d][0] >> 2, NUMBER)
            rest = quotient
        coordinate = index
        if KINDS[d] != 0:
            coordinate = index - tl.cast(dims[d][7] >> 2, NUMBER)
            if MASKED[d]:
                covered = covered & (coordinate >= 0) & (coordinate < tl.cast(dims[d][8] >> 2, NUMBER))
        space += coordinate.to(OFFSET) * tl.cast(dims[d][2] >> 2, OFFSET)
        if KINDS[d] == 1:
            outer = divide(index, dims[d][5], dims[d][6], LONG)
            within = index - outer * tl.cast(dims[d][5] >> 2, NUMBER)
            batch += outer.to(OFFSET) * tl.cast(dims[d][3] >> 2, OFFSET)
            batch += within.to(OFFSET) * tl.cast(dims[d][4] >> 2, OFFSET)
        else:
            batch += index.to(OFFSET) * tl.cast(dims[d][3] >> 2, OFFSET)
    return space, batch, covered
