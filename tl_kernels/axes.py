"""The dims of space with a border or a cyclic shift, and how far along them words lie; for kernels that fill a dense result.

Along a dim with a cyclic shift, what is short of its begin counts from its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import triton
import triton.language as tl

from .integers import encoded, number

MAX_AXES = 3
_MAX_AXES = tl.constexpr(MAX_AXES)  # as kernels may read it


class Turn(NamedTuple):
    """Where a dim with a cyclic shift goes round: its size, and the words that this is in space."""

    size: int
    words: int


class Axis(NamedTuple):
    """A dim of space: a place u of it is there where 0 <= u - before < covered, once u - before has gone round."""

    before: int
    covered: int
    turn: Turn | tuple[()] = ()  # no argument of a kernel where there is no shift

    @property
    def masked(self) -> bool:
        """Whether some places are in a border."""
        return not self.turn or self.covered < self.turn.size


Borders: TypeAlias = "tuple[Axis, ...]"  # MAX_AXES of them, encoded


def borders(axes: Sequence[Axis]) -> Borders:
    """The dims as kernels are given them: as many as there may be, the last ones not used."""
    found = (*axes, *(Axis(0, 0),) * (MAX_AXES - len(axes)))
    return tuple(encoded(axis._replace(turn=encoded(axis.turn) if axis.turn else ())) for axis in found)


@triton.jit
def starts(borders, TYPE: tl.constexpr):
    """How far along each dim the first word is."""
    along = ()
    for n in tl.static_range(_MAX_AXES):
        along = along + (-number(borders[n].before, TYPE),)
    return along


@triton.jit
def placed(along, AXIS: tl.constexpr, u):
    """How far along, with the dim AXIS at u."""
    result = ()
    for n in tl.static_range(_MAX_AXES):
        if n == AXIS:
            result = result + (u,)
        else:
            result = result + (along[n],)
    return result


@triton.jit
def advanced(along, AXIS: tl.constexpr, moved):
    """How far along, with the dim AXIS moved on."""
    return placed(along, AXIS, along[AXIS] + moved)


@triton.jit
def covers(u, covered, LONG: tl.constexpr):
    """Whether 0 <= u < covered, which is encoded."""
    if LONG:
        inside = (u >= 0) & (u < number(covered, tl.int64))
    else:
        inside = u.to(tl.uint32) < number(covered, tl.uint32)
    return inside


@triton.jit
def within(inside, along, borders, BORDERS: tl.constexpr, BUT: tl.constexpr, LONG: tl.constexpr):
    """`inside`, a mask, and in no border but, perhaps, that of BUT; -1 is none."""
    for n in tl.static_range(BORDERS):
        if n != BUT:
            # a tensor before it is compared: a comparison of scalars is no mask to the interpreter of Triton 3.9
            u = along[n] + tl.where(inside, 0, 0)
            inside = inside & covers(u, borders[n].covered, LONG)
    return inside


@triton.jit
def turned(offset, along, borders, TURNS: tl.constexpr, BUT: tl.constexpr, LONG: tl.constexpr, OFFSET: tl.constexpr):
    """Source offsets, and how far along each dim, once all dims but, perhaps, BUT have gone round; -1 is none."""
    for n in tl.static_range(_MAX_AXES):
        if TURNS[n] and n != BUT:
            offset, u = turned_along(offset, along[n], borders[n].turn, LONG, OFFSET)
            along = placed(along, n, u)
    return offset, along


@triton.jit
def turned_along(offset, u, turn, LONG: tl.constexpr, OFFSET: tl.constexpr):
    """Source offsets, and places of a dim with a cyclic shift, once it has gone round."""
    offset += tl.where(u < 0, number(turn.words, OFFSET), 0)
    return offset, gone_round(u, turn.size, LONG)


@triton.jit
def gone_round(u, size, LONG: tl.constexpr):
    """Places of a dim, of which those short of its begin count from its end; the size is encoded."""
    return tl.where(u < 0, u + number(size, tl.int64 if LONG else tl.int32), u)
