"""What counts in a verdict, and what does not: figures worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from spacebatch.perf import load, report
from spacebatch.perf.baselines import named
from spacebatch.perf.gpu import made_up_clock
from spacebatch.perf.measure import Bench
from spacebatch.perf.page import page
from spacebatch.perf.plausible import doubts
from spacebatch.perf.records import Record, Run
from spacebatch.timing import Timing
from tests.perf_cases import by_name

CPU = torch.device("cpu")


def timing(us: float, apart: float = 0.1) -> Timing:
    """A median, and quartiles that are so many medians apart."""
    return Timing(us * 1e-6, us * 1e-6 * (1 - apart / 2), us * 1e-6 * (1 + apart / 2), 9)


def record(copy: float = 5.0, **us: float) -> Record:
    """A case of 1 MB; ours takes 10 us, the others as said."""
    times = {"ours": timing(10.0), **{name.replace("_", "-"): timing(value) for name, value in us.items()}}
    over = {name: times["numpy" if name == "einops-numpy" else "ours"].median for name in times}
    ratios = {name: found.median / over[name] for name, found in times.items() if name != "ours"}
    return Record(replace(by_name("plain"), row="cpu"), 10**6, timing(copy), times, ratios)


def test_numpy_peers_count() -> None:
    assert report.best_peer(record(eager=20.0, numpy=8.0, einops_numpy=9.6)) == ("einops-numpy", 1.2)
    assert report.not_slower(record(eager=20.0, numpy=8.0, einops_numpy=9.6)) is True
    assert report.not_slower(record(eager=20.0, numpy=8.0, einops_numpy=6.0)) is False
    assert report.not_slower(record(eager=20.0, numpy=8.0)) is True  # ours on arrays is no peer of ours on tensors


def test_arrays_are_timed_beside_arrays() -> None:
    pytest.importorskip("einops")
    found = Bench(CPU, made_up_clock, 1, 0).record(by_name("plain"), named(["ours", "eager", "numpy", "einops-numpy"]))
    assert found.ratios == pytest.approx(
        {"eager": 5 / 4, "numpy": 5 / 4, "einops-numpy": 12 / 5}
    )  # letters of the names


def spread(name: str, apart: float) -> Record:
    found = record(eager=20.0)
    return replace(found, times={**found.times, name: timing(10.0, apart)})


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (record(eager=20.0), None),
        (spread("ours", 0.9), None),
        (spread("ours", 1.2), "the quartiles of ours are 1.2 medians apart"),
        (spread("eager", 1.2), "the quartiles of eager are 1.2 medians apart"),
        (record(eager=2.6), None),
        (record(eager=2.0), "eager would move 500 GB/s, where a copy moves 200"),
        (record(copy=25.0, eager=20.0), "ours would move 100 GB/s, where a copy moves 40"),
        (record(eager=400.0), None),
        (record(eager=700.0), "eager took 70 times as long as the others"),
    ],
    ids=["plain", "spread a little", "spread", "peer spread", "fast", "too fast", "slow copy", "slow", "barrier"],
)
def test_times_that_cannot_be_believed(made: Record, why: str | None) -> None:
    assert doubts(made) == ([] if why is None else [why])


def run_of(*records: Record) -> Run:
    """A run of these cases, each of another size."""
    run = Run.begin("sweep", CPU, Path("run.json"))
    run.loads = {"start": 0.2, "end": 2.1}
    run.device["cores"] = 2
    run.cases = [replace(r, case=replace(r.case, shape=(k + 1, *r.case.shape[1:]))) for k, r in enumerate(records)]
    return run


def test_what_cannot_be_believed_is_in_no_verdict() -> None:
    run = run_of(record(eager=20.0), record(eager=8.0), record(eager=70570.0))
    text = report.report(run)
    assert "left out of every verdict, since their times cannot be believed: 1 cases, marked (?)" in text
    assert f"  {run.cases[2].case.key}: eager took 7057 times as long as the others" in text
    assert " 1/2" in text  # of two cases that are left one is no slower
    (eager,) = [line for line in text.splitlines() if line.startswith("eager ")]
    assert eager.split()[1:5] == ["2", "1.26x", "0.80x", "2.00x"]
    assert [line.split("  ")[0].endswith("(?)") for line in report.table(run.cases).splitlines()[1:]] == [
        False,
        False,
        True,
    ]
    table = page(run)
    assert "All cells: `run.json`." in table
    assert "| all | 2 | 1.26 (0.80 - 2.00) | 1 |" in table
    assert "Cells left out, since their times cannot be believed: 1." in table


def test_the_load_is_said() -> None:
    run = run_of(record(eager=20.0))
    assert "load of 2 cores: 0.2 at the start, 2.1 at the end" in report.header(run)
    assert "WARNING" not in report.header(run)
    run.loads["end"] = 5.0
    assert "WARNING: more ran than there are cores" in report.header(run)


def test_a_load_above_the_cores_warns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found: Any = iter([1.0, 9.0, 9.0, None])
    monkeypatch.setattr(load, "average", lambda: next(found))
    monkeypatch.setattr(load, "cores", lambda: 4)
    with load.watched("sweep"):
        pass
    warning = "sweep: WARNING: a load of 9.0 on 4 cores {}: the figures are not to be trusted\n"
    assert capsys.readouterr().err == warning.format("at the end")
    with load.watched("sweep"):
        pass
    assert capsys.readouterr().err == warning.format("before the first figure")


def test_pictures_of_the_worst(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tile holds its worst case, a legend names what is drawn and lies outside of the axes."""
    pytest.importorskip("matplotlib")
    from spacebatch.perf import plots

    run = run_of(record(eager=20.0), record(eager=8.0), record(eager=70570.0))
    figure = plots._figure()
    assert plots.peers(figure, run)
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.80"]
    assert "the worst of up to 2 cases a tile" in figure.axes[0].get_title()
    run.cases[1].case = replace(run.cases[1].case, row="aligned")
    figure = plots._figure()
    assert plots.limit(figure, run)
    labels = ["ours, cpu", "ours, aligned", "the goal", "the fastest peer, where that is the goal", "the copy"]
    assert sorted(text.get_text() for text in figure.legends[0].get_texts()) == sorted(labels)
    assert figure.axes[0].get_legend() is None
    lines = {found.get_label(): found.get_segments() for found in figure.axes[0].collections}
    assert [segment[0][0] for segment in lines["the goal"]] == [0.95]
    assert [segment[0][0] for segment in lines["the fastest peer, where that is the goal"]] == [0.25]  # half of ours
    run.cases = run.cases[:1]
    figure = plots._figure()
    assert plots.limit(figure, run)
    assert "the goal" not in [text.get_text() for text in figure.legends[0].get_texts()]
