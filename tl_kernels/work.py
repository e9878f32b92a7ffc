"""What plans know of arithmetic on the way: the channel of a word, the tables that kernels look up, and sizes of tiles.

With arithmetic words are elements of the result. Nothing is packed, and the loop over channels merges with no other one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from spacebatch.reference.arithmetic import SOURCES, Arithmetic, Operands
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.loops import PLAIN, Direction, LoopDim, Nest, loop_dims, merged

from .integers import Divisor, divisor, encode

LONGEST = 2**30  # a period that families which fill a dense result count with
NONE, GRANULE, TWO, LANE, SINGLE, ANY = 0, 1, 2, 3, 4, 5  # how channels lie in a dense result; see `Work.spread`


class Tables(NamedTuple):
    """What kernels are given beside source and result: four pointers, or None, and the way from a place to its channel."""

    scale: Any
    bias: Any
    residual: Any
    pad: Any
    stride: Divisor  # from a channel to the next, in elements of the result
    channels: Divisor
    period: int  # elements of the result after which channels come again


@dataclass(frozen=True)
class Work:
    """The arithmetic of a plan; hashable.

    Attributes:
        padded: whether the result has a border.
        channels, stride: of the channel dim, in elements of the result; 1 and 0 where there are no channels.
        loop: the one over channels; None where there is none.
    """

    arithmetic: Arithmetic
    padded: bool
    channels: int = 1
    stride: int = 0
    loop: LoopDim | None = None

    @property
    def source_bytes(self) -> int:
        """Of an element."""
        return SOURCES[self.arithmetic.source]

    @property
    def period(self) -> int:
        """Elements of a dense result after which channels come again."""
        return max(self.channels * self.stride, 1)

    def spread(self, lanes: int) -> int:
        """How channels lie in granules of so many elements: NONE are told apart; a granule is of one; of two at most; each lane is
        of one of its own, from the granule's first on, or round at ANY place; all is divided for each element.
        """
        if self.loop is None:
            return NONE
        if self.stride % lanes == 0:
            return GRANULE
        if self.stride >= lanes:
            return TWO
        if self.stride > 1:
            return ANY
        return SINGLE if self.channels % lanes else LANE

    def loop_of(self, dims: Sequence[LoopDim]) -> int:
        """Which of these loops is over channels; as many as there are where it is none of them, -1 without channels."""
        if self.loop is None:
            return -1
        return dims.index(self.loop) if self.loop in dims else len(dims)

    def constants(self, place: int, table: bool) -> tuple[Any, ...]:
        """What kernels are compiled for; see `arithmetic`.

        Args:
            place: of a family of rows, `loop_of` its loops; of one that fills a dense result, `spread`.
            table: whether the border is looked up by channel.
        """
        a = self.arithmetic
        kinds = (a.source, a.result, a.residual or "", a.compute == "float64")
        return (*kinds, a.scale, a.bias, a.activation, a.gradient, a.plain, self.padded, table, place)

    def tables(self, pointers: Sequence[Any]) -> Tables:
        """With the pointers to scale, bias, residual and pad."""
        scale, bias, residual, pad = pointers
        sizes = divisor(max(self.stride, 1)), divisor(self.channels), encode(self.period)
        return Tables(scale, bias, residual, pad, *sizes)

    def __str__(self) -> str:
        return f", {self.arithmetic}"


def given(operands: Operands) -> tuple[Any, ...]:
    """The tensors in the order of `Tables`."""
    return operands.scale, operands.bias, operands.residual, operands.pad


def worked(
    direction: Direction,
    geometry: BlockGeometry,
    space_strides: Sequence[int],
    batch_strides: Sequence[int],
    words: int,
    arithmetic: Arithmetic,
    aligned: tuple[bool, bool] = (True, True),
) -> tuple[Nest, Work]:
    """The loops of a call with arithmetic in elements, that over channels on its own, and its work.

    Args:
        words: bytes of an element of the result.
        aligned: whether space and batch start at a multiple of 16 bytes.
    """
    to_batch = direction == "space_to_batch"
    dims = loop_dims(geometry, space_strides, batch_strides)
    padded = to_batch and any(dim.masked for dim in dims)
    work = Work(arithmetic, padded)
    c = arithmetic.channel_dim
    if c is not None and geometry.space_shape[c] > 1:
        loop = LoopDim(PLAIN, geometry.space_shape[c], space_strides[c], batch_strides[c])
        work = Work(arithmetic, padded, loop.size, (batch_strides if to_batch else space_strides)[c], loop)
        dims.remove(loop)
        dims = [*(merged(dims) if dims else []), loop]
        dims.sort(key=lambda dim: (dim.space_stride or dim.outer_stride, dim.outer_stride), reverse=True)
    else:
        dims = merged(dims)
    return Nest(tuple(dims), words, False, *aligned), work
