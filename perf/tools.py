"""Programs that are run beside: pytest, compute-sanitizer, Nsight Compute; skipped with the reason where they are not."""

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
from collections.abc import Sequence
from pathlib import Path

from .cells import Cell
from .steps import Deadline, Outcome

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


def tests(deadline: Deadline) -> Outcome:
    """pytest over the tests that a GPU changes: those marked `gpu` and those of the kernels, then all others."""
    folder = ROOT / "tests"
    if not folder.is_dir():
        return "skipped", "there are no tests here; run it from a clone"
    if importlib.util.find_spec("pytest") is None:
        return "skipped", "pytest is not installed"
    parallel = ["-n", str(min(12, os.cpu_count() or 1))] if importlib.util.find_spec("xdist") else []
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *parallel]
    first = [str(folder / "test_gpu.py"), *map(str, sorted(folder.glob("test_kernels*.py")))]
    told: list[str] = []
    for files in (first, [str(folder), *(f"--ignore={name}" for name in first)]):
        code, text = _run([*command, *files], deadline)
        told.append(_summary(text))
        if code is None:
            return "incomplete", f"ended at the time limit; {told[-1]}"
        if code != 0:
            return "failed", f"{told[-1]}; {_first_failure(text)}"
    return "done", "; then ".join(told)


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


def ncu(cells: Sequence[Cell], out: Path, deadline: Deadline) -> Outcome:
    """Nsight Compute's counters of our kernel on some cells, written to `out`."""
    tool = shutil.which("ncu")
    if tool is None:
        return "skipped", "ncu is not on PATH"
    if not cells:
        return "skipped", "no cell was measured"
    texts: list[str] = []
    for cell in cells:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "cell.json")
            file.write_text(json.dumps(cell.as_dict()))
            command = [tool, "--metrics", ",".join(COUNTERS), "-k", "regex:^move_", "--launch-count", "1"]
            code, text = _run([*command, *_check("--cell", str(file))], deadline)
        if code is None:
            return "incomplete", f"{len(texts)} of {len(cells)} cells, in {out.name}"
        if "ERR_NVGPUCTRPERM" in text:
            return "skipped", "this user may not read the GPU's counters"
        if code != 0:
            return "failed", (text.splitlines() or [""])[-1][:200]
        texts.append(f"{cell.key}\n{text}")
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("\n".join(texts))
    return "done", f"{len(texts)} cells, in {out.name}"


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
    """pytest's last line of counts, or how far it came."""
    found = re.findall(r"^=*\s*((?:\d+ \w+(?:, )?)+ in [\d.]+s.*?)=*$", text, flags=re.MULTILINE)
    if found:
        return str(found[-1]).strip()
    return f"{len(re.findall(r'^[.sxFE]', text, flags=re.MULTILINE))} lines of results"


def _first_failure(text: str) -> str:
    found = re.findall(r"^(?:FAILED|ERROR) .*$", text, flags=re.MULTILINE)
    return str(found[0])[:200] if found else (text.strip().splitlines() or [""])[-1][:200]
