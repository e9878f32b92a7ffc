"""The launch plan of `vectors`: interleaved blocks of 1, 2, 4 … elements where results are whole 16-byte granules.

A row of the tile is a granule of each of `phases` phases of the last blocked dim: `lanes` positions times `phases` words of
space, which lie side by side there (or, where a block is cut into chunks, in runs of `phases` words).
"""

from __future__ import annotations

from dataclasses import dataclass

from spacebatch.reference.loops import INT32_MAX, SPLIT, Direction, LoopDim, Nest, common_unit

from .coded import coded, divider
from .family import Arguments, Config, fitted
from .rows_plan import MAX_DIMS, dim_numbers, offsets_of

MOST_PHASE_BYTES, MOST_PHASES = 64, 32  # of a run in space: whole sectors, and a tile still holds many rows


@dataclass(frozen=True)
class VectorsPlan:
    """What a launch needs; counts are of words."""

    direction: Direction
    dims: tuple[LoopDim, ...]  # of the rows but for granules and chunks, innermost first
    rows: int
    inner: LoopDim  # the last blocked dim
    lanes: int  # positions of a granule
    phases: int  # of a tile row
    granules: int  # of a row of positions
    chunks: int  # of phases
    space_unit: int
    wide: bool
    long: bool
    words: int

    family = "vectors"

    @property
    def payload(self) -> int:
        """Bytes of the result that are written."""
        return self.rows * self.lanes * self.phases * self.words

    @property
    def access(self) -> tuple[int, int]:
        """Bits of the widest load and store of one thread."""
        space = min(self.space_unit * self.words * 8, 128)
        return (space, 128) if self.direction == "space_to_batch" else (128, space)

    @property
    def bucket(self) -> str:
        """What is alike for the tuning."""
        kinds = "/".join(str(d.kind + (4 if d.masked else 0)) for d in self.dims)
        size = min(self.payload.bit_length(), 30)
        shape = f"{self.words}x{self.space_unit} {self.inner.extent}x{self.phases} {int(self.inner.masked)}"
        return f"vectors {self.direction} {shape} {size} {kinds}"

    @property
    def rule(self) -> Config:
        """128 bytes a thread: enough loads in flight, the scalar work shared, and about 60 registers."""
        return fitted(self.family, 8192, 2, self.payload)

    def programs(self, tile: int) -> int:
        """How many programs a launch with tiles of so many words takes."""
        return -(-self.rows // max(tile // (self.lanes * self.phases), 1))

    def arguments(self, tile: int) -> Arguments:
        """What the kernel takes, with tiles of so many words."""
        inner, s = self.inner, self.space_unit
        numbers = (
            coded(self.granules),
            divider(self.granules),
            coded(self.chunks),
            divider(self.chunks),
            coded(inner.inner_stride // self.lanes),
            coded(inner.before // s),
            coded(inner.covered // s),
        )
        flags = {
            "KINDS": tuple(dim.kind for dim in self.dims),
            "MASKED": tuple(dim.masked for dim in self.dims),
            "ND": len(self.dims),
            "GRANULES": self.granules > 1,
            "CHUNKS": self.chunks > 1,
            "INNER_MASKED": inner.masked,
            "BLOCK": inner.extent,
            "PHASES": self.phases,
            "LANES": self.lanes,
            "SPACE_UNIT": s,
            "TO_SPACE": self.direction == "batch_to_space",
            "WIDE": self.wide,
            "LONG": self.long,
        }
        return Arguments(self.rows, dim_numbers(self.dims, s, self.lanes), numbers, flags)

    def __str__(self) -> str:
        return (
            f"{self.rows} rows of {self.lanes} positions by {self.phases} phases of {self.words}-byte words, "
            f"unit {self.space_unit} in space"
        )


def plan_vectors(direction: Direction, nest: Nest) -> VectorsPlan | None:
    """The plan of a nest, or None where its results are not made of whole granules of interleaved blocks."""
    *dims, inner = nest.dims
    block, lanes = inner.extent, nest.full
    fits = (
        inner.kind == SPLIT
        and inner.space_stride == 1
        and inner.outer_stride == 1
        and block & (block - 1) == 0
        and len(dims) <= MAX_DIMS
        and nest.batch_aligned
    )
    if not fits:
        return None
    space_values, batch_values = offsets_of(dims)
    positions = inner.size // block
    if common_unit([positions, inner.inner_stride, *batch_values], lanes) < lanes:
        return None
    phases = min(block, MOST_PHASE_BYTES // nest.words, MOST_PHASES)
    granules, chunks = positions // lanes, block // phases
    rows = granules * chunks
    for dim in dims:
        rows *= dim.size
    space_values += [inner.before, inner.covered] if inner.masked else []
    run = lanes * block if chunks == 1 else phases
    space_unit = common_unit([run, *space_values], lanes) if nest.space_aligned else 1
    return VectorsPlan(
        direction,
        tuple(reversed(dims)),
        rows,
        inner,
        lanes,
        phases,
        granules,
        chunks,
        space_unit,
        wide=nest.wide,
        long=max(rows, *(d.size for d in nest.dims)) > INT32_MAX // 2,
        words=nest.words,
    )
