"""What arithmetic on the way adds to what kernels execute: each call beside the plain one whose result is as large."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from spacebatch import BlockGeometry
from spacebatch.perf.report import aligned
from spacebatch.reference.arithmetic import NO_OPERANDS, Arithmetic, Operands
from spacebatch.reference.memory_order import dense_strides
from spacebatch.reference.prepared import Direction
from tests import bits
from tests.work_calls import WorkCase

from .calls import Call, shapes
from .cases import DIRECTIONS
from .driver import StandIn
from .figures import SHAPES, Shape
from .traffic import SECTOR, WARP, Traffic

WORKS = {
    "float32 * scale + bias -> float32": Arithmetic("float32", "float32", 1, True, True),
    "uint8 * scale + bias -> bfloat16": Arithmetic("uint8", "bfloat16", 1, True, True),
    "bfloat16 + bfloat16 -> bfloat16": Arithmetic("bfloat16", "bfloat16", residual="bfloat16"),
}
NAMES = (
    "aligned",
    "padded by 1",
    "odd width",
    "channels_last",
    "channels_last, padded",
    "windows of 7",
    "NHWC windows of 7, shifted",
    "three channels last",
)
THREE_LAST = Shape("three channels last", (2, 3, 96, 96), 2, 0, True)


@dataclass(frozen=True)
class Fused:
    """Of the family that is taken for a call, and of the plain one's.

    Attributes:
        family, plain_family: that are taken.
        instructions: thread instructions of all issued warps per byte that is moved, be it read or written.
        sectors: 32 times those that requests touch, over the bytes moved.
        ratio, sector_ratio: of the two over those of the plain call.
        result_ratio: of instructions per byte of the result, which are as many in both.
    """

    case: str
    direction: Direction
    work: str
    family: str
    plain_family: str
    instructions: float
    sectors: float
    ratio: float
    sector_ratio: float
    result_ratio: float


def fused(device: StandIn, names: Sequence[str] = (), works: Sequence[str] = ()) -> Iterator[Fused]:
    """Of all calls, or of those named.

    Raises:
        KernelError, AssertionError: a result is wrong.
    """
    for shape in (*SHAPES, THREE_LAST):
        if shape.name in (names or NAMES):
            for direction in DIRECTIONS:
                for work in works or WORKS:
                    yield _compared(device, shape, direction, work)


def _compared(device: StandIn, shape: Shape, direction: Direction, work: str) -> Fused:
    geometry = BlockGeometry(
        shape.shape,
        shape.block,
        shape.paddings,
        batch_order="batch_major" if shape.windows or shape.grid else "block_major",
        arrangement="contiguous" if shape.windows else "interleaved",
        shifts=shape.shifts,
    )
    order = (0, *range(2, len(shape.shape)), 1) if shape.channels_last else tuple(range(len(shape.shape)))
    arithmetic = WORKS[work]
    made: list[tuple[str, int, int, float]] = []
    for way in (None, arithmetic):
        kinds = (arithmetic.source if way else arithmetic.result, arithmetic.result)
        source, result = (
            _tensor(sizes, kind, order) for sizes, kind in zip(shapes(direction, geometry), kinds, strict=True)
        )
        operands = NO_OPERANDS
        moved = source.nbytes + result.nbytes
        if way and arithmetic.scale:
            operands = Operands(torch.linspace(0.5, 1.5, shape.shape[1]), torch.linspace(-1, 1, shape.shape[1]))
        if way and arithmetic.residual:
            operands = Operands(residual=_tensor(result.shape, arithmetic.residual, order))
            moved += result.nbytes
        bits.poisoned(result)
        loads, stores = Traffic(), Traffic()
        call = Call(device, direction, geometry, source, result, None, way, operands)
        call.run(b"", (loads, stores))
        if way:
            wrong = WorkCase(direction, geometry, arithmetic, source, result, b"", operands).differences()
            assert not wrong, f"{shape.name}, {direction}, {work}: {wrong} elements are wrong"
        family, sectors = call.config.family, (loads.sectors + stores.sectors) * SECTOR
        made.append((family, device.issued * WARP, moved, sectors / moved))
    (plain_family, plain, plain_moved, plain_sectors), (family, issued, moved, sectors) = made
    ratio = issued / plain
    numbers = (issued / moved, sectors, ratio * plain_moved / moved, sectors / plain_sectors, ratio)
    return Fused(shape.name, direction, work, family, plain_family, *(round(x, 2) for x in numbers))


def _tensor(sizes: Sequence[int], kind: str, order: tuple[int, ...]) -> torch.Tensor:
    dtype = getattr(torch, kind)
    values = torch.randint(0, 200, (math.prod(sizes),), generator=torch.Generator().manual_seed(0))
    values = values if dtype is torch.uint8 else values / 64 - 1
    return values.to(dtype).as_strided(tuple(sizes), dense_strides(sizes, order))


def table(rows: Sequence[Fused]) -> str:
    """As aligned text."""
    head = (
        "case",
        "direction",
        "work",
        "family",
        "plain",
        "instr/B",
        "sectors",
        "instr ratio",
        "sector ratio",
        "of results",
    )
    lines: list[tuple[str, ...]] = [head]
    for row in rows:
        numbers: Any = (row.instructions, row.sectors, row.ratio, row.sector_ratio, row.result_ratio)
        words = (row.case, row.direction, row.work, row.family, row.plain_family)
        lines.append((*words, *(f"{x:.2f}" for x in numbers)))
    return aligned(lines, 3)
