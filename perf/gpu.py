"""Everything that needs a real GPU, in one run of less than ten minutes: `python -m spacebatch.perf gpu`.

Steps, in order of value, each within its share of the budget:

families   every configuration of every kernel family on small cells, forced in turn, into poisoned memory
hazards    several streams, a CUDA graph captured at the first use of a shape, more than 2**31 elements
sweep      the cells of the goals against a copy and PyTorch by hand, each checked to the bit first
peers      the same cells again with torch.compile and whatever other packages are there
tests      pytest, those that need a GPU first
tune       the candidates of common calls; what is found goes to the table on this machine
sanitizer  compute-sanitizer's memcheck, racecheck and initcheck over a small run
ncu        Nsight Compute on the three worst cells

With --rehearse the same code runs on the CPU under Triton's interpreter, on tiny sizes and with a clock that is made up.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import torch

from . import providers, report, suites
from .cells import Cell
from .hazards import hazards
from .measurement import Bench
from .precompile import Job, compile_all
from .records import Run
from .steps import Deadline, Outcome, Step, run_steps
from .sweep import measure, wrong
from .timing import Call, clock_of
from .tools import ROOT, ncu, sanitizer, tests

RESULTS = ROOT / "perf" / "results"
BUDGET = 480.0
STEPS = ("families", "hazards", "sweep", "peers", "tests", "tune", "sanitizer", "ncu")
MOST = {
    "families": 60,
    "hazards": 45,
    "sweep": 120,
    "peers": 150,
    "tests": 150,
    "tune": 90,
    "sanitizer": 120,
    "ncu": 60,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("--budget", type=float, default=BUDGET, metavar="SECONDS", help="default: %(default)s")
    parser.add_argument("--steps", default=",".join(STEPS), help="a choice and an order; default: %(default)s")
    parser.add_argument("--json", type=Path, help="default: perf/results/gpu-DEVICE.json")
    parser.add_argument("--cells", type=int, metavar="N", help="only the first N cells of the sweep")
    parser.add_argument(
        "--rehearse",
        action="store_true",
        help="on the CPU, interpreted, tiny, with a made-up clock: nothing is measured",
    )


def main(options: argparse.Namespace) -> int:
    """0 if every result was right, 1 if one was wrong or a step failed, 2 where there is no GPU."""
    names = [name for name in options.steps.split(",") if name]
    unknown = sorted({*names} - {*STEPS})
    if unknown:
        print(f"gpu: no step is called {unknown[0]!r}; there are {', '.join(STEPS)}", file=sys.stderr)
        return 2
    if options.rehearse:
        os.environ.setdefault("TRITON_INTERPRET", "1")
        if torch.cuda.is_available():
            print("gpu: --rehearse is for machines without a GPU, and this one has one", file=sys.stderr)
            return 2
    elif not torch.cuda.is_available():
        print(
            "gpu: this PyTorch sees no CUDA or ROCm device; --rehearse runs the same code on the CPU", file=sys.stderr
        )
        return 2
    session = Session(options)
    try:
        good = run_steps([session.step(name) for name in names], session.deadline, session.run)
    except KeyboardInterrupt:
        good = True  # what was measured is kept, and wrong results still count
    session.run.save()
    print()
    print(report.report(session.run))
    if session.run.measured and session.run.path and session.run.cells:
        from .plots import draw

        for path in draw(session.run, session.run.path.parent):
            print(f"plot {path}")
    mistaken = wrong(session.run)
    print(f"\n{'WRONG: ' + mistaken[0] if mistaken else 'every result was right'}" if session.run.cells else "")
    return 1 if mistaken or not good else 0


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
        cells = suites.gpu_suite()[: options.cells]
        self.cells = [cell.tiny() for cell in cells] if self.rehearsal else cells
        wanted = tuple(providers.PROVIDERS[name] for name in ("ours", "eager", "compile", "jax", "cupy"))
        self.run.providers = {provider.name: provider.about for provider in wanted}
        self.providers, self.run.absent = providers.split(wanted, self.device)

    def step(self, name: str) -> Step:
        """The step of that name."""
        return Step(name, MOST[name], getattr(self, name))

    def families(self, deadline: Deadline) -> Outcome:
        """Every candidate configuration, forced in turn, on small cells of every kind."""
        from .families import force

        kinds = {(cell.direction, cell.block, cell.layout, cell.arrangement, cell.row): cell for cell in self.cells}
        return force([cell.tiny() for cell in kinds.values()], self.device, deadline)

    def hazards(self, deadline: Deadline) -> Outcome:
        return hazards(self.device, deadline)

    def sweep(self, deadline: Deadline) -> Outcome:
        self._precompile([("call", cell) for cell in self.cells], deadline)
        return self._measure(self.cells, ("ours", "eager"), deadline)

    def peers(self, deadline: Deadline) -> Outcome:
        large = [cell for cell in self.cells if cell.row != "small"]
        small = [cell for cell in self.cells if cell.row == "small"]
        if self.rehearsal:
            large, small = large[:2], small[:1]  # the compiler for the CPU takes seconds a cell
        self._precompile([("compile", cell, "cuda") for cell in [*small, *large]], deadline)
        return self._measure([*small, *large], tuple(p.name for p in self.providers), deadline)

    def tests(self, deadline: Deadline) -> Outcome:
        return ("skipped", "a rehearsal") if self.rehearsal else tests(deadline)

    def tune(self, deadline: Deadline) -> Outcome:
        from .tune import default_calls, tune

        calls = default_calls(quick=deadline.left() < 200)
        if self.rehearsal:
            return "skipped", "a rehearsal"
        found = tune(calls, device=self.device, budget_seconds=deadline.left())
        self.run.tuned = [tuned.as_dict() for tuned in found]
        gain = report.geometric_mean([tuned.speedup for tuned in found]) if found else 1.0
        return "done", f"{len(found)} buckets; the best is {gain:.3f}x the rule's speed (geometric mean)"

    def sanitizer(self, deadline: Deadline) -> Outcome:
        return ("skipped", "a rehearsal") if self.rehearsal else sanitizer(deadline)

    def ncu(self, deadline: Deadline) -> Outcome:
        if self.rehearsal:
            return "skipped", "a rehearsal"
        scored = [(score, r.cell) for r in self.run.cells if (score := report.badness(r)) is not None]
        worst = [cell for _, cell in sorted(scored, key=lambda pair: pair[0])[:3]]
        folder = self.run.path.parent if self.run.path else RESULTS
        return ncu(worst, folder / "ncu.txt", deadline)

    def _precompile(self, jobs: list[Job], deadline: Deadline) -> None:
        if self.rehearsal:
            return  # the interpreter compiles nothing
        done, errors = compile_all(jobs, 0.7 * deadline.left())
        print(f"   compiled ahead: {done} of {len(jobs)}" + (f"; {errors[0]}" if errors else ""))

    def _measure(self, cells: list[Cell], names: tuple[str, ...], deadline: Deadline) -> Outcome:
        mine = tuple(provider for provider in self.providers if provider.name in names)
        if self.rehearsal:
            import spacebatch

            with spacebatch.use_backend("triton"):
                count = measure(cells, mine, self.bench, self.run, deadline)
        else:
            count = measure(cells, mine, self.bench, self.run, deadline)
        bad = wrong(self.run)
        if bad:
            return "failed", f"{len(bad)} wrong results, the first of {bad[0]}"
        return ("done" if count == len(cells) else "incomplete"), f"{count} of {len(cells)} cells"


def made_up_clock(calls: list[tuple[str, Call]]) -> list[tuple[str, float]]:
    """Runs the calls and says that each took as many milliseconds as its name has letters."""
    for _, call in calls:
        call()
    return [(name, len(name) * 1e-3) for name, _ in calls]


def _slug(name: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in name).split()).lower()
