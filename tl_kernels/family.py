"""What every family of kernels has in common: configurations, kernel arguments, and the interface of a launch plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch

from spacebatch.reference.loops import Direction

if TYPE_CHECKING:
    from .work import Work  # which imports triton

FAMILIES = ("rows", "vectors", "phases", "runs", "deinterleave", "interleave", "granules")
TILES = (1024, 2048, 4096, 8192, 16384, 32768)
WARPS = (1, 2, 4, 8)
MOST_BYTES_PER_THREAD = 128  # more takes registers that are not there
MOST_COMPUTED = 32  # elements of a thread, each of which takes a register or two while it is computed
LEAST_WARPS = {"runs": 2}  # within a single warp Triton gathers by shuffles, of which it takes many
MOST_PROGRAMS, MOST_THREADS = 2**31 - 1, 2**32 - 1  # of a launch; only AMD's driver counts threads
COUNTS_THREADS = torch.version.hip is not None
ALWAYS_FIT = MOST_THREADS // (64 * WARPS[-1]) if COUNTS_THREADS else MOST_PROGRAMS  # elements, or fewer
SPANNING = ("deinterleave", "interleave")  # their threads make spans of up to 32 bytes
LEAST_SPANS = 128  # of a program, so that four warps are busy


class Config(NamedTuple):
    """What is tuned: the family of kernels, bytes of a program's tile, and its warps."""

    family: str
    tile_bytes: int
    warps: int

    @property
    def known(self) -> bool:
        """Whether there is such a family and such a tile; tables may have been written by another version."""
        return self.family in FAMILIES and self.tile_bytes in TILES and self.warps in WARPS


class Arguments(NamedTuple):
    """What a kernel is launched with, besides the pointers and the pad value.

    Attributes:
        items: how many rows, granules or programs there are.
        loops: a record of each loop; `inner`: one of the dim that a tile runs along. The family defines them; their numbers
            are `integers.encoded`.
        flags: the constexprs but the tile.
    """

    items: int
    loops: tuple[tuple[Any, ...], ...]
    inner: tuple[Any, ...]
    flags: dict[str, Any]


class Plan(Protocol):
    """How one family carries out one call: pure numbers, hashable, made without a GPU."""

    @property
    def family(self) -> str:
        """Its name."""

    @property
    def direction(self) -> Direction:
        """Which operator."""

    @property
    def words(self) -> int:
        """Bytes of a word: what a thread moves at least. With arithmetic, of an element of the result."""

    @property
    def work(self) -> Work | None:
        """The arithmetic on the way, if any."""

    @property
    def payload(self) -> int:
        """Bytes of the result that are written."""

    @property
    def access(self) -> tuple[int, int]:
        """Bits of the widest load and of the widest store of one thread, which the machine code must keep."""

    @property
    def bucket(self) -> str:
        """The tuning key: two plans with one bucket share their configuration."""

    @property
    def rule(self) -> Config:
        """Where nothing was measured."""

    def programs(self, tile: int) -> int:
        """How many programs a launch with tiles of so many words takes."""

    def arguments(self, tile: int) -> Arguments:
        """What the kernel takes, with tiles of so many words."""

    def __hash__(self) -> int:
        """Plans are keys of caches."""


def candidates(plans: Sequence[Plan]) -> tuple[Config, ...]:
    """All configurations worth measuring for a call, over every family that applies to it."""
    return tuple(
        Config(plan.family, tile, warps)
        for plan in plans
        for tile in TILES
        for warps in WARPS
        if (32 if plan.family in SPANNING else 16) <= tile // (32 * warps) <= MOST_BYTES_PER_THREAD
        if plan.family not in SPANNING or tile >= 32 * LEAST_SPANS
        if plan.work is None or tile // plan.words <= 64 * warps * MOST_COMPUTED
        if warps >= LEAST_WARPS.get(plan.family, 1) and fits(plan, Config(plan.family, tile, warps))
    )


def fits(plan: Plan, config: Config) -> bool:
    """Whether the programs of a call are no more than a launch may have."""
    most = MOST_THREADS // (64 * config.warps) if COUNTS_THREADS else MOST_PROGRAMS
    return plan.programs(config.tile_bytes // plan.words) <= most


def fitted(family: str, tile_bytes: int, warps: int, payload: int) -> Config:
    """A configuration, with tiles halved while the call would leave most of a GPU idle, and fewer warps with them."""
    while tile_bytes > 1024 and payload // tile_bytes < 512:
        tile_bytes //= 2
        warps = max(warps // 2, 1)
    return Config(family, tile_bytes, warps)


def eased(config: Config, words: int, work: Work | None) -> Config:
    """A configuration whose threads compute no more elements than they have room for."""
    tile = config.tile_bytes
    while work is not None and tile > 1024 and tile // words > 32 * config.warps * MOST_COMPUTED:
        tile //= 2
    return config._replace(tile_bytes=tile)


def access(plan: Plan, load: int, store: int) -> tuple[int, int]:
    """Bits of the widest load and store of one thread, of so many words that lie side by side."""
    read = plan.words if plan.work is None else plan.work.source_bytes
    return min(load * read * 8, 128), min(store * plan.words * 8, 128)


def spanning(family: str, payload: int) -> Config:
    """A configuration of a family of spans: 128 bytes a thread, fewer where the call would leave most of a GPU idle."""
    tile = 32 * LEAST_SPANS
    if payload // tile < 512:
        return Config(family, tile, 4)
    return Config(family, 2 * tile if payload // tile >= 1024 else tile, 2)


def power_of_two(n: int) -> int:
    """The next power of two, n itself included.

    >>> [power_of_two(n) for n in (1, 2, 3, 8, 9)]
    [1, 2, 4, 8, 16]
    """
    return 1 << (n - 1).bit_length()


def table_size(rows: int) -> int:
    """How long a table for so many rows is: a row a thread costs the same as fewer would, and widths share their kernels."""
    return max(power_of_two(rows), 64) if rows > 2 else 2


def elsewhere(device: str) -> str:
    """Why a tensor of a device of this type is not taken."""
    return f"the tensor is on {device}, and the kernels run on CUDA and ROCm devices"
