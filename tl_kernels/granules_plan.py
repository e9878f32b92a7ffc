"""The launch plan of `granules`: a dense result, filled 16 bytes at a time whatever its rows are, each by one thread."""

from __future__ import annotations

from dataclasses import dataclass

from spacebatch.reference.loops import INT32_MAX, Direction, Nest

from .coded import coded, divider
from .family import Arguments, Config, fitted
from .steps import MAX_AXES, Axis, Steps, steps_of

WITHIN, ONE, ANY = 0, 1, 2  # row ends inside a granule


@dataclass(frozen=True)
class GranulesPlan:
    """What a launch needs; counts are of words."""

    direction: Direction
    steps: Steps
    lanes: int  # words of a granule
    breaks: int
    wide: bool
    long: bool
    pair: bool
    words: int

    family = "granules"

    @property
    def payload(self) -> int:
        """Bytes of the result that are written."""
        return self.steps.total * self.words

    @property
    def access(self) -> tuple[int, int]:
        """Bits of the widest load and store of one thread."""
        return self.words * 8, self.lanes * self.words * 8

    @property
    def bucket(self) -> str:
        """What is alike for the tuning."""
        steps = self.steps.steps
        first = steps[0]
        row = f"{min(first.extent or first.source_stride, 32)} {first.axis >= 0:d}"
        kinds = "/".join("s" if s.extent else "b" if s.axis >= 0 else "p" for s in steps)
        size = min(self.payload.bit_length(), 30)
        return f"granules {self.direction} {self.words}x{self.lanes} {self.breaks} {row} {size} {kinds}"

    @property
    def rule(self) -> Config:
        """Several granules a thread, whose scalar work they share; fewer of single bytes, each of which takes a register."""
        return fitted(self.family, 4096 if self.words == 1 else 8192, 4, self.payload)

    def programs(self, tile: int) -> int:
        """How many programs a launch with tiles of so many words takes."""
        return -(-self.steps.total // max(tile, self.lanes))

    def arguments(self, tile: int) -> Arguments:
        """What the kernel takes, with tiles of so many words."""
        steps, axes = self.steps.steps, self.steps.axes
        dims = tuple(
            (
                coded(s.size),
                divider(s.size),
                coded(s.source_stride),
                coded(s.extent),
                divider(s.extent),
                coded(s.inner_stride),
                coded(s.skip),
                coded(s.before),
                coded(s.pace),
            )
            for s in steps
        )
        borders = [*axes, *(Axis(0, 0),) * (MAX_AXES - len(axes))]
        granules, tail = divmod(self.steps.total, self.lanes)
        inner = (
            coded(self.steps.base),
            coded(tail),
            coded(self.steps.total // steps[0].size),
            *(coded(n) for axis in borders for n in (axis.before, axis.covered)),
        )
        flags = {
            "SPLITS": tuple(s.extent > 0 for s in steps),
            "AXES": tuple(s.axis for s in steps),
            "ND": len(steps),
            "BORDERS": len(axes),
            "LANES": self.lanes,
            "BREAKS": self.breaks,
            "TAIL": tail > 0,
            "DENSE": steps[0].source_stride == 1 and not steps[0].extent,
            "WIDE": self.wide,
            "LONG": self.long,
            "PAIR": self.pair,
        }
        return Arguments(granules, dims, inner, flags)

    def __str__(self) -> str:
        row = self.steps.steps[0].size
        ends = ("whole granules", "at most one row end in a granule", "several row ends in a granule")[self.breaks]
        return f"{self.steps.total // row} rows of {row} words of {self.words} bytes, {self.lanes} to a granule, {ends}"


def plan_granules(direction: Direction, nest: Nest) -> GranulesPlan | None:
    """The plan of a nest, or None where the result is not dense and aligned."""
    steps = steps_of(direction, nest)
    if steps is None:
        return None
    row = steps.steps[0].size
    lanes, breaks = nest.full, ANY
    for fewer in (nest.full, nest.full // 2):
        if fewer and row >= fewer - 1:  # then the rest of a granule, after a row's end, fits the next row
            lanes, breaks = fewer, WITHIN if row % fewer == 0 else ONE
            break
    return GranulesPlan(
        direction,
        steps,
        lanes,
        breaks,
        wide=nest.wide,
        long=steps.total > INT32_MAX - 2**16,
        pair=nest.pair,
        words=nest.words,
    )
