"""Instructions against values worked out by hand from the PTX manual."""

from __future__ import annotations

import numpy as np
import pytest

from tests.ptx.arithmetic import UNSIGNED, computation
from tests.ptx.floats import float_computation


@pytest.mark.parametrize(
    ("op", "operands", "result"),
    [
        ("add.s32", (0xFFFFFFFF, 2), 1),
        ("sub.s64", (0, 1), 2**64 - 1),
        ("neg.s32", (5,), 0xFFFFFFFB),
        ("mul.lo.s32", (0x10000, 0x10001), 0x10000),
        ("mul.hi.u32", (0xFFFFFFFF, 0xFFFFFFFF), 0xFFFFFFFE),
        ("mul.hi.s32", (0xFFFFFFFF, 2), 0xFFFFFFFF),
        ("mul.hi.u64", (2**64 - 1, 2**64 - 1), 2**64 - 2),
        ("mul.hi.s64", (2**64 - 1, 3), 2**64 - 1),
        ("mul.wide.s32", (0xFFFFFFFF, 3), 2**64 - 3),
        ("mul.wide.u32", (0xFFFFFFFF, 3), 0x2FFFFFFFD),
        ("mad.wide.s32", (0xFFFFFFFF, 4, 100), 96),
        ("mad.lo.s32", (7, 6, 0xFFFFFFFF), 41),
        ("div.s32", (0xFFFFFFF9, 2), 0xFFFFFFFD),  # -7 / 2 is -3
        ("rem.s32", (0xFFFFFFF9, 2), 0xFFFFFFFF),
        ("div.u32", (0xFFFFFFF9, 2), 0x7FFFFFFC),
        ("min.s32", (0xFFFFFFFF, 3), 0xFFFFFFFF),
        ("min.u32", (0xFFFFFFFF, 3), 3),
        ("setp.lt.s32", (0xFFFFFFFF, 3), 1),
        ("setp.lt.u32", (0xFFFFFFFF, 3), 0),
        ("and.pred", (1, 0), 0),
        ("selp.b16", (7, 9, 0), 9),
        ("shl.b32", (1, 31), 1 << 31),
        ("shl.b32", (1, 32), 0),
        ("shr.u32", (1 << 31, 40), 0),
        ("shr.s32", (1 << 31, 40), 0xFFFFFFFF),
        ("shr.s64", (1 << 63, 62), 2**64 - 2),
        ("shf.l.wrap.b32", (0x80000000, 0x1, 33), 3),  # of the low and the high word
        ("shf.r.wrap.b32", (0x80000000, 0x1, 4), 0x18000000),
        ("shf.r.clamp.b32", (5, 9, 40), 9),
        ("prmt.b32", (0x44332211, 0x88776655, 0x7410), 0x88552211),
        ("prmt.b32", (0x44332281, 0, 0x8888), 0xFFFFFFFF),  # the sign of byte 0 in all places
        ("bfe.u32", (0xABCD1234, 8, 8), 0x12),
        ("bfe.u32", (0xABCD1234, 28, 8), 0xA),
        ("bfe.s32", (0x00000F00, 8, 4), 0xFFFFFFFF),
        ("bfe.s32", (0x80000000, 28, 8), 0xFFFFFFF8),
        ("bfe.u32", (0xFFFFFFFF, 0, 0), 0),
        ("cvt.s64.s32", (0xFFFFFFFF,), 2**64 - 1),
        ("cvt.u64.u32", (0xFFFFFFFF,), 0xFFFFFFFF),
        ("cvt.u16.u32", (0x12345678,), 0x5678),
    ],
)
def test_computation(op: str, operands: tuple[int, ...], result: int) -> None:
    words = tuple(op.split("."))
    wide = words[1] == "wide"
    bits = 64 if wide else int(words[1][1:] if words[0] == "cvt" else "".join(filter(str.isdigit, words[-1])) or 1)
    function, widths = computation(words, bits)
    found = function(*(np.full((1, 1), x, UNSIGNED.get(w, bool)) for x, w in zip(operands, widths, strict=True)))
    assert int(found[0, 0]) == result


@pytest.mark.parametrize(
    ("op", "operands", "result"),
    [
        ("add.rn.f32", (0x3F800000, 0x40000000), 0x40400000),  # 1 + 2
        ("add.rn.f32", (0x3F800000, 0x33800000), 0x3F800000),  # half of the last bit of 1: to the even one
        ("add.rn.f32", (0x3F800001, 0x33800000), 0x3F800002),
        ("mul.rn.ftz.f32", (0x00800000, 0xBF000000), 0x80000000),  # a subnormal product becomes nought
        ("mul.rn.f32", (0x00800000, 0x3F000000), 0x00400000),
        ("fma.rn.f32", (0x3F800001, 0x3F800001, 0xBF800002), 0x28800000),  # the square's last bit, 2**-46
        ("max.f32", (0x7FC00000, 0xC0000000), 0xC0000000),  # not the one that is no number
        ("setp.lt.f32", (0x7FC00000, 0x3F800000), 0),
        ("setp.geu.f32", (0x7FC00000, 0x3F800000), 1),
        ("setp.num.f64", (0x7FF8000000000000, 0), 0),
        ("selp.f32", (7, 9, 0), 9),
        ("ex2.approx.f32", (0x40400000,), 0x41000000),
        ("cvt.f32.f16", (0xC000,), 0xC0000000),
        ("cvt.rn.f16.f32", (0x7F7FFFFF,), 0x7C00),
        ("cvt.rn.bf16.f32", (0x3F808000,), 0x3F80),  # a tie
        ("cvt.rn.bf16.f32", (0x3F818000,), 0x3F82),
        ("cvt.rn.bf16x2.f32", (0x3F800000, 0x40000000), 0x3F804000),
        ("cvt.rn.f32.u16", (0xFFFF,), 0x477FFF00),
        ("cvt.rn.f32.s64", (0xFFFFFFFFFFFFFFFF,), 0xBF800000),
        ("cvt.rmi.f32.f32", (0xBFC00000,), 0xC0000000),  # -1.5
        ("cvt.rzi.s32.f32", (0xC0200000,), 0xFFFFFFFE),  # -2.5
        ("cvt.rn.f32.f64", (0x3FF0000010000000,), 0x3F800000),
    ],
)
def test_floating_point(op: str, operands: tuple[int, ...], result: int) -> None:
    function, widths = float_computation(tuple(op.split(".")))
    found = function(*(np.full((1, 1), x, UNSIGNED.get(w, bool)) for x, w in zip(operands, widths, strict=True)))
    assert int(found[0, 0]) == result
