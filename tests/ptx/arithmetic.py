"""What the instructions without a memory compute, on arrays of unsigned integers; predicates are arrays of bools."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from .program import UnknownCodeError

Array: TypeAlias = npt.NDArray[Any]
UNSIGNED: dict[int, type[np.unsignedinteger[Any]]] = {
    8: np.uint8,
    16: np.uint16,
    32: np.uint32,
    64: np.uint64,
}
SIGNED: dict[int, type[np.signedinteger[Any]]] = {8: np.int8, 16: np.int16, 32: np.int32, 64: np.int64}
U32, U64 = np.uint32, np.uint64

_COMPARISONS: dict[str, Any] = {"eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le}
_COMPARISONS |= {"gt": operator.gt, "ge": operator.ge}
_COMPARISONS |= {"lo": operator.lt, "ls": operator.le, "hi": operator.gt, "hs": operator.ge}
_PLAIN: dict[str, tuple[Any, int]] = {  # and how many operands
    "mov": (lambda a: a, 1),
    "not": (np.invert, 1),
    "neg": (np.negative, 1),
    "add": (np.add, 2),
    "sub": (np.subtract, 2),
    "and": (np.bitwise_and, 2),
    "or": (np.bitwise_or, 2),
    "xor": (np.bitwise_xor, 2),
    "div": (np.floor_divide, 2),
    "rem": (np.remainder, 2),
    "min": (np.minimum, 2),
    "max": (np.maximum, 2),
}
_ORDERED = ("min", "max")  # of which the sign matters


class Computation(NamedTuple):
    """A function of arrays, and the bits of each of its operands."""

    function: Callable[..., Array]
    widths: tuple[int, ...]


def computation(op: tuple[str, ...], register_bits: int) -> Computation:
    """What an instruction computes for a register of so many bits."""
    name, *how, kind = op
    bits, signed = _type(kind)
    if name == "setp" and len(how) == 1:
        if kind[0] == "b" and how[0] not in ("eq", "ne"):
            raise UnknownCodeError("an order of bits")
        return Computation(_signed(_COMPARISONS[how[0]], bits) if signed else _COMPARISONS[how[0]], (bits, bits))
    if name in ("mul", "mad") and len(how) == 1:
        width = 2 * bits if how[0] == "wide" else bits
        product = partial(_PRODUCTS[how[0]], bits=bits, signed=signed)
        if name == "mul":
            return Computation(product, (bits, bits))
        return Computation(lambda a, b, c: product(a, b) + c, (bits, bits, width))
    if name == "cvt" and len(how) == 1:
        to, to_signed = _type(how[0])
        return Computation(partial(_convert, signed=signed, to=to, to_signed=to_signed, bits=register_bits), (bits,))
    if name == "shf" and len(how) == 2:
        return Computation(partial(_funnel, way=how[0], mode=how[1]), (32, 32, 32))
    if name == "cvta" and how == ["to", "global"]:
        return Computation(*_plain("mov", bits))
    if how:
        raise UnknownCodeError(f"modifiers {how}")
    if name in ("shl", "shr"):
        return Computation(partial(_shift, bits=bits, signed=signed, left=name == "shl"), (bits, 32))
    if name == "selp":
        return Computation(_select, (bits, bits, 1))
    if name == "bfe":
        return Computation(partial(_extract, bits=bits, signed=signed), (bits, 32, 32))
    if name == "prmt":
        return Computation(_permute, (32, 32, 32))
    if name in ("div", "rem") and signed:
        return Computation(partial(_signed_quotient, bits=bits, remainder=name == "rem"), (bits, bits))
    function, widths = _plain(name, bits)
    return Computation(_signed(function, bits) if signed and name in _ORDERED else function, widths)


def _type(kind: str) -> tuple[int, bool]:
    """Bits, and whether there is a sign."""
    if kind == "pred":
        return 1, False
    if kind[0] not in "bus" or not kind[1:].isdigit() or int(kind[1:]) not in UNSIGNED:
        raise UnknownCodeError(f"type {kind}")
    return int(kind[1:]), kind[0] == "s"


def _plain(name: str, bits: int) -> tuple[Callable[..., Array], tuple[int, ...]]:
    if name not in _PLAIN:
        raise UnknownCodeError("instruction")
    function, count = _PLAIN[name]
    return function, (bits,) * count


def _signed(function: Callable[..., Array], bits: int) -> Callable[..., Array]:
    """The function on the same bits as signed integers."""

    def changed(*operands: Array) -> Array:
        found = function(*(operand.view(SIGNED[bits]) for operand in operands))
        return found if found.dtype == np.bool_ else found.view(UNSIGNED[bits])

    return changed


def _signed_quotient(a: Array, b: Array, *, bits: int, remainder: bool) -> Array:
    x, y = a.view(SIGNED[bits]), b.view(SIGNED[bits])
    rest = np.fmod(x, y)
    return (rest if remainder else (x - rest) // y).view(UNSIGNED[bits])


def _select(a: Array, b: Array, chosen: Array) -> Array:
    return np.where(chosen, a, b)


def _convert(a: Array, *, signed: bool, to: int, to_signed: bool, bits: int) -> Array:
    source = a.view(SIGNED[a.itemsize * 8]) if signed else a
    number = source.astype((SIGNED if to_signed else UNSIGNED)[to], copy=False)
    return number.astype((SIGNED if to_signed else UNSIGNED)[bits], copy=False).view(UNSIGNED[bits])


def _low(a: Array, b: Array, *, bits: int, signed: bool) -> Array:
    return a * b


def _wide(a: Array, b: Array, *, bits: int, signed: bool) -> Array:
    if signed:
        a, b = a.view(SIGNED[bits]).astype(SIGNED[2 * bits]), b.view(SIGNED[bits]).astype(SIGNED[2 * bits])
    return (a.astype(UNSIGNED[2 * bits])) * (b.astype(UNSIGNED[2 * bits]))


def _high(a: Array, b: Array, *, bits: int, signed: bool) -> Array:
    if bits <= 32:
        wide: Array = _wide(a, b, bits=bits, signed=signed) >> UNSIGNED[2 * bits](bits)
        return wide.astype(UNSIGNED[bits])
    if signed:
        product = _high(a, b, bits=64, signed=False)
        return product - np.where(a.view(np.int64) < 0, b, U64(0)) - np.where(b.view(np.int64) < 0, a, U64(0))
    half, low = U64(32), U64(0xFFFFFFFF)
    middle = (a >> half) * (b & low) + (((a & low) * (b & low)) >> half)
    other = (a & low) * (b >> half) + (middle & low)
    return np.asarray((a >> half) * (b >> half) + (middle >> half) + (other >> half))


_PRODUCTS: dict[str, Callable[..., Array]] = {"lo": _low, "hi": _high, "wide": _wide}


def _shift(a: Array, n: Array, *, bits: int, signed: bool, left: bool) -> Array:
    count = np.minimum(n, U32(bits - 1))
    if signed and not left:
        return (a.view(SIGNED[bits]) >> count.astype(SIGNED[bits])).view(UNSIGNED[bits])
    count = count.astype(UNSIGNED[bits])
    return np.where(n < bits, a << count if left else a >> count, UNSIGNED[bits](0))


def _funnel(a: Array, b: Array, n: Array, *, way: str, mode: str) -> Array:
    count = (n & U32(31) if mode == "wrap" else np.minimum(n, U32(32))).astype(U64)
    both = a.astype(U64) | b.astype(U64) << U64(32)
    return (both >> count if way == "r" else (both << count) >> U64(32)).astype(U32)


def _permute(a: Array, b: Array, selector: Array) -> Array:
    both = a.astype(U64) | b.astype(U64) << U64(32)
    result: Any = U32(0)
    for place in range(4):
        choice = selector >> U32(4 * place) & U32(15)
        byte = (both >> (choice & U32(7)).astype(U64) * U64(8)).astype(U32) & U32(255)
        byte = np.where(choice & U32(8), (byte >> U32(7)) * U32(255), byte)  # its sign, all over
        result = result | byte << U32(8 * place)
    return np.asarray(result)


def _ones(count: Array) -> Array:
    """So many ones, of 64 bits at most."""
    return np.where(count >= 64, ~U64(0), (U64(1) << np.minimum(count, U64(63))) - U64(1))


def _extract(a: Array, position: Array, length: Array, *, bits: int, signed: bool) -> Array:
    position, length = (position & U32(255)).astype(U64), (length & U32(255)).astype(U64)
    wide = a.view(SIGNED[bits]).astype(np.int64).view(U64) if signed else a.astype(U64)
    shifted = np.where(position < bits, wide >> np.minimum(position, U64(bits - 1)), U64(0))
    value = shifted & _ones(length)
    if signed:  # the field's last bit, or the number's own, stands in all places beyond it
        last = np.minimum(position + length - np.where(length > 0, U64(1), U64(0)), U64(bits - 1))
        negative = (wide >> last & U64(1)).astype(bool) & (length > 0)
        kept = np.where(position < bits, np.minimum(length, U64(bits) - np.minimum(position, U64(bits))), U64(0))
        value = np.where(negative, value | ~_ones(kept), value)
    return value.astype(UNSIGNED[bits])
