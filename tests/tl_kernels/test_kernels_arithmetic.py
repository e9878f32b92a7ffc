"""Kernels with arithmetic on the way, against PyTorch's operators one after the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

import triton.language as tl
from triton import jit

from spacebatch import BlockGeometry, use_backend
from spacebatch.reference.arithmetic import FLOATS, RESULTS, Arithmetic, Operands
from spacebatch.reference.prepared import find
from spacebatch.tl_kernels import launch
from spacebatch.tl_kernels.conversions import decoded, encoded_as
from spacebatch.tl_kernels.family import Config
from spacebatch.tl_kernels.plan import make_plans
from tests import bits
from tests.kernel_calls import DEVICE, call_of, layout_of
from tests.ptx.driver import unavailable
from tests.work_calls import both_nan, rounded, work_case

ROOT = Path(__file__).parents[2]
on_device = pytest.mark.skipif(
    DEVICE == "cpu" and not launch.INTERPRETED, reason="no GPU, and Triton's interpreter is off"
)


@on_device
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of numbers that are masked
@pytest.mark.parametrize("number", range(8))
def test_random_cases(number: int) -> None:
    case = work_case(0, number).to(DEVICE)
    call = call_of(case.direction, case.geometry, case.source, case.result, case.arithmetic)
    pads = launch.pad_words(case.pad, case.result.itemsize)
    there = launch.work_pointers(case.source, case.result, launch.given(case.operands))
    for plan in call.plans(case.source.data_ptr() % 16 == 0, case.result.data_ptr() % 16 == 0):
        bits.poisoned(case.result)
        if number % 2:  # with the flags that tensors of 2**31 elements set
            plan = replace(plan, **{name: True for name in ("wide", "long") if hasattr(plan, name)})  # type: ignore[type-var]
        launch.start(plan, Config(plan.family, 1024 * plan.words, 4), there, pads)
        assert not case.differences(), (plan.family, str(case.arithmetic), case.direction)


@jit
def _converted(source_pointer, result_pointer, FROM: tl.constexpr, TO: tl.constexpr, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    place = tl.arange(0, SIZE)
    tl.store(result_pointer + place, encoded_as(decoded(tl.load(source_pointer + place), FROM, False), TO))


def _hard(kind: str) -> torch.Tensor:
    """Numbers of float32 that lie between two neighbours of a dtype, beside those, its ends and what is no number."""
    every = np.arange(256 if kind.startswith("float8") else 2**16, dtype=np.uint32)
    exact = (
        torch.from_numpy(every.astype(np.uint8 if len(every) == 256 else np.uint16)).view(getattr(torch, kind)).float()
    )
    middle = (exact[1:].double() + exact[:-1].double()).float() / 2
    numbers = torch.cat(
        [exact, middle, middle.nextafter(torch.tensor(torch.inf)), middle.nextafter(torch.tensor(-torch.inf))]
    )
    return numbers[torch.arange(2**12) * 61 % len(numbers)] if len(every) > 256 else numbers


@on_device
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("kind", [kind for kind in RESULTS if kind not in ("float32", "float64")])
def test_conversions_are_pytorchs(kind: str) -> None:
    if kind in FLOATS:
        numbers = _hard(kind)
    else:
        numbers = torch.cat(
            [torch.arange(-700, 700) / 2.0, torch.tensor([torch.nan, torch.inf, -torch.inf, 1e30, -1e30])]
        )
    size = 1 << (len(numbers) - 1).bit_length()
    source = torch.zeros(size)
    source[: len(numbers)] = numbers
    source = source.to(DEVICE)
    result = torch.empty(size, dtype=getattr(torch, kind), device=DEVICE)
    there = launch.work_pointers(source, result, (None,) * 4)[:2]
    _converted[1,](*there, "float32", kind, size)
    wanted = rounded(source, kind)
    assert bool(((bits_of(result) == bits_of(wanted)) | both_nan(result, wanted)).all())


def bits_of(x: torch.Tensor) -> torch.Tensor:
    """As integers."""
    return x.view(torch.int8 if x.itemsize == 1 else torch.int16)


@on_device
def test_through_the_loop_over_backends() -> None:
    geometry = BlockGeometry((2, 3, 4, 6), 2)
    x, scale = (
        torch.arange(144, dtype=torch.uint8).reshape(2, 3, 4, 6).to(DEVICE),
        torch.tensor([1.0, 0.5, 2.0]).to(DEVICE),
    )
    y = torch.empty(geometry.batch_shape, dtype=torch.float16, device=DEVICE)
    arithmetic = Arithmetic("uint8", "float16", 1, scale=True)
    with use_backend("triton"):
        call, _ = find("space_to_batch", geometry, layout_of(x), layout_of(y), arithmetic)
    call(x, y, b"", Operands(scale))
    flat = (x.float() * scale[:, None, None]).half().reshape(-1)
    assert torch.equal(y, flat[torch.from_numpy(geometry.space_indices()).to(DEVICE)])
    assert "uint8 * scale -> float16" in str(call)


def test_plans_with_arithmetic() -> None:
    """Families that move whole words decline; buckets differ from those of plain calls, and of other arithmetic."""
    geometry = BlockGeometry((2, 8, 97, 97), 2, "auto")
    strides = [(s[1] * s[2] * s[3], s[2] * s[3], s[3], 1) for s in (geometry.space_shape, geometry.batch_shape)]
    buckets = set()
    for arithmetic in (None, Arithmetic("int8", "uint8", 1, True), Arithmetic("int8", "uint8", 1, True, True)):
        plans = make_plans("space_to_batch", geometry, *strides, 1, True, True, arithmetic)
        buckets.add(plans[0].bucket)
        families = {plan.family for plan in plans}
        assert ("deinterleave" in families) == (arithmetic is None)
        assert families >= {"phases", "granules", "rows"}
    assert len(buckets) == 3


STATIC = """
import sys
from spacebatch.perf.static import CASES, report
from spacebatch.reference.arithmetic import RESULTS, Arithmetic

