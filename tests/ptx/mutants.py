"""Does the executor see faults? Kernels with one instruction broken on purpose, and how many of them show."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch

from spacebatch import BlockGeometry
from spacebatch.tl_kernels.family import Config
from tests import bits

from .arithmetic import Array
from .calls import Call, pad_bytes, shapes
from .cases import DIRECTIONS, placed
from .driver import StandIn
from .program import KernelError, Program

SWAPS = (
    ("setp.lt", "setp.le"),
    ("setp.gt", "setp.ge"),
    ("add.s32", "sub.s32"),
    ("and.pred", "or.pred"),
    ("shr.u32", "shl.b32"),
    ("shr.s32", "shl.b32"),
    ("mul.lo.s32", "add.s32"),
    ("mul.hi.u32", "mul.lo.u32"),
    ("sub.s32", "add.s32"),
    ("or.b32", "and.b32"),
    ("min.s32", "max.s32"),
)
KINDS: dict[str, tuple[str, Callable[[str], str]]] = {  # what is looked for, and what becomes of it
    "a barrier removed": (r"^\s*bar\.sync[^\n]*;", lambda found: ""),
    "a predicate dropped": (r"@!?%p\d+ (?=(ld|st)\.global)", lambda found: ""),
    "a number one higher": (r"(?<=, )\d+(?=;)", lambda found: str(int(found) + 1)),
    **{f"{old} made {new}": (re.escape(old) + r"(?=[.\s])", lambda found, new=new: new) for old, new in SWAPS},  # type: ignore[misc]
}
GEOMETRIES = (  # whose last programs are not full
    (BlockGeometry((2, 3, 7, 9), 3, ((1, 1), (1, 2))), torch.float16, False),
    (BlockGeometry((1, 3, 14, 30), 2, 1), torch.float32, False),
    (BlockGeometry((1, 3, 10, 96), 2), torch.float16, False),
    (BlockGeometry((1, 8, 6, 10), 2, 1), torch.float16, True),
    (BlockGeometry((1, 2, 33, 35), 4, "auto"), torch.uint8, False),
)


class Subject(NamedTuple):
    """A call that is right, the kernel it runs, and its result."""

    name: str
    call: Call
    program: Program
    pad: bytes
    wanted: Array

    def shows(self, mutant: Program) -> bool:
        """Whether a run of the mutant instead gives another result, or a fault."""
        bits.poisoned(self.call.result)
        try:
            with self.call.device.replaced(self.program, mutant):
                self.call.run(self.pad)
        except (KernelError, AssertionError):
            return True
        return bits.raw(self.call.result).tobytes() != self.wanted.tobytes()


def subjects(device: StandIn) -> Iterator[Subject]:
    """Every family, both directions, some widths."""
    random = np.random.default_rng(0)
    for geometry, dtype, channels_last in GEOMETRIES:
        order = (0, 2, 3, 1) if channels_last else (0, 1, 2, 3)
        for direction in DIRECTIONS:
            source, result = (placed(s, dtype, order, "dense", 0, random) for s in shapes(direction, geometry))
            pad = pad_bytes(3, dtype)
            for plan in Call(device, direction, geometry, source, result).plans:
                call = Call(device, direction, geometry, source, result, Config(plan.family, 256 * plan.words, 4))
                call.run(pad)
                assert device.launched is not None
                name = f"{plan.family} {direction} {geometry.space_shape} {dtype}"
                yield Subject(name, call, device.launched.program, pad, call.wanted(pad))


def mutants(device: StandIn, seed: int, count: int) -> Iterator[tuple[str, str, bool]]:
    """The kind of each mutant, where it is, and whether it shows."""
    random, all_subjects = np.random.default_rng(seed), list(subjects(device))
    made = 0
    while made < count:
        subject = all_subjects[int(random.integers(len(all_subjects)))]
        kind = list(KINDS)[made % len(KINDS)]
        pattern, change = KINDS[kind]
        ptx = subject.program.ptx
        found = list(re.finditer(pattern, ptx, flags=re.MULTILINE))
        if not found:
            continue
        match = found[int(random.integers(len(found)))]
        line = ptx[ptx.rfind("\n", 0, match.start()) + 1 : ptx.find("\n", match.end())].strip()
        made += 1
        mutant = Program(ptx[: match.start()] + change(match[0]) + ptx[match.end() :])
        yield kind, f"{subject.name}: {line}", subject.shows(mutant)
