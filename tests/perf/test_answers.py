"""`python -m spacebatch.perf answers`: every experiment as small as it goes, and a page whose words and figures are those of its file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from spacebatch.perf.__main__ import main
from spacebatch.perf.answers import QUESTIONS, command
from spacebatch.perf.report import aligned, markdown

ROOT = Path(__file__).parents[2]
PAGE, FILE = ROOT / "docs/questions.md", ROOT / "perf/results/answers-cpu.json"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def by(rows: list[dict[str, Any]], *keys: str) -> dict[Any, dict[str, Any]]:
    return {tuple(row[key] for key in keys) if len(keys) > 1 else row[keys[0]]: row for row in rows}


def training_time(found: dict[str, Any]) -> None:
    for row in found["rows"]:
        if row["way"] == "batch space":
            assert row["replaced"] == row["convolutions"]
            assert row["difference"] < 1e-2
        assert row["gain"] > 0


def sizes(found: dict[str, Any]) -> None:
    for row in found["rows"]:
        equal = "whole" in row["way"] or "halo" in row["way"]
        assert (row["difference"] < 1e-4) == equal, row


def alternatives(found: dict[str, Any]) -> None:
    rows = {row["network"].partition(",")[0]: row for row in found["rows"]}
    assert rows["dilations 2"]["reach"] == rows["the same in batch space"]["reach"] == 19
    assert found["rows"][2]["reach"] == 5
    assert abs(rows["dilations 2"]["overlap"] - rows["the same in batch space"]["overlap"]) < 0.05


def memory(found: dict[str, Any]) -> None:
    rows = by(found["rows"], "network", "step", "way")
    for network, _, way in rows:
        if way in ("native", "batch space"):
            assert rows[network, "training step", way]["bytes"] > rows[network, "inference", way]["bytes"] > 0
    volume = next(name for name, *_ in rows if name.startswith("3-D"))
    assert rows[volume, "inference", "batch space"]["bytes"] < rows[volume, "inference", "native"]["bytes"]


def hardware(found: dict[str, Any]) -> None:
    assert {row["device"]: row["backend"] for row in found["planned"]} == {
        "cpu": "llvm",
        "cuda": "triton",
        "mps": "torch",
        "xpu": "torch",
    }
    assert all(row["exact"] for row in found["timed"])
    assert all("failed" in row or min(row["instructions"]) > 0 for row in [*found["processors"], *found["gpus"]])


def norms(found: dict[str, Any]) -> None:
    for row in found["norms"]:
        assert max(row["converted"].values()) < 1e-10
        assert (row["by hand"]["running mean"] < 1e-10) == row["divides"]
    elements, channels = found["dropout"]
    for way in ("native", "batch space"):
        assert abs(elements[way]["share"] - found["p"]) < 0.01
        assert channels[way]["torn"] == 0 < elements[way]["torn"]


def gains(found: dict[str, Any]) -> None:
    assert {row["step"] for row in found["rows"]} == {"inference", "training"}
    assert all(row["difference"] < 1e-4 and min(row["gain"].values()) > 0 for row in found["rows"])


def gradients(found: dict[str, Any]) -> None:
    of = found["operators"]
    assert of["entries"] == [0, 1]
    assert of["singular"] == pytest.approx([1, 1], abs=1e-12)
    assert of["same_bits"]
    assert of["gradcheck"]
    assert of["gradgradcheck"]
    assert found["network"][0]["difference"] < 1e-10
    assert found["network"][1]["difference"] < 1e-3


def transfer(found: dict[str, Any]) -> None:
    assert (found["checkpoint"]["missing"], found["checkpoint"]["unexpected"]) == (0, 0)
    assert found["checkpoint"]["difference"] < 1e-4
    assert found["learnt"][1]["first_loss_difference"] < 1e-4
    assert [(row["each"], row["all"]) for row in found["commutes"]] == [(True, True)] * 3 + [(False, True)] * 3 + [
        (False, False)
    ]


def blocks(found: dict[str, Any]) -> None:
    assert all(row["ms"][str(row["chosen"])] > 0 for row in found["convolutions"])
    for row in found["convolutions"]:
        assert list(row["ms"]) == (["1", "2", "4"] if "rate 4" in row["convolution"] else ["1", "2", "4", "8"])
    whole, *tiles = (row["work"] for row in found["tiles"])
    assert whole == 1 < min(tiles)


CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "training-time": training_time,
    "sizes": sizes,
    "alternatives": alternatives,
    "memory": memory,
    "hardware": hardware,
    "norms": norms,
    "gains": gains,
    "gradients": gradients,
    "transfer": transfer,
    "blocks": blocks,
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_experiment_runs_and_finds_what_is_true_of_any_size(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []
    right = command.measured
    monkeypatch.setattr(command, "measured", lambda *given: seen.append(right(*given)) or seen[0])
    assert main(["answers", "--quick", "--question", name]) == 0
    CHECKS[name](json.loads(json.dumps(seen[0]["found"])))
    out = capsys.readouterr().out
    assert QUESTIONS[name][1] in out
    assert command.text(name, seen[0], aligned) in out


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_page_has_the_figures_of_the_file_and_they_are_as_it_says(name: str) -> None:
    answer = command.read(FILE)["answers"][name]
    begin, end = command.marks(name)
    between = PAGE.read_text(encoding="utf-8").partition(f"{begin}\n")[2].partition(end)[0]
    assert between == command.text(name, answer, markdown)
    CHECKS[name](answer["found"])


def test_the_words_of_the_page_hold() -> None:
    """What is written above the tables, where it is more than equality: a new measurement must bear it out."""
    found = {name: answer["found"] for name, answer in command.read(FILE)["answers"].items()}
    for native, ours in zip(
        *([r for r in found["training-time"]["rows"] if r["way"] == w] for w in ("native", "batch space")), strict=True
    ):
        assert abs(native["steps"] - ours["steps"]) <= 2
    overlaps = [row["overlap"]["131"] for row in found["sizes"]["rows"]]
    assert overlaps[-1] < overlaps[-2] < min(overlaps[:-2]) - 0.02
    dilated, _, narrow, _, resized, _ = found["alternatives"]["rows"]
    assert dilated["overlap"] > narrow["overlap"] + 0.1
    assert resized["training"] == max(row["training"] for row in found["alternatives"]["rows"]) > 1
    assert resized["overlap"] > dilated["overlap"] - 0.05
    taken: dict[str, list[int]] = {}  # by inference natively, in batch space and in tiles
    for row in found["memory"]["rows"]:
        if row["step"] == "inference":
            taken.setdefault(row["network"], []).append(row["bytes"])
    assert all(tiles < native for native, _, tiles in taken.values())
    assert all((ours < native) == name.startswith("3-D") for name, (native, ours, _) in taken.items())
    plain, turned = found["transfer"]["augmented"]
    assert turned["batch space"]["new"] > plain["batch space"]["new"]
    assert found["transfer"]["learnt"][1]["last_loss"] < found["transfer"]["learnt"][2]["last_loss"]
    work = [row["work"] for row in found["blocks"]["tiles"][1:]]
    assert work == sorted(work, reverse=True)


def test_an_answer_replaces_its_own_and_keeps_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "measured", lambda name, quick: json.loads(FILE.read_text())["answers"][name])
    file, page = tmp_path / "a.json", tmp_path / "a.md"
    page.write_text("\n".join(["words", *command.marks("norms"), "more"]))
    assert main(["answers", "--question", "norms", "--question", "gains", "--json", str(file)]) == 0
    assert main(["answers", "--question", "gains", "--json", str(file)]) == 0
    assert list(json.loads(file.read_text())["answers"]) == ["norms", "gains"]
    read = ["answers", "--read", str(file), "--write-docs", str(page), "--question"]
    for _ in range(2):
        assert main([*read, "norms"]) == 0
    assert page.read_text().startswith("words\n<!-- norms: begin -->\n\nLargest difference")
    assert page.read_text().endswith("\n<!-- norms: end -->\nmore")
    assert main([*read, "blocks"]) == 2


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["answers", "--quick", "--json", str(tmp_path / "a.json")]) == 2
    assert "--quick: such figures mean nothing" in capsys.readouterr().err
    (tmp_path / "other.json").write_text('{"schema": 1, "answers": {"norms": {}}}')
    assert main(["answers", "--read", str(tmp_path / "other.json")]) == 2
    assert "is not a file of answers" in capsys.readouterr().err
    options = argparse.ArgumentParser()
    command.add_arguments(options)
    with pytest.raises(SystemExit):
        options.parse_args(["--question", "why"])
