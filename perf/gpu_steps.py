"""What `gpu` does beside timing: every kernel forced, what only shows on a device, and programs that are run beside.

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
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch

import spacebatch

from .cases import Case
from .checks import expected, poison_, same_bits
from .precompile import compile_all
from .sweep import Deadline

State: TypeAlias = Literal["done", "incomplete", "failed", "skipped"]
Outcome: TypeAlias = "tuple[State, str]"  # and what to say of it
HUGE_EDGE = 27648  # 3 * HUGE_EDGE**2 bytes are more than 2**31
HUGE_MEMORY = 16 * 2**30
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
    from triton.runtime.errors import TritonError

    from spacebatch.tl_kernels import launch

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
        result = poison_(torch.empty_like(wanted))
        try:
            launch.run(case.moves, case.geometry, source, result, config=config)
        except TritonError:  # more than this device has room for
            large += 1
            continue
        if not same_bits(result, wanted):
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


def hazards(device: torch.device, deadline: Deadline) -> Outcome:
    """All of them; "failed" with the first that went wrong."""
    if device.type != "cuda":
        return "skipped", "streams, graphs and tensors of this size need a GPU"
    notes: list[str] = []
    for name, check in (("streams", streams), ("capture", capture), ("large", large)):
        if deadline.left() <= 0:
            return "incomplete", "; ".join([*notes, f"no time for {name}"])
        reason = check(device)
        if reason.startswith("wrong"):
            return "failed", f"{name}: {reason}"
        notes.append(f"{name}: {reason}")
    return "done", "; ".join(notes)


def streams(device: torch.device, count: int = 4) -> str:
    """Different calls queued on several streams, all at work at once."""
    cases = [Case("space_to_batch", (4, 16 + i, 256, 256), (2, 2), ((1, 1), (0, 0)), "float16") for i in range(count)]
    sources = [case.source(device) for case in cases]
    found: list[torch.Tensor] = []
    queues = [torch.cuda.Stream(device) for _ in cases]  # type: ignore[no-untyped-call]
    torch.cuda.synchronize(device)
    for _ in range(3):
        found.clear()
        for case, source, queue in zip(cases, sources, queues, strict=True):
            with torch.cuda.stream(queue):
                found.append(spacebatch.space_to_batch(source, case.block, case.paddings))
    torch.cuda.synchronize(device)
    for case, source, result in zip(cases, sources, found, strict=True):
        if not same_bits(result, expected(case, source)):
            return f"wrong on a stream of its own: {case.key}"
    return f"{count} at once"


def capture(device: torch.device) -> str:
    """A CUDA graph whose capture is the first call of each shape, replayed on other values."""
    for i, mode in enumerate(("forward", "inverse")):
        case = Case(
            "space_to_batch" if mode == "forward" else "batch_to_space",
            (3, 7, 66 + 2 * i, 90),
            (2, 2),
            ((0, 0), (0, 0)),
        )
        operation = getattr(spacebatch, case.direction)
        operation(replace(case, shape=(1, *case.shape[1:])).source(device), 2)  # loads the kernel
        source = case.source(device)
        torch.cuda.synchronize(device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = operation(source, 2)
        source.copy_(case.source(device))
        graph.replay()
        if not same_bits(result, expected(case, source)):
            return f"wrong in a captured graph: {case.key}"
    return "both directions at first use"


def large(device: torch.device) -> str:
    """More than 2**31 elements, both directions, interleaved and contiguous, padded."""
    if torch.cuda.mem_get_info(device)[0] < HUGE_MEMORY:
        return f"not tried, {HUGE_MEMORY >> 30} GiB of free memory are needed"
    for shape, block, arrangement in (
        ((1, 3, HUGE_EDGE, HUGE_EDGE), (2, 2), "interleaved"),
        ((1, 3, HUGE_EDGE - 1, HUGE_EDGE - 1), (3, 3), "interleaved"),
        ((1, 3, HUGE_EDGE, HUGE_EDGE), (3, 3), "contiguous"),
    ):
        after = HUGE_EDGE - shape[-1]
        for direction in ("space_to_batch", "batch_to_space"):
            case = Case(direction, shape, block, ((0, after),) * 2, "uint8", arrangement=arrangement)  # type: ignore[arg-type]
            source = case.source(device)
            result = getattr(spacebatch, direction)(source, block, case.paddings, arrangement=arrangement)
            if not same_bits(result, expected(case, source)):
                return f"wrong beyond 2**31 elements: {case.key}"
            del source, result
            torch.cuda.empty_cache()
    return f"{3 * HUGE_EDGE**2 / 2**31:.2f} x 2**31 elements"


def tests(deadline: Deadline) -> Outcome:
    """pytest over the tests that need a GPU, marked `gpu`; then over all others, those of the kernels first."""
    folder = ROOT / "tests"
    if not folder.is_dir():
        return "skipped", "there are no tests here; run it from a clone"
    if importlib.util.find_spec("pytest") is None:
        return "skipped", "pytest is not installed"
    parallel = ["-n", str(min(12, os.cpu_count() or 1))] if importlib.util.find_spec("xdist") else []
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *parallel]
    told: list[str] = []
    for chosen in (["gpu", str(folder)], ["not gpu", str(folder / "tl_kernels"), str(folder)]):
        code, text = _run([*command, "-m", *chosen], deadline)
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
            file.write_text(json.dumps(case.as_dict()))
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
    """pytest's last line of counts, or how far it came."""
    found = re.findall(r"^=*\s*((?:\d+ \w+(?:, )?)+ in [\d.]+s.*?)=*$", text, flags=re.MULTILINE)
    if found:
        return str(found[-1]).strip()
    return f"{len(re.findall(r'^[.sxFE]', text, flags=re.MULTILINE))} lines of results"


def _first_failure(text: str) -> str:
    found = re.findall(r"^(?:FAILED|ERROR) .*$", text, flags=re.MULTILINE)
    return str(found[0])[:200] if found else (text.strip().splitlines() or [""])[-1][:200]
