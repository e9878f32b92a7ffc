"""The loops of a call in the order of the result's memory, for the kernels that fill a dense result from end to end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from spacebatch.reference.loops import PLAIN, SHIFTED, SPLIT, Direction, LoopDim, Nest

from .axes import MAX_AXES, Axis, Turn

MAX_STEPS = 8


@dataclass(frozen=True)
class Step:
    """One loop of the result, with the words it moves by in source and result.

    Where `extent` is set the source moves by `inner_stride` within stretches of `extent` (counted from `before` on) and by
    `source_stride` from one stretch to the next; where `turn` is set too, places from it on count from the begin again.
    `axis` is the dim with a border or a cyclic shift along which an index moves by `pace`, or -1.
    """

    size: int
    result_stride: int
    source_stride: int
    axis: int = -1
    pace: int = 0
    extent: int = 0
    inner_stride: int = 0
    before: int = 0
    turn: int = 0

    @property
    def start(self) -> int:
        """The source's offset of its first index."""
        return self.before * self.inner_stride + self.skip * (self.before // self.extent) if self.extent else 0

    @property
    def skip(self) -> int:
        """What a stretch adds to the source's offset beyond `inner_stride` for each of its words."""
        return self.source_stride - self.extent * self.inner_stride


@dataclass(frozen=True)
class Steps:
    """All loops of a result, innermost first: each one's stride is the product of the sizes of those before it."""

    steps: tuple[Step, ...]
    axes: tuple[Axis, ...]  # those with a border first
    base: int  # the source's offset of the first word

    @property
    def total(self) -> int:
        """Words of the result."""
        last = self.steps[-1]
        return last.size * last.result_stride

    @property
    def borders(self) -> int:
        """How many axes have a border."""
        return sum(axis.masked for axis in self.axes)

    @property
    def turns(self) -> tuple[bool, ...]:
        """Of as many axes as there may be: goes round."""
        found = tuple(axis.turn != () for axis in self.axes)
        return (*found, *(False,) * (MAX_AXES - len(found)))

    def kinds_of(self, steps: Sequence[Step]) -> str:
        """What loops are like, for the tuning: along stretches, a bordered dim or neither, and perhaps round."""
        return "/".join(
            ("s" if s.extent else "b" if 0 <= s.axis < self.borders else "p")
            + "r" * (s.turn > 0 or (s.axis >= 0 and self.turns[s.axis]))
            for s in steps
        )


def steps_of(direction: Direction, nest: Nest) -> Steps | None:
    """The loops, or None where the result is not dense and aligned, or has more loops or borders than the kernels take."""
    if not (nest.batch_aligned if direction == "space_to_batch" else nest.space_aligned):
        return None
    steps: list[Step] = []
    axes: list[Axis] = []
    base = 0
    to_batch = direction == "space_to_batch"
    for dim in sorted(nest.dims, key=lambda dim: not dim.masked):
        if to_batch:
            axis = -1
            if dim.masked or dim.wrap:
                axis = len(axes)
                turn = Turn(dim.size, dim.size * dim.space_stride) if dim.wrap else ()
                axes.append(Axis(dim.before + dim.wrap, dim.covered, turn))
            steps += _to_batch(dim, axis)
            base -= (dim.before + dim.wrap) * dim.space_stride
        else:
            steps += _to_space(dim)
            base += dim.before * dim.outer_stride if dim.kind == SHIFTED else 0
    base += sum(s.start for s in steps if s.size == 1)
    ordered = sorted((s for s in steps if s.size > 1), key=lambda s: s.result_stride)
    ordered = _merged(ordered) or [Step(1, 1, 1)]
    expected = 1
    for step in ordered:
        if step.result_stride != expected:
            return None
        expected *= step.size
    if len(ordered) > MAX_STEPS or len(axes) > MAX_AXES:
        return None
    return Steps(tuple(ordered), tuple(axes), base)


def _to_batch(dim: LoopDim, axis: int) -> list[Step]:
    pace = 1 if axis >= 0 else 0
    if dim.kind != SPLIT:
        return [Step(dim.size, dim.outer_stride, dim.space_stride, axis, pace)]
    outers = dim.size // dim.extent
    return [
        Step(outers, dim.outer_stride, dim.extent * dim.space_stride, axis, pace * dim.extent),
        Step(dim.extent, dim.inner_stride, dim.space_stride, axis, pace),
    ]


def _to_space(dim: LoopDim) -> list[Step]:
    if dim.kind == PLAIN:
        return [Step(dim.size, dim.space_stride, dim.outer_stride)]
    if dim.kind == SHIFTED and dim.wrap:
        # one stretch, met twice
        stride = dim.outer_stride
        return [Step(dim.covered, dim.space_stride, 0, extent=dim.size, inner_stride=stride, before=dim.wrap)]
    if dim.kind == SHIFTED:
        return [Step(dim.covered, dim.space_stride, dim.outer_stride)]
    if not dim.wrap and not dim.masked and not (dim.space_stride == 1 and dim.outer_stride < dim.inner_stride):
        # whole stretches are loops of their own; interleaved along the rows, those would be too short
        outers = dim.size // dim.extent
        return [
            Step(outers, dim.extent * dim.space_stride, dim.outer_stride),
            Step(dim.extent, dim.space_stride, dim.inner_stride),
        ]
    return [
        Step(
            dim.covered,
            dim.space_stride,
            dim.outer_stride,
            extent=dim.extent,
            inner_stride=dim.inner_stride,
            before=dim.before + dim.wrap,
            turn=dim.size if dim.wrap else 0,
        )
    ]


def _merged(steps: list[Step]) -> list[Step]:
    """Neighbours that move alike made one; innermost first."""
    result: list[Step] = []
    for step in steps:
        last = result[-1] if result else None
        if (
            last is not None
            and not last.extent
            and not step.extent
            and last.axis == step.axis
            and step.result_stride == last.size * last.result_stride
            and step.source_stride == last.size * last.source_stride
            and step.pace == last.size * last.pace
        ):
            result[-1] = replace(last, size=last.size * step.size)
        else:
            result.append(step)
    return result
