"""What every family of kernels has in common: configurations, kernel arguments, and the interface of a launch plan."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from spacebatch.reference.loops import Direction


class Config(NamedTuple):
    """What is tuned: the family of kernels, bytes of a program's tile, and its warps."""

    family: str
    tile_bytes: int
    warps: int


class Arguments(NamedTuple):
    """What a kernel is launched with, besides the pointers and the pad value.

    Attributes:
        number: of rows, granules or programs: the kernel's first number.
        dims: of each loop, its numbers; `inner`: those of the dim that a tile runs along. All `loops.coded`.
        flags: the constexprs but the tile.
    """

    number: int
    dims: tuple[tuple[int, ...], ...]
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
        """Bytes of a word: what a thread moves at least."""

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


def fitted(family: str, tile_bytes: int, warps: int, payload: int) -> Config:
    """A configuration, with tiles halved while the call would leave most of a GPU idle, and fewer warps with them."""
    while tile_bytes > 1024 and payload // tile_bytes < 512:
        tile_bytes //= 2
        warps = max(warps // 2, 1)
    return Config(family, tile_bytes, warps)


def power_of_two(n: int) -> int:
    """The next power of two, n itself included.

    >>> [power_of_two(n) for n in (1, 2, 3, 8, 9)]
    [1, 2, 4, 8, 16]
    """
    return 1 << (n - 1).bit_length()
