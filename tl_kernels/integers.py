"""How kernels are given numbers: encoded integers, and divisors that divide fast.

Triton compiles a kernel once more for an argument that is 1 or a multiple of 16. Encoded integers are neither, so that no
size and no stride leads to another compilation. A divisor brings the multiplication that divides by it.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar, cast

import triton
import triton.language as tl

MOST = 2**61  # the first number that cannot be encoded
R = TypeVar("R", bound="tuple[Any, ...]")


class Divisor(NamedTuple):
    """A positive number to divide by, encoded, and its `magic`; without one where no kernel divides by it."""

    value: int
    magic: int


def encode(value: int) -> int:
    """`value` in a form that Triton does not specialise a kernel on: neither 1 nor a multiple of 16.

    Raises:
        OverflowError: the form needs more than 64 bits.
    """
    if not -MOST <= value < MOST:
        raise OverflowError(f"encode: {value} needs more than 62 bits")
    return value << 2 | 3


def encoded(record: R) -> R:
    """A NamedTuple with its numbers encoded; divisors and tuples in it are encoded already."""
    make: Any = type(record)
    return cast(R, make(*(field if isinstance(field, tuple) else encode(field) for field in record)))


def divisor(value: int) -> Divisor:
    """A number that kernels divide by."""
    return Divisor(encode(value), magic(value) if value > 1 else encode(0))


def magic(divisor: int) -> int:
    """Multiplier and shift, in one number, by which 0 <= n < 2**31 is divided: n // d == (n * m >> 32) >> s.

    >>> code = magic(7)
    >>> all((n * (code >> 8) >> 32) >> (code >> 2 & 63) == n // 7 for n in (0, 6, 7, 48, 49, 2**31 - 1))
    True

    Source: Granlund and Montgomery, "Division by invariant integers using multiplication", with a 31-bit numerator.
    """
    if divisor < 2:
        raise ValueError(f"magic: the divisor must be at least 2, got {divisor}")
    shift = (divisor - 1).bit_length()
    multiplier = -(-(1 << (31 + shift)) // divisor)
    return multiplier << 8 | (shift - 1) << 2 | 3


def part(divisor: int) -> int:
    """2**32 over a divisor, rounded up, by which n is divided where n times the divisor is below 2**32.

    A bit above the 32 that kernels read makes all parts integers of 64 bits, so that no size leads to another compilation.

    >>> all(n * (part(7) & 0xFFFFFFFF) >> 32 == n // 7 for n in (0, 6, 7, 13, 14, 2**29))
    True
    """
    return 1 << 40 | (-(-(1 << 32) // divisor) if divisor > 1 else 0)


@triton.jit
def number(code, TYPE: tl.constexpr):
    """The number that was encoded."""
    return tl.cast(code >> 2, TYPE)


@triton.jit
def divide(n, divisor, LONG: tl.constexpr):
    """n // divisor, by multiplication unless n may need more than 31 bits."""
    if LONG:
        quotient = n // number(divisor.value, tl.int64)
    else:
        shift = tl.cast((divisor.magic >> 2) & 63, tl.uint32)
        quotient = (tl.umulhi(n.to(tl.uint32), tl.cast(divisor.magic >> 8, tl.uint32)) >> shift).to(tl.int32)
    return quotient


@triton.jit
def few(n, divisor, part, MOST: tl.constexpr):
    """n // divisor, which is less than MOST; by a comparison, or by the encoded `part` of the divisor."""
    if MOST == 2:
        quotient = (n >= divisor).to(tl.int32)
    else:
        quotient = tl.umulhi(n.to(tl.uint32), number(part, tl.uint32)).to(tl.int32)
    return quotient
