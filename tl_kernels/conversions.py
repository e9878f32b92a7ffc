"""Elements as kernels load and store them, which are bits, and the numbers that they stand for; rounding as PyTorch rounds."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

# The largest number in PyTorch of today, NaN in earlier versions.
E4M3_BEYOND = tl.constexpr(torch.tensor([1e4]).to(torch.float8_e4m3fn).view(torch.uint8).item())


@triton.jit
def decoded(bits, KIND: tl.constexpr, DOUBLE: tl.constexpr):
    """The numbers of some bits of the dtype KIND, as float32, or as float64.

    Integers are widened first: Triton exchanges words between threads ahead of that, but not ahead of a conversion to floats.
    """
    if KIND == "uint8":
        value = bits.to(tl.uint8, bitcast=True).to(tl.int32)
    elif KIND == "float8_e4m3fn":
        # the mantissa and the exponent in the places of float16's, whose exponent counts from 8 more
        value = ((bits.to(tl.int16) & 0x7F) << 7).to(tl.float16, bitcast=True).to(tl.float32) * 256.0
        value = tl.where((bits & 0x7F) == 0x7F, float("nan"), value)
        value = tl.where(bits < 0, -value, value)
    elif KIND == "float8_e5m2":
        value = (bits.to(tl.int16) << 8).to(tl.float16, bitcast=True)
    elif KIND == "float16":
        value = bits.to(tl.float16, bitcast=True)
    elif KIND == "bfloat16":
        value = (bits.to(tl.int32) << 16).to(tl.float32, bitcast=True)
    elif KIND == "float32":
        value = bits.to(tl.float32, bitcast=True)
    elif KIND == "float64":
        value = bits.to(tl.float64, bitcast=True)
    elif KIND == "int64":
        value = bits
    else:
        value = bits.to(tl.int32)
    return value.to(tl.float64 if DOUBLE else tl.float32)


@triton.jit
def encoded_as(value, KIND: tl.constexpr):
    """The bits of numbers in the dtype KIND: to the nearest, ties to even; integers saturate, and NaN becomes 0.

    What is narrower than float32 is rounded to that first, as in PyTorch.
    """
    if KIND == "uint8":
        bits = _integer(value, 0, 255)
    elif KIND == "int8":
        bits = _integer(value, -128, 127)
    elif KIND == "float64":
        bits = value.to(tl.float64).to(tl.int64, bitcast=True)
    elif KIND == "float32":
        bits = value.to(tl.float32).to(tl.int32, bitcast=True)
    elif KIND == "float16":
        bits = value.to(tl.float32).to(tl.float16).to(tl.int16, bitcast=True)
    elif KIND == "bfloat16":
        bits = _bfloat16(value.to(tl.float32))
    elif KIND == "float8_e5m2":
        bits = _float8(value.to(tl.float32), 2, 0x7C)
    else:
        bits = _float8(value.to(tl.float32), 3, E4M3_BEYOND)
    return bits


@triton.jit
def _integer(value, LEAST: tl.constexpr, MOST: tl.constexpr):
    value = tl.where(value > LEAST, value, tl.where(value == value, LEAST * 1.0, 0.0))
    value = tl.where(value < MOST, value, MOST * 1.0)
    # a number this large has no room for a fraction, and its last bits are the integer's
    if value.dtype == tl.float64:
        bits = (value + 6755399441055744.0).to(tl.int64, bitcast=True)
    else:
        bits = (value + 12582912.0).to(tl.int32, bitcast=True)
    return bits.to(tl.int8)


@triton.jit
def _bfloat16(value):
    if ROUNDS:
        bits = value.to(tl.bfloat16).to(tl.int16, bitcast=True)
    else:
        wide = value.to(tl.uint32, bitcast=True)
        wide = tl.where(value == value, (wide + 0x7FFF + ((wide >> 16) & 1)) >> 16, 0x7FC0)
        bits = wide.to(tl.int16)
    return bits


@triton.jit
def _float8(value, MANTISSA: tl.constexpr, BEYOND: tl.constexpr):
    """Bits of 8-bit floats with so many bits of mantissa; what is too large, and infinity, is BEYOND.

    Source: `fp8e4m3fn_from_fp32_value` and `fp8e5m2_from_fp32_value` of PyTorch's c10, which hold on every device.
    """
    BIAS: tl.constexpr = 7 if MANTISSA == 3 else 15
    LOST: tl.constexpr = 23 - MANTISSA
    wide = value.to(tl.int32, bitcast=True)
    size = wide & 0x7FFFFFFF
    normal = (size - ((127 - BIAS) << 23) + ((1 << (LOST - 1)) - 1) + ((size >> LOST) & 1)) >> LOST
    # a summand whose last bit is that of the smallest number rounds subnormals
    SUMMAND: tl.constexpr = (127 - BIAS + LOST + 1) << 23
    subnormal = size.to(tl.float32, bitcast=True) + tl.cast(SUMMAND, tl.int32).to(tl.float32, bitcast=True)
    subnormal = subnormal.to(tl.int32, bitcast=True) - SUMMAND
    bits = tl.where(size < ((128 - BIAS) << 23), subnormal, tl.minimum(normal, BEYOND))
    bits = tl.where(size > 0x7F800000, 0x7F, bits)
    return (bits | ((wide >> 24) & 0x80)).to(tl.int8)


# Triton's interpreter cuts off where compiled code rounds.
ROUNDS = tl.constexpr(isinstance(decoded, triton.JITFunction))
