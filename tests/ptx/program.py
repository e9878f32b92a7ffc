"""PTX text as a program: its parameters, its registers, and its instructions in blocks between labels and branches."""

from __future__ import annotations

import re
from typing import NamedTuple

_SIZES = {"b8": 1, "u8": 1, "s8": 1, "b16": 2, "u16": 2, "s16": 2, "b32": 4, "u32": 4, "s32": 4, "f32": 4}
_SIZES |= {"b64": 8, "u64": 8, "s64": 8, "f64": 8}
_REGISTER_BITS = {"pred": 1, "b16": 16, "b32": 32, "b64": 64, "u32": 32, "u64": 64}
_DEBUG_LABELS = ("$L__tmp", "$L__func", "$L__info", "$L__debug")


class KernelError(Exception):
    """Something a GPU would refuse, or that makes a result depend on luck."""


class UnknownCodeError(KernelError):
    """PTX that is not known here."""


class Parameter(NamedTuple):
    """One parameter of a kernel; a pointer may be promised to be a multiple of `alignment`."""

    size: int
    alignment: int


class Instruction(NamedTuple):
    """`@!%p1 mad.lo.s32 %r1, %r2, 3, %r4` with its parts told apart."""

    guard: tuple[str, bool] | None  # a register, and whether its opposite is meant
    op: tuple[str, ...]
    operands: tuple[str, ...]
    text: str


class Program:
    """The one kernel of a PTX module.

    Attributes:
        parameters: by name, in their order; each takes eight bytes of what a launch is given.
        threads: of a block, where the module demands a number.
        blocks: of instructions; a branch or a return ends one. labels: which block follows a label.
    """

    def __init__(self, ptx: str) -> None:
        self.ptx = ptx
        text = re.sub(r"/\*.*?\*/|//[^\n]*", "", ptx, flags=re.DOTALL)
        found = re.search(r"\.visible\s+\.entry\s+(\w+)\s*\((.*?)\)(.*?)\{(.*?)\n\}", text, flags=re.DOTALL)
        if found is None or text.count(".entry") != 1 or ".func" in text or not re.search(r"\.address_size\s+64", text):
            raise UnknownCodeError("a module that is not one kernel with addresses of 64 bits")
        self.name, parameters, directives, body = found.groups()
        # half of a register, the other half of which goes to one of its own
        body = re.sub(r"\{\s*\.reg \.b32 tmp;\s*(mov\.b64\s+\{[^}]*\},\s*%\w+;)\s*\}", r"\1", body)
        body = re.sub(r"\btmp\b", "_", body)
        self.shared_symbols = re.findall(r"\.extern\s+\.shared\s+\.align\s+\d+\s+\.b8\s+(\w+)\[\]", text)
        for own in re.findall(r"^\s*\.(?:global|const|local|shared)\b(.*)", text, flags=re.MULTILINE):
            name = re.search(r"([\w$]+)\[", own)
            if name is None or name[1] in body:  # what code of a library is linked with may be left over
                raise UnknownCodeError("memory of the module's own")
        self.parameters = dict(_parameter(part) for part in parameters.split(",") if part.strip())
        block = re.search(r"\.(?:reqntid|maxntid)\s+(\d+)", directives)
        self.threads = int(block[1]) if block else None
        self.blocks: list[list[Instruction]] = [[]]
        self.labels: dict[str, int] = {}
        self._registers: dict[str, int] = {}
        self._parse(body)

    def bits(self, register: str) -> int:
        """Of `%rd7`, as declared."""
        found = re.fullmatch(r"%([a-z]+)\d+", register)
        if found is None or found[1] not in self._registers:
            raise UnknownCodeError(f"register {register}")
        return self._registers[found[1]]

    def offset(self, parameter: str) -> int:
        """Of a parameter among what a launch is given."""
        return 8 * list(self.parameters).index(parameter)

    def _parse(self, body: str) -> None:
        pending = ""
        for line in map(str.strip, body.splitlines()):
            if not line or line.startswith((".loc", ".file", ".pragma")):
                continue
            label = re.fullmatch(r"([$\w]+):", line)
            if label and not pending:
                if not label[1].startswith(_DEBUG_LABELS):
                    self.blocks.append([])
                    self.labels[label[1]] = len(self.blocks) - 1
                continue
            pending = f"{pending} {line}".strip()
            if pending.endswith(";"):
                for statement in pending[:-1].split(";"):
                    self._statement(statement.strip())
                pending = ""
        if pending:
            raise UnknownCodeError(f"statement {pending!r}")

    def _statement(self, text: str) -> None:
        if declared := re.fullmatch(r"\.reg\s+\.(\w+)\s+%(\w+)<\d+>", text):
            if declared[1] not in _REGISTER_BITS:
                raise UnknownCodeError(f"registers {text!r}")
            self._registers[declared[2]] = _REGISTER_BITS[declared[1]]
            return
        found = re.fullmatch(r"(?:@(!?)(%\w+)\s+)?([a-z][\w.:]*)\s*(.*)", text, flags=re.DOTALL)
        if found is None:
            raise UnknownCodeError(f"statement {text!r}")
        guard = (found[2], found[1] == "!") if found[2] else None
        op = tuple(found[3].replace("::", "@").split("."))
        self.blocks[-1].append(Instruction(guard, op, tuple(split_operands(found[4])), text))
        if op[0] in ("bra", "ret", "exit"):
            self.blocks.append([])


def split_operands(text: str) -> list[str]:
    """At the commas outside of braces and brackets."""
    return [part.strip() for part in re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,{}\[\]]+", text) if part.strip()]


def _parameter(text: str) -> tuple[str, Parameter]:
    found = re.fullmatch(r"\s*\.param\s+\.(\w+)((?:\s+\.\w+(?:\s+\d+)?)*)\s+(\w+)\s*", text)
    if found is None or found[1] not in _SIZES:
        raise UnknownCodeError(f"parameter {text.strip()}")
    alignment = re.search(r"\.align\s+(\d+)", found[2])
    return found[3], Parameter(_SIZES[found[1]], int(alignment[1]) if alignment else 1)
