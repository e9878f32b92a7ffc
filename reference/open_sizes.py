"""Sizes that are left open: integers that stand for all sizes of a class, and write down how others are computed from them.

Code that adds, multiplies, divides and compares sizes runs on them as on ints. A comparison has an answer where it is the same for
all sizes of the class, else the code has no one way for the class. Afterwards what was computed is a few lines of Python.
"""

from __future__ import annotations

from typing import TypeAlias

Terms: TypeAlias = dict[tuple[int, ...], int]  # coefficients by product of variables, which are named by numbers
Number: TypeAlias = "int | Size"


class UndecidedError(ArithmeticError):
    """An answer would differ between sizes of a class, or is beyond what is found here."""


class Lines:
    """Assignments, each of one number that was computed. A number that is met again keeps its first name.

    Attributes:
        least, most: no open size is larger than `most`, and `most` is less than `bound`; set when it is known.
    """

    def __init__(self) -> None:
        self.most: Number = 0
        self.bound = 0
        self._named: dict[frozenset[tuple[tuple[int, ...], int]], Size] = {}
        self._lines: list[tuple[Size, Number, str, Number]] = []

    def open_size(self, variable: int, least: int, name: str) -> Size:
        """A size that is `least` or more; variables are numbered from 0."""
        return self.named({(): least, (variable,): 1}, name)

    def named(self, terms: Terms, name: str) -> Size:
        """A number that the code knows by a name of its own."""
        return self._named.setdefault(frozenset(terms.items()), Size(self, terms, name))

    def computed(self, terms: Terms, left: Number, sign: str, right: Number) -> Number:
        """The number with these terms, which is `left sign right`."""
        terms = {product: count for product, count in terms.items() if count}
        if not any(terms):
            return terms.get((), 0)
        known = frozenset(terms.items())
        found = self._named.get(known)
        if found is None:
            found = self._named[known] = Size(self, terms, f"v{len(self._lines)}")
            self._lines.append((found, left, sign, right))
        return found

    def leading_to(self, wanted: list[Number]) -> list[str]:
        """The assignments that these numbers need, in order."""
        needed = {number.name for number in wanted if isinstance(number, Size)}
        lines = []
        for target, left, sign, right in reversed(self._lines):
            if target.name in needed:
                needed.update(number.name for number in (left, right) if isinstance(number, Size))
                lines.append(f"{target} = {left} {sign} {right}")
        return lines[::-1]


class Size:
    """A polynomial with integer coefficients in variables of 0 or more: by how much each open size exceeds its least.

    So it is never negative if no coefficient is. It is never constant: an int is, which operators give in its place.
    """

    __slots__ = ("lines", "name", "terms")

    def __init__(self, lines: Lines, terms: Terms, name: str) -> None:
        self.lines, self.terms, self.name = lines, terms, name

    def __str__(self) -> str:
        return self.name

    def __add__(self, other: Number) -> Number:
        return self.lines.computed(_sum(self, other, 1), self, "+", other)

    def __sub__(self, other: Number) -> Number:
        return self.lines.computed(_sum(self, other, -1), self, "-", other)

    def __rsub__(self, other: int) -> Number:
        return self.lines.computed(_sum(other, self, -1), other, "-", self)

    def __mul__(self, other: Number) -> Number:
        terms: Terms = {}
        for product, count in self.terms.items():
            for factor, times in _terms(other).items():
                key = tuple(sorted(product + factor))
                terms[key] = terms.get(key, 0) + count * times
        return self.lines.computed(terms, self, "*", other)

    __radd__, __rmul__ = __add__, __mul__

    def __floordiv__(self, other: Number) -> Number:
        if isinstance(other, Size):  # by a part of itself
            product = max(other.terms)
            quotient = self.terms.get(product, 0) // other.terms[product]
            if _sum(self, quotient * other, -1):
                raise UndecidedError
            return quotient
        if any(count % other for count in self.terms.values()):
            raise UndecidedError
        terms = {product: count // other for product, count in self.terms.items()}
        return self.lines.computed(terms, self, "//", other)

    def __mod__(self, other: int) -> int:
        if any(count % other for product, count in self.terms.items() if product):
            raise UndecidedError
        return self.terms.get((), 0) % other

    def __abs__(self) -> Number:
        return self if self >= 0 else 0 - self

    def __lt__(self, other: Number) -> bool:
        return _less(self, other)

    def __gt__(self, other: Number) -> bool:
        return _less(other, self)

    def __le__(self, other: Number) -> bool:
        return not _less(other, self)

    def __ge__(self, other: Number) -> bool:
        return not _less(self, other)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (int, Size)):
            return NotImplemented
        # of two that differ one is less, or nothing is known
        return not _sum(self, other, -1) or not (_less(self, other) or _less(other, self))

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        return self != 0

    def __index__(self) -> int:
        raise UndecidedError


def _terms(number: Number) -> Terms:
    return number.terms if isinstance(number, Size) else {(): number}


def _sum(left: Number, right: Number, sign: int) -> Terms:
    terms = dict(_terms(left))
    for product, count in _terms(right).items():
        terms[product] = terms.get(product, 0) + sign * count
    return {product: count for product, count in terms.items() if count}


def _less(left: Number, right: Number) -> bool:
    """Whether left < right for all sizes."""
    if isinstance(right, int) and _bounded(left, right):
        return True
    if isinstance(left, int) and _bounded(right, left):
        return False
    more = _sum(right, left, -1)
    if more.get((), 0) > 0 and min(more.values()) >= 0:
        return True
    if max(more.values(), default=0) <= 0:
        return False
    raise UndecidedError


def _bounded(number: Number, limit: int) -> bool:
    """Whether a number, or twice the number, is small enough because what is moved is less than the bound."""
    if not isinstance(number, Size) or not number.lines.bound:
        return False
    for times in (1, 2):
        rest = _sum(number.lines.most, number, -times)  # times * number = most - rest
        beyond = max(-rest.pop((), 0), 0)
        if min(rest.values(), default=0) >= 0 and number.lines.bound + beyond <= times * limit:
            return True
    return False
