"""`python -m tests.nn.network_table`, on networks that take no time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch import nn

from tests.nn import network_table
from tests.nn.network_table import MARKS, Entry, agree, main


def chain() -> nn.Module:
    return nn.Sequential(*(nn.Conv1d(2, 2, 3, padding=2, dilation=2) for _ in range(2)), nn.Conv1d(2, 2, 1))


def broken() -> nn.Module:
    raise RuntimeError("no such network")


def test_a_table_of_decisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = {"chain": Entry("spacebatch", chain, (1, 2, 64)), "absent": Entry("no_such_package", broken, ())}
    monkeypatch.setattr(network_table, "ENTRIES", entries)
    file, page = tmp_path / "found.json", tmp_path / "page.md"
    page.write_text("\n".join(["before", MARKS[0], "old", MARKS[1], "after"]))
    assert main(["--runs", "2", "--budget", "1", "--json", str(file), "--write-docs", str(page)]) == 0
    (record,) = json.loads(file.read_text())["networks"]
    assert (record["convolutions"], record["chains"], len(record["runs"])) == (2, 1, 2)
    assert record["gain_of_all"] > 0
    assert all(run["replaced"] in ([], ["0", "1"]) for run in record["runs"])
    lines = page.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert "old" not in lines
    assert any(line.startswith("| chain, 1x2x64 | inference | 2 | 1 |") for line in lines)
    assert not agree({"runs": [{"replaced": ["0"]}, {"replaced": []}]})

    monkeypatch.setattr(network_table, "ENTRIES", {"broken": Entry("spacebatch", broken, (1,))})
    assert main(["--runs", "1"]) == 1
    assert "broken failed: RuntimeError: no such network" in capsys.readouterr().out
