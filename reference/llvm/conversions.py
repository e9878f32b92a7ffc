"""From words to floating point numbers and back, for every dtype, to the bit as PyTorch converts (but for what kind of NaN there is)."""

from __future__ import annotations

from spacebatch.reference.arithmetic import RESULTS, SOURCES

from .emit import Code, Value, integer
from .lanes import Floats, floats

_FLOATS = {"float16": "half", "float32": "float", "float64": "double"}


def to_floats(code: Code, words: Value, dtype: str, compute: str) -> Value:
    """Numbers to compute with, "float" or "double".

    Args:
        words: a vector of integers that hold the elements. dtype: of these, of `SOURCES`.
    """
    if dtype == compute_dtype(compute):
        return code.convert("bitcast", words, compute)
    if dtype in ("uint8", "int8", "int16", "int32", "int64"):
        if SOURCES[dtype] < 4:
            words = code.convert("zext" if dtype == "uint8" else "sext", words, "i32")
        return code.convert("sitofp", words, compute)
    if dtype == "float64":
        return code.convert("fptrunc", code.convert("bitcast", words, "double"), compute)
    return code.convert("fpext", _to_float(code, words, dtype), compute)


def compute_dtype(compute: str) -> str:
    return {"float": "float32", "double": "float64"}[compute]


def _to_float(code: Code, words: Value, dtype: str) -> Value:
    if dtype == "float32":
        return code.convert("bitcast", words, "float")
    if dtype == "float16":
        return code.convert("fpext", code.convert("bitcast", words, "half"), "float")
    wide = code.convert("zext", words, "i32" if dtype == "bfloat16" else "i16")
    ints = _Integers(code, wide)
    if dtype == "bfloat16":
        return code.convert("bitcast", ints.left(16), "float")
    if dtype == "float8_e5m2":  # the upper half of a float16
        return code.convert("fpext", code.convert("bitcast", ints.left(8), "half"), "float")
    assert dtype == "float8_e4m3fn", dtype
    magnitude = ints.masked(0x7F)  # as float16 it is smaller by 2 ** 8, and subnormal where it is
    sign = _Integers(code, ints.masked(0x80)).left(8)
    half = code.operate("or", _Integers(code, magnitude).left(7), sign)
    value = code.convert("fpext", code.convert("bitcast", half, "half"), "float")
    f = floats(code, value)
    none = code.compare("icmp eq", magnitude, ints.number(0x7F))
    return code.choose(none, f.number(float("nan")), f.mul(value, f.number(256.0)))


def from_floats(code: Code, value: Value, dtype: str, native: bool = False) -> Value:
    """The words of a result, of `RESULTS`, rounded to nearest even.

    Args:
        native: the processor rounds to bfloat16 in one instruction, which takes subnormal numbers for 0: there are none.
    """
    f = floats(code, value)
    word = integer(RESULTS[dtype])
    if dtype in ("uint8", "int8"):
        return _saturated(code, f, value, dtype)
    if dtype == "float64":
        return code.convert("bitcast", code.convert("fpext", value, "double"), word)
    value = code.convert("fptrunc", value, "float")  # PyTorch rounds a float64 to float32 first
    if dtype in ("float16", "float32"):
        return code.convert("bitcast", code.convert("fptrunc", value, _FLOATS[dtype]), word)
    f = floats(code, value)
    if dtype == "bfloat16" and native:
        return code.convert("bitcast", code.convert("fptrunc", value, "bfloat"), word)
    if dtype == "bfloat16":
        ints = _Integers(code, f.bits(value))
        odd = _Integers(code, ints.right(16)).masked(1)
        rounded = code.operate("add", ints.plus(0x7FFF), odd)
        none = code.compare("fcmp uno", value, value)
        kept = code.choose(none, ints.number(0x7FC00000), rounded)
        return code.convert("trunc", _Integers(code, kept).right(16), word)
    return code.convert("trunc", _to_float8(code, f, value, dtype), word)


def _saturated(code: Code, f: Floats, value: Value, dtype: str) -> Value:
    low, high = (0.0, 255.0) if dtype == "uint8" else (-128.0, 127.0)
    value = f.where("ord", value, value, value, f.number(0.0))
    value = f.at_most(f.at_least(value, f.number(low)), f.number(high))
    # the last bits of such a sum are the integer, rounded as sums are
    return code.convert("trunc", f.bits(f.add(value, f.number(1.5 * 2.0 ** (52 if f.integer == "i64" else 23)))), "i8")


def _to_float8(code: Code, f: Floats, value: Value, dtype: str) -> Value:
    """As PyTorch: from `limit` on e4m3fn saturates, and e5m2 is infinite; subnormals are the last bits of a sum."""
    mantissa, least_normal, bias, subnormal, limit, none, over = {
        "float8_e4m3fn": (3, 121 << 23, 7 - 127, 141 << 23, 0x43E80000, 0x7F, 0x7E),
        "float8_e5m2": (2, 113 << 23, 15 - 127, 134 << 23, 143 << 23, 0x7F, 0x7C),
    }[dtype]
    shift = 23 - mantissa
    whole = _Integers(code, f.bits(value))
    ints = _Integers(code, whole.masked(0x7FFFFFFF))
    odd = _Integers(code, ints.right(shift)).masked(1)
    rounded = code.operate("add", ints.plus((bias << 23) + (1 << (shift - 1)) - 1), odd)
    normal = _Integers(code, rounded).right(shift)
    tiny = f.add(f.of_bits(ints.value), f.of_bits(ints.number(subnormal)))
    small = _Integers(code, f.bits(tiny)).plus(-subnormal)
    result = code.choose(code.compare("icmp ult", ints.value, ints.number(least_normal)), small, normal)
    large = code.choose(
        code.compare("icmp ugt", ints.value, ints.number(255 << 23)), ints.number(none), ints.number(over)
    )
    result = code.choose(code.compare("icmp uge", ints.value, ints.number(limit)), large, result)
    return code.operate("or", result, _Integers(code, _Integers(code, whole.right(24)).masked(0x80)).value)


class _Integers:
    """A vector of integers, with constants."""

    def __init__(self, code: Code, value: Value) -> None:
        self.code, self.value = code, value
        self.element = value.type.rstrip(">").split(" ")[-1]
        self.count = floats(code, value).count

    def number(self, value: int) -> Value:
        return self.code.constant(self.element, self.count, str(value))

    def masked(self, mask: int) -> Value:
        return self.code.operate("and", self.value, self.number(mask))

    def left(self, count: int) -> Value:
        return self.code.operate("shl", self.value, self.number(count))

    def right(self, count: int) -> Value:
        return self.code.operate("lshr", self.value, self.number(count))

    def plus(self, value: int) -> Value:
        return self.code.operate("add", self.value, self.number(value))
