"""Instructions as steps of a machine. Each kind of instruction has one function here that makes its step."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from .arithmetic import UNSIGNED, Array, computation
from .floats import concerns_floats, float_computation
from .program import Instruction, Program, UnknownCodeError, split_operands

if TYPE_CHECKING:
    from .machine import Machine

Step: TypeAlias = "Callable[[Machine], None]"
Value: TypeAlias = "Callable[[Machine], Array]"
Guard: TypeAlias = "Callable[[Machine], Array | None]"
_CACHE_WORDS = re.compile(r"ca|cg|cs|lu|cv|wb|wt|nc|(L1|L2)@.*|global|shared(@cta)?|v[248]")


def translated(program: Program) -> list[list[Step]]:
    """The steps of each block.

    Raises:
        UnknownCodeError: an instruction is not known here.
    """
    return [[_step(program, instruction) for instruction in block] for block in program.blocks]


def _step(program: Program, instruction: Instruction) -> Step:
    try:
        return _KINDS.get(instruction.op[0], _compute)(program, instruction)
    except (UnknownCodeError, LookupError, ValueError) as error:
        raise UnknownCodeError(f"{error} in {instruction.text!r}") from error


# Operands


def _value(program: Program, operand: str, bits: int) -> Value:
    """An operand as numbers of so many bits (1: a predicate)."""
    if operand.startswith("%") and ("." in operand or operand == "%laneid"):
        return lambda machine: machine.special[operand]
    if operand.startswith("%"):
        have = program.bits(operand)
        if have == bits:
            return lambda machine: machine.read(operand)
        if not 1 < bits < have:
            raise UnknownCodeError(f"{operand} of {have} bits as {bits}")
        return lambda machine: machine.read(operand).astype(UNSIGNED[bits])
    if operand in program.shared_symbols:
        return lambda machine: np.full((1, 1), machine.shared.base, UNSIGNED[bits])
    # 0f3F800000 and 0d3FF0000000000000 are the bits of floating-point numbers
    number = int(operand[2:], 16) if operand[:2] in ("0f", "0d") else int(operand.rstrip("U"), 0)
    constant = np.full((1, 1), number & (1 << bits) - 1, UNSIGNED.get(bits, bool))
    return lambda machine: constant


def _guard(instruction: Instruction) -> Guard:
    if instruction.guard is None:
        return lambda machine: None
    register, opposite = instruction.guard
    return lambda machine: ~machine.read(register) if opposite else machine.read(register)


def _address(program: Program, operand: str) -> Value:
    """Of `[%rd1 + 16]`."""
    found = re.fullmatch(r"\[\s*(%?[\w$]+)\s*(?:\+\s*(-?\d+))?\s*\]", operand)
    if found is None:
        raise UnknownCodeError(f"address {operand}")
    bits = program.bits(found[1]) if found[1].startswith("%") else 32
    base, offset = _value(program, found[1], bits), _value(program, found[2] or "0", bits)
    return lambda machine: base(machine) + offset(machine)


def _registers(operand: str) -> list[str]:
    """Of `{%r1, %r2}`, or of one register."""
    return split_operands(operand[1:-1]) if operand.startswith("{") else [operand]


# Kinds of instructions


def _compute(program: Program, instruction: Instruction) -> Step:
    target, *sources = instruction.operands
    if concerns_floats(instruction.op):
        function, widths = float_computation(instruction.op)
    else:
        function, widths = computation(instruction.op, program.bits(target))
    if len(sources) != len(widths):
        raise UnknownCodeError("operands")
    values = [_value(program, source, bits) for source, bits in zip(sources, widths, strict=True)]
    guard = _guard(instruction)
    divides = instruction.op[0] in ("div", "rem") and not concerns_floats(instruction.op)

    def step(machine: Machine) -> None:
        operands, mask = [value(machine) for value in values], guard(machine)
        if divides:
            operands[1] = machine.divisor(operands[1], mask)
        machine.write(target, function(*operands), mask)

    return step


def _move(program: Program, instruction: Instruction) -> Step:
    target, source = instruction.operands
    if "{" not in target + source:
        return _compute(program, instruction)
    bits, guard = int(instruction.op[1][1:]), _guard(instruction)
    parts = _registers(target if "{" in target else source)
    piece = bits // len(parts)
    if "{" in source:
        values = [_value(program, part, piece) for part in parts]

        def pack(machine: Machine) -> None:
            whole = np.zeros((1, 1), UNSIGNED[bits])
            for n, value in enumerate(values):
                whole = whole | value(machine).astype(UNSIGNED[bits]) << UNSIGNED[bits](n * piece)
            machine.write(target, whole, guard(machine))

        return pack
    whole = _value(program, source, bits)

    def unpack(machine: Machine) -> None:
        number = whole(machine)
        for n, part in enumerate(parts):
            if part != "_":
                machine.write(part, (number >> UNSIGNED[bits](n * piece)).astype(UNSIGNED[piece]), guard(machine))

    return unpack


def _branch(program: Program, instruction: Instruction) -> Step:
    block, guard = program.labels[instruction.operands[0]], _guard(instruction)
    return lambda machine: machine.branch(block, guard(machine))


def _leave(program: Program, instruction: Instruction) -> Step:
    guard = _guard(instruction)
    return lambda machine: machine.leave(guard(machine))


def _barrier(program: Program, instruction: Instruction) -> Step:
    if instruction.guard is None and instruction.op == ("bar", "sync") and instruction.operands == ("0",):
        return lambda machine: machine.barrier()
    if instruction.guard is None and instruction.op == ("bar", "warp", "sync"):
        return lambda machine: None  # threads of a warp never part between two instructions here
    raise UnknownCodeError("barrier")


def _shuffle(program: Program, instruction: Instruction) -> Step:
    op, (target, *sources) = instruction.op, instruction.operands
    if op[1] != "sync" or op[3] != "b32" or "|" in target:
        raise UnknownCodeError("shuffle")
    values, guard = [_value(program, source, 32) for source in sources], _guard(instruction)

    def step(machine: Machine) -> None:
        machine.write(target, machine.shuffle(op[2], *(value(machine) for value in values)), guard(machine))

    return step


def _load(program: Program, instruction: Instruction) -> Step:
    op, (into, place, *_) = instruction.op, instruction.operands
    bits, kind = int(op[-1][1:]), "s" if op[-1][0] == "s" else "u"
    targets, guard = _registers(into), _guard(instruction)
    widths = [program.bits(target) for target in targets]
    fitted = [computation(("cvt", f"{kind}{width}", f"{kind}{bits}"), width).function for width in widths]
    if op[1] == "param":
        argument = _argument(program, place, bits)
        return lambda machine: machine.write(into, fitted[0](argument(machine)), guard(machine))
    shared, address = _space(program, instruction, place, len(targets))

    def step(machine: Machine) -> None:
        load, mask = machine.load_shared if shared else machine.load_global, guard(machine)
        for target, fit, value in zip(targets, fitted, load(address(machine), len(targets), bits, mask), strict=True):
            machine.write(target, fit(value), mask)

    return step


def _argument(program: Program, operand: str, bits: int) -> Value:
    """Of `[kernel_param_2 + 4]`."""
    found = re.fullmatch(r"\[(\w+)(?:\s*\+\s*(\d+))?\]", operand)
    if found is None or int(found[2] or 0) + bits // 8 > program.parameters[found[1]].size:
        raise UnknownCodeError("parameter")
    offset = program.offset(found[1]) + int(found[2] or 0)
    return lambda machine: machine.argument(offset, bits)


def _store(program: Program, instruction: Instruction) -> Step:
    bits, guard = int(instruction.op[-1][1:]), _guard(instruction)
    sources = [_value(program, source, bits) for source in _registers(instruction.operands[1])]
    shared, address = _space(program, instruction, instruction.operands[0], len(sources))

    def step(machine: Machine) -> None:
        store = machine.store_shared if shared else machine.store_global
        store(address(machine), [source(machine) for source in sources], bits, guard(machine))

    return step


def _space(program: Program, instruction: Instruction, address: str, count: int) -> tuple[bool, Value]:
    """Whether a load or a store is of shared memory, and its address."""
    words = instruction.op[1:-1]
    spaces = {word.partition("@")[0] for word in words} & {"global", "shared"}
    vector = next((int(word[1:]) for word in words if re.fullmatch("v[248]", word)), 1)
    hint = any(word.startswith("L2@cache_hint") for word in words)
    if (
        len(spaces) != 1
        or vector != count
        or len(instruction.operands) != 2 + hint
        or not all(_CACHE_WORDS.fullmatch(word) for word in words)
        or not re.fullmatch(r"[bsu](8|16|32|64)", instruction.op[-1])
    ):
        raise UnknownCodeError("access")
    return spaces == {"shared"}, _address(program, address)


def _matrices(program: Program, instruction: Instruction) -> Step:
    words = [word.removesuffix("@cta") for word in instruction.op[1:]]
    count = next((int(word[1:]) for word in words if re.fullmatch("x[124]", word)), 0)
    known = {"sync", "aligned", "m8n8", "shared", "b16", f"x{count}"}
    if instruction.guard or not known <= set(words) <= known | {"trans"}:
        raise UnknownCodeError("matrices")
    transposed = "trans" in words
    if instruction.op[0] == "ldmatrix":
        targets, place = _registers(instruction.operands[0]), _address(program, instruction.operands[1])

        def load(machine: Machine) -> None:
            for target, value in zip(targets, machine.load_matrices(place(machine), count, transposed), strict=True):
                machine.write(target, value, None)

        return load
    place = _address(program, instruction.operands[0])
    sources = [_value(program, source, 32) for source in _registers(instruction.operands[1])]

    def store(machine: Machine) -> None:
        machine.store_matrices(place(machine), [source(machine) for source in sources], transposed)

    return store


_KINDS: dict[str, Callable[[Program, Instruction], Step]] = {
    "mov": _move,
    "bra": _branch,
    "ret": _leave,
    "exit": _leave,
    "bar": _barrier,
    "shfl": _shuffle,
    "ld": _load,
    "st": _store,
    "ldmatrix": _matrices,
    "stmatrix": _matrices,
}
