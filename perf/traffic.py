"""Memory traffic of kernels without a GPU: from the layouts they were compiled to and the addresses they really use.

Which thread holds which element says the compiled kernel (`layouts.py`), at which addresses Triton's interpreter
(`addresses.py`), both together give the instructions of warps (`warps.py`), and what a GPU makes of them is a model
(`sectors.py`, with its limits). Looked at are some programs of a call, the first and the last among them, which therefore
count for more than they do in a long call. The tile is the rule's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from spacebatch.reference.loops import Direction
from spacebatch.tl_kernels.family import Config, Plan

from .addresses import Launch, record
from .sectors import Requests
from .static import DIRECTIONS, TARGETS, KernelCase, Report, compile_plan
from .warps import requests

PROGRAMS = 8
ELEMENT_BYTES = (1, 2, 4, 8, 16)
RATIOS = ("request_efficiency", "program_efficiency", "bytes_per_request", "wavefronts_per_request")


@dataclass(frozen=True)
class Traffic:
    """What one kernel asks of the memory, in the programs that were looked at.

    Attributes:
        case, direction, element_bytes, target, family: which kernel.
        programs: how many were looked at.
        loads, stores: what theirs come to.
    """

    case: str
    direction: str
    element_bytes: int
    target: str
    family: str
    programs: int
    loads: Requests
    stores: Requests

    def as_dict(self) -> dict[str, Any]:
        """For JSON: what was counted, and `RATIOS` of it, rounded."""
        made = asdict(self)
        for name, side in (("loads", self.loads), ("stores", self.stores)):
            made[name] |= {ratio: round(getattr(side, ratio), 4) for ratio in RATIOS}
        return made


def traffic(
    case: KernelCase, direction: Direction, element_bytes: int, target: str = "sm_90", family: str | None = None
) -> Traffic:
    """The traffic of one kernel; without a family, of the one that is taken.

    In a process where Triton compiles, that is without TRITON_INTERPRET::

        traffic(CASES[0], "space_to_batch", 4).stores.request_efficiency  # 1.0

    Args:
        case: the call, see `static.CASES`.
        direction: which operator.
        element_bytes: 1, 2, 4, 8 or 16.
        target: "sm_80", "sm_90" or "sm_100".
        family: "rows", "vectors", "phases" or "granules".

    Raises:
        ValueError: the family does not apply to the call, or the target is no GPU of NVIDIA's, or a number or name is not
            one of those.
    """
    return traffics([(case, direction, element_bytes, family)], target)[0]


def traffics(
    wanted: Iterable[tuple[KernelCase, Direction, int, str | None]], target: str = "sm_90", programs: int = PROGRAMS
) -> list[Traffic]:
    """`traffic` of many kernels, which takes much less time than one by one: a single process interprets them all."""
    wanted = list(wanted)
    plans = [_plan(*call) for call in wanted]
    made = sides([(plan, plan.rule) for plan in plans], target, programs)
    return [
        Traffic(case.name, direction, element_bytes, target, plan.family, looked_at, loads, stores)
        for (case, direction, element_bytes, _), plan, (looked_at, loads, stores) in zip(
            wanted, plans, made, strict=True
        )
    ]


def sides(
    plans: Sequence[tuple[Plan, Config]], target: str = "sm_90", programs: int = PROGRAMS
) -> list[tuple[int, Requests, Requests]]:
    """Of each plan, how many programs were looked at, and what their loads and their stores come to."""
    if target not in TARGETS or not target.startswith("sm_"):
        known = ", ".join(name for name in TARGETS if name.startswith("sm_"))
        raise ValueError(f"traffic: the model is of NVIDIA's GPUs, target must be one of {known}, got {target!r}")
    kernels = [compile_plan(plan, target, config) for plan, config in plans]
    launches = [
        Launch(plan, config, spread(plan.programs(config.tile_bytes // plan.words), programs)) for plan, config in plans
    ]
    return [
        (len(launch.programs), *requests(kernel.asm["ttgir"], kernel.asm["ptx"], recorded, launch.plan.words))
        for kernel, launch, recorded in zip(kernels, launches, record(launches), strict=True)
    ]


def of_reports(reports: Sequence[Report], cases: Iterable[KernelCase]) -> list[Traffic | None]:
    """The traffic of kernels that `static.reports` gave, in their order; None for those of other GPUs than NVIDIA's."""
    named = {case.name: case for case in cases}
    found: dict[Report, Traffic] = {}
    for target in dict.fromkeys(report.target for report in reports):
        rows = [report for report in reports if report.target == target]
        if target.startswith("sm_"):
            wanted = [(named[r.case], _direction(r.direction), r.element_bytes, r.family) for r in rows]
            found.update(zip(rows, traffics(wanted, target), strict=True))
    return [found.get(report) for report in reports]


