"""Compiled kernels of the CPU as a backend; llvmlite is imported when the first call needs it."""

from __future__ import annotations

from .arithmetic import Arithmetic
from .geometry import BlockGeometry
from .llvm.prepare import prepare
from .prepared import Answer, Backend, Direction, Layout


def _prepare(
    direction: Direction,
    geometry: BlockGeometry,
    source: Layout,
    result: Layout,
    arithmetic: Arithmetic | None = None,
) -> Answer:
    if source.device not in ("cpu", "numpy"):
        return f"the tensor is on {source.device}, not on the CPU"
    return prepare(direction, geometry, source, result, arithmetic)


LLVM = Backend("llvm", _prepare)
