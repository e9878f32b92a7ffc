"""Everything that needs a real GPU, in one run of less than ten minutes: `python -m spacebatch.perf gpu`.

Steps, in order of value, each within its share of the budget:

families   every configuration of every kernel family on small cases, forced in turn, into poisoned memory
hazards    several streams, a CUDA graph captured at the first use of a shape, more than 2**31 elements
sweep      the cases of the goals against a copy and PyTorch by hand, each checked to the bit first
peers      the same cases again with torch.compile and whatever other packages are there
tests      pytest, those that need a GPU first
tune       the candidates of common calls; what is found goes to the table on this machine
sanitizer  compute-sanitizer's memcheck, racecheck and initcheck over a small run
ncu        Nsight Compute on the three worst cases

With --rehearse the same code runs on the CPU under Triton's interpreter, on tiny sizes and with a clock that is made up.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import spacebatch
from spacebatch.timing import Call, clock_of

from . import baselines, report, suites
from .cases import Case
from .gpu_steps import ROOT, Outcome, State, force, hazards, ncu, sanitizer, tests
from .measure import Bench
from .precompile import Job, compile_all
from .records import Run
from .sweep import Deadline, measure, wrong

RESULTS = ROOT / "perf" / "results"
BUDGET = 480.0
LEAST = 5.0  # seconds; with less left a step is not begun
MOST = {  # the steps, in order of value, and the seconds that each may take
    "families": 60,
    "hazards": 45,
    "sweep": 120,
    "peers": 150,
    "tests": 150,
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
    try:
        good = run_steps([session.step(name) for name in names], session.deadline, session.run)
    except KeyboardInterrupt:
        good = True  # what was measured is kept, and wrong results still count
    session.run.save()
    print()
    print(report.report(session.run))
    if session.run.measured and session.run.path and session.run.cases:
        from .plots import draw

        for path in draw(session.run, session.run.path.parent):
            print(f"plot {path}")
    mistaken = wrong(session.run)
    print(f"\n{'WRONG: ' + mistaken[0] if mistaken else 'every result was right'}" if session.run.cases else "")
    return 1 if mistaken or not good else 0


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: as options and the report call it.
        most: seconds that it may take.
        run: (deadline) → outcome. It ends itself by the deadline; what it raises makes it "failed".
    """

    name: str
    most: float
    run: Callable[[Deadline], Outcome]


def run_steps(steps: Sequence[Step], budget: Deadline, run: Run, say: Callable[[str], object] = print) -> bool:
    """Run the steps while time is left, with each one's outcome in `run`; False if one failed.

    >>> import torch
    >>> steps = [Step("one", 60, lambda deadline: ("done", "2 of 2")), Step("two", 60, lambda deadline: 1 / 0)]
    >>> found = Run.begin("gpu", torch.device("cpu"))
    >>> run_steps(steps, Deadline(60), found, say=lambda text: None)
    False
    >>> [(step["state"], step["detail"]) for step in found.steps]
    [('done', '2 of 2'), ('failed', 'ZeroDivisionError: division by zero')]

    A step that the user interrupts ends the run with what there is.
    """
    good = True
    for step in steps:
        begun = time.monotonic()
        interrupted: BaseException | None = None
        if budget.left() < LEAST:
            state: State = "skipped"
            detail = "no time left"
        else:
            say(f"== {step.name}: {min(step.most, budget.left()):.0f} s at most")
            try:
                state, detail = step.run(budget.within(step.most))
            except Exception as error:  # the other steps still tell something
                state, detail = "failed", f"{type(error).__name__}: {error}".splitlines()[0][:300]
            except KeyboardInterrupt as error:
                state, detail, interrupted = "incomplete", "interrupted", error
        good = good and state != "failed"
        entry: dict[str, Any] = {"name": step.name, "state": state, "detail": detail}
        run.steps.append({**entry, "seconds": round(time.monotonic() - begun, 1)})
        say(f"   {step.name}: {state}, {detail}")
        run.save()
        if interrupted is not None:
            raise interrupted
    return good


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
        if self.rehearsal and name in ("tests", "tune", "sanitizer", "ncu"):
            return Step(name, MOST[name], lambda deadline: ("skipped", "a rehearsal"))
        return Step(name, MOST[name], getattr(self, name))

    def families(self, deadline: Deadline) -> Outcome:
        """Every candidate configuration, forced in turn, on small cases of every kind."""
        kinds = {(case.direction, case.block, case.layout, case.arrangement, case.row): case for case in self.cases}
        return force([case.tiny() for case in kinds.values()], self.device, deadline)

    def hazards(self, deadline: Deadline) -> Outcome:
        return hazards(self.device, deadline)

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

    def tests(self, deadline: Deadline) -> Outcome:
        return tests(deadline)

    def tune(self, deadline: Deadline) -> Outcome:
        from .tune import default_calls, tune

        calls = default_calls(quick=deadline.left() < 200)
        found = tune(calls, device=self.device, budget_seconds=deadline.left())
        self.run.tuned = [tuned.as_dict() for tuned in found]
        gain = report.geometric_mean([tuned.speedup for tuned in found]) if found else 1.0
        return "done", f"{len(found)} buckets; the best is {gain:.3f}x the rule's speed (geometric mean)"

    def sanitizer(self, deadline: Deadline) -> Outcome:
        return sanitizer(deadline)

    def ncu(self, deadline: Deadline) -> Outcome:
        scored = [(score, r.case) for r in self.run.cases if (score := report.badness(r)) is not None]
        worst = [case for _, case in sorted(scored, key=lambda pair: pair[0])[:3]]
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


def made_up_clock(calls: list[tuple[str, Call]]) -> list[tuple[str, float]]:
    """Runs the calls and says that each took as many milliseconds as its name has letters."""
    for _, call in calls:
        call()
    return [(name, len(name) * 1e-3) for name, _ in calls]


def _slug(name: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in name).split()).lower()
