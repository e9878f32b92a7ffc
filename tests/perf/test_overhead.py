"""The table of the host's time per call: every row is measured, what is compared is the same, and the call stays short."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

import spacebatch
from spacebatch.perf import overhead
from tests.bits import random_tensor, same


@pytest.mark.parametrize("case", overhead.CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def test_by_hand_is_the_same_operation(case: tuple[object, ...]) -> None:
    operation, border, hand, source, result = case
    x = random_tensor(source)  # type: ignore[arg-type]
    y = getattr(spacebatch, operation)(x, overhead.BLOCK, border)  # type: ignore[arg-type]
    assert y.shape == result
    assert same(hand(x), y)  # type: ignore[operator]


def test_the_table_has_every_row() -> None:
    rows = overhead.rows_of(torch.device("cpu"), calls=3, rounds=3)
    assert len(rows) == 12
    assert {row.mode for row in rows} == set(overhead.MODES)
    assert all(row.ours > 0 and row.hand is not None and row.hand > 0 and row.ratio is not None for row in rows)
    assert len(overhead.table(rows).splitlines()) == 13


def test_few_calls_of_python_per_call() -> None:
    """A count that no busy machine changes: functions entered between the user's call and PyTorch's operator."""
    x = torch.rand(1, 1, 4, 4)
    spacebatch.space_to_batch(x, 2)
    entered = []

    def profile(frame: object, event: str, argument: object) -> None:
        if event == "call":
            entered.append(frame.f_code.co_name)  # type: ignore[attr-defined]

    sys.setprofile(profile)
    try:
        spacebatch.space_to_batch(x, 2)
    finally:
        sys.setprofile(None)
    assert len(entered) <= 12, entered


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from spacebatch.perf.__main__ import main

    path = tmp_path / "overhead.json"
    status = main(["overhead", "--device", "cpu", "--calls", "3", "--rounds", "3", "--json", str(path)])
    assert status in (0, 1)  # three calls measure nothing
    data = json.loads(path.read_text())
    assert {"hardware", "software", "note", "rows"} == set(data)
    assert "forward+backward" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"^overhead: calls and rounds must be at least 1"):
        overhead.main(type("Options", (), {"calls": 0, "rounds": 1})())
