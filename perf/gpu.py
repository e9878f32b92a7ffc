"""Everything that needs a real GPU, in one run of less than ten minutes: `python -m spacebatch.perf gpu`.

Steps, in order of value, each within its share of the budget:

families   every configuration of every kernel family on small cases, forced in turn, into poisoned memory
hazards    the tests that need a GPU: streams, CUDA graphs captured at the first use of a shape, more than 2**31 elements
sweep      the cases of the goals against a copy and PyTorch by hand, each checked to the bit first
peers      the same cases again with torch.compile and whatever other packages are there
tests      all other tests
tune       the candidates of common calls; what is found goes to the table on this machine
sanitizer  compute-sanitizer's memcheck, racecheck and initcheck over a small run
ncu        Nsight Compute on the three worst cases

With --rehearse the same code runs on the CPU under Triton's interpreter, on tiny sizes and with a clock that is made up.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import torch

import spacebatch
from spacebatch.atomic_file import write_text_atomically
from spacebatch.exit_status import INTERRUPTED, said
from spacebatch.timing import Call, clock_of

from . import baselines, plots, report, suites
from .cases import Case
from .measure import Bench, expected, in_a_line
from .records import Run
from .sweep import Deadline, measure, wrong
from .tune import Job, compile_all, default_cases, is_right, tune

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
RESULTS = ROOT / "perf" / "results"
BUDGET = 480.0
LEAST = 5.0  # seconds; with less left a step is not begun
MOST = {  # the steps, in order of value, and the seconds that each may take
    "families": 60,
    "hazards": 60,
    "sweep": 120,
    "peers": 150,
    "tests": 135,
    "tune": 90,
    "sanitizer": 120,
    "ncu": 60,
}
STEPS = tuple(MOST)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("--budget", type=float, default=BUDGET, metavar="SECONDS", help="default: %(default)s")
    parser.add_argument("--steps", default=",".join(STEPS), help="a choice and an order; default: %(default)s")
    parser.add_argument("--json", type=Path, help="default: perf/results/gpu-DEVICE.json")
    parser.add_argument("--cases", type=int, metavar="N", help="only the first N cases of the sweep")
    parser.add_argument(
        "--rehearse",
        action="store_true",
        help="on the CPU, interpreted, tiny, with a made-up clock: nothing is measured",
    )


def main(options: argparse.Namespace) -> int:
    """0 if every result was right, 1 if one was wrong or a step failed."""
    names = [name for name in options.steps.split(",") if name]
    unknown = sorted({*names} - {*STEPS})
    if unknown:
        raise ValueError(f"no step is called {unknown[0]!r}; there are {', '.join(STEPS)}")
    if options.rehearse and torch.cuda.is_available():
        raise ValueError("--rehearse is for machines without a GPU, and this one has one")
    if not options.rehearse and not torch.cuda.is_available():
        raise ValueError("this PyTorch sees no CUDA or ROCm device; --rehearse runs the same code on the CPU")
    if options.rehearse:
        os.environ.setdefault("TRITON_INTERPRET", "1")
    session = Session(options)
    interrupted = False
    try:
        run_steps([session.step(name) for name in names], session.deadline, session.run)
    except KeyboardInterrupt:
        interrupted = True
        said("gpu: interrupted; what was measured until then is kept")
    session.run.save()
    print()
    print(report.report(session.run))
    if session.run.measured and session.run.path and session.run.cases:
        plots.draw(session.run, session.run.path.parent)
    mistaken = wrong(session.run)
    print(f"\n{'WRONG: ' + mistaken[0] if mistaken else 'every result was right'}" if session.run.cases else "")
    if interrupted:
        return INTERRUPTED
    return 1 if mistaken or any(step["state"] == "failed" for step in session.run.steps) else 0


class Step(NamedTuple):
    """A step: its name, the seconds that it may take, and what it does until a deadline."""

    name: str
    most: float
    run: Callable[[Deadline], Outcome]


def run_steps(steps: Sequence[Step], budget: Deadline, run: Run, say: Callable[[str], object] = print) -> None:
    """Run the steps while time is left, with each one's outcome in `run`.

    >>> import torch
    >>> steps = [Step("one", 60, lambda deadline: ("done", "2 of 2")), Step("two", 60, lambda deadline: 1 / 0)]
    >>> found = Run.begin("gpu", torch.device("cpu"))
    >>> run_steps(steps, Deadline(60), found, say=lambda text: None)
    >>> [(step["state"], step["detail"]) for step in found.steps]
    [('done', '2 of 2'), ('failed', 'ZeroDivisionError: division by zero')]

    A step that the user interrupts ends the run with what there is.
    """
    for step in steps:
        begun = time.monotonic()
        outcome: Outcome = "incomplete", "interrupted"
        try:
            if budget.left() < LEAST:
                outcome = "skipped", "no time left"
            else:
                say(f"== {step.name}: {min(step.most, budget.left()):.0f} s at most")
                outcome = step.run(budget.within(step.most))
        except Exception as error:  # the other steps still tell something
            outcome = "failed", in_a_line(error)
        finally:
            state, detail = outcome
            seconds = round(time.monotonic() - begun, 1)
            run.steps.append({"name": step.name, "state": state, "seconds": seconds, "detail": detail})
            say(f"   {step.name}: {state}, {detail}")
            run.save()


class Session:
    """What the steps of one run share."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.rehearsal: bool = options.rehearse
        self.device = torch.device("cpu") if self.rehearsal else torch.device("cuda", torch.cuda.current_device())
        self.deadline = Deadline(options.budget)
        path = None if self.rehearsal else options.json or RESULTS / f"gpu-{_slug(torch.cuda.get_device_name())}.json"
        self.run = Run.begin("gpu", self.device, path, measured=not self.rehearsal)
        clock = made_up_clock if self.rehearsal else clock_of(self.device)
        self.bench = Bench(self.device, clock, rounds=1 if self.rehearsal else 15, warmup=0 if self.rehearsal else 3)
        cases = suites.gpu_suite()[: options.cases]
        self.cases = [case.tiny() for case in cases] if self.rehearsal else cases
        wanted = baselines.named(baselines.DEFAULTS["cuda"])
        self.run.providers = {provider.name: provider.about for provider in wanted}
        self.providers, self.run.absent = baselines.split(wanted, self.device)

    def step(self, name: str) -> Step:
        """The step of that name; a rehearsal leaves out what needs a device or is tested elsewhere."""
        run: dict[str, Callable[[Deadline], Outcome]] = {
            "families": self.families,
            "hazards": partial(tests, "gpu"),
            "sweep": self.sweep,
            "peers": self.peers,
            "tests": partial(tests, "not gpu"),
            "tune": self.tune,
            "sanitizer": sanitizer,
            "ncu": self.ncu,
        }
        if self.rehearsal and name in ("hazards", "tests", "tune", "sanitizer", "ncu"):
            return Step(name, MOST[name], lambda deadline: ("skipped", "a rehearsal"))
        return Step(name, MOST[name], run[name])

    def families(self, deadline: Deadline) -> Outcome:
        """Every candidate configuration, forced in turn, on small cases of every kind."""
        kinds = {(case.direction, case.block, case.layout, case.arrangement, case.row): case for case in self.cases}
        return force([case.tiny() for case in kinds.values()], self.device, deadline)

    def sweep(self, deadline: Deadline) -> Outcome:
        self._precompile([("call", case) for case in self.cases], deadline)
        return self._measure(self.cases, ("ours", "eager"), deadline)

    def peers(self, deadline: Deadline) -> Outcome:
        large = [case for case in self.cases if case.row != "small"]
        small = [case for case in self.cases if case.row == "small"]
        if self.rehearsal:
            large, small = large[:2], small[:1]  # the compiler for the CPU takes seconds a case
        self._precompile([("compile", case, "cuda") for case in [*small, *large]], deadline)
        return self._measure([*small, *large], tuple(p.name for p in self.providers), deadline)

    def tune(self, deadline: Deadline) -> Outcome:
        found = tune(default_cases(quick=deadline.left() < 200), self.device, budget_seconds=deadline.left())
        self.run.tuned = [tuned.as_dict() for tuned in found]
        gain = statistics.geometric_mean([tuned.rule_seconds / tuned.seconds for tuned in found]) if found else 1.0
        return "done", f"{len(found)} buckets; the best is {gain:.3f}x the rule's speed (geometric mean)"

    def ncu(self, deadline: Deadline) -> Outcome:
        worst = [record.case for _, record in report.scored(self.run.cases)[:3]]
        folder = self.run.path.parent if self.run.path else RESULTS
        return ncu(worst, folder / "ncu.txt", deadline)

    def _precompile(self, jobs: list[Job], deadline: Deadline) -> None:
        if self.rehearsal:
            return  # the interpreter compiles nothing
        done, errors = compile_all(jobs, 0.7 * deadline.left())
        print(f"   compiled ahead: {done} of {len(jobs)}" + (f"; {errors[0]}" if errors else ""))

    def _measure(self, cases: list[Case], names: tuple[str, ...], deadline: Deadline) -> Outcome:
        mine = tuple(provider for provider in self.providers if provider.name in names)
        with spacebatch.use_backend("triton") if self.rehearsal else nullcontext():
            count = measure(cases, mine, self.bench, self.run, deadline)
        bad = wrong(self.run)
        if bad:
            return "failed", f"{len(bad)} wrong results, the first of {bad[0]}"
        return ("done" if count == len(cases) else "incomplete"), f"{count} of {len(cases)} cases"


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
        write_text_atomically(out, "\n".join(texts))
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


def made_up_clock(calls: list[tuple[str, Call]]) -> list[tuple[str, float]]:
    """Runs the calls and says that each took as many milliseconds as its name has letters."""
    for _, call in calls:
        call()
    return [(name, len(name) * 1e-3) for name, _ in calls]


def _slug(name: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in name).split()).lower()
