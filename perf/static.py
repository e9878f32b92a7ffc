"""Kernel quality without a GPU: compile ahead of time and read the machine code.

For every kernel, kind of access and element size: the widest loads and stores, instructions per payload byte, registers,
spills and shared memory. NVIDIA code is disassembled with the tools that Triton ships; AMD code is read as text.
`python -m spacebatch.perf static` prints the table.
"""

from __future__ import annotations

import argparse
import itertools
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from spacebatch.reference.arithmetic import SOURCES, Arithmetic
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.memory_order import dense_strides
from spacebatch.reference.prepared import Direction
from spacebatch.tl_kernels.family import Plan
from spacebatch.tl_kernels.plan import make_plans
from spacebatch.tl_kernels.work import Tables, Work

from .cases import DIRECTIONS
from .records import write_json
from .report import aligned

TARGETS = {
    "sm_80": ("cuda", 80, 32),
    "sm_90": ("cuda", 90, 32),
    "sm_100": ("cuda", 100, 32),
    "gfx942": ("hip", "gfx942", 64),
}
WORD_TYPES = {1: "i8", 2: "i16", 4: "i32", 8: "i64"}


class KernelCase(NamedTuple):
    """A call whose kernel is looked at: (N, C, *spatial) sizes, block, paddings and options, and the memory order."""

    name: str
    shape: tuple[int, ...]
    block: Any
    paddings: Any = 0
    channels_last: bool = False
    options: tuple[tuple[str, Any], ...] = ()

    def plans(self, direction: Direction, element_bytes: int, arithmetic: Arithmetic | None = None) -> tuple[Plan, ...]:
        """The launch plans of the call on dense, aligned tensors, the one taken first; of result's elements with arithmetic."""
        geometry = BlockGeometry(self.shape, self.block, self.paddings, **dict(self.options))
        rank = len(self.shape)
        order = (0, *range(2, rank), 1) if self.channels_last else tuple(range(rank))
        space, batch = (dense_strides(shape, order) for shape in (geometry.space_shape, geometry.batch_shape))
        return make_plans(direction, geometry, space, batch, element_bytes, True, True, arithmetic)


WINDOWS = (("batch_order", "batch_major"), ("arrangement", "contiguous"))


def shifted(by: int) -> tuple[tuple[str, Any], ...]:
    """Options of windows with a cyclic shift."""
    return (*WINDOWS, ("shifts", by))


CASES = (
    KernelCase("aligned", (8, 64, 128, 128), 2),
    KernelCase("aligned, block 8", (8, 64, 128, 128), 8),
    KernelCase("aligned, block 32", (8, 64, 512, 512), 32),
    KernelCase("aligned, padded by 16", (8, 64, 96, 96), 2, 16),
    KernelCase("aligned, padded by 4", (8, 64, 120, 120), 2, 4),
    KernelCase("padded by 1", (8, 64, 126, 126), 2, 1),
    KernelCase("block 3", (8, 64, 192, 192), 3),
    KernelCase("odd width", (8, 64, 65, 65), 6, "auto"),
    KernelCase("odd width, block 4", (8, 64, 65, 65), 4, "auto"),
    KernelCase("odd planes", (64, 3, 129, 129), 2, "auto"),
    KernelCase("channels_last", (8, 64, 128, 128), 2, 0, True),
    KernelCase("channels_last, padded", (8, 64, 126, 126), 2, 1, True),
    KernelCase("pixels, channels_last", (8, 4, 128, 128), 2, 0, True),
    KernelCase("three channels last", (32, 3, 256, 256), 2, 0, True),
    KernelCase("windows of 16", (8, 96, 128, 128), 8, 0, False, WINDOWS),
    KernelCase("windows of 7", (8, 96, 56, 56), 8, 0, False, WINDOWS),
    KernelCase("windows, channels_last", (8, 96, 56, 56), 8, 0, True, WINDOWS),
    KernelCase("windows of 16, shifted", (8, 96, 128, 128), 8, 0, False, shifted(-8)),
    KernelCase("windows of 7, shifted", (8, 96, 56, 56), 8, 0, False, shifted(-3)),
    KernelCase("windows, channels_last, shifted", (8, 96, 56, 56), 8, 0, True, shifted(-3)),
    KernelCase("1-D, rate 512", (4, 64, 16384), 512),
    KernelCase("1-D, rate 12", (4, 64, 16001), 12, "auto"),
    KernelCase("3-D", (8, 32, 16, 64, 64), 2),
    KernelCase("3-D, padded", (8, 32, 15, 63, 63), 2, "auto"),
)


