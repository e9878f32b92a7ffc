"""Speed over time: `pytest perf --benchmark-only`, to be compared with earlier runs by pytest-benchmark itself.

    pytest perf --benchmark-only --benchmark-autosave
    pytest perf --benchmark-only --benchmark-compare

On the CPU a few cases of the default sweep and of the presets, on a GPU those of the goals; results are checked first.
A GPU call is timed until the GPU has finished.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from spacebatch.perf.baselines import PROVIDERS
from spacebatch.perf.cases import Case
from spacebatch.perf.fused_cases import fused_suite
from spacebatch.perf.measure import agrees, expected
from spacebatch.perf.suites import cases_of, cpu_suite, gpu_suite

pytest.importorskip("pytest_benchmark")

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _cases() -> list[Case]:
    if DEVICE.type == "cuda":
        return gpu_suite()[::8]
    networks = [*cases_of("swin", "float32"), *cases_of("image-4k", "uint8")[:2]]
    return [*cpu_suite(quick=True)[::9], *networks, fused_suite()[0]]


@pytest.mark.parametrize("provider", ["ours", "eager"])
@pytest.mark.parametrize("case", _cases(), ids=lambda case: case.key.replace(" ", "-"))
def test_speed(case: Case, provider: str, benchmark: Any) -> None:
    source = case.source(DEVICE)
    function = PROVIDERS[provider].prepare(case)
    assert agrees(case, function(source), expected(case, source))
    benchmark.group = case.key
    benchmark.extra_info["moved_bytes"] = case.moved_bytes

    def call() -> None:
        function(source)
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()

    benchmark(call)
