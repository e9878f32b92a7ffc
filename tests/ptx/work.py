"""Random calls with arithmetic on the way, executed by every family that applies."""

from __future__ import annotations

from spacebatch.tl_kernels.family import Config
from tests import bits
from tests.work_calls import WorkCase

from .calls import Call
from .driver import StandIn


def check_work(device: StandIn, case: WorkCase) -> tuple[list[str], list[str]]:
    """All launches of a case, through Triton and made ready: the families that ran, and what went wrong."""
    ran, wrong = [], []
    tensors = device, case.direction, case.geometry, case.source, case.result
    for plan in Call(*tensors, None, case.arithmetic, case.operands).plans:
        call = Call(*tensors, Config(plan.family, 256 * plan.words, 4), case.arithmetic, case.operands)
        ran.append(f"{plan.family} {case.direction}")
        for way in ("the first launch", "a ready launch"):
            bits.poisoned(case.result)
            try:
                call.run(case.pad)
                found = f"{case.differences()} elements differ"
            except Exception as error:
                found = f"{type(error).__name__}: {error}"
            if found != "0 elements differ":
                wrong.append(f"{case.geometry}, {ran[-1]}, {case.arithmetic}, {way}: {found}")
    return ran, wrong
