"""Numbers in the form that kernels are given: divisors as multiplications, and nothing that Triton specialises on."""

from __future__ import annotations


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


def divider(divisor: int) -> int:
    """`magic`, or a number never used where there is nothing to divide by."""
    return magic(divisor) if divisor > 1 else coded(0)


def coded(value: int) -> int:
    """`value` in a form that Triton does not specialise a kernel on: neither 1 nor a multiple of 16."""
    return value << 2 | 3
