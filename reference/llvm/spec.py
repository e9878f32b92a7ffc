"""What a kernel is compiled for."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from spacebatch.reference.arithmetic import RESULTS, SOURCES, Arithmetic

# deinterleave         an interleaved blocked dim of neighbours: vectors are loaded, deinterleaved by shuffles (or interleaved), and stored
# tiles                the same in blocks too large for that: tiles of positions and phases are transposed
# transpose            what is next to each other in one tensor is far apart in the other, and the other way round: transposed likewise
# strided_segments     an interleaved blocked dim of segments shorter than a cache line, the channels of a pixel: each segment is copied
# lines                likewise, next to each other in the result: what is computed of one may reach into the next, which is written later
# contiguous_segments  neighbours on both sides: contiguous blocks, whole rows, many channels: one segment is copied
# windows              neighbours on both sides, in blocks of an image that is a piece of many: they may overlap, and those at the ends are clipped
Row: TypeAlias = Literal[
    "deinterleave", "tiles", "transpose", "strided_segments", "lines", "contiguous_segments", "windows"
]
# Where the channels are of scale, bias and pad values:
# outer      a row has one; single numbers also
# run        the elements of a segment, each has the next one
# cyclic     likewise in segments of several pixels, where the first channel follows the last one
# phases     the phases of a row
# positions  the positions of a row
Channels: TypeAlias = Literal["outer", "run", "cyclic", "phases", "positions"]
Spec: TypeAlias = (  # fields of a `KernelSpec`
    "tuple[bool, int, bool, Row, int, int, bool, tuple[int, ...], int, bool, bool, bool, Computation | None]"
)

MOST_TILE = 16  # positions and phases
MOST_AT_ONCE = 64  # elements that a row moves at once, where there is arithmetic

# Numbers of a call, an int64 each; see `kernel`.
HEAD_NUMBERS = 4  # steps, the pad value twice (16 bytes), the offset in space of the first place, border included
# Then, where there is arithmetic: the addresses of scale, bias, residual and pad values, and after how many entries the channels in a
# table begin anew where they are cyclic. Such a table has `MOST_AT_ONCE` entries more; where channels are the phases of a deinterleaved
# row, each `MOST_AT_ONCE` times.
OPERAND_NUMBERS = 5
LOOP_NUMBERS = 4  # of a loop: steps, bytes in space and in the batch tensor, places along its bordered dim; with arithmetic also channels
BORDER_NUMBERS = 2, 4  # of a bordered dim: before, covered; where dims are wrapped also head, and the bytes of jump

EXACT = ("none", "relu", "hardswish")  # activations that are no approximations


class Computation(NamedTuple):
    """Arithmetic on the way, as far as a kernel is compiled for it; see `arithmetic.Arithmetic`.

    Attributes:
        source, result, residual, scale, bias, activation, gradient: as there.
        channels: where they are. pads: whether each has a pad value of its own.
        copies: how often each element is stored, so many bytes apart as a number of the call tells.
    """

    source: str
    result: str
    residual: str | None
    scale: bool
    bias: bool
    activation: str
    gradient: bool
    channels: Channels
    pads: bool
    copies: int = 1

    @property
    def itemsizes(self) -> tuple[int, int]:
        """Bytes of an element of the source and of the result."""
        return SOURCES[self.source], RESULTS[self.result]

    @property
    def double(self) -> bool:
        """Whether it is computed in float64."""
        return self.source == "float64"

    def __str__(self) -> str:
        fields = self._asdict()
        del fields["channels"], fields["pads"], fields["copies"]
        return str(Arithmetic(**fields))


class KernelSpec(NamedTuple):
    """What a kernel is compiled for, beside the processor.

    Attributes:
        to_batch: the direction.
        word: bytes of what moves as one: 1, 2, 4 or 8. pair: elements have 16 bytes, which are two words.
        row: how a row is moved. block: of `deinterleave`, else 0.
        segment: bytes of a segment where they are known, else 0; with arithmetic, elements, or positions of `deinterleave`.
        bordered: whether some of a row is border.
        axes: for each loop the number of the bordered dim whose place it moves, `borders` for a row's own, or -1.
        borders: how many bordered dims there are beside a row's own.
        stream: vectors are written by non-temporal stores, all of them aligned.
        wrapped: bordered dims may be shifted cyclically, all of them are dims of two runs; see `kernel`.
        gaps: whether any place of them is border.
        computed: what is computed on the way, of elements, which are not packed then; a word is an element of the source.
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
    computed: Computation | None = None

    @property
    def words(self) -> tuple[int, int]:
        """Bytes of a word in space and in the batch tensor."""
        if self.computed is None:
            return self.word, self.word
        source, result = self.computed.itemsizes
        return (source, result) if self.to_batch else (result, source)

    def positions(self, vector: int) -> int:
        """How many positions of a row move at once, but for segments, with vectors of so many bytes."""
        here = vector // self.word
        return here if self.row == "deinterleave" else min(here, MOST_TILE)

    def __str__(self) -> str:
        """In words, for `explain`.

        >>> str(KernelSpec(True, 4, False, "deinterleave", 3, 0, False, (), 0))
        'deinterleave 3 phases, words of 4 bytes'
        """
        unit = "bytes" if self.computed is None else "elements"
        size = f" of {self.segment} {unit}" if self.segment else ""
        what = {
            "deinterleave": f"{'deinterleave' if self.to_batch else 'interleave'} {self.block} phases",
            "tiles": "transpose many phases in tiles",
            "transpose": "transpose in tiles",
            "strided_segments": f"strided segments{size}",
            "lines": f"lines{size}",
            "contiguous_segments": f"contiguous segments{size}",
            "windows": f"windows{size}",
        }[self.row]
        words = (
            f"words of {self.word} byte{'s' if self.word > 1 else ''}" if self.computed is None else str(self.computed)
        )
        return f"{what}, {words}{', shifted' if self.wrapped else ''}"
