"""Planes of a result, which programs own stretches of in several phases at once; to batch, for words that need gathering.

A *plane* is made of the innermost loops of the result. Words that lie side by side in space belong to neighbouring phases,
so that a program takes the same stretch of a plane in each of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import triton
import triton.language as tl

from spacebatch.reference.loops import INT32_MAX

from .axes import Borders, advanced, borders, starts
from .integers import Divisor, divide, divisor, encoded, number, part
from .steps import Step, Steps

MOST_PHASES = 8
LONGEST = INT32_MAX - 2**16  # words of a plane, after which tiles may end
LARGE_PLANE = 1 << 15  # words: the last tile of a plane wastes little; so it does where tiles just fill a plane

# Of a tile whose dims are alike to it, Triton before 3.7 lays a warp along the first dim, later ones along the last.
WARP_FIRST = tl.constexpr(tuple(int(part) for part in triton.__version__.split(".")[:2]) < (3, 7))


class PlaneLoop(NamedTuple):
    """One loop of the result; see `steps.Step`."""

    size: Divisor
    source_stride: int
    delta: int  # the source's stride, less what the loops inside went; outside of the plane, the stride
    result_stride: int  # in granules
    pace: int


class Place(NamedTuple):
    """What kernels are told beside the loops."""

    base: int  # the source's offset of the first word
    granules: int  # of a plane
    phase_source_stride: int
    phase_result_stride: int  # in granules
    phase_pace: int
    row_part: int  # see `integers.part`
    borders: Borders


@dataclass(frozen=True)
class Planes:
    """How the loops of a result are made into a plane, phases, and the other ones; counts are of words.

    A program owns a stretch of a plane of one place of the other loops, and the same stretch of `shared.size` phases.
    """

    steps: Steps
    plane: tuple[Step, ...]  # innermost first
    near: tuple[Step, ...]  # the loops that move less in space than the plane does, the least first
    far: tuple[Step, ...]
    shared: Step
    lanes: int  # of a granule, which a plane is a multiple of

    @property
    def plane_size(self) -> int:
        """Words of a plane."""
        last = self.plane[-1]
        return last.size * last.result_stride

    def chunks(self, stretch: int) -> int:
        """Programs of a plane."""
        return -(-self.plane_size // stretch)

    def loops(self, stretch: int) -> tuple[PlaneLoop, ...]:
        """Those of the plane, innermost first, then the others with that over stretches of a plane among them."""
        moved = 0
        found = []
        for s in self.plane:
            # from one step to the next, less what the steps inside went
            found.append(_loop(s, s.source_stride - moved, self.lanes))
            moved = s.size * s.source_stride
        return (*found, *(_loop(s, s.source_stride, self.lanes) for s in self._outer(stretch)))

    def place(self) -> Place:
        """Encoded."""
        return encoded(
            Place(
                base=self.steps.base,
                granules=self.plane_size // self.lanes,
                phase_source_stride=self.shared.source_stride,
                phase_result_stride=self.shared.result_stride // self.lanes,
                phase_pace=self.shared.pace,
                row_part=part(self.plane[0].size),
                borders=borders(self.steps.axes),
            )
        )

    def flags(self, stretch: int) -> dict[str, Any]:
        """The constexprs that tell of the loops."""
        loops = (*self.plane, *self._outer(stretch))
        return {
            "AXES": tuple(s.axis for s in loops),
            "MOVING": tuple(s.size > 1 for s in loops),
            "NP": len(self.plane),
            "ND": len(loops),
            "CHUNK_AT": len(self.plane) + len(self.near),
            "BORDERS": self.steps.borders,
            "PHASES": self.shared.size,
            "LANES": self.lanes,
            "STRETCH": stretch,
            "RAGGED": self.plane_size % stretch != 0,
        }

    def _outer(self, stretch: int) -> tuple[Step, ...]:
        return (*self.near, Step(self.chunks(stretch), 0, 0), *self.far)


def _loop(step: Step, delta: int, lanes: int) -> PlaneLoop:
    return encoded(PlaneLoop(divisor(step.size), step.source_stride, delta, step.result_stride // lanes, step.pace))


def planes_of(steps: Steps, full: int) -> Planes | None:
    """The planes of a result, or None where no phases lie between the words of a row or beside it, or planes are no granules.

    Args:
        steps: the loops.
        full: words of an access of 16 bytes; granules are these, or halves of them.
    """
    first = steps.steps[0]
    between = [s for s in steps.steps[1:] if 0 < s.source_stride < first.source_stride]
    if first.source_stride == 1:  # windows side by side, or pixels
        between = [s for s in steps.steps[1:] if s.source_stride == first.size]
    if not between:
        return None
    shared = min(between, key=lambda s: s.source_stride)
    inside = [s for s in steps.steps if s.result_stride < shared.result_stride]
    plane: list[Step] = []
    lanes = full
    while not plane and lanes >= full // 2:
        for count in range(1, len(inside) + 1):
            size = inside[count - 1].size * inside[count - 1].result_stride
            if size % lanes == 0:
                plane = inside[:count]
                if size >= LARGE_PLANE or -size % (128 * lanes) * 16 <= size:
                    break
        lanes = lanes if plane else lanes // 2
    if not plane or plane[-1].size * plane[-1].result_stride > LONGEST:
        return None
    others = [s for s in steps.steps if s not in plane and s != shared]
    phases = next(n for n in range(min(MOST_PHASES, shared.size), 0, -1) if shared.size % n == 0)
    if phases < shared.size:
        others.append(
            replace(
                shared,
                size=shared.size // phases,
                result_stride=shared.result_stride * phases,
                source_stride=shared.source_stride * phases,
                pace=shared.pace * phases,
            )
        )
        shared = replace(shared, size=phases)
    others.sort(key=lambda s: s.source_stride)
    reach = max(s.source_stride for s in plane)
    return Planes(
        steps,
        tuple(plane),
        tuple(s for s in others if s.source_stride < reach),
        tuple(s for s in others if s.source_stride >= reach),
        shared,
        lanes,
    )


@triton.jit
def stretch_of_program(
    loops,  # of `PlaneLoop`
    place,  # `Place`
    AXES: tl.constexpr,
    MOVING: tl.constexpr,
    NP: tl.constexpr,
    ND: tl.constexpr,
    CHUNK_AT: tl.constexpr,
    LANES: tl.constexpr,
    STRETCH: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Scalars: a program's offsets in source and result; the first word of its stretch, and their number; how far along each border."""
    OFFSET: tl.constexpr = tl.int64 if WIDE else tl.int32
    rest = tl.program_id(0)
    source = number(place.base, OFFSET)
    result = tl.cast(0, OFFSET)  # in granules
    chunk = rest * 0
    along = starts(place.borders, tl.int32)
    for d in tl.static_range(NP, ND):
        if MOVING[d] or d == CHUNK_AT:
            index = rest
            if d < ND - 1:
                if MOVING[d]:
                    rest = divide(index, loops[d].size, False)
                    index -= rest * number(loops[d].size.value, tl.int32)
                else:
                    index = index * 0
            if d == CHUNK_AT:
                chunk = index
            else:
                source += tl.cast(index, OFFSET) * number(loops[d].source_stride, OFFSET)
                result += tl.cast(index, OFFSET) * number(loops[d].result_stride, OFFSET)
                if AXES[d] >= 0:
                    along = advanced(along, AXES[d], index * number(loops[d].pace, tl.int32))
    left = number(place.granules, tl.int32) - chunk * (STRETCH // LANES)
    count = tl.minimum(left, STRETCH // LANES) * LANES
    return source, result * LANES, chunk * STRETCH, count, along
