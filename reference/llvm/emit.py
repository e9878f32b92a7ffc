"""LLVM's intermediate language, written as text: values, blocks, loops, loads and stores.

llvmlite's own builder takes five times as long for the same text, and holds the interpreter's lock meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

I64 = "i64"
POINTER = "ptr"

PAUSE_LINES = 200  # some 0.5 ms of writing


class Value(NamedTuple):
    """An operand: LLVM's type of it, and its name or number."""

    type: str
    name: str


def const(value: int) -> Value:
    return Value(I64, str(value))


def integer(size: int) -> str:
    """The type of an integer of so many bytes."""
    return f"i{8 * size}"


def vector(element: str, count: int) -> str:
    """The type of a vector; of one element, the element's."""
    return element if count == 1 else f"<{count} x {element}>"


def lanes(kind: str) -> int:
    """How many elements a vector of a type has.

    >>> lanes("<8 x i16>"), lanes("i16")
    (8, 1)
    """
    return int(kind[1:].split(" ")[0]) if kind[0] == "<" else 1


class Module:
    """Functions under construction.

    >>> module = Module()
    >>> code = module.function("twice", "i64", ["i64"])
    >>> code.result(code.mul(code.arguments[0], 2))
    >>> print(module.text())
    define i64 @twice(i64 %a0) {
    b0:
      %v1 = mul i64 %a0, 2
      ret i64 %v1
    }
    !0 = !{i32 1}
    """

    def __init__(self, pause: Callable[[], object] = lambda: None) -> None:
        """`pause` is called now and then, so that other threads of Python get their turn."""
        self.pause = pause
        self._functions: list[Code] = []
        self.declared: dict[str, None] = {}  # of the intrinsics that are called

    def function(
        self, name: str, result: str, arguments: Sequence[str], internal: bool = False, once: bool = False
    ) -> Code:
        """A new function of arguments of these types; no two pointers of an internal one alias each other.

        Args:
            once: its code is not copied to where it is called.
        """
        self._functions.append(Code(self, name, result, arguments, internal, once))
        return self._functions[-1]

    def text(self) -> str:
        return "\n".join([*(function.text() for function in self._functions), *self.declared, "!0 = !{i32 1}"])


