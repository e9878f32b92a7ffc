"""Activations and their derivatives, as vector code.

Numbers are float32, or float64 where the result is to be right to the last place of a float32. Polynomials interpolate at Chebyshev's nodes;
their relative errors stand beside them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .emit import Value
from .lanes import Floats

# (2 ** r - 1) / r for |r| <= 1 / 2: 1.2e-08
_EXP2M1 = (
    0.6931471880352003,
    0.24022650760645808,
    0.05550357071152507,
    0.009618082519990467,
    0.0013390886332106697,
    0.0001545318282995974,
)
# exp(x * x / 2) * (1 - Phi(x)) / t, where t = 1 / (1 + 0.3 * x), for 0 <= x <= 15: 4.4e-9 and 4.7e-7
_TAIL_STEP = 0.3
_TAIL = {
    "double": (
        0.11968775022811919,
        0.11955011827807899,
        0.11042319661479691,
        0.07748577064701227,
        0.09883084131083433,
        -0.08448128252487117,
        0.19792164407388677,
        -0.232835483053226,
        0.11440211186287313,
        -0.020984669361051225,
    ),
    "float": (
        0.1196197433647561,
        0.12092025456357935,
        0.09876019770809884,
        0.13271121982864897,
        -0.062100604176585715,
        0.21604186105262607,
        -0.16309990608149133,
        0.037147265244240425,
    ),
}
_ROUNDING = {"double": 1.5 * 2.0**52, "float": 1.5 * 2.0**23}  # in a sum with it, an integer is in the last bits
_NOTHING = {"double": -709.05, "float": -110.0}  # whose exp is 0
_FAR = {"double": 37.6, "float": 14.8}  # exp(-x * x / 2) is nothing there
_CUBIC = 0.044715


def activated(f: Floats, name: str, x: Value, precise: bool) -> Value:
    """An activation of `ACTIVATIONS`; of float32, `precise` is to the last place."""
    if name in _EXACT:
        return _EXACT[name](f, x)
    return _inside(f, x, precise, _VALUES[name])


def chained(f: Floats, name: str, g: Value, x: Value, precise: bool) -> Value:
    """g times the derivative at x."""
    zero = f.number(0.0)
    if name == "relu":
        return f.where("ole", x, zero, zero, g)
    if name == "hardswish":
        slope = f.mul(g, f.add(f.div(x, f.number(3.0)), f.number(0.5)))
        return f.where("ole", x, f.number(-3.0), zero, f.where("olt", x, f.number(3.0), slope, g))
    return g if name == "none" else f.mul(g, _inside(f, x, precise, _SLOPES[name]))


def _inside(f: Floats, x: Value, precise: bool, formula: Callable[[Floats, Value], Value]) -> Value:
    if not precise:
        return formula(f, x)
    wide = Floats(f.code, "double", f.count)
    return f.code.convert("fptrunc", formula(wide, f.code.convert("fpext", x, "double")), f.element)


def _relu(f: Floats, x: Value) -> Value:
    return f.at_least(x, f.number(0.0))


def _hardswish(f: Floats, x: Value) -> Value:
    gate = f.at_most(f.at_least(f.add(x, f.number(3.0)), f.number(0.0)), f.number(6.0))
    return f.div(f.mul(x, gate), f.number(6.0))


def _exponent(f: Floats, x: Value, root: bool = False) -> tuple[Value, Value, Value]:
    """n, r and q so that exp(x), or its root, is 2 ** n * (1 + r * q), for x <= 0; n is in the last bits of an integer."""
    magic = f.number(_ROUNDING[f.element])
    u = f.mul(x, f.number((0.5 if root else 1) / math.log(2)))
    shifted = f.add(u, magic)
    r = f.sub(u, f.sub(shifted, magic))
    return f.bits(shifted), r, f.polynomial(r, _EXP2M1)


def _power(f: Floats, n: Value) -> Value:
    """2 ** n of integers in the last bits, if that is a normal number, and 0 of float64 below."""
    bias, mantissa = (1023, 52) if f.element == "double" else (127, 23)
    return f.of_bits(f.code.operate("shl", f.code.operate("add", n, f.integers(bias)), f.integers(mantissa)))


def _exp(f: Floats, x: Value) -> Value:
    """Of `_NOTHING` <= x <= 0."""
    root = f.element == "float"  # whose square is subnormal where that is due
    n, r, q = _exponent(f, x, root)
    value = f.mul(f.fma(r, q, f.number(1.0)), _power(f, n))
    return f.mul(value, value) if root else value


def _bounded(f: Floats, x: Value) -> Value:
    return f.at_least(x, f.number(_NOTHING[f.element]))


def _sigmoid(f: Floats, x: Value) -> Value:
    one = f.number(1.0)
    e = _exp(f, _bounded(f, f.negative(f.abs(x))))
    return f.div(f.where("olt", x, f.number(0.0), e, one), f.add(e, one))


def _sigmoid_slope(f: Floats, x: Value) -> Value:
    e = _exp(f, _bounded(f, f.negative(f.abs(x))))
    below = f.add(e, f.number(1.0))
    return f.div(e, f.mul(below, below))


def _gated(f: Floats, x: Value, gate: Value) -> Value:
    """x times the sigmoid of a gate of the same sign."""
    e = _exp(f, _bounded(f, f.negative(f.abs(gate))))
    return f.div(f.where("olt", gate, f.number(0.0), f.mul(x, e), x), f.add(e, f.number(1.0)))


def _silu(f: Floats, x: Value) -> Value:
    return _gated(f, x, x)


def _silu_slope(f: Floats, x: Value) -> Value:
    s, one = _sigmoid(f, x), f.number(1.0)
    return f.mul(s, f.fma(x, f.sub(one, s), one))


def _tanh(f: Floats, x: Value) -> Value:
    doubled = f.mul(f.abs(x), f.number(-2.0))
    n, r, q = _exponent(f, f.at_least(doubled, f.number(-50.0)))
    power = _power(f, n)
    below_one = f.fma(f.mul(r, q), power, f.sub(power, f.number(1.0)))  # exp(doubled) - 1
    return f.signed(f.div(below_one, f.add(below_one, f.number(2.0))), x)


def _tanh_slope(f: Floats, x: Value) -> Value:
    return f.mul(f.number(4.0), _sigmoid_slope(f, f.add(x, x)))


def _normal(f: Floats, x: Value) -> tuple[Value, Value, Value]:
    """|x|, or where there is nothing left of the normal distribution; exp(-x * x / 2) there; and the distribution's share above."""
    one = f.number(1.0)
    far = f.at_most(f.abs(x), f.number(_FAR[f.element]))
    bell = _exp(f, f.mul(f.mul(far, far), f.number(-0.5)))
    t = f.div(one, f.fma(far, f.number(_TAIL_STEP), one))
    return far, bell, f.mul(f.mul(t, f.polynomial(t, _TAIL[f.element])), bell)


