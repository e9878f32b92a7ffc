"""What `gpu` does beside timing: every kernel forced, the tests, and profilers.

Each step takes a deadline, ends itself by it, and gives an outcome; what is not there is skipped with the reason.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch

from .cases import Case
from .checks import expected
from .precompile import compile_all
from .sweep import Deadline
from .tune import is_right

State: TypeAlias = Literal["done", "incomplete", "failed", "skipped"]
Outcome: TypeAlias = "tuple[State, str]"  # and what to say of it
_BESIDE = Path(__file__).resolve().parents[1]
ROOT = _BESIDE if (_BESIDE / "tests").is_dir() else Path.cwd()  # of the clone, also where the package is a copy of it
SANITIZERS = ("memcheck", "racecheck", "initcheck")
COUNTERS = (
    "gpu__time_duration.sum",
    "dram__bytes_read.sum",
    "dram__bytes_write.sum",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "sm__inst_executed.sum",
    "sm__warps_active.avg.pct_of_peak_sustained_active",
    "l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum",
    "l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum",
    "l1tex__t_sectors_pipe_lsu_mem_global_op_st.sum",
    "l1tex__t_requests_pipe_lsu_mem_global_op_st.sum",
    "launch__registers_per_thread",
)


def force(cases: Sequence[Case], device: torch.device, deadline: Deadline) -> Outcome:
    """Run each family's kernels into poisoned memory: with the rule's tile, the smallest and the largest.

    Returns:
        "failed" with the first that gave a wrong result, else how many launches of which families were right.
    """
    todo = [(case, plan, config) for case in cases for plan, config in configurations(case)]
    if device.type == "cuda":
        compile_all([("kernel", plan, config) for _, plan, config in todo], 0.6 * deadline.left())
    right: dict[str, int] = {}
    large = 0
    current: Case | None = None
    for case, plan, config in todo:
        if deadline.left() <= 0:
            break
        if case is not current:
            current, source = case, case.source(device)
            wanted = expected(case, source)
        good = is_right(case, config, source, wanted, torch.empty_like(wanted))
        if good is None:
            large += 1
            continue
        if not good:
            return "failed", f"{config} is wrong for {case.key}"
        right[plan.family] = right.get(plan.family, 0) + 1
    count = sum(right.values())
    text = f"{count} of {len(todo)} launches right: {', '.join(f'{n} {name}' for name, n in sorted(right.items()))}"
    if large:
        text += f"; {large} too large for the device"
    return ("done" if count + large == len(todo) else "incomplete"), text


def configurations(case: Case) -> Iterator[tuple[Any, Any]]:
    """(plan, configuration) of every family that applies to a case: its rule's, its smallest and its largest tile."""
    from spacebatch.tl_kernels import launch
    from spacebatch.tl_kernels.family import candidates

    for plan in launch.plans_of(case.moves, case.geometry, case.source(torch.device("meta"))):
        every = sorted(candidates([plan]), key=lambda config: (config.tile_bytes, config.warps))
        for config in dict.fromkeys([plan.rule, every[0], every[-1]]):
            yield plan, config


def tests(marked: str, deadline: Deadline) -> Outcome:
    """pytest over the tests of a mark, "gpu" or "not gpu", those of the kernels first."""
    folder = ROOT / "tests"
    if not folder.is_dir():
        return "skipped", "there are no tests here; run it from a clone"
    if importlib.util.find_spec("pytest") is None:
        return "skipped", "pytest is not installed"
    parallel = ["-n", str(min(12, os.cpu_count() or 1))] if importlib.util.find_spec("xdist") else []
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *parallel, "-m", marked]
    code, text = _run([*command, str(folder / "tl_kernels"), str(folder)], deadline)
    if code is None:
        return "incomplete", f"ended at the time limit; {_summary(text)}"
    return ("done", _summary(text)) if code == 0 else ("failed", f"{_summary(text)}; {_first_failure(text)}")


def sanitizer(deadline: Deadline) -> Outcome:
    """compute-sanitizer's tools over `python -m spacebatch.perf check --quick`."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        return "skipped", "compute-sanitizer is not on PATH"
    told: list[str] = []
    for name in SANITIZERS:
        command = [tool, "--tool", name, "--error-exitcode", "9", "--print-limit", "5", *_check("--quick")]
        code, text = _run(command, deadline, PYTORCH_NO_CUDA_MEMORY_CACHING="1")
        if code is None:
            return "incomplete", "; ".join([*told, f"no time for {name}"])
        if code == 9:
            errors = [line for line in text.splitlines() if "=========" in line][:3]
            return "failed", f"{name}: {' '.join(errors)}"
        if code != 0:
            return "failed", f"{name} did not run: {(text.splitlines() or [''])[-1][:200]}"
        told.append(f"{name} clean")
    return "done", "; ".join(told)


def ncu(cases: Sequence[Case], out: Path, deadline: Deadline) -> Outcome:
    """Nsight Compute's counters of our kernel on some cases, written to `out`."""
    tool = shutil.which("ncu")
    if tool is None:
        return "skipped", "ncu is not on PATH"
    if not cases:
        return "skipped", "no case was measured"
    texts: list[str] = []
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "case.json")
            file.write_text(json.dumps(asdict(case)))
            command = [tool, "--metrics", ",".join(COUNTERS), "-k", "regex:^move_", "--launch-count", "1"]
            code, text = _run([*command, *_check("--case", str(file))], deadline)
        if code is None:
            return "incomplete", f"{len(texts)} of {len(cases)} cases, in {out.name}"
        if "ERR_NVGPUCTRPERM" in text:
            return "skipped", "this user may not read the GPU's counters"
        if code != 0:
            return "failed", (text.splitlines() or [""])[-1][:200]
        texts.append(f"{case.key}\n{text}")
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("\n".join(texts))
    return "done", f"{len(texts)} cases, in {out.name}"


def _check(*options: str) -> list[str]:
    return [sys.executable, "-m", "spacebatch.perf", "check", "--device", "cuda", *options]


def _run(command: Sequence[str], deadline: Deadline, **environment: str) -> tuple[int | None, str]:
    """(exit status, or None where the deadline ended it; output and errors)."""
    if deadline.left() <= 0:
        return None, ""
    worker = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # so that its own processes can be ended with it
    )
    try:
        text, _ = worker.communicate(timeout=deadline.left())
    except BaseException as error:
        if hasattr(os, "killpg"):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.kill()
        text, _ = worker.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            return None, text
        raise
    return worker.returncode, text


def _summary(text: str) -> str:
    """pytest's last line of counts, if it came so far."""
    found = re.findall(r"^=*\s*((?:\d+ \w+(?:, )?)+ in [\d.]+s.*?)=*$", text, flags=re.MULTILINE)
    return str(found[-1]).strip() if found else "no summary"


def _first_failure(text: str) -> str:
    found = re.findall(r"^(?:FAILED|ERROR) .*$", text, flags=re.MULTILINE)
    return str(found[0])[:200] if found else (text.strip().splitlines() or [""])[-1][:200]
