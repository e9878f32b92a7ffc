"""Records and what is made of them, on figures worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spacebatch.perf import report
from spacebatch.perf.baselines import named
from spacebatch.perf.cases import Case
from spacebatch.perf.gpu import Step, made_up_clock, run_steps
from spacebatch.perf.measure import Bench
from spacebatch.perf.plots import draw
from spacebatch.perf.records import Record, Run
from spacebatch.perf.sweep import Deadline, measure, wrong
from spacebatch.timing import Timing
from tests.perf_cases import CASES, by_name

CPU = torch.device("cpu")


def timing(seconds: float) -> Timing:
    return Timing(seconds, seconds * 0.9, seconds * 1.1, 5)


def record(row: str, share: float, name: str = "plain", **ratios: float) -> Record:
    """A case that took 1 ms, at a share of the copy, with others' times over ours."""
    case = replace(by_name(name), row=row, shape=(len(row), *by_name(name).shape[1:]))
    others = {peer: timing(ratio * 1e-3) for peer, ratio in ratios.items()}
    return Record(case, 10**6, timing(share * 1e-3), {"ours": timing(1e-3), **others}, dict(ratios))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    found = Run.begin("sweep", CPU, tmp_path / "run.json")
    found.cases = [
        record("aligned", 0.96, eager=4.0, compile=2.0),
        record("aligned", 0.94, "padded", eager=1.0, compile=0.5),
        record("odd", 0.86, "nhwc", eager=2.0, numpy=0.1),
    ]
    found.absent = {"jax": "jax is not installed"}
    return found


def test_files_come_back_as_they_were(run: Run) -> None:
    run.save()
    assert run.path is not None
    again = Run.load(run.path)
    assert again.cases == run.cases
    assert again.as_dict() == run.as_dict()
    assert list(run.path.parent.glob("*.tmp")) == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"schema": 99}', '{"schema": 1}', '{"schema": 1, "cells": [{}]}']
)
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="is not a file of measurements"):
        Run.load(path)


def test_goals_met_and_missed(run: Run) -> None:
    lines = {line.split()[0]: line for line in report.shares(run.cases).splitlines()}
    assert lines["aligned"].split()[1:] == [">=", "95%", "1", "1", "94.0%", "94.0%", "1/2"]
    assert lines["odd"].split()[1:] == [">=", "85%", "1", "0", "86.0%", "86.0%", "1/1"]


def test_means_and_their_goals(run: Run) -> None:
    lines = {line.split()[0]: line for line in report.means(run.cases, "cuda").splitlines()}
    assert lines["eager"].split() == ["eager", "3", "2.00x", "1.00x", "4.00x", ">=", "2.5:", "missed"]
    assert lines["compile"].split() == ["compile", "2", "1.00x", "0.50x", "2.00x", ">=", "1.5:", "missed"]
    assert lines["numpy"].split() == ["numpy", "1", "0.10x", "0.10x", "0.10x"]


def test_the_best_peer_and_the_worst_cases(run: Run) -> None:
    assert [report.best_peer(r) for r in run.cases] == [("compile", 2.0), ("compile", 0.5), ("eager", 2.0)]
    assert [report.not_slower(r) for r in run.cases] == [True, False, True]
    lines = report.worst_cases(run.cases, 2).splitlines()
    assert lines[1].split()[0] == "0.50"  # compile takes half of our time
    assert lines[2].split()[0] == "1.01"
    assert len(lines) == 3


def test_a_case_that_was_not_timed_is_missed() -> None:
    broken = replace(record("odd", 0.9), times={}, ratios={}, wrong=["ours"])
    text = report.shares([record("odd", 0.9, "padded"), broken])
    assert text.splitlines()[1].split()[:5] == ["odd", ">=", "85%", "1", "1"]


def test_small_tensors_by_host_and_graph() -> None:
    quick = replace(record("small", 0.2), host={"ours": 8e-6, "eager": 9e-6}, graph={"ours": 3e-6, "copy": 2.5e-6})
    slow = replace(
        record("small", 0.2, "padded"), host={"ours": 9.1e-6, "eager": 9e-6}, graph={"ours": 4e-6, "copy": 2e-6}
    )
    text = report.shares([quick, slow])
    assert "host's time at most eager's in 1 of 2 cases" in text
    assert "inside a CUDA graph in 1 of 2" in text


def test_the_whole_report(run: Run) -> None:
    run.cases[0].wrong = ["eager"]
    run.cases[1].failed = {"compile": "RuntimeError: no"}
    run.not_measured = ["one", "two"]
    run.cases[2].extra_bytes = 3 << 19
    text = report.report(run)
    for part in ("absent: jax, jax is not installed", "WRONG results", "RuntimeError: no", "2 cases", "1.50 MiB"):
        assert part in text
    assert report.table(run.cases).count("\n") == 3


def test_a_rehearsal_says_so(run: Run, tmp_path: Path) -> None:
    run.measured = False
    assert "none was measured" in report.report(run)
    with pytest.raises(ValueError, match="rehearsal"):
        draw(run, tmp_path)


