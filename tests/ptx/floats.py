"""What instructions on floating-point numbers compute, on their bits.

What PTX only promises to approximate is rounded correctly here, and a fused multiplication and addition is computed with more bits and
rounded once more, which may be off by the last bit. No result may hang on either.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .arithmetic import SIGNED, UNSIGNED, Array, Computation
from .program import UnknownCodeError

BITS = {"f16": 16, "bf16": 16, "f32": 32, "f64": 64}
_FLOATS: dict[str, Any] = {"f16": np.float16, "f32": np.float32, "f64": np.float64}
_WIDER: dict[str, Any] = {"f32": np.float64, "f64": np.longdouble}
_COMPARISONS: dict[str, Any] = {name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")}
_ARITHMETIC: dict[str, tuple[Any, int]] = {  # and how many operands
    "add": (np.add, 2),
    "sub": (np.subtract, 2),
    "mul": (np.multiply, 2),
    "div": (np.divide, 2),
    "min": (np.fmin, 2),
    "max": (np.fmax, 2),
    "abs": (np.abs, 1),
    "neg": (np.negative, 1),
    "sqrt": (np.sqrt, 1),
    "rcp": (np.reciprocal, 1),
    "ex2": (np.exp2, 1),
    "lg2": (np.log2, 1),
}
_MODIFIERS = {
    "add": {"rn", "ftz"},
    "sub": {"rn", "ftz"},
    "mul": {"rn", "ftz"},
    "div": {"rn", "full", "ftz"},
    "min": {"ftz"},
    "max": {"ftz"},
    "abs": {"ftz"},
    "neg": {"ftz"},
    "sqrt": {"rn", "approx", "ftz"},
    "rcp": {"rn", "approx", "ftz"},
    "ex2": {"approx", "ftz"},
    "lg2": {"approx", "ftz"},
}
_ROUND: dict[str, Any] = {"rni": np.rint, "rmi": np.floor, "rpi": np.ceil, "rzi": np.trunc}


def concerns_floats(op: tuple[str, ...]) -> bool:
    """Whether an instruction is one of these."""
    return any(word.removesuffix("x2") in BITS for word in op[1:])


def float_computation(op: tuple[str, ...]) -> Computation:
    """What an instruction computes."""
    name, *how, kind = op
    if name == "cvt":
        return _conversion(how, kind)
    if kind not in _FLOATS:
        raise UnknownCodeError(f"type {kind}")
    bits, flush = BITS[kind], "ftz" in how
    if name == "selp" and not how:
        return Computation(lambda a, b, chosen: np.where(chosen, a, b), (bits, bits, 1))
    if name == "setp" and len({*how} - {"ftz"}) == 1:
        compare = partial(_compare, way=next(word for word in how if word != "ftz"))
        return Computation(partial(_on_numbers, compare, kind, flush), (bits, bits))
    if name == "fma" and {*how} <= {"rn", "ftz"} and kind in _WIDER:
        return Computation(partial(_on_numbers, partial(_fused, kind=kind), kind, flush), (bits,) * 3)
    if name in _ARITHMETIC and {*how} <= _MODIFIERS[name]:
        function, count = _ARITHMETIC[name]
        return Computation(partial(_on_numbers, function, kind, flush), (bits,) * count)
    raise UnknownCodeError("instruction on floating-point numbers")


def _numbers(bits: Array, kind: str, flush: bool = False) -> Array:
    """What bits stand for."""
    if kind == "bf16":
        return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return _flushed(bits.view(_FLOATS[kind]), flush)


def _flushed(x: Array, flush: bool) -> Array:
    """With nought, of the same sign, in place of subnormal numbers."""
    return np.where(np.abs(x) < np.finfo(x.dtype).tiny, np.copysign(x.dtype.type(0), x), x) if flush else x


def _on_numbers(function: Callable[..., Array], kind: str, flush: bool, *operands: Array) -> Array:
    with np.errstate(all="ignore"):
        found = np.asarray(function(*(_numbers(operand, kind, flush) for operand in operands)))
    if found.dtype == np.bool_:
        return found
    return np.ascontiguousarray(_flushed(found.astype(_FLOATS[kind], copy=False), flush)).view(UNSIGNED[BITS[kind]])


def _fused(a: Array, b: Array, c: Array, *, kind: str) -> Array:
    wider = _WIDER[kind]
    return a.astype(wider) * b.astype(wider) + c.astype(wider)


def _compare(a: Array, b: Array, *, way: str) -> Array:
    unordered = np.isnan(a) | np.isnan(b)
    if way in ("num", "nan"):
        return unordered if way == "nan" else ~unordered
    if way in _COMPARISONS:
        return np.asarray(_COMPARISONS[way](a, b) & ~unordered)
    if way.endswith("u") and way[:-1] in _COMPARISONS:
        return np.asarray(_COMPARISONS[way[:-1]](a, b) | unordered)
    raise UnknownCodeError(f"comparison {way}")


def _conversion(how: list[str], source: str) -> Computation:
    *modes, to = how
    if to.endswith("x2") and source == "f32" and modes == ["rn"]:  # two numbers, the first one in the upper half
        half = _conversion(["rn", to.removesuffix("x2")], source).function
        return Computation(
            lambda a, b: half(a).astype(np.uint32) << np.uint32(16) | half(b).astype(np.uint32), (32, 32)
        )
    flush, modes = "ftz" in modes, [mode for mode in modes if mode != "ftz"]
    if len(modes) > 1 or (modes and modes[0] not in ("rn", *_ROUND)):
        raise UnknownCodeError(f"conversion {modes}")
    width = BITS[source] if source in BITS else int(source[1:])

    def convert(a: Array) -> Array:
        with np.errstate(all="ignore"):
            number = a.view(SIGNED[width]) if source[0] == "s" else a
            if source in BITS:
                number = _numbers(a, source, flush)
            if modes and modes[0] in _ROUND:
                number = _ROUND[modes[0]](number)
            if to in _FLOATS:
                number = _flushed(number.astype(_FLOATS[to], copy=False), flush)
                return np.ascontiguousarray(number).view(UNSIGNED[BITS[to]])
            if to == "bf16":
                return _to_bfloat16(number.astype(np.float32, copy=False))
            return _to_integer(number, to)

    return Computation(convert, (width,))


def _to_bfloat16(number: Array) -> Array:
    wide = np.ascontiguousarray(number).view(np.uint32)
    rounded = wide + np.uint32(0x7FFF) + (wide >> np.uint32(16) & np.uint32(1))
    return np.where(np.isnan(number), np.uint32(0x7FFF), rounded >> np.uint32(16)).astype(np.uint16)


def _to_integer(number: Array, to: str) -> Array:
    bits, signed = int(to[1:]), to[0] == "s"
    limits = np.iinfo((SIGNED if signed else UNSIGNED)[bits])
    inside = (number >= limits.min) & (number < float(limits.max) + 1)
    found = np.where(inside, number, 0).astype(limits.dtype)
    found = np.where(number >= float(limits.max) + 1, limits.max, np.where(number < limits.min, limits.min, found))
    return np.asarray(found.astype(limits.dtype)).view(UNSIGNED[bits])
