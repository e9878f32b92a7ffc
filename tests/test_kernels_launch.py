"""Triton's own launch path up to the driver, which is a stand-in: signatures bind, kernels compile, sizes share them.

A process of its own, since this one interprets.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

PROGRAM = """
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver


class StandIn:
    def get_current_target(self): return GPUTarget("cuda", 90, 32)
    def get_current_device(self): return 0
    def get_current_stream(self, device=None): return 0
    def get_active_torch_device(self): return torch.device("cpu")
    def set_current_device(self, device): pass
    def map_python_to_cpp_type(self, kind): return "int"


driver.set_active(StandIn())

from spacebatch.perf.static import DIRECTIONS, KernelCase
from spacebatch.tl_kernels import launch, tuning
from spacebatch.tl_kernels.rows import move_rows

GROUPS = {
    "aligned": [KernelCase("", (8, 64, h, w), 2) for h, w in ((128, 112), (96, 96), (80, 128), (66, 104))],
    "odd": [KernelCase("", (8, 64, h, 65), 6, "auto") for h in (65, 61, 67, 59)],
    "blocks": [KernelCase("", (4, 32, 840), b) for b in (7, 6, 5)],
}
for name, cases in GROUPS.items():
    for direction in DIRECTIONS:
        before = sum(len(cache[0]) for cache in move_rows.device_caches.values())
        for case in cases:
            plan = case.plan(direction, 4)
            config = tuning.Config(8192, 4)
            numbers, flags, _ = launch.arguments(plan)
            tensor = torch.zeros(1, dtype=torch.int32)
            move_rows.warmup(
                tensor, tensor, plan.rows, *numbers, 0, 0, 0, **flags, TILE=2048, num_warps=4, grid=(1,)
            )
        after = sum(len(cache[0]) for cache in move_rows.device_caches.values())
        print(name, direction, after - before)
"""


def test_sizes_and_blocks_share_compiled_kernels() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    compiled = {tuple(line.split()[:2]): int(line.split()[2]) for line in done.stdout.splitlines()}
    assert len(compiled) == 6
    assert compiled["aligned", "space_to_batch"] == 1
    assert compiled["aligned", "batch_to_space"] == 1
    # another divisor of a size may change a unit of alignment, hence the kernel, but there are few units
    assert all(1 <= count <= 2 for count in compiled.values()), compiled