def _gelu(f: Floats, x: Value) -> Value:
    far, _, tail = _normal(f, x)
    return f.fma(f.negative(far), tail, _relu(f, x))


def _gelu_slope(f: Floats, x: Value) -> Value:
    far, bell, tail = _normal(f, x)
    share = f.where("ogt", x, f.number(0.0), f.sub(f.number(1.0), tail), tail)
    return f.fma(f.mul(f.signed(far, x), bell), f.number(1 / math.sqrt(2 * math.pi)), share)


def _inner(f: Floats, x: Value) -> Value:
    """Twice what tanh is taken of."""
    cubic = f.fma(f.mul(x, x), f.number(_CUBIC), f.number(1.0))
    return f.mul(f.mul(x, f.number(math.sqrt(8 / math.pi))), cubic)


def _gelu_tanh(f: Floats, x: Value) -> Value:
    return _gated(f, x, _inner(f, x))


def _gelu_tanh_slope(f: Floats, x: Value) -> Value:
    x = f.at_most(f.at_least(x, f.number(-1e4)), f.number(1e4))  # whose cube is no infinity
    s, one = _sigmoid(f, _inner(f, x)), f.number(1.0)
    slope = f.mul(f.fma(f.mul(x, x), f.number(3 * _CUBIC), one), f.number(math.sqrt(8 / math.pi)))
    return f.mul(s, f.fma(f.mul(x, slope), f.sub(one, s), one))


_EXACT: dict[str, Callable[[Floats, Value], Value]] = {
    "none": lambda f, x: x,
    "relu": _relu,
    "hardswish": _hardswish,
}
_VALUES = {"silu": _silu, "sigmoid": _sigmoid, "tanh": _tanh, "gelu": _gelu, "gelu_tanh": _gelu_tanh}
_SLOPES = {
    "silu": _silu_slope,
    "sigmoid": _sigmoid_slope,
    "tanh": _tanh_slope,
    "gelu": _gelu_slope,
    "gelu_tanh": _gelu_tanh_slope,
}