class Code:
    """A function under construction; all numbers are of 64 bits and all strides count bytes."""

    def __init__(
        self, module: Module, name: str, result: str, arguments: Sequence[str], internal: bool, once: bool
    ) -> None:
        self.name, self._module, self._result = name, module, result
        self.arguments = [Value(type_, f"%a{k}") for k, type_ in enumerate(arguments)]
        noalias = {POINTER: "ptr noalias"} if internal else {}
        listed = ", ".join(f"{noalias.get(type_, type_)} {name}" for type_, name in self.arguments)
        self._head = (
            f"define {'internal ' if internal else ''}{result} @{name}({listed}) {'noinline ' if once else ''}{{"
        )
        self._count = 0
        self._blocks: dict[str, list[str]] = {}
        self._phis: dict[Value, tuple[list[str], int]] = {}  # without values so far, and where they stand
        self._constants: dict[tuple[str, int, str], Value] = {}
        self._first: list[str] = []  # lines before all others: constants, and memory of the function's own
        self.begin(self.block())

    def text(self) -> str:
        lines = [self._head]
        for label, block in self._blocks.items():
            lines += [f"{label}:", *self._first, *block] if label == "b0" else [f"{label}:", *block]
        return "\n".join([*lines, "}"])

    # blocks

    def block(self) -> str:
        """The label of a new block, which follows all others."""
        label = f"b{len(self._blocks)}"
        self._blocks[label] = []
        return label

    def begin(self, label: str) -> None:
        """What is written from now on stands in this block."""
        self.label, self._lines = label, self._blocks[label]

    def branch(self, label: str) -> None:
        self._write(f"br label %{label}")

    def branch_if(self, condition: Value, then: str, otherwise: str) -> None:
        self._write(f"br i1 {condition.name}, label %{then}, label %{otherwise}")

    def result(self, value: Value | None = None) -> None:
        """Return."""
        self._write("ret void" if value is None else f"ret {value.type} {value.name}")

    def phi(self) -> Value:
        """A number that depends on the block one comes from; see `incoming`."""
        value = self._new("")
        self._phis[value] = self._lines, len(self._lines) - 1
        return value

    def incoming(self, phi: Value, *pairs: tuple[Value, str]) -> None:
        """The values of a phi, each with the label of its block."""
        lines, place = self._phis.pop(phi)
        lines[place] = f"  {phi.name} = phi i64 " + ", ".join([f"[{value.name}, %{label}]" for value, label in pairs])

    @contextmanager
    def loop(self, start: Value, stop: Value, step: int = 1) -> Iterator[Value]:
        """The body runs with start, start + step, … as long as these are below stop."""
        before = self.label
        head, body, end = self.block(), self.block(), self.block()
        self.branch(head)
        self.begin(head)
        index = self.phi()
        self.branch_if(self.less(index, stop), body, end)
        self.begin(body)
        yield index
        following = self.add(index, const(step))
        self.incoming(index, (start, before), (following, self.label))
        self.branch(head)
        self.begin(end)

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        then, end = self.block(), self.block()
        self.branch_if(condition, then, end)
        self.begin(then)
        yield
        self.branch(end)
        self.begin(end)

    @contextmanager
    def either(self, condition: Value) -> Iterator[tuple[AbstractContextManager[None], AbstractContextManager[None]]]:
        """Two context managers: what happens where the condition holds, and where not."""
        then, otherwise, end = self.block(), self.block(), self.block()
        self.branch_if(condition, then, otherwise)

        @contextmanager
        def part(label: str) -> Iterator[None]:
            self.begin(label)
            yield
            self.branch(end)

        yield part(then), part(otherwise)
        self.begin(end)

    # numbers

    def add(self, a: Value, b: Value) -> Value:
        return self._new(f"add {a.type} {a.name}, {b.name}", a.type)

    def sub(self, a: Value, b: Value) -> Value:
        return self._new(f"sub i64 {a.name}, {b.name}")

    def mul(self, a: Value, b: Value | int) -> Value:
        return self._new(f"mul i64 {a.name}, {b if isinstance(b, int) else b.name}")

    def div(self, a: Value, b: Value | int) -> Value:
        """a // b of numbers that are not negative."""
        return self._new(f"udiv i64 {a.name}, {b if isinstance(b, int) else b.name}")

    def exact_div(self, a: Value, b: int) -> Value:
        """a / b without a rest; a may be negative."""
        return self._new(f"sdiv exact i64 {a.name}, {b}")

    def rest(self, a: Value, b: Value | int) -> Value:
        """a % b of numbers that are not negative."""
        return self._new(f"urem i64 {a.name}, {b if isinstance(b, int) else b.name}")

    def ceil_div(self, a: Value, b: Value | int) -> Value:
        """The least integer not below a / b, for b > 0 and a > -b; 0 where that is below 0."""
        divisor = const(b) if isinstance(b, int) else b
        raised = self.add(a, self.sub(divisor, const(1)))
        return self.div(self.most(raised, const(0)), divisor)

    def select(self, condition: Value, a: Value, b: Value) -> Value:
        """a where the condition holds, else b."""
        return self._new(f"select i1 {condition.name}, i64 {a.name}, i64 {b.name}")

    def least(self, a: Value, b: Value) -> Value:
        return self.select(self.less(a, b), a, b)

    def most(self, a: Value, b: Value) -> Value:
        return self.select(self._compare("sgt", a, b), a, b)

    def clamp(self, a: Value, upper: Value) -> Value:
        """a, brought to [0, upper]."""
        return self.least(self.most(a, const(0)), upper)

    def widened(self, value: Value) -> Value:
        """A smaller integer with 64 bits."""
        return self._new(f"zext {value.type} {value.name} to i64")

    # conditions

    def less(self, a: Value, b: Value) -> Value:
        return self._compare("slt", a, b)

    def at_least(self, a: Value, b: Value) -> Value:
        return self._compare("sge", a, b)

    def inside(self, a: Value, count: Value) -> Value:
        """0 <= a < count."""
        return self._compare("ult", a, count)

    def both(self, a: Value, b: Value) -> Value:
        return self._new(f"and i1 {a.name}, {b.name}", "i1")

    def any(self, a: Value, b: Value) -> Value:
        return self._new(f"or i1 {a.name}, {b.name}", "i1")

    # memory

    def at(self, pointer: Value, offset: Value, unit: str = "i8") -> Value:
        return self._new(f"getelementptr {unit}, ptr {pointer.name}, i64 {offset.name}", POINTER)

    def number(self, pointer: Value, index: int) -> Value:
        """The index-th of the int64 that a pointer points to."""
        return self._new(f"load i64, ptr {self.at(pointer, const(index), I64).name}, align 8")

    def pointer(self, number: Value) -> Value:
        return self._new(f"inttoptr i64 {number.name} to ptr", POINTER)

    def memory(self, count: int, kind: str) -> Value:
        """Room for so many values, of the function's own."""
        found = Value(POINTER, f"%m{len(self._first)}")
        self._first.append(f"  {found.name} = alloca {kind}, i64 {count}, align 64")
        return found

    def address(self, pointer: Value) -> Value:
        return self._new(f"ptrtoint ptr {pointer.name} to i64")

    def load(self, pointer: Value, kind: str) -> Value:
        return self._new(f"load {kind}, ptr {pointer.name}, align 1", kind)

    def store(self, value: Value, pointer: Value) -> None:
        self._write(f"store {value.type} {value.name}, ptr {pointer.name}, align 1")

    def store_non_temporal(self, value: Value, pointer: Value, align: int) -> None:
        self._write(f"store {value.type} {value.name}, ptr {pointer.name}, align {align}, !nontemporal !0")

    def load_acquire(self, pointer: Value) -> Value:
        return self._new(f"load atomic i64, ptr {pointer.name} acquire, align 8")

    def fetch_add(self, pointer: Value, value: Value) -> Value:
        """Add to a number in memory, atomically; what was there before."""
        return self._new(f"atomicrmw add ptr {pointer.name}, i64 {value.name} acq_rel")

    def fence(self) -> None:
        self._write("fence seq_cst")

    def shuffle(self, a: Value, b: Value, picks: Sequence[int]) -> Value:
        """A vector of the elements of two vectors with these numbers, b's following a's."""
        mask = ", ".join([f"i32 {pick}" for pick in picks])
        kind = vector(a.type.split(" x ")[1][:-1], len(picks))
        text = f"shufflevector {a.type} {a.name}, {b.type} {b.name}, <{len(picks)} x i32> <{mask}>"
        return self._new(text, kind)

    # vectors; of one element they are numbers

    def constant(self, element: str, count: int, literal: str) -> Value:
        """A vector of so many times the same."""
        if count == 1:
            return Value(element, literal)
        found = self._constants.get((element, count, literal))
        if found is None:
            found = Value(vector(element, count), f"%k{len(self._constants)}")
            self._constants[element, count, literal] = found
            self._first += self._repeated(found, Value(element, literal))
        return found

    def splat(self, value: Value, count: int) -> Value:
        """A vector of so many times a value."""
        if count == 1:
            return value
        found = Value(vector(value.type, count), f"%s{self._count + 1}")
        for line in self._repeated(found, value):
            self._write(line.strip())
        return found

    @staticmethod
    def _repeated(vector: Value, value: Value) -> list[str]:
        kind, name = vector
        mask = f"<{lanes(kind)} x i32> zeroinitializer"
        return [
            f"  {name}.0 = insertelement {kind} poison, {value.type} {value.name}, i64 0",
            f"  {name} = shufflevector {kind} {name}.0, {kind} poison, {mask}",
        ]

    def operate(self, name: str, a: Value, b: Value) -> Value:
        """An instruction of two operands of one type."""
        return self._new(f"{name} {a.type} {a.name}, {b.name}", a.type)

    def convert(self, how: str, a: Value, element: str) -> Value:
        """The elements as such ones; as they are where they are that already."""
        kind = vector(element, lanes(a.type))
        return a if kind == a.type else self._new(f"{how} {a.type} {a.name} to {kind}", kind)

    def compare(self, how: str, a: Value, b: Value) -> Value:
        """Conditions, one for each element; `how` is an instruction with its predicate."""
        return self._new(f"{how} {a.type} {a.name}, {b.name}", vector("i1", lanes(a.type)))

    def choose(self, conditions: Value, a: Value, b: Value) -> Value:
        """a's element where its condition holds, else b's."""
        return self._new(f"select {conditions.type} {conditions.name}, {a.type} {a.name}, {b.type} {b.name}", a.type)

    def intrinsic(self, name: str, *arguments: Value) -> Value:
        """An intrinsic of vectors of floating point numbers, all of the result's type."""
        kind = arguments[0].type
        count, bits = lanes(kind), {"float": 32, "double": 64}[kind.rstrip(">").split(" ")[-1]]
        full = f"@llvm.{name}.{f'v{count}' if count > 1 else ''}f{bits}"
        self._module.declared[f"declare {kind} {full}({', '.join([kind] * len(arguments))})"] = None
        found = self._call(kind, full, arguments)
        assert found is not None
        return found

    def joined(self, parts: Sequence[Value]) -> Value:
        """One vector of the elements of a power of two of vectors, all of one type."""
        if len(parts) == 1:
            return parts[0]
        half = len(parts) // 2
        a, b = self.joined(parts[:half]), self.joined(parts[half:])
        return self.shuffle(a, b, range(2 * lanes(a.type)))

    def parted(self, whole: Value, count: int) -> list[Value]:
        """So many vectors that are one."""
        size = lanes(whole.type) // count
        if count == 1:
            return [whole]
        return [self.shuffle(whole, whole, range(k * size, (k + 1) * size)) for k in range(count)]

    # calls

    def call(self, function: Code, arguments: Sequence[Value]) -> Value | None:
        """The result of a function of the same module, None of one that has none."""
        return self._call(function._result, f"@{function.name}", arguments)

    def call_at(self, address: Value, result: str) -> Value:
        """The result of a function without arguments at an address."""
        found = self._call(result, address.name, ())
        assert found is not None
        return found

    def _call(self, result: str, target: str, arguments: Sequence[Value]) -> Value | None:
        listed = ", ".join(f"{type_} {name}" for type_, name in arguments)
        text = f"call {result} {target}({listed})"
        if result == "void":
            self._write(text)
            return None
        return self._new(text, result)

    def _compare(self, how: str, a: Value, b: Value) -> Value:
        return self._new(f"icmp {how} i64 {a.name}, {b.name}", "i1")

    def _new(self, text: str, kind: str = I64) -> Value:
        name = f"%v{self._count + 1}"
        self._write(f"{name} = {text}")
        return Value(kind, name)

    def _write(self, line: str) -> None:
        self._count += 1
        self._lines.append(f"  {line}")
        if self._count % PAUSE_LINES == 0:
            self._module.pause()