def spread(total: int, most: int) -> tuple[int, ...]:
    """Up to `most` programs of `total`, the first and the last among them, the others unevenly, as a call has periods.

    >>> spread(3, 8), spread(1000, 5)
    ((0, 1, 2), (0, 236, 618, 854, 999))
    """
    if total <= most:
        return tuple(range(total))
    golden = 0.618033988749895
    return tuple(sorted({0, total - 1, *(int(total * (i * golden % 1)) for i in range(1, most - 1))}))


def lost(before: Mapping[str, Any], after: Mapping[str, Any], allowed: float = 0.02) -> list[str]:
    """What got worse by more than a share, between two `Traffic.as_dict` of one kernel: empty where nothing did.

    >>> same = {"needed": 512, "wavefronts": 4, "request_efficiency": 1.0, "program_efficiency": 1.0, "bytes_per_request": 512}
    >>> narrow = {**same, "bytes_per_request": 128}
    >>> lost({"loads": same, "stores": same}, {"loads": same, "stores": narrow})
    ['stores: bytes_per_request 512 -> 128']
    """
    worse = []
    for side in ("loads", "stores"):
        old, new = before[side], after[side]
        for ratio in ("request_efficiency", "program_efficiency", "bytes_per_request"):
            if new[ratio] < old[ratio] * (1 - allowed):
                worse.append(f"{side}: {ratio} {old[ratio]} -> {new[ratio]}")
        if new["wavefronts"] * old["needed"] > old["wavefronts"] * new["needed"] * (1 + allowed):
            worse.append(f"{side}: wavefronts {old['wavefronts']} -> {new['wavefronts']}")
    return worse


HEADER = f"{'ld eff':>8}{'L2 eff':>8}{'B/req':>7}{'waves':>7}{'st eff':>8}{'B/req':>7}"


def columns(found: Traffic | None) -> str:
    """A kernel's figures under `HEADER`, empty where there are none.

    Of loads: sectors needed over sectors touched by requests, over sectors that differ within a program, bytes and L1
    wavefronts per request. Of stores: sectors needed over sectors touched by requests, and bytes per request.
    """
    if found is None:
        return ""
    loads, stores = found.loads, found.stores
    return (
        f"{loads.request_efficiency:>8.2f}{loads.program_efficiency:>8.2f}{loads.bytes_per_request:>7.0f}"
        f"{loads.wavefronts_per_request:>7.1f}{stores.request_efficiency:>8.2f}{stores.bytes_per_request:>7.0f}"
    )


def _direction(name: str) -> Direction:
    return "space_to_batch" if name == "space_to_batch" else "batch_to_space"


def _plan(case: KernelCase, direction: Direction, element_bytes: int, family: str | None) -> Plan:
    if direction not in DIRECTIONS or element_bytes not in ELEMENT_BYTES:
        raise ValueError(
            f"traffic: direction must be one of {DIRECTIONS} and element_bytes one of {ELEMENT_BYTES}, "
            f"got {direction!r} and {element_bytes!r}"
        )
    plans = case.plans(direction, element_bytes)
    for plan in plans:
        if family in (None, plan.family):
            return plan
    names = ", ".join(plan.family for plan in plans)
    raise ValueError(f"traffic: family must apply to {direction} of {case.name!r}, which {names} do, got {family!r}")
