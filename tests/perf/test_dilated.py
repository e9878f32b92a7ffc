"""`python -m spacebatch.perf atrous`: cases, checks before timing, budget, interruption, files, pages, pictures."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from spacebatch.perf import dilated, dilated_split
from spacebatch.perf.__main__ import main
from spacebatch.perf.dilated import FEW_RATES, RATES, Case, default_cases, tiny_cases
from spacebatch.perf.networks import compare_training

TINY = Case((1, 4, 9), 3, 2)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    dilated.add_arguments(parser)
    return dilated.main(parser.parse_args(["--device", "cpu", *arguments]))


def written(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_text())
    return data


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_cases_cover_what_the_map_promises(device: str) -> None:
    cases = default_cases(device)
    assert len({case.key for case in cases}) == len(cases)
    for attribute, values in {
        "rate": set(RATES),
        "kernel": {3, 5},
        "groups": {"dense", "grouped", "depthwise"},
        "dtype": {"float32", "bfloat16", "float16"},
        "layout": {"contiguous", "channels_last"},
        "step": {"inference", "training"},
        "deterministic": {False, True},
    }.items():
        assert {getattr(case, attribute) for case in cases} == values
    assert {len(case.shape) for case in cases} == {3, 4, 5}
    assert set(FEW_RATES) <= set(RATES)


def test_a_case_survives_json() -> None:
    for case in tiny_cases():
        assert Case.from_dict(json.loads(json.dumps(asdict(case)))) == case


@pytest.mark.parametrize("case", tiny_cases(), ids=lambda case: case.key)
def test_every_kind_of_case_is_right(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dilated, "CASE_SECONDS", 0.0)
    record = dilated.measure_case(case, torch.device("cpu"))
    assert "wrong" not in record
    assert "failed" not in record
    assert record["native"]["runs"] == record["batch_space"]["runs"] == 3
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_wrong_result_is_not_timed_and_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    right = dilated.functional.atrous_conv1d

    def wrong(*arguments: Any, method: Any) -> torch.Tensor:
        return right(*arguments, method=method) + (method == "batch_space")

    monkeypatch.setattr(dilated.functional, "atrous_conv1d", wrong)
    monkeypatch.setattr(dilated, "tiny_cases", lambda: [TINY])
    assert run("--rehearse", "--only", "cells", "--json", str(tmp_path / "a.json")) == 1
    (record,) = written(tmp_path / "a.json")["cells"]
    assert "native" not in record
    assert "WRONG 1d k3 rate 2, dense" in capsys.readouterr().out


def test_what_a_device_cannot_do_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> torch.Tensor:
        raise RuntimeError("no such kernel\nmore")

    monkeypatch.setattr(dilated.functional, "atrous_conv1d", refuse)
    assert dilated.measure_case(TINY, torch.device("cpu"))["failed"] == "no such kernel"


def test_a_rehearsal_measures_everything_and_is_never_taken_for_more(tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "a.json"
    assert run("--rehearse", "--json", str(out), "--only", "networks", "--only", "cells") == 0
    data = written(out)
    assert data["measured"] is False
    assert [n["step"] for n in data["networks"]] == ["training step", "inference"] * 4
    assert len(data["cells"]) == len(tiny_cases())
    assert data["not_measured"] == []
    assert "THESE FIGURES MEAN NOTHING" in capsys.readouterr().out
    for option in ("--plot", "--write-docs"):
        with pytest.raises(ValueError, match="this run is a rehearsal"):
            run("--read", str(out), option, str(tmp_path / "x"))


def test_the_budget_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(0, 1000, 4))
    monkeypatch.setattr(dilated.time, "monotonic", lambda: next(times))
    monkeypatch.setattr(dilated, "measure_case", lambda case, device: {"cell": asdict(case), "failed": "untried"})
    out = tmp_path / "a.json"
    run("--rehearse", "--only", "cells", "--budget", "10", "--json", str(out))
    data = written(out)
    assert len(data["cells"]) == 2
    assert data["not_measured"] == [case.key for case in tiny_cases()[2:]]


def test_an_interruption_keeps_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def one_then_stop(case: Case, device: torch.device) -> dict[str, Any]:
        if case != tiny_cases()[0]:
            raise KeyboardInterrupt
        return {"cell": asdict(case), "failed": "untried"}

    monkeypatch.setattr(dilated, "measure_case", one_then_stop)
    out = tmp_path / "a.json"
    assert run("--rehearse", "--only", "cells", "--json", str(out)) == 130
    assert len(written(out)["cells"]) == 1
    assert capsys.readouterr().err == "atrous: interrupted; what was measured until then is kept\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_the_training_curves_coincide() -> None:
    pytest.importorskip("matplotlib")
    found = compare_training(steps=3)
    assert len(found["native"]) == len(found["batch_space"]) == 3
    assert found["difference"] < 1e-4
    assert found["native"][-1] < found["native"][0]


def timing(median: float) -> dict[str, Any]:
    return {"median": median, "lower": median, "upper": median, "runs": 3}


def figures() -> dict[str, Any]:
    """A file with made-up figures: a win of 2x at rate 2, a loss at rate 4, a case that failed."""
    cases = [
        {
            "cell": asdict(Case((1, 4, 9), 3, rate)),
            "native": timing(n),
            "batch_space": timing(b),
            "native_bytes": 100,
            "batch_space_bytes": 150,
        }
        for rate, n, b in ((2, 2.0, 1.0), (4, 1.0, 4.0))
    ]
    return {
        "schema": 1,
        "measured": True,
        "device": "Some CPU",
        "software": "torch 0",
        "command": "python -m …",
        "networks": [{"name": "TCN", "step": "inference", "before": 0.2, "after": 0.1, "rows": []}],
        "training": {
            "network": "Net",
            "steps": 2,
            "native": [2.0, 1.0],
            "batch_space": [2.0, 1.0],
            "difference": 1e-7,
            "seconds": {"native": 1.0, "batch_space": 2.0},
        },
        "cells": [*cases, {"cell": asdict(Case((1, 4, 9), 3, 8)), "failed": "untried"}],
        "not_measured": ["x"],
    }


def test_the_page_gets_wins_and_losses_alike(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(figures()))
    page = tmp_path / "page.md"
    page.write_text(f"before\n{dilated.BEGIN}\nold\n{dilated.END}\nafter\n")
    for _ in range(2):
        assert run("--read", str(tmp_path / "a.json"), "--write-docs", str(page)) == 0
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| TCN | inference | 200.0 | 100.0 | 2.00x |" in text
    assert "faster in 1 of 2 cases" in text
    assert "| 1d k3, dense, float32, contiguous, 1x4x9, inference | 2.00 | 0.25 | 1.5-1.5x |" in text
    assert "Not measured, for lack of time: 1 cases." in text
    page.write_text("no marks")
    with pytest.raises(ValueError, match=r"^--write-docs: .* has no line <!-- measured: begin -->"):
        run("--read", str(tmp_path / "a.json"), "--write-docs", str(page))


def test_the_pictures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "a.json").write_text(json.dumps(figures()))
    names = [str(tmp_path / name) for name in ("map.png", "curves.png")]
    assert run("--read", str(tmp_path / "a.json"), "--plot", names[0], "--plot-training", names[1]) == 0
    assert all(Path(name).read_bytes().startswith(b"\x89PNG") for name in names)


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 7}', '{"schema": 1}'])
def test_files_of_another_kind(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a.json is not a file of this tool"):
        run("--read", str(tmp_path / "a.json"))


def test_bad_options() -> None:
    with pytest.raises(ValueError, match="--budget and --steps must be positive"):
        run("--budget", "0")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="this PyTorch sees no CUDA"):
            run("--device", "cuda")


def test_the_time_of_a_convolution_is_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cases = (dilated_split.Case("sound", (1, 4, 64), 4, 8), dilated_split.Case("picture", (1, 4, 9, 9), 4, 2))
    monkeypatch.setattr(dilated_split, "CASES", cases)
    page = tmp_path / "page.md"
    page.write_text("\n".join(dilated_split.MARKS))
    assert main(["atrous-split", "--write-docs", str(page)]) == 0
    lines = [line.split(" | ") for line in page.read_text().splitlines() if line.startswith("| ")]
    assert [len(line) for line in lines] == [len(dilated_split.HEAD)] * 3
    assert [line[0] for line in lines[1:]] == ["| sound, 1x4x64, float32", "| picture, 1x4x9x9, float32"]
    assert [line[12] for line in lines[1:]] == ["columns", "channels_last"]
    assert "onednn_verbose" not in capfd.readouterr().out
    assert dilated_split.kernel(lambda: None) == "not oneDNN"
