"""Triton's own launch path up to the driver, which is a stand-in: signatures bind, kernels compile, sizes share them.

Processes of their own, since this one interprets.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

from spacebatch.perf.cases import DIRECTIONS

STAND_IN = """
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
"""

SHARING = """
from spacebatch.perf.static import DIRECTIONS, KernelCase
from spacebatch.tl_kernels import launch
from spacebatch.tl_kernels.family import Config

GROUPS = {
    "aligned": [KernelCase("", (8, 64, h, w), 2) for h, w in ((128, 112), (96, 96), (80, 128), (66, 144))],
    "odd": [KernelCase("", (8, 64, h, 65), 6, "auto") for h in (65, 61, 67, 59)],
    "channels_last": [KernelCase("", (8, 64, h, 64), 2, 0, True) for h in (64, 36, 48, 20)],
    "windows": [KernelCase("", (8, 64, h, 28), 4, 0, False, (("arrangement", "contiguous"),)) for h in (28, 56, 60)],
}
GROUPS["bytes"] = [KernelCase("", (8, 64, h, h), 2, "auto") for h in (65, 61, 67, 59)]
for name, cases in GROUPS.items():
    size = 1 if name == "bytes" else 2
    for direction in DIRECTIONS:
        kernels = {plan.family for case in cases for plan in case.plans(direction, size)[:1]}
        assert len(kernels) == 1, kernels
        caches = launch.KERNELS[kernels.pop()].device_caches
        before = sum(len(cache[0]) for cache in caches.values())
        for case in cases:
            plan = case.plans(direction, size)[0]
            launch.precompile(plan, Config(plan.family, 8192, 4))
        print(name, direction, sum(len(cache[0]) for cache in caches.values()) - before)

# counts and pad words of any size have one type, or a launch made ready would cut off those of later calls
for kernel in launch.KERNELS.values():
    assert [kernel.params[position].annotation_type for position in (2, 5, 6)] == ["i64"] * 3, kernel

# launches made ready hand over exactly what Triton's own binding does
for case, direction in ((GROUPS["aligned"][0], "space_to_batch"), (GROUPS["odd"][0], "batch_to_space")):
    for plan in case.plans(direction, 2):
        config = Config(plan.family, 8192, 4)
        handed = []

        class Kernel:
            def __getitem__(self, grid):
                assert grid == (plan.programs(4096), 1, 1)
                return lambda *values: handed.extend(values)

        launch.launch_of(Kernel(), plan, config)(16, 32, (7, -(2**63)))
        a = plan.arguments(4096)
        kernel = launch.KERNELS[plan.family]
        binder = kernel.create_binder()[-1]
        pointers = torch.zeros(1, dtype=torch.int16), torch.zeros(1, dtype=torch.int16)
        types = []
        for items, pads in ((a.items, (7, -(2**63))), (2**40, (-(2**31), 2**63 - 1)), (1, (1, 16))):
            numbers = items, a.loops, a.inner, *pads
            bound, specialization, _ = binder(*pointers, *numbers, **a.flags, TILE=4096, num_warps=4)
            types.append([kind for kind, _ in specialization])
            if items == a.items and len(types) == 1:
                assert tuple(bound.values())[2:] == tuple(handed)[2:], (bound, handed)
        assert types[0] == types[1] == types[2], types
        assert handed[:2] == [16, 32]
        print("ready", plan.family, 0)
"""

LARGE = """
import sys
from dataclasses import replace
from itertools import product

from spacebatch.perf.static import CASES, DIRECTIONS
from spacebatch.tl_kernels import launch
from spacebatch.tl_kernels.family import Config

met = set()
for case, size, direction in product(CASES, (4, 1), DIRECTIONS):
    for plan in case.plans(direction, size):
        way = plan.family, direction, getattr(plan, "mode", None), getattr(plan, "breaks", None)
        if way not in met and all(hasattr(plan, flag) for flag in sys.argv[1:]):
            met.add(way)
            launch.precompile(replace(plan, **dict.fromkeys(sys.argv[1:], True)), Config(plan.family, 4096, 4))
            print(*way)
"""


CALLS = """
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import triton
from triton import knobs

from spacebatch import BlockGeometry
from spacebatch.reference.prepared import Layout
from spacebatch.tl_kernels import launch

log = []
loads = []


class Launcher:
    # in place of a launcher in C, which calls the hooks as this does
    def __init__(self, source, metadata): pass

    def __call__(self, x, y, z, stream, function, packed, metadata, enter, exit, *arguments):
        if enter: enter(metadata)
        log.append(arguments[0].data_ptr() if hasattr(arguments[0], "data_ptr") else arguments[0])
        if exit: exit(metadata)


StandIn.launcher_cls = Launcher
StandIn.utils = SimpleNamespace(
    load_binary=lambda name, *_: (loads.append(name) or 1, 2, 0, 0, 1024),
    unload_module=lambda module: None,
    get_device_properties=lambda device: {"max_shared_mem": 2**17},
)
torch.cuda.current_device = lambda: -1
torch.cuda.is_current_stream_capturing = lambda: False


