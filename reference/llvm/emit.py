"""Loops, loads and stores, for kernels that are written with llvmlite's builder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

Value = Any  # llvmlite is not typed

I64 = ir.IntType(64)
POINTER = ir.PointerType()


def const(value: int) -> Value:
    return ir.Constant(I64, value)


def const32(value: int) -> Value:
    return ir.Constant(ir.IntType(32), value)


class Code:
    """A function under construction; all numbers are of 64 bits and all strides count bytes."""

    def __init__(self, function: Value) -> None:
        self.function = function
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))

    def add(self, a: Value, b: Value) -> Value:
        return self.builder.add(a, b)

    def sub(self, a: Value, b: Value) -> Value:
        return self.builder.sub(a, b)

    def mul(self, a: Value, b: Value | int) -> Value:
        return self.builder.mul(a, const(b) if isinstance(b, int) else b)

    def div(self, a: Value, b: Value | int) -> Value:
        """a // b of numbers that are not negative."""
        return self.builder.udiv(a, const(b) if isinstance(b, int) else b)

    def ceil_div(self, a: Value, b: Value | int) -> Value:
        """The least integer not below a / b, for b > 0 and a > -b; 0 where that is below 0."""
        divisor = const(b) if isinstance(b, int) else b
        raised = self.add(a, self.sub(divisor, const(1)))
        return self.div(self.most(raised, const(0)), divisor)

    def least(self, a: Value, b: Value) -> Value:
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)

    def most(self, a: Value, b: Value) -> Value:
        return self.builder.select(self.builder.icmp_signed(">", a, b), a, b)

    def clamp(self, a: Value, upper: Value) -> Value:
        """a, brought to [0, upper]."""
        return self.least(self.most(a, const(0)), upper)

    def at(self, pointer: Value, offset: Value) -> Value:
        return self.builder.gep(pointer, [offset], source_etype=ir.IntType(8))

    def number(self, pointer: Value, index: int) -> Value:
        """The index-th of the int64 that a pointer points to."""
        address = self.builder.gep(pointer, [const(index)], source_etype=I64)
        return self.builder.load(address, typ=I64, align=8)

    def load(self, pointer: Value, kind: Value) -> Value:
        return self.builder.load(pointer, typ=kind, align=1)

    def store(self, value: Value, pointer: Value) -> None:
        self.builder.store(value, pointer, align=1)

    def stream(self, value: Value, pointer: Value, align: int) -> None:
        """Store past the cache."""
        module = self.function.module
        self.builder.store(value, pointer, align=align).set_metadata("nontemporal", module.add_metadata([const32(1)]))

    @contextmanager
    def loop(self, start: Value, stop: Value, step: int = 1) -> Iterator[Value]:
        """The body runs with start, start + step, … as long as these are below stop."""
        b = self.builder
        before = b.block
        head, body, end = (self.function.append_basic_block(name) for name in ("head", "body", "end"))
        b.branch(head)
        b.position_at_end(head)
        index = b.phi(I64)
        index.add_incoming(start, before)
        b.cbranch(b.icmp_signed("<", index, stop), body, end)
        b.position_at_end(body)
        yield index
        following = b.add(index, const(step))
        index.add_incoming(following, b.block)
        b.branch(head)
        b.position_at_end(end)

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        with self.builder.if_then(condition):
            yield

    @contextmanager
    def either(self, condition: Value) -> Iterator[tuple[Any, Any]]:
        """Two context managers: what happens where the condition holds, and where not."""
        with self.builder.if_else(condition) as pair:
            yield pair
