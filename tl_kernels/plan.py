"""Which families of kernels can carry out a call, the best one first; no GPU is needed to tell.

rows          runs of memory on both sides: channels_last, windows; and whatever the others decline
vectors       interleaved blocks of 2**n, results of whole 16-byte granules
deinterleave  single bytes in interleaved blocks of 2 and 4, to batch
interleave    single bytes in interleaved blocks of 2 and 4, back to space
phases        interleaved blocks, windows and pixels of any size, to batch
runs          the same, back to space
granules      any dense result

With arithmetic on the way all serve but `deinterleave` and `interleave`, whose words hold several elements.
All take cyclic shifts, but for `deinterleave`, and for `interleave` where rows are shifted: there others serve.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from spacebatch.reference.arithmetic import Arithmetic
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.loops import Direction, nest

from .deinterleave import plan_deinterleave
from .family import SPANNING, Plan, fits
from .granules import plan_granules
from .interleave import plan_interleave
from .phases import plan_phases
from .rows import plan_rows
from .runs import plan_runs
from .vectors import plan_vectors
from .work import LONGEST, Work, worked

PLANNERS: dict[str, Callable[..., Plan | None]] = {  # of direction, nest, and the work of those that take arithmetic
    "vectors": plan_vectors,
    "phases": plan_phases,
    "runs": plan_runs,
    "deinterleave": plan_deinterleave,
    "interleave": plan_interleave,
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
    arithmetic: Arithmetic | None = None,
) -> tuple[Plan, ...]:
    """The launch plans of a call, one for each family that applies, the one to take by rule first.

    Args:
        direction: which operator.
        geometry: of the call, with at least one element to write.
        space_strides, batch_strides: of both tensors, in elements.
        element_bytes: 1, 2, 4, 8 or 16; with arithmetic, of the result.
        space_aligned, batch_aligned: whether the first element stands at a multiple of 16 bytes.
        arithmetic: on the way.

    Returns:
        Empty where the loops, or the programs of a launch, are more than there may be.
    """
    work: tuple[Work, ...] = ()
    planners = PLANNERS
    if arithmetic is None:
        loops = nest(geometry, space_strides, batch_strides, element_bytes, space_aligned, batch_aligned)
    else:
        aligned = space_aligned, batch_aligned
        loops, found = worked(direction, geometry, space_strides, batch_strides, element_bytes, arithmetic, aligned)
        work = (found,)
        others = SPANNING if found.period <= LONGEST else (*SPANNING, "phases", "runs", "granules")
        planners = {name: planner for name, planner in PLANNERS.items() if name not in others}
    if geometry.shifted:
        loops = replace(loops, dims=tuple([dim.settled for dim in loops.dims]))
    made = [plan for planner in planners.values() if (plan := planner(direction, loops, *work)) is not None]
    return tuple(sorted((plan for plan in made if fits(plan, plan.rule)), key=_rank))


def _rank(plan: Plan) -> int:
    """Lower is better; ahead of the general families stand those that are at their best with this call.

    Loaded one at a time, single bytes are bound by instructions: the families that read whole words take a half to a quarter
    of the others', of which rows take the fewest where their stores are wide. Elsewhere the width of stores decides.
    """
    load, store = plan.access
    if plan.work is not None:
        load = max(load, load * plan.words // plan.work.source_bytes)  # as wide as if words were loaded
    if plan.family == "rows":
        if load >= 128 and store >= 128:
            return 0
        bordered = any(dim.masked for dim in (*plan.dims, plan.inner))  # type: ignore[attr-defined]
        return 3 if plan.words == 1 and store >= 128 and bordered and plan.direction == "space_to_batch" else 8
    if plan.family == "vectors":
        enough = 32 if plan.words == 1 else 64
        return 1 if min(load, store) >= enough else 9
    if plan.family == "deinterleave":
        return 2 if plan.lanes == 16 else 5  # type: ignore[attr-defined]
    if plan.family == "runs":
        return 4 if plan.words > 1 or plan.windows or plan.phases & (plan.phases - 1) == 0 else 7  # type: ignore[attr-defined]
    return {"interleave": 2, "phases": 4, "granules": 6}[plan.family]
