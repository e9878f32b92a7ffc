"""What a kernel computes of the elements between their load and their store; all there is to arithmetic on the way is here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from spacebatch.reference.arithmetic import RESULTS, SOURCES

from .activations import activated, chained
from .conversions import from_floats, to_floats
from .emit import Code, Value, const, integer, lanes, vector
from .lanes import floats
from .spec import Computation

INTEGERS = ("uint8", "int8", "int16", "int32", "int64")


class Part(NamedTuple):
    """Words of the source, where they go to, and their channel, or that of the first one; None is that of the row."""

    words: Value
    target: Value
    at: Value | None = None


class Computing:
    """The computation of a kernel, with the operands of a call.

    Attributes:
        native: whether the processor rounds what is computed now; see `from_floats`.
    """

    def __init__(
        self, code: Code, spec: Computation, result: Value, numbers: Sequence[Value], native: bool = False
    ) -> None:
        """
        Args:
            result: where the result of the call begins. numbers: the `OPERAND_NUMBERS`.
            native: the processor rounds to bfloat16.
        """
        self._can_round, self.native = native, False
        self.code, self.spec, self.result = code, spec, result
        self.element = "double" if spec.double else "float"
        self.bytes = 8 if spec.double else 4
        *addresses, self.period = numbers
        self.scale, self.bias, self.residual, self.pads = (code.pointer(number) for number in addresses)
        self.channel = const(0)

    def table(self, pointer: Value, at: Value | None, along: bool, count: int, element: str, size: int) -> Value:
        """So many entries of a table, from a channel on where lanes go along channels, or one for all.

        Args:
            at: the channel; by default that of the row.
        """
        code = self.code
        place = code.at(pointer, code.mul(self.channel if at is None else at, size))
        if along:
            return code.load(place, vector(element, count))
        return code.splat(code.load(place, element), count)

    def __call__(self, parts: Sequence[Part], along: bool = False) -> list[Value]:
        """The words of results, all of them computed at once: so many that together they are one vector.

        Args:
            along: lanes go along channels, else all parts have the same one.
        """
        code, spec = self.code, self.spec
        count = lanes(parts[0].words.type)
        f = floats(code, Value(vector(self.element, count * len(parts)), ""))

        def operand(pointer: Value) -> Value:
            if along:
                loaded = [self.table(pointer, part.at, True, count, self.element, self.bytes) for part in parts]
                return code.joined(loaded)
            return self.table(pointer, parts[0].at, False, f.count, self.element, self.bytes)

        words = code.joined([part.words for part in parts])
        value = to_floats(code, words, spec.source, self.element)
        scale = operand(self.scale) if spec.scale else None
        bias = operand(self.bias) if spec.bias else None
        residual = None
        if spec.residual is not None:
            added = code.joined([self._residual(part.target, count) for part in parts])
            residual = to_floats(code, added, spec.residual, self.element)
        precise = spec.result in ("float32", "float64") and not spec.double
        if spec.gradient:
            assert residual is not None
            inner = residual if scale is None else f.mul(residual, scale)
            inner = inner if bias is None else f.add(inner, bias)
            value = chained(f, spec.activation, value, inner, precise)
            value = value if scale is None else f.mul(value, scale)
        else:
            value = value if scale is None else f.mul(value, scale)
            value = value if bias is None else f.add(value, bias)
            value = value if residual is None else f.add(value, residual)
            value = activated(f, spec.activation, value, precise)
        return code.parted(from_floats(code, value, spec.result, self.native), len(parts))

    def none_is_subnormal(self) -> Value | None:
        """Whether no result of the row's channel can be subnormal, as long as it is written where the processor rounds; None: no answer.

        Where scale and bias are 0 or at least 2 ** -100, all results of integers are multiples of 2 ** -123.
        """
        code, spec = self.code, self.spec
        plain = spec.source in INTEGERS and spec.residual is None and spec.activation in ("none", "relu")
        operands = [pointer for pointer, given in ((self.scale, spec.scale), (self.bias, spec.bias)) if given]
        if not (self._can_round and plain and operands and spec.result == "bfloat16" and spec.channels == "outer"):
            return None
        found = None
        for pointer in operands:
            bits = code.widened(self.table(pointer, None, False, 1, "i32", 4))
            magnitude = code.operate("and", bits, const(0x7FFFFFFF))
            large = code.at_least(magnitude, const((127 - 100) << 23))
            fine = code.any(large, code.inside(magnitude, const(1)))
            found = fine if found is None else code.both(found, fine)
        return found

    def _residual(self, target: Value, count: int) -> Value:
        """Elements of the residual, which stand where those of the result do."""
        code, spec = self.code, self.spec
        assert spec.residual is not None
        mine, its = SOURCES[spec.residual], RESULTS[spec.result]
        offset = code.sub(code.address(target), code.address(self.result))
        if mine != its:
            offset = code.mul(code.exact_div(offset, its), mine)
        return code.load(code.at(self.residual, offset), vector(integer(mine), count))

    def pad(self, at: Value | None, along: bool, count: int) -> Value:
        """Words of the pad values of channels."""
        size = RESULTS[self.spec.result]
        return self.table(self.pads, at, along, count, integer(size), size)
