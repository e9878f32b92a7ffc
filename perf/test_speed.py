"""Speed over time: `pytest perf --benchmark-only`, to be compared with earlier runs by pytest-benchmark itself.

    pytest perf --benchmark-only --benchmark-autosave
    pytest perf --benchmark-only --benchmark-compare

On the CPU a few cells of the default sweep and of the presets, on a GPU those of the goals; results are checked first.
A GPU call is timed until the GPU has finished.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from spacebatch.perf.cells import Cell
from spacebatch.perf.checks import expected, same_bits
from spacebatch.perf.presets import cells_of
from spacebatch.perf.providers import PROVIDERS
from spacebatch.perf.suites import cpu_suite, gpu_suite

pytest.importorskip("pytest_benchmark")

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _cells() -> list[Cell]:
    if DEVICE.type == "cuda":
        return gpu_suite()[::8]
    return [*cpu_suite(quick=True)[::9], *cells_of("swin", "float32"), *cells_of("image-4k", "uint8")[:2]]


@pytest.mark.parametrize("provider", ["ours", "eager"])
@pytest.mark.parametrize("cell", _cells(), ids=lambda cell: cell.key.replace(" ", "-"))
def test_speed(cell: Cell, provider: str, benchmark: Any) -> None:
    source = cell.source(DEVICE)
    function = PROVIDERS[provider].prepare(cell)
    assert same_bits(function(source), expected(cell, source))
    benchmark.group = cell.key
    benchmark.extra_info["moved_bytes"] = cell.moved_bytes

    def call() -> None:
        function(source)
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()

    benchmark(call)
