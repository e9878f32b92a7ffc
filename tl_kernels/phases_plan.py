"""The launch plan of `phases`: interleaved blocks of any size and width, gathered for several phases at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

from spacebatch.reference.loops import INT32_MAX, Direction, Nest

from .coded import coded, divider
from .family import Arguments, Config, power_of_two
from .steps import MAX_AXES, Axis, Step, Steps, steps_of

MOST_PHASES = 8
LARGE_PLANE = 1 << 15  # words: the last tile of a plane wastes little; so it does where tiles just fill a plane


@dataclass(frozen=True)
class PhasesPlan:
    """What a launch needs; counts are of words.

    A program owns a stretch of a *plane* (the innermost loops of the result, `plane` of them) of one place of the other
    loops, and the same stretch of `shared.size` phases, whose words lie side by side in space.
    """

    steps: Steps
    plane: tuple[Step, ...]  # innermost first
    near: tuple[Step, ...]  # the loops that move less in space than the plane does, the least first
    far: tuple[Step, ...]
    shared: Step
    lanes: int
    wide: bool
    long: bool
    words: int

    family = "phases"
    direction: Direction = "space_to_batch"

    @property
    def payload(self) -> int:
        """Bytes of the result that are written."""
        return self.steps.total * self.words

    @property
    def plane_size(self) -> int:
        """Words of a plane."""
        last = self.plane[-1]
        return last.size * last.result_stride

    @property
    def access(self) -> tuple[int, int]:
        """Bits of the widest load and store of one thread."""
        return self.words * 8, 128

    @property
    def bucket(self) -> str:
        """What is alike for the tuning."""
        kinds = "/".join("b" if s.axis >= 0 else "p" for s in self.plane)
        size = min(self.payload.bit_length(), 30)
        step = min(self.plane[0].source_stride, 32)
        return f"phases {self.words}x{self.shared.size} {step} {size} {min(self.plane_size.bit_length(), 15)} {kinds}"

    @property
    def rule(self) -> Config:
        """A granule of every phase for each thread, two of few phases; fewer warps where a plane is small or the call is."""
        granule = 16 * power_of_two(self.shared.size)
        most = 256 if self.shared.size <= 2 and self.words > 1 else 128
        tile = min(most * granule, power_of_two(self.plane_size // self.lanes) * granule)
        while tile > 32 * granule and self.payload // tile < 512:
            tile //= 2
        return Config(self.family, max(tile, 1024), min(max(tile // (32 * granule), 1), 4))

    def _stretch(self, tile: int) -> int:
        return int(max(tile // power_of_two(self.shared.size), 32))

    def programs(self, tile: int) -> int:
        """How many programs a launch with tiles of so many words takes."""
        count = -(-self.plane_size // self._stretch(tile))
        for step in (*self.near, *self.far):
            count *= step.size
        return count

    def arguments(self, tile: int) -> Arguments:
        """What the kernel takes, with tiles of so many words."""
        stretch = self._stretch(tile)
        chunks = Step(-(-self.plane_size // stretch), 0, 0)
        planes = []
        moved = 0
        for s in self.plane:
            # from one step to the next, less what the steps inside went
            planes.append((s, s.source_stride - moved))
            moved = s.size * s.source_stride
        outer = (*self.near, chunks, *self.far)
        dims = tuple(_numbers(s, delta, self.lanes) for s, delta in planes)
        dims += tuple(_numbers(s, s.source_stride, self.lanes) for s in outer)
        axes = self.steps.axes
        borders = [*axes, *(Axis(0, 0),) * (MAX_AXES - len(axes))]
        inner = (
            coded(self.steps.base),
            coded(self.plane_size // self.lanes),
            coded(self.shared.source_stride),
            coded(self.shared.result_stride // self.lanes),
            coded(self.shared.pace),
            *(coded(n) for axis in borders for n in (axis.before, axis.covered)),
        )
        flags = {
            "AXES": tuple(s.axis for s in (*self.plane, *outer)),
            "MOVING": tuple(s.size > 1 for s in (*self.plane, *outer)),
            "NP": len(self.plane),
            "ND": len(self.plane) + len(outer),
            "CHUNK_AT": len(self.plane) + len(self.near),
            "BORDERS": len(axes),
            "PHASES": self.shared.size,
            "SHARED_AXIS": self.shared.axis,
            "SIDE_BY_SIDE": self.shared.source_stride == 1,
            "LANES": self.lanes,
            "WIDE": self.wide,
            "LONG": self.long,
            "STRETCH": stretch,
            "RAGGED": self.plane_size % stretch != 0,
        }
        return Arguments(self.programs(tile), dims, inner, flags)

    def __str__(self) -> str:
        return f"planes of {self.plane_size} words of {self.words} bytes, {self.shared.size} phases at once"


def _numbers(step: Step, delta: int, lanes: int) -> tuple[int, ...]:
    return (
        coded(step.size),
        divider(step.size),
        coded(step.source_stride),
        coded(delta),
        coded(step.result_stride // lanes),
        coded(step.pace),
    )


def plan_phases(direction: Direction, nest: Nest) -> PhasesPlan | None:
    """The plan of a nest, or None where no phases lie between the words of a row, or planes are not whole granules."""
    steps = steps_of(direction, nest) if direction == "space_to_batch" and not nest.pair else None
    if steps is None:
        return None
    first = steps.steps[0]
    between = [s for s in steps.steps[1:] if 0 < s.source_stride < first.source_stride]
    if not between:
        return None
    shared = min(between, key=lambda s: s.source_stride)
    inside = [s for s in steps.steps if s.result_stride < shared.result_stride]
    plane: list[Step] = []
    for count in range(1, len(inside) + 1):
        size = inside[count - 1].size * inside[count - 1].result_stride
        if size % nest.full == 0:
            plane = inside[:count]
            if size >= LARGE_PLANE or -size % (128 * nest.full) * 16 <= size:
                break
    if not plane:
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
    return PhasesPlan(
        steps,
        tuple(plane),
        tuple(s for s in others if s.source_stride < reach),
        tuple(s for s in others if s.source_stride >= reach),
        shared,
        nest.full,
        wide=nest.wide,
        long=plane[-1].size * plane[-1].result_stride > INT32_MAX - 2**16,
        words=nest.words,
    )
