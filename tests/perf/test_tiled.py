"""`python -m spacebatch.perf tiled` runs, compares where MONAI is there, and writes what it found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from spacebatch.perf import tiled
from spacebatch.perf.__main__ import main


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiled, "mapped_apart", lambda: None)  # which the other tests would pay for
    file = tmp_path / "tiled.json"
    threads = torch.get_num_threads()
    try:
        assert main(["tiled", "--tiny", "--rounds", "2", "--json", str(file)]) == 0
    finally:
        torch.set_num_threads(threads)
    assert main(["page", str(file)]) == 0
    assert "| 1x1x20x20 by 8, overlap 0.5, constant, classes, labels |" in capsys.readouterr().out
    rows = json.loads(file.read_text())["rows"]
    assert [row["result_bytes"] for row in rows] == [8 * 400 * 4, 400]
    assert all(row["seconds"]["ours"]["median"] > 0 for row in rows)
    assert all(("ratio" in row) == ("monai" in row["seconds"]) for row in rows)


def test_results_that_differ_are_not_timed() -> None:
    with pytest.raises(RuntimeError, match="the results differ"):
        tiled.calls_of(tiled.TINY[0], lambda x, *_, **__: torch.zeros(1, 8, 20, 20))