def test_comparison(run: Run) -> None:
    after = Run.load(run.path) if run.path and run.path.exists() else Run.begin("sweep", CPU)
    after.cases = [record("aligned", 0.96), record("aligned", 0.47, "padded"), record("odd", 0.95, "nhwc")]
    text, slower = report.compare(run, after)
    assert slower == 1
    assert "0.50x" in text
    assert "94.0% -> 47.0% of a copy" in text
    assert report.compare(run, run)[1] == 0
    assert "no case was timed in both" in report.compare(run, Run.begin("sweep", CPU))[0]


def test_plots(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run.cases.append(replace(record("odd", 0.5, "1d", eager=0.7), moved_bytes=10**8))
    files = draw(run, tmp_path / "pictures")
    assert [path.name for path in files] == ["run-bandwidth.png", "run-peers.png", "run-limit.png"]
    for path in files:
        assert path.read_bytes()[:4] == b"\x89PNG"


def test_plots_of_nothing(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert draw(Run.begin("sweep", CPU), tmp_path) == []


def test_interruption_keeps_what_was_measured(tmp_path: Path) -> None:
    rounds = []

    def clock(calls: list[tuple[str, object]]) -> list[tuple[str, float]]:
        rounds.append(1)
        if len(rounds) > 4:  # two cases of two rounds
            raise KeyboardInterrupt
        return made_up_clock(calls)  # type: ignore[arg-type]

    run = Run.begin("sweep", CPU, tmp_path / "run.json")
    with pytest.raises(KeyboardInterrupt):
        measure(CASES[:5], named(["ours", "eager"]), Bench(CPU, clock, 2, 0), run, Deadline(60))  # type: ignore[arg-type]
    found = json.loads((tmp_path / "run.json").read_text())
    assert [case["key"] for case in found["cells"]] == [case.key for case in CASES[:2]]
    assert found["not_measured"] == [case.key for case in CASES[2:5]]


def test_a_deadline_ends_a_sweep(tmp_path: Path) -> None:
    time = iter(range(100))
    run = Run.begin("sweep", CPU)
    deadline = Deadline(3.0, now=lambda: float(next(time)))  # the first look is at 0, then one before each case
    count = measure(CASES[:5], named(["ours"]), Bench(CPU, made_up_clock, 1, 0), run, deadline)
    assert count == 2
    assert len(run.not_measured) == 3


def test_memory_errors_pass_over_a_case() -> None:
    class Full(Bench):
        def record(self, case: Case, providers: object) -> Record:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB\nmore")

    run = Run.begin("sweep", CPU)
    measure(CASES[:2], [], Full(CPU, made_up_clock), run, Deadline(60))
    assert run.not_measured[0] == f"{CASES[0].key}: CUDA out of memory. Tried to allocate 9 GiB"


def test_measured_again_takes_the_place(tmp_path: Path) -> None:
    run = Run.begin("gpu", CPU)
    run.add(record("odd", 0.5))
    run.add(record("odd", 0.7))
    assert [r.share for r in run.cases] == pytest.approx([0.7])


def test_what_counts_as_wrong() -> None:
    run = Run.begin("sweep", CPU)
    run.cases = [
        replace(record("odd", 0.5, name), **change)
        for name, change in (
            ("plain", {"wrong": ["eager"]}),
            ("padded", {"wrong": ["out"]}),
            ("nhwc", {"failed": {"ours": "RuntimeError"}}),
            ("1d", {"failed": {"jax": "RuntimeError"}}),
        )
    ]
    assert wrong(run) == [run.cases[1].case.key, run.cases[2].case.key]


def test_steps_end_with_the_budget() -> None:
    done: list[str] = []

    def takes(name: str) -> Step:
        return Step(name, 10.0, lambda deadline: (done.append(f"{name} {deadline.left():.0f}"), ("done", ""))[1])  # type: ignore[return-value]

    clock = [0.0]
    budget = Deadline(18.0, now=lambda: clock[0])

    def later(deadline: Deadline) -> tuple[str, str]:
        clock[0] += 12.0
        return "incomplete", "1 of 2"

    run = Run.begin("gpu", CPU)
    steps = [takes("one"), Step("two", 10.0, later), takes("three"), Step("four", 1.0, later), takes("five")]  # type: ignore[arg-type]
    run_steps(steps, budget, run, say=lambda text: None)
    assert done == ["one 10", "three 6"]
    assert [step["state"] for step in run.steps] == ["done", "incomplete", "done", "incomplete", "skipped"]


def test_an_interrupted_step_ends_the_run() -> None:
    def interrupted(deadline: Deadline) -> tuple[str, str]:
        raise KeyboardInterrupt

    run = Run.begin("gpu", CPU)
    with pytest.raises(KeyboardInterrupt):
        run_steps([Step("one", 9.0, interrupted)], Deadline(60), run, say=lambda text: None)  # type: ignore[arg-type]
    assert run.steps[0]["detail"] == "interrupted"
