"""What executed kernels ask of memory, and how many instructions they take for a byte; results are compared as well."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from spacebatch import BlockGeometry
from spacebatch.perf.report import aligned
from spacebatch.reference.memory_order import dense_strides
from spacebatch.reference.prepared import Direction
from tests import bits

from .calls import Call, pad_bytes, shapes
from .cases import DIRECTIONS
from .driver import StandIn
from .traffic import SECTOR, WARP, Traffic

DTYPES = {1: torch.uint8, 2: torch.float16, 4: torch.float32}


class Shape(NamedTuple):
    """A call on dense tensors."""

    name: str
    shape: tuple[int, ...]
    block: int
    paddings: Any = 0
    channels_last: bool = False
    windows: bool = False
    shifts: int = 0
    grid: bool = False
    sizes: Sequence[int] = tuple(DTYPES)  # bytes of an element


WIDE = (2, 4)
SHAPES = (
    Shape("aligned", (2, 8, 128, 128), 2),
    Shape("padded by 1", (2, 8, 126, 126), 2, 1),
    Shape("odd width", (2, 8, 97, 97), 2, "auto"),
    Shape("odd planes", (2, 3, 65, 65), 2, "auto"),
    Shape("block 3", (2, 8, 96, 96), 3),
    Shape("block 4, odd width", (2, 4, 65, 65), 4, "auto"),
    Shape("channels_last", (2, 8, 128, 128), 2, 0, True),
    Shape("channels_last, padded", (2, 8, 126, 126), 2, 1, True),
    Shape("windows of 7", (2, 8, 112, 112), 16, 0, False, True),
    Shape("windows of 5", (2, 8, 80, 80), 16, 0, False, True),
    Shape("one small image", (1, 4, 64, 64), 2, 1),
    # cyclic shifts beside the same without; Swin's windows first
    Shape("NHWC windows of 7", (1, 96, 56, 56), 8, 0, True, True, 0, False, WIDE),
    Shape("NHWC windows of 7, shifted", (1, 96, 56, 56), 8, 0, True, True, -3, False, WIDE),
    Shape("windows of 7, shifted", (2, 8, 112, 112), 16, 0, False, True, -3, False, WIDE),
    Shape("NHWC grid of 7", (1, 64, 56, 56), 8, 0, True, False, 0, True, WIDE),
    Shape("NHWC grid of 7, shifted", (1, 64, 56, 56), 8, 0, True, False, -3, True, WIDE),
    Shape("aligned, shifted", (2, 8, 128, 128), 2, 0, False, False, -1, False, WIDE),
)


@dataclass(frozen=True)
class Figure:
    """Of one family on one call.

    Attributes:
        taken: whether it is the family that the rule takes.
        loads, stores: sectors that requests touch, over those that the bytes moved fill.
        programs: sectors that a program loads, each counted once, over the same.
        instructions: thread instructions of all issued warps per byte of the result.
    """

    case: str
    direction: Direction
    element_bytes: int
    family: str
    taken: bool
    loads: float
    programs: float
    stores: float
    instructions: float


def figures(
    device: StandIn, sizes: Sequence[int] = tuple(DTYPES), every: bool = True, names: Sequence[str] = ()
) -> Iterator[Figure]:
    """Of all shapes, or those named: the family that is taken, or every family that applies.

    Raises:
        KernelError, AssertionError: a result is wrong.
    """
    for shape in SHAPES:
        if names and shape.name not in names:
            continue
        for direction in DIRECTIONS:
            for element_bytes in sorted({*sizes} & {*shape.sizes}):
                yield from _figures(device, shape, direction, element_bytes, every)


def _figures(device: StandIn, shape: Shape, direction: Direction, element_bytes: int, every: bool) -> Iterator[Figure]:
    geometry = BlockGeometry(
        shape.shape,
        shape.block,
        shape.paddings,
        batch_order="batch_major" if shape.windows or shape.grid else "block_major",
        arrangement="contiguous" if shape.windows else "interleaved",
        shifts=shape.shifts,
    )
    order = (0, *range(2, len(shape.shape)), 1) if shape.channels_last else tuple(range(len(shape.shape)))
    dtype = DTYPES[element_bytes]
    source, result = (
        bits.random_tensor((math.prod(sizes),), dtype).as_strided(sizes, dense_strides(sizes, order))
        for sizes in shapes(direction, geometry)
    )
    pad = pad_bytes(1, dtype)
    first = Call(device, direction, geometry, source, result)
    wanted, plans = first.wanted(pad), first.plans
    for n, plan in enumerate(plans if every else plans[:1]):
        loads, stores = Traffic(), Traffic()
        bits.poisoned(result)
        Call(device, direction, geometry, source, result, plan.rule).run(pad, (loads, stores))
        assert bits.raw(result).tobytes() == wanted.tobytes(), f"{shape.name}, {direction}, {plan.family}: wrong"
        written = result.numel() * element_bytes
        needed = min(source.numel() * element_bytes, written) / SECTOR
        yield Figure(
            shape.name,
            direction,
            element_bytes,
            plan.family,
            n == 0,
            round(loads.sectors / needed, 2),
            round(loads.distinct / needed, 2),
            round(stores.sectors * SECTOR / written, 2),
            round(device.issued * WARP / written, 2),
        )


def table(rows: Sequence[Figure]) -> str:
    """As aligned text; the families that are taken are marked."""
    head = ("case", "direction", "bytes", "family", "loads", "a program's", "stores", "instr/B")
    lines: list[tuple[str, ...]] = [head]
    for row in rows:
        name = row.family + "*" * row.taken
        numbers = (f"{x:.2f}" for x in (row.loads, row.programs, row.stores, row.instructions))
        lines.append((row.case, row.direction, str(row.element_bytes), name, *numbers))
    return aligned(lines, 2)