@dataclass(frozen=True)
class Report:
    """What one compiled kernel is made of.

    Attributes:
        case, direction, element_bytes, target, family: which kernel.
        promised_bits: the widest load and store that the plan says.
        load_bits, store_bits: the widest access to global memory of one thread in the machine code.
        instructions_per_byte: thread instructions per byte of the tile's payload.
        registers: per thread. spills: bytes of local memory per thread. shared: bytes of shared memory per program.
    """

    case: str
    direction: str
    element_bytes: int
    target: str
    family: str
    promised_bits: tuple[int, int]
    load_bits: int
    store_bits: int
    instructions_per_byte: float
    registers: int
    spills: int
    shared: int


def compile_plan(plan: Plan, target: str) -> Any:
    """Triton's compiled kernel for a plan, with the rule's tile and no GPU."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from spacebatch.tl_kernels import launch

    if launch.INTERPRETED:
        raise RuntimeError("static: TRITON_INTERPRET is set, so there is nothing to compile; unset it")
    tile = plan.rule.tile_bytes // plan.words
    kernel = launch.KERNELS[plan.family]
    found = launch.arguments(plan, tile)
    constants: dict[str, Any] = {"WORK": None, "tables": None, **launch.constants_of(plan, tile, None)}
    if "PERMUTES" in constants:
        constants["PERMUTES"] = TARGETS[target][0] == "cuda"
    signature: dict[str, Any] = {}
    constexprs: dict[tuple[int, ...], Any] = {}
    attributes: dict[tuple[int, ...], Any] = {}
    sizes = {"source_pointer": plan.work.source_bytes if plan.work else plan.words, "result_pointer": plan.words}
    for position, name in enumerate(kernel.arg_names):
        if name.endswith("_pointer"):
            signature[name] = "*" + WORD_TYPES[sizes[name]]
            attributes[(position,)] = [["tt.divisibility", 16]]
        elif name == "tables" and plan.work is not None:
            signature[name] = _tables(plan.work)
            for n, kind in enumerate(signature[name][:4]):
                if kind == "constexpr":
                    constexprs[position, n] = None
                else:
                    attributes[position, n] = [["tt.divisibility", 16]]
        elif name in constants:
            signature[name] = "constexpr"
            constexprs[(position,)] = constants[name]
        elif name in ("loops", "inner"):
            signature[name] = _types(getattr(found, name))
        else:
            signature[name] = "i64"  # as it is annotated
    source = ASTSource(fn=kernel, signature=signature, constexprs=constexprs, attrs=attributes)
    options = {"num_warps": plan.rule.warps} | ({"enable_fp_fusion": False} if plan.work else {})
    return triton.compile(source, target=GPUTarget(*TARGETS[target]), options=options)


def _tables(work: Work) -> Any:
    """Triton's types of what kernels are given beside source and result, with no table of what the border holds."""
    a = work.arithmetic
    factor = "*fp64" if a.compute == "float64" else "*fp32"
    residual = f"*{WORD_TYPES[SOURCES[a.residual]]}" if a.residual else "constexpr"
    pointers = (factor if a.scale else "constexpr", factor if a.bias else "constexpr", residual, "constexpr")
    _, _, _, _, *sizes = work.tables((None,) * 4)
    return Tables(*pointers, *map(_types, sizes))


def _types(value: Any) -> Any:
    """Triton's type of an integer; records of types for records of integers, whose fields the kernels name."""
    if isinstance(value, tuple):
        return type(value)(*map(_types, value)) if hasattr(value, "_fields") else tuple(map(_types, value))
    return "i32" if -(2**31) <= value < 2**31 else "i64"


def report(case: KernelCase, direction: Direction, element_bytes: int, target: str, plan: Plan) -> Report:
    """Compile one kernel and read its machine code."""
    kernel, config = compile_plan(plan, target), plan.rule
    threads = config.warps * TARGETS[target][2]
    load, store, instructions, registers, spills = (_read_amd if target.startswith("gfx") else _read_nvidia)(kernel)
    return Report(
        case.name,
        direction,
        element_bytes,
        target,
        plan.family,
        plan.access,
        load,
        store,
        round(instructions * threads / config.tile_bytes, 2),
        registers,
        spills,
        int(kernel.metadata.shared),
    )


