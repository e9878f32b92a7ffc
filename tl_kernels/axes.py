"""The bordered dims of space, and how far along them words lie; for the kernels that fill a dense result from end to end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import triton
import triton.language as tl

from .integers import encoded, number

MAX_AXES = 3
_MAX_AXES = tl.constexpr(MAX_AXES)  # as kernels may read it


class Axis(NamedTuple):
    """A bordered dim of space: a place u of it is there where 0 <= u - before < covered."""

    before: int
    covered: int


Borders: TypeAlias = "tuple[Axis, ...]"  # MAX_AXES of them, encoded


def borders(axes: Sequence[Axis]) -> Borders:
    """The bordered dims as kernels are given them: as many as there may be, the last ones not used."""
    return tuple(encoded(axis) for axis in [*axes, *(Axis(0, 0),) * (MAX_AXES - len(axes))])


@triton.jit
def starts(borders, TYPE: tl.constexpr):
    """How far along each bordered dim the first word is, which lies in a border."""
    along = ()
    for n in tl.static_range(_MAX_AXES):
        along = along + (-number(borders[n].before, TYPE),)
    return along


@triton.jit
def placed(along, AXIS: tl.constexpr, u):
    """How far along, with the bordered dim AXIS at u."""
    result = ()
    for n in tl.static_range(_MAX_AXES):
        if n == AXIS:
            result = result + (u,)
        else:
            result = result + (along[n],)
    return result


@triton.jit
def advanced(along, AXIS: tl.constexpr, moved):
    """How far along, with the bordered dim AXIS moved on."""
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
