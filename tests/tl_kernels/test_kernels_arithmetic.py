"""Kernels with arithmetic on the way, against PyTorch's operators one after the other."""

from __future__ import annotations

import pytest

from spacebatch.tl_kernels import launch
from spacebatch.tl_kernels.family import Config
from tests import bits
from tests.kernel_calls import DEVICE, call_of
from tests.work_calls import work_case

pytestmark = pytest.mark.skipif(
    DEVICE == "cpu" and not launch.INTERPRETED, reason="no GPU, and Triton's interpreter is off"
)


@pytest.mark.parametrize("number", range(66))
def test_random_cases(number: int) -> None:
    case = work_case(0, number)
    call = call_of(case.direction, case.geometry, case.source, case.result, case.arithmetic)
    pads = launch.pad_words(case.pad, case.result.itemsize)
    there = launch.work_pointers(case.source, case.result, launch.given(case.operands))
    for plan in call.plans(case.source.data_ptr() % 16 == 0, case.result.data_ptr() % 16 == 0):
        bits.poisoned(case.result)
        launch.start(plan, Config(plan.family, 256 * plan.words, 4), there, pads)
        assert not case.differences(), (plan.family, str(case.arithmetic), case.direction)
