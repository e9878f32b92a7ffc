"""What a kernel is compiled for."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

# deinterleave         an interleaved blocked dim of neighbours: vectors are loaded, deinterleaved by shuffles (or interleaved), and stored
# tiles                the same in blocks too large for that: tiles of positions and phases are transposed
# transpose            what is next to each other in one tensor is far apart in the other, and the other way round: transposed likewise
# strided_segments     an interleaved blocked dim of segments shorter than a cache line, the channels of a pixel: each segment is copied
# contiguous_segments  neighbours on both sides: contiguous blocks, whole rows, many channels: one segment is copied
# windows              neighbours on both sides, in blocks of an image that is a piece of many: they may overlap, and those at the ends are clipped
Row: TypeAlias = Literal["deinterleave", "tiles", "transpose", "strided_segments", "contiguous_segments", "windows"]
Spec: TypeAlias = (
    "tuple[bool, int, bool, Row, int, int, bool, tuple[int, ...], int, bool, bool, bool]"  # fields of a `KernelSpec`
)

MOST_TILE = 16  # positions and phases


class KernelSpec(NamedTuple):
    """What a kernel is compiled for, beside the processor.

    Attributes:
        to_batch: the direction.
        word: bytes of what moves as one: 1, 2, 4 or 8. pair: elements have 16 bytes, which are two words.
        row: how a row is moved. block: of `deinterleave`, else 0. segment: bytes of a segment where they are known, else 0.
        bordered: whether some of a row is border.
        axes: for each loop the number of the bordered dim whose place it moves, `borders` for a row's own, or -1.
        borders: how many bordered dims there are beside a row's own.
        stream: vectors are written by non-temporal stores, all of them aligned.
        wrapped: bordered dims may be shifted cyclically, all of them are dims of two runs; see `kernel`.
        gaps: whether any place of them is border.
    """

    to_batch: bool
    word: int
    pair: bool
    row: Row
    block: int
    segment: int
    bordered: bool
    axes: tuple[int, ...]
    borders: int
    stream: bool = False
    wrapped: bool = False
    gaps: bool = True

    def positions(self, vector: int) -> int:
        """How many positions of a row move at once, but for segments, with vectors of so many bytes."""
        here = vector // self.word
        return here if self.row == "deinterleave" else min(here, MOST_TILE)

    def __str__(self) -> str:
        """In words, for `explain`.

        >>> str(KernelSpec(True, 4, False, "deinterleave", 3, 0, False, (), 0))
        'deinterleave 3 phases, words of 4 bytes'
        """
        size = f" of {self.segment} bytes" if self.segment else ""
        what = {
            "deinterleave": f"{'deinterleave' if self.to_batch else 'interleave'} {self.block} phases",
            "tiles": "transpose many phases in tiles",
            "transpose": "transpose in tiles",
            "strided_segments": f"strided segments{size}",
            "contiguous_segments": f"contiguous segments{size}",
            "windows": f"windows{size}",
        }[self.row]
        return f"{what}, words of {self.word} byte{'s' if self.word > 1 else ''}{', shifted' if self.wrapped else ''}"
