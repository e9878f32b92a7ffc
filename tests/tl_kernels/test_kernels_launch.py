"""Triton's own launch path up to the driver, which is a stand-in: signatures bind, kernels compile, sizes share them.

So do the kernels for tensors of more than 2**31 elements, whose offsets and row numbers take 64 bits.

A process of its own, since this one interprets.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

PROGRAM = """
from dataclasses import replace

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
from spacebatch.tl_kernels import launch
from spacebatch.tl_kernels.family import Config

GROUPS = {
    "aligned": [KernelCase("", (8, 64, h, w), 2) for h, w in ((128, 112), (96, 96), (80, 128), (66, 144))],
    "odd": [KernelCase("", (8, 64, h, 65), 6, "auto") for h in (65, 61, 67, 59)],
    "channels_last": [KernelCase("", (8, 64, h, 64), 2, 0, True) for h in (64, 36, 48, 20)],
    "windows": [KernelCase("", (8, 64, h, 28), 4, 0, False, (("arrangement", "contiguous"),)) for h in (28, 56, 60)],
}
for name, cases in GROUPS.items():
    for direction in DIRECTIONS:
        kernels = {plan.family for case in cases for plan in case.plans(direction, 2)[:1]}
        assert len(kernels) == 1, kernels
        caches = launch.KERNELS[kernels.pop()].device_caches
        before = sum(len(cache[0]) for cache in caches.values())
        for case in cases:
            plan = case.plans(direction, 2)[0]
            launch.precompile(plan, Config(plan.family, 8192, 4))
        print(name, direction, sum(len(cache[0]) for cache in caches.values()) - before)

# launches made ready hand over exactly what Triton's own binding does
for case, direction in ((GROUPS["aligned"][0], "space_to_batch"), (GROUPS["odd"][0], "batch_to_space")):
    for plan in case.plans(direction, 2):
        config = Config(plan.family, 8192, 4)
        handed = []

        class Kernel:
            def __getitem__(self, grid):
                assert grid == (plan.programs(4096), 1, 1)
                return lambda *values: handed.extend(values)

        launch.launch_of(Kernel(), plan, config)(16, 32, (7, 9))
        a = plan.arguments(4096)
        kernel = launch.KERNELS[plan.family]
        binder = kernel.create_binder()[-1]
        pointers = torch.zeros(1, dtype=torch.int16), torch.zeros(1, dtype=torch.int16)
        bound, *_ = binder(*pointers, a.items, a.loops, a.inner, 7, 9, **a.flags, TILE=4096, num_warps=4)
        assert tuple(bound.values())[2:] == tuple(handed)[2:], (bound, handed)
        assert handed[:2] == [16, 32]
        print("ready", plan.family, 0)

for direction in DIRECTIONS:
    for plan in KernelCase("", (8, 64, 30, 30), 2, 1).plans(direction, 4):
        launch.precompile(replace(plan, wide=True, long=True), Config(plan.family, 2048, 4))
        print("long", f"{plan.family}/{direction}", 0)
"""


def test_sizes_and_blocks_share_compiled_kernels() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    compiled = {tuple(line.split()[:2]): int(line.split()[2]) for line in done.stdout.splitlines()}
    assert {name for kind, name in compiled if kind == "ready"} == {"vectors", "phases", "runs", "granules", "rows"}
    assert {name.partition("/")[0] for kind, name in compiled if kind == "long"} == {
        "vectors",
        "phases",
        "runs",
        "granules",
        "rows",
    }
    compiled = {key: count for key, count in compiled.items() if key[0] not in ("ready", "long")}
    assert len(compiled) == 8
    assert compiled["aligned", "space_to_batch"] == 1
    assert compiled["aligned", "batch_to_space"] == 1
    # another divisor of a size may change a unit of alignment, hence the kernel, but there are few units;
    # windows go back to space by the kernel that they came from
    assert all(count <= 2 for count in compiled.values()), str(compiled)
    assert sum(compiled.values()) >= 7