def _read_nvidia(kernel: Any) -> tuple[int, int, int, int, int]:
    from triton.backends import nvidia

    tools = Path(nvidia.__file__).parent / "bin"
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder, "kernel.cubin")
        cubin.write_bytes(kernel.asm["cubin"])
        text, usage = (
            subprocess.run([str(tools / "cuobjdump"), what, str(cubin)], capture_output=True, text=True, check=True)
            for what in ("-sass", "-res-usage")
        )
    names = re.findall(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)", text.stdout, flags=re.MULTILINE)
    names = [name for name in names if name != "NOP"]
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage.stdout + usage.stderr)
    if not names or found is None:
        raise RuntimeError("static: the disassembly holds no instructions or no register count")
    local = 4 * sum(name.startswith(("LDL", "STL")) for name in names)
    spills = max(int(found.group(2)), local)
    return _widest(names, "LDG"), _widest(names, "STG"), len(names), int(found.group(1)), spills


def _widest(names: Iterable[str], stem: str) -> int:
    bits = 0
    for name in names:
        parts = name.split(".")
        if parts[0] == stem:
            sizes = {"U8": 8, "S8": 8, "U16": 16, "S16": 16, "64": 64, "128": 128, "256": 256}
            bits = max(bits, next((sizes[part] for part in parts if part in sizes), 32))
    return bits


def _read_amd(kernel: Any) -> tuple[int, int, int, int, int]:
    text = kernel.asm["amdgcn"]
    sizes = {"ubyte": 8, "sbyte": 8, "byte": 8, "ushort": 16, "sshort": 16, "short": 16, "dword": 32}
    sizes |= {"dwordx2": 64, "dwordx3": 96, "dwordx4": 128}

    def widest(stem: str) -> int:
        found = re.findall(rf"(?:global|buffer)_{stem}_(\w+?)(?:_d16\w*)?\s", text)
        return max((sizes[name] for name in found if name in sizes), default=0)

    instructions = len(re.findall(r"^\t[svbdg]\w*_\w+", text, flags=re.MULTILINE))
    registers = int(re.findall(r"\.vgpr_count:\s*(\d+)", text)[0])
    spills = int(re.findall(r"\.vgpr_spill_count:\s*(\d+)", text)[0])
    return widest("load"), widest("store"), instructions, registers, spills


def reports(
    targets: Iterable[str], element_sizes: Sequence[int], every_family: bool = False, names: Sequence[str] = ()
) -> Iterator[Report]:
    """Every case, or those of the names given, both directions, compiled for each target and element size, one by one.

    Of the families that apply, the one that is taken, or every one.
    """
    cases = [case for case in CASES if not names or case.name in names]
    for target, case, direction, element_bytes in itertools.product(targets, cases, DIRECTIONS, element_sizes):
        plans = case.plans(direction, element_bytes)
        for plan in plans if every_family else plans[:1]:
            yield report(case, direction, element_bytes, target, plan)


def table(rows: Sequence[Report]) -> str:
    """Reports as aligned text."""
    head = (
        "case",
        "direction",
        "bytes",
        "target",
        "family",
        "plan",
        "load",
        "store",
        "instr/B",
        "regs",
        "spills",
        "shared",
    )
    return aligned([head, *(list(asdict(row).values()) for row in rows)], 2)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m spacebatch.perf static`."""
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="default: sm_90; repeatable")
    parser.add_argument("--bytes", action="append", type=int, choices=[1, 2, 4, 8, 16], help="default: all; repeatable")
    parser.add_argument(
        "--case", action="append", choices=[case.name for case in CASES], help="default: all; repeatable"
    )
    parser.add_argument("--families", action="store_true", help="every family that applies, not only the one taken")
    parser.add_argument("--json", type=Path, help="write the reports to this file as well")


def main(options: argparse.Namespace) -> int:
    """Print the table; the exit status."""
    import triton

    sizes = options.bytes or [1, 2, 4, 8, 16]
    rows = list(reports(options.target or ["sm_90"], sizes, options.families, options.case or ()))
    print(table(rows))
    if options.json:
        write_json({"triton": triton.__version__, "reports": [asdict(row) for row in rows]}, options.json)
    return 0
