"""Floating point numbers, several at once: what formulas are written in."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from .emit import Code, Value, lanes


class Floats:
    """Arithmetic with vectors of so many float32 or float64, each step rounded; only `fma` may be one step or two."""

    def __init__(self, code: Code, element: str, count: int) -> None:
        """`element` is "float" or "double"."""
        self.code, self.element, self.count = code, element, count
        self.integer = "i64" if element == "double" else "i32"

    def number(self, value: float) -> Value:
        """A constant, which has an exact form in float32 or is rounded to it."""
        exact = struct.unpack("f", struct.pack("f", value))[0] if self.element == "float" else value
        return self.code.constant(self.element, self.count, f"0x{struct.pack('>d', exact).hex().upper()}")

    def integers(self, value: int) -> Value:
        return self.code.constant(self.integer, self.count, str(value))

    def add(self, a: Value, b: Value) -> Value:
        return self.code.operate("fadd", a, b)

    def sub(self, a: Value, b: Value) -> Value:
        return self.code.operate("fsub", a, b)

    def mul(self, a: Value, b: Value) -> Value:
        return self.code.operate("fmul", a, b)

    def div(self, a: Value, b: Value) -> Value:
        return self.code.operate("fdiv", a, b)

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """a * b + c, in one step where the processor has one."""
        return self.code.intrinsic("fmuladd", a, b, c)

    def abs(self, a: Value) -> Value:
        return self.code.intrinsic("fabs", a)

    def negative(self, a: Value) -> Value:
        return self.code.operate("fsub", self.number(-0.0), a)

    def signed(self, a: Value, sign: Value) -> Value:
        """a with the sign of another."""
        return self.code.intrinsic("copysign", a, sign)

    def where(self, how: str, a: Value, b: Value, then: Value, otherwise: Value) -> Value:
        """`then` where a predicate of LLVM ("olt" …) holds for a and b."""
        return self.code.choose(self.code.compare(f"fcmp {how}", a, b), then, otherwise)

    def at_least(self, a: Value, bound: Value) -> Value:
        """a, or the bound where a is below; NaN stays NaN."""
        return self.where("olt", a, bound, bound, a)

    def at_most(self, a: Value, bound: Value) -> Value:
        """a, or the bound where a is above; NaN stays NaN."""
        return self.where("ogt", a, bound, bound, a)

    def polynomial(self, x: Value, coefficients: Sequence[float]) -> Value:
        """By Horner's rule; the constant comes first."""
        value = self.number(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            value = self.fma(value, x, self.number(coefficient))
        return value

    def bits(self, a: Value) -> Value:
        return self.code.convert("bitcast", a, self.integer)

    def of_bits(self, a: Value) -> Value:
        return self.code.convert("bitcast", a, self.element)


def floats(code: Code, value: Value) -> Floats:
    """Arithmetic for values of this type."""
    return Floats(code, "double" if "double" in value.type else "float", lanes(value.type))