cases = {case.name: case for case in CASES}
for target, name, direction, arithmetic in eval(sys.argv[1]):
    size = RESULTS[arithmetic.result]
    plan = cases[name].plans(direction, size, arithmetic)[0]
    found = report(cases[name], direction, size, target, plan)
    print(target, found.family, found.load_bits, found.store_bits, found.spills)
"""


COMPILED = (
    ("sm_80", "aligned", "space_to_batch", Arithmetic("uint8", "bfloat16", 1, True, True)),
    ("sm_90", "channels_last", "batch_to_space", Arithmetic("bfloat16", "float8_e4m3fn", 1, True)),
    ("sm_100", "padded by 1", "space_to_batch", Arithmetic("float32", "float16", 1, True)),
    ("gfx942", "windows of 7", "batch_to_space", Arithmetic("float16", "float16", residual="bfloat16")),
)


def test_machine_code() -> None:
    """For every target: accesses stay wide, and nothing spills."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", STATIC, repr(COMPILED)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == [
        "sm_80 vectors 64 128 0",
        "sm_90 rows 128 128 0",
        "sm_100 phases 32 128 0",
        "gfx942 runs 128 128 0",
    ]


@pytest.mark.skipif(unavailable() is not None, reason=f"no compiled kernel is executed: {unavailable()}")
def test_executed(tmp_path: Path) -> None:
    """Compiled kernels, run thread for thread; `python -m tests.ptx work` runs more."""
    folder, file = Path(os.environ["SPACEBATCH_CACHE_DIR"], "ptx"), tmp_path / "found.json"
    words = ("--folder", str(folder), "--json", str(file), "work", "--first", "2", "--count", "2")
    done = subprocess.run(
        [sys.executable, "-m", "tests.ptx", *words], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert file.exists(), done.stdout[-2000:] + done.stderr[-3000:]
    assert not json.loads(file.read_text())["failures"]
