"""Which families of kernels can carry out a call, the best one first; no GPU is needed to tell.

rows       runs of memory on both sides: channels_last, windows; and whatever the others decline
vectors    interleaved blocks of 2**n, results of whole 16-byte granules
phases     interleaved blocks, windows and pixels of any size, to batch
runs       the same, back to space
granules   any dense result
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.loops import Direction, Nest, nest

from .family import Plan
from .granules import plan_granules
from .phases import plan_phases
from .rows import plan_rows
from .runs import plan_runs
from .vectors import plan_vectors

PLANNERS: dict[str, Callable[[Direction, Nest], Plan | None]] = {
    "vectors": plan_vectors,
    "phases": plan_phases,
    "runs": plan_runs,
    "granules": plan_granules,
    "rows": plan_rows,
}


def make_plans(
    direction: Direction,
    geometry: BlockGeometry,
    space_strides: Sequence[int],
    batch_strides: Sequence[int],
    element_bytes: int,
    space_aligned: bool = True,
    batch_aligned: bool = True,
) -> tuple[Plan, ...]:
    """The launch plans of a call, one for each family that applies, the one to take by rule first.

    Args:
        direction: which operator.
        geometry: of the call, with at least one element to write.
        space_strides, batch_strides: of both tensors, in elements.
        element_bytes: 1, 2, 4, 8 or 16.
        space_aligned, batch_aligned: whether the first element stands at a multiple of 16 bytes.

    Returns:
        Empty where the loops are more than the kernels take.
    """
    loops = nest(geometry, space_strides, batch_strides, element_bytes, space_aligned, batch_aligned)
    made = [plan for planner in PLANNERS.values() if (plan := planner(direction, loops)) is not None]
    return tuple(sorted(made, key=_rank))


def _rank(plan: Plan) -> int:
    """Lower is better; ahead of the general families stand those that are at their best with this call.

    With scalar loads single bytes are bound by instructions, of which rows take the fewest where their stores are wide
    (`perf.static` counts them); elsewhere the width of stores decides.
    """
    load, store = plan.access
    if plan.family == "rows":
        if load >= 128 and store >= 128:
            return 0
        bordered = any(dim.masked for dim in (*plan.dims, plan.inner))  # type: ignore[attr-defined]
        return 2 if plan.words == 1 and store >= 128 and bordered and plan.direction == "space_to_batch" else 5
    if plan.family == "vectors":
        enough = 32 if plan.words == 1 else 64
        return 1 if min(load, store) >= enough else 6
    return {"phases": 3, "runs": 3, "granules": 4}[plan.family]