def prepared(shape, block=2, dtype=torch.int64):
    geometry = BlockGeometry(shape, block)
    x, y = torch.zeros(shape, dtype=dtype), torch.zeros(geometry.batch_shape, dtype=dtype)
    layouts = (Layout(t.stride(), t.itemsize, dtype, "cuda") for t in (x, y))
    return launch.prepare("space_to_batch", geometry, *layouts), x, y


def launches(call, x, y):
    del log[:]
    call(x, y, bytes(range(x.itemsize)))
    return len(log)


# hooks of launches, set after a launch was made ready
call, x, y = prepared((1, 1, 8, 6))
assert launches(call, x, y) == 1
(variant,) = call._variants.values()
assert len(variant.launches) == 1
enter = lambda metadata: log.append("enter " + metadata.get()["name"])
leave = lambda metadata: log.append("leave")
knobs.runtime.launch_enter_hook.add(enter)
knobs.runtime.launch_exit_hook.add(leave)
assert launches(call, x, y) == 3
assert log[0].startswith("enter move_") and log[1:] == [x.data_ptr(), "leave"], log
knobs.runtime.launch_enter_hook.remove(enter)
knobs.runtime.launch_exit_hook.remove(leave)
assert launches(call, x, y) == 1
print("launch hooks")

# a hook that takes compiling upon itself: nothing runs, nothing is kept, and the next call asks again
call, x, y = prepared((1, 1, 8, 6), dtype=torch.int32)
knobs.runtime.jit_cache_hook = lambda **_: True
assert launches(call, x, y) == launches(call, x, y) == 0
knobs.runtime.jit_cache_hook = None
posted = []
knobs.runtime.jit_post_compile_hook = lambda **told: posted.append(told["repr"])
assert launches(call, x, y) == launches(call, x, y) == 1
assert len(posted) == 1
knobs.runtime.jit_post_compile_hook = None
print("compile hooks")

# a kernel that Triton compiles in a thread
call, x, y = prepared((1, 1, 8, 6), dtype=torch.int16)
with ThreadPoolExecutor(1) as pool, triton.AsyncCompileMode(pool):
    assert launches(call, x, y) == launches(call, x, y) == 1
assert launches(call, x, y) == 1
print("threads")

# no kernel is loaded while a graph is captured; one that is there may be launched by a call that is new
torch.cuda.is_current_stream_capturing = lambda: True
call, x, y = prepared((1, 4, 9, 12), 3)
before = len(loads)
try:
    launches(call, x, y)
except RuntimeError as error:
    assert "space_to_batch: a CUDA graph is being captured" in str(error) and "warm_up" in str(error)
else:
    raise AssertionError("launched")
assert log == [] and len(loads) == before
torch.cuda.is_current_stream_capturing = lambda: False
assert launches(call, x, y) == 1
torch.cuda.is_current_stream_capturing = lambda: True
assert launches(call, x, y) == 1
assert launches(*prepared((1, 5, 9, 12), 3)) == 1
assert len(loads) == before + 1
print("capture")
"""


def printed(program: str, *arguments: str) -> list[list[str]]:
    """The words of each line that a program prints."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", STAND_IN + program, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return [line.split() for line in done.stdout.splitlines()]


def test_sizes_and_blocks_share_compiled_kernels() -> None:
    compiled = {(kind, name): int(count) for kind, name, count in printed(SHARING)}
    assert {name for kind, name in compiled if kind == "ready"} == {"vectors", "phases", "runs", "granules", "rows"}
    compiled = {key: count for key, count in compiled.items() if key[0] != "ready"}
    assert len(compiled) == 10
    assert compiled["aligned", "space_to_batch"] == 1
    assert compiled["aligned", "batch_to_space"] == 1
    # another divisor of a size may change a unit of alignment, hence the kernel, but there are few units;
    # windows go back to space by the kernel that they came from
    assert all(count <= 2 for count in compiled.values()), str(compiled)
    assert sum(compiled.values()) >= 7


@pytest.mark.parametrize("large", [("wide",), ("long",), ("wide", "long")], ids=" and ".join)
def test_kernels_of_large_tensors_compile(large: tuple[str, ...]) -> None:
    """Those whose offsets are `wide`, and whose numbers of rows or words are `long`: in each family's every way, to PTX and on."""
    ways = {(family, direction) for family, direction, *_ in printed(LARGE, *large)}
    wanted = {(family, direction) for family in ("rows", "vectors", "granules") for direction in DIRECTIONS}
    wanted |= {("runs", "batch_to_space"), ("interleave", "batch_to_space")}
    if "long" not in large:  # what is declined
        wanted |= {("phases", "space_to_batch"), ("deinterleave", "space_to_batch")}
    assert ways == wanted


def test_ready_launches_with_hooks_and_captures() -> None:
    """Whatever Triton does at its own launches, it does at those that were made ready."""
    assert [" ".join(words) for words in printed(CALLS)] == ["launch hooks", "compile hooks", "threads", "capture"]
