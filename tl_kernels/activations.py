"""Activations and their derivatives, of float32 and float64, by what Triton has on every target and in its interpreter."""

from __future__ import annotations

import triton
import triton.language as tl

_LOG2_E = tl.constexpr(1.4426950408889634)
_LN2_HIGH = tl.constexpr(0.693145751953125)  # of so few bits that its multiples are exact
_LN2_LOW = tl.constexpr(1.42860682030941723212e-6)
_SQRT_HALF = tl.constexpr(0.7071067811865476)
_DENSITY = tl.constexpr(0.3989422804014327)  # of the normal distribution, at 0
_TANH_SCALE, _TANH_CUBE = tl.constexpr(0.7978845608028654), tl.constexpr(0.044715)


@triton.jit
def activated(z, ACTIVATION: tl.constexpr, EXACT: tl.constexpr):
    """The activation of numbers; EXACT: to the last bits of float32, where the result keeps them."""
    if ACTIVATION == "relu":
        value = tl.where(z < 0, 0.0, z)
    elif ACTIVATION == "sigmoid":
        value = _sigmoid(z, EXACT)
    elif ACTIVATION == "silu":
        value = z / (1.0 + _exp(-z, EXACT))
    elif ACTIVATION == "tanh":
        value = _tanh(z, EXACT)
    elif ACTIVATION == "gelu":
        value = z * 0.5 * (1.0 + tl.erf(z * _SQRT_HALF))
    elif ACTIVATION == "gelu_tanh":
        value = 0.5 * z * (1.0 + _tanh((z + z * z * z * _TANH_CUBE) * _TANH_SCALE, EXACT))
    elif ACTIVATION == "hardswish":
        value = z * _hat(z) * 0.16666666666666666
    else:
        value = z
    return value


@triton.jit
def backward(g, z, ACTIVATION: tl.constexpr, EXACT: tl.constexpr):
    """g times the activation's derivative at z."""
    if ACTIVATION == "relu":
        value = tl.where(z <= 0, 0.0, g)
    elif ACTIVATION == "sigmoid":
        s = _sigmoid(z, EXACT)
        value = g * (s * (1.0 - s))
    elif ACTIVATION == "silu":
        s = _sigmoid(z, EXACT)
        value = g * (s * (1.0 + z * (1.0 - s)))
    elif ACTIVATION == "tanh":
        t = _tanh(z, EXACT)
        value = g * (1.0 - t * t)
    elif ACTIVATION == "gelu":
        slope = 0.5 * (1.0 + tl.erf(z * _SQRT_HALF)) + z * (_exp(-0.5 * z * z, EXACT) * _DENSITY)
        value = g * slope
    elif ACTIVATION == "gelu_tanh":
        t = _tanh((z + z * z * z * _TANH_CUBE) * _TANH_SCALE, EXACT)
        slope = (1.0 + z * z * (3.0 * _TANH_CUBE)) * _TANH_SCALE
        value = g * (0.5 * (1.0 + t) + 0.5 * z * (1.0 - t * t) * slope)
    elif ACTIVATION == "hardswish":
        slope = tl.where(z <= 3.0, z * 0.3333333333333333 + 0.5, 1.0)
        value = g * tl.where(z < -3.0, 0.0, slope)
    else:
        value = g
    return value


@triton.jit
def _sigmoid(z, EXACT: tl.constexpr):
    return 1.0 / (1.0 + _exp(-z, EXACT))


@triton.jit
def _hat(z):
    """z + 3 between 0 and 6."""
    moved = z + 3.0
    moved = tl.where(moved < 0.0, 0.0, moved)
    return tl.where(moved > 6.0, 6.0, moved)


@triton.jit
def _exp(x, EXACT: tl.constexpr):
    """e to the power of x. What the hardware has errs by the bits that x has ahead of its point."""
    if EXACT and x.dtype == tl.float32:
        whole = tl.floor(x * _LOG2_E + 0.5)
        rest = (x - whole * _LN2_HIGH) - whole * _LN2_LOW
        power = tl.exp2(rest * _LOG2_E) * tl.exp2(whole)
        power = tl.where(
            x < 128.0, tl.where(x > -128.0, power, 0.0), float("inf")
        )  # where `rest` is no number any more
        value = tl.where(x == x, power, x)
    else:
        value = tl.exp(x)
    return value


@triton.jit
def _tanh(x, EXACT: tl.constexpr):
    """By the exponential function, and near nought, where that would lose the last bits, by other ways."""
    twice = 2.0 * tl.abs(x)
    power = _exp(twice, EXACT)
    if x.dtype == tl.float64:
        # W. Kahan's formula for the exponential function less one
        less_one = tl.where(power == 1.0, twice, (power - 1.0) * twice / tl.log(power))
        size = tl.where(twice > 60.0, 1.0, less_one / (less_one + 2.0))
        value = tl.where(x < 0, -size, tl.where(x == x, size, x))
    else:
        size = 1.0 - 2.0 / (power + 1.0)
        square = x * x
        series = square * 1.57394409e-2 - 5.23025580e-2
        series = ((series * square + 1.33152470e-1) * square - 3.33327681e-1) * square
        value = tl.where(twice < 1.1, series * x + x, tl.where(x < 0, -size, size))
    return value
