"""Which cells are measured: the list that the goals for a GPU speak of, and the default one for a CPU."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from spacebatch.reference.geometry import BlockGeometry

from .cells import Cell, Layout
from .goals import row_of

DIRECTIONS = ("space_to_batch", "batch_to_space")
WINDOWS = {"batch_order": "batch_major", "arrangement": "contiguous"}
GRID = {"batch_order": "batch_major", "arrangement": "interleaved"}
GPU_BYTES = 256 << 20  # of an input: far more than any cache, and long enough for the clock
SINGLE = ("float16", "float32", "float64", "complex128")  # by elements of 2, 4, 8 and 16 bytes


class Kind(NamedTuple):
    """Sizes of a sample, and what is done to it."""

    sample: tuple[int, ...]  # (C, *spatial)
    block: Any
    paddings: Any = 0
    layout: Layout = "contiguous"
    options: dict[str, Any] = {}  # noqa: RUF012 - never written to


ALIGNED = (
    Kind((64, 512, 512), 2),
    Kind((64, 512, 512), 2, 8),
    Kind((64, 512, 512), 2, 0, "channels_last"),
    Kind((64, 512, 512), 4),
    Kind((64, 512, 512), 2, 0, "contiguous", WINDOWS),
    Kind((64, 510, 510), 2, 1, "channels_last"),
    Kind((64, 512, 512), 8),
    Kind((64, 512, 512), 16),
    Kind((64, 512, 512), 32),
    Kind((64, 512, 512), 1),
    Kind((64, 512, 512), (1, 2)),
    Kind((64, 512, 512), (2, 1)),
    Kind((64, 512, 512), 1, 16),
    Kind((64, 512, 512), 8, 0, "channels_last"),
    Kind((64, 512, 512), 32, 0, "contiguous", WINDOWS),
    Kind((64, 512, 512), 32, 0, "channels_last", WINDOWS),
    Kind((64, 512, 512), 8, 0, "contiguous", GRID),
    Kind((64, 65536), 4),
    Kind((64, 65536), 32),
    Kind((64, 64, 128, 128), 2),
    Kind((64, 64, 128, 128), 2, 8),
    Kind((64, 64, 128, 128), 2, 0, "channels_last"),
)
ODD = (
    Kind((64, 507, 509), 2, "auto"),
    Kind((64, 512, 512), 2, 1),
    Kind((64, 509, 511), 3, ((1, 0), (1, 1))),
    Kind((64, 512, 512), 3, "auto"),
    Kind((64, 503, 509), 6, "auto"),
    Kind((64, 505, 511), 5, ((2, 3), (1, 3))),
    Kind((64, 504, 504), 72, 0, "contiguous", WINDOWS),  # windows of 7
    Kind((96, 511, 509), 2, "auto", "channels_last"),
    Kind((3, 511, 509), 2, "auto", "channels_last"),
    Kind((65, 512, 512), 3, "auto", "channels_last"),
    Kind((64, 65531), 12, "auto"),
    Kind((64, 61, 127, 125), 2, "auto"),
)
STRIDED = (
    Kind((64, 512, 480), 2, 0, "sliced"),
    Kind((64, 512, 512), 2, 0, "transposed"),
    Kind((64, 512, 512), 2, 0, "expanded"),
    Kind((64, 512, 512), 2, 0, "channel_slice"),
    Kind((64, 512, 480), 4, 4, "sliced"),
    Kind((64, 510, 510), 2, 1, "transposed"),
)
SMALL = (
    Kind((3, 32, 32), 2),
    Kind((64, 28, 28), 2),
    Kind((64, 27, 29), 2, "auto"),
    Kind((128, 14, 14), 2, 1),
    Kind((64, 56, 56), 2, 0, "channels_last"),
    Kind((64, 512), 8),
)


def gpu_suite() -> list[Cell]:
    """The cells of the goals for a GPU, the most telling first.

    >>> sorted({cell.row for cell in gpu_suite()})
    ['aligned', 'aligned, 1 byte', 'odd', 'odd, 1 byte', 'small', 'strided']
    """
    cells: list[Cell] = []
    for kinds, dtype in (
        (ALIGNED, "float16"),
        (ODD, "float16"),
        (ALIGNED[:6], "float32"),
        (ODD[:6], "float32"),
        (ALIGNED[:10], "uint8"),
        (ODD[:8], "uint8"),
        (STRIDED, "float16"),
        (STRIDED[:4], "float32"),
        (ALIGNED[6:14], "float32"),
        (ODD[6:], "float32"),
        (ALIGNED[:5], "float64"),
        (ALIGNED[:3], "complex128"),
        (ODD[:2], "float64"),
        (ALIGNED[14:], "uint8"),
        (ODD[8:], "uint8"),
        (ALIGNED[:3], "bfloat16"),
    ):
        row = row_of(getattr(torch, dtype).itemsize, kinds[0] in ALIGNED, kinds[0] in STRIDED)
        for kind in kinds:
            cells += both(of_kind(kind, dtype, GPU_BYTES, row))
    for kind, dtype in itertools.product(SMALL, ("float16", "float32")):
        cells += both(of_kind(kind, dtype, 0, "small"))
    gradients = [cell for cell in cells if cell.row in ("aligned", "odd") and cell.dtype == "float16"][:4]
    return [*cells, *(replace(cell, mode="backward") for cell in gradients)]


CPU_SIZES = (4 << 10, 64 << 10, 1 << 20, 16 << 20, 256 << 20)
CPU_DTYPES = ("float32", "float16", "bfloat16", "uint8", "float64", "complex64")
CPU_BLOCKS = (2, 3, 4, 8)
CPU_LAYOUTS = ("nchw", "nhwc", "1d", "3d")


def cpu_suite(full: bool = False, quick: bool = False) -> list[Cell]:
    """The default cells for a CPU: every pair of size, dtype, layout and block, in both directions, padded and not.

    >>> len(cpu_suite(quick=True)) < len(cpu_suite()) < len(cpu_suite(full=True))
    True

    Args:
        full: every combination instead of every pair, four times as many.
        quick: only inputs of 4 and 64 KiB, of float32 and uint8.
    """
    sizes, dtypes = (CPU_SIZES[:2], ("float32", "uint8")) if quick else (CPU_SIZES, CPU_DTYPES)
    cells: list[Cell] = []
    for i, size in enumerate(sizes):
        for j, dtype in enumerate(dtypes):
            for k, layout in enumerate(CPU_LAYOUTS):
                blocks = CPU_BLOCKS if full else (CPU_BLOCKS[(i + j + k) % 4],)
                for block, padded in itertools.product(blocks, (False, True)):
                    cells += both(_cpu_cell(layout, dtype, block, padded, size))
    return cells


def _cpu_cell(layout: str, dtype: str, block: int, padded: bool, size: int) -> Cell:
    """A cell of about `size` bytes of input whose sizes the block divides, less one on each side where it is padded."""
    elements = size // getattr(torch, dtype).itemsize
    spatial = {"1d": 1, "3d": 3}.get(layout, 2)
    channels = 16 if elements >= 16 * (2 * block) ** spatial else 2
    edge = max(block, round((elements / channels) ** (1 / spatial) / block) * block)
    edge = min(edge, {1: 65536, 2: 1024, 3: 128}[spatial] // block * block)
    samples = max(1, elements // (channels * edge**spatial))
    less = 1 if padded and edge > 2 else 0
    shape = (samples, channels, *[edge - less] * spatial)
    return Cell(
        "space_to_batch",
        shape,
        (block,) * spatial,
        ((0, less),) * spatial,
        dtype,
        "channels_last" if layout == "nhwc" else "contiguous",
        row="cpu",
        name=layout,
    )


def both(cell: Cell) -> list[Cell]:
    """A cell, and its inverse."""
    return [cell, replace(cell, direction="batch_to_space")]


def of_kind(kind: Kind, dtype: str, input_bytes: int, row: str, name: str = "") -> Cell:
    """A cell of as many samples as make up the bytes, at least one."""
    sample = math.prod(kind.sample) * getattr(torch, dtype).itemsize
    return make(
        (max(1, input_bytes // sample), *kind.sample),
        kind.block,
        kind.paddings,
        dtype,
        kind.layout,
        row,
        name,
        **kind.options,
    )


def make(
    shape: Sequence[int],
    block: Any,
    paddings: Any,
    dtype: str,
    layout: Layout = "contiguous",
    row: str = "chosen",
    name: str = "",
    **options: Any,
) -> Cell:
    """A `space_to_batch` cell from arguments as users write them.

    >>> make((1, 3, 5, 5), 2, "auto", "uint8").paddings
    ((0, 1), (0, 1))

    Raises:
        ValueError, TypeError: as the call itself.
    """
    geometry = BlockGeometry(shape, block, paddings, op="cell", **options)  # refuses what makes no sense
    cell = Cell(
        "space_to_batch",
        geometry.space_shape,
        geometry.block_shape,
        geometry.paddings,
        dtype,
        layout,
        row=row,
        name=name,
        **options,
    )
    if not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise ValueError(f"cell: the dtype must be one of PyTorch's names, got {dtype!r}")
    return cell


def chosen(
    shapes: Sequence[Sequence[int]],
    blocks: Sequence[Any],
    paddings: Sequence[Any],
    dtypes: Sequence[str],
    layouts: Sequence[Layout],
    directions: Sequence[str],
    modes: Sequence[str],
    arrangements: Sequence[str],
    batch_orders: Sequence[str],
) -> Iterator[Cell]:
    """Every combination of what was chosen."""
    for shape, block, pads, dtype, layout in itertools.product(shapes, blocks, paddings, dtypes, layouts):
        for arrangement, batch_order in itertools.product(arrangements, batch_orders):
            cell = make(shape, block, pads, dtype, layout, arrangement=arrangement, batch_order=batch_order)
            numbers = cell.torch_dtype.is_floating_point or cell.torch_dtype.is_complex
            for direction, mode in itertools.product(directions, modes):
                if mode == "backward" and not numbers:
                    continue  # integers have no gradient
                yield replace(cell, direction=direction, mode=mode)  # type: ignore[arg-type]
