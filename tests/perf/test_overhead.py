"""The host's time per call, and of first calls: every row is measured, what is compared is the same, the call stays short."""

from __future__ import annotations

import json
import math
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

import spacebatch
from spacebatch.perf import first_call, overhead, sweep
from spacebatch.perf.__main__ import main
from tests.bits import random_tensor, same


@pytest.mark.parametrize("border", [0, 1])
@pytest.mark.parametrize("operation", ["space_to_batch", "batch_to_space"])
@pytest.mark.parametrize("mode", overhead.NEW_SIZES)
def test_by_hand_is_the_same_operation(mode: str, operation: str, border: int) -> None:
    shape = ((2, 3, 6, 10) if mode.endswith("4-D") else (2, 3, 10))[: None if border else 4]
    x = random_tensor(shape if operation == "space_to_batch" else (4 * shape[0], *shape[1:]))
    hand = overhead.NEW_SIZES[mode][operation]
    assert same(hand(x, border), getattr(spacebatch, operation)(x, overhead.BLOCK, border))


def test_the_table_has_every_row() -> None:
    rows = overhead.rows_of(torch.device("cpu"), calls=3, rounds=3)
    assert len(rows) == 16
    assert {row.mode for row in rows} == {*overhead.MODES, "NumPy"}
    assert all(row.ours > 0 and row.hand is not None and row.hand > 0 and row.ratio is not None for row in rows)
    assert len(overhead.table(rows).splitlines()) == 17
    (table,) = overhead.tables({"rows": [asdict(row) for row in rows]})
    assert sum(str(cell).count(" / ") for line in table[1:] for cell in line) == 16


def test_a_size_comes_once_for_ours_and_for_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said to be new is: no two calls of ours share a size, and the other side gets the very same sizes."""
    seen: dict[str, list[tuple[int, ...]]] = {"ours": [], "hand": []}

    def watched(name: str, function: Any) -> Any:
        def run(x: torch.Tensor, *arguments: Any, **options: Any) -> object:
            seen[name].append(tuple(x.shape))
            return function(x, *arguments, **options)

        return run

    for operation in ("space_to_batch", "batch_to_space"):
        monkeypatch.setattr(spacebatch, operation, watched("ours", getattr(spacebatch, operation)))
        for by_hands in overhead.NEW_SIZES.values():
            monkeypatch.setitem(by_hands, operation, watched("hand", by_hands[operation]))
    rows = overhead.new_size_rows(calls=3, rounds=2)
    assert [(row.mode[-3:], row.operation, row.padded) for row in rows] == [
        (dims, operation, padded)
        for dims in ("4-D", "1-D")
        for operation in ("space_to_batch", "batch_to_space")
        for padded in (False, True)
    ]
    assert len(seen["ours"]) == 8 * 3 * 3
    assert len({shape[2:] for shape in seen["ours"]}) == len(seen["ours"])
    assert seen["ours"] == seen["hand"]


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
    path = tmp_path / "overhead.json"
    status = main(["overhead", "--device", "cpu", "--calls", "3", "--rounds", "3", "--json", str(path)])
    assert status in (0, 1)  # three calls measure nothing
    data = json.loads(path.read_text())
    assert {"command", "hardware", "software", "cores", "load", "note", "rows"} == set(data)
    assert "new size, 1-D" in capsys.readouterr().out
    assert main(["page", str(path)]) == 0
    assert "| `batch_to_space`, plain; cropped | " in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main(["overhead", "--calls", "0"])
    assert "a positive number is needed, got '0'" in capsys.readouterr().err


@pytest.mark.parametrize("name", first_call.KINDS)
def test_the_first_call_by_hand_is_the_same_operation(name: str) -> None:
    """The program prints times alone; with one line more it compares the results."""
    case = first_call.KINDS[name]
    ones, dtype = f"torch.ones({case.source_shape}, ", f"torch.{case.dtype}"
    counted = f"torch.arange({math.prod(case.source_shape)}).view({case.source_shape}).to("
    program = first_call.calls_of(case)
    for old, new in (
        ("    function(x)\n", "    results.append(function(x))\n"),
        ("found = []", "found, results = [], []"),
        (f"{ones}dtype={dtype}", f"{counted}{dtype}"),
    ):
        assert old in program
        program = program.replace(old, new)
    names: dict[str, Any] = {"print": lambda text: None}
    exec(program, names)
    by_hand, first, again = names["results"]
    assert same(by_hand, first)
    assert same(first, again)
    assert len(names["found"]) == 3


def test_first_calls(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_call, "IMPORTS", {"import numpy": "import numpy"})
    path = tmp_path / "first.json"
    assert main(["first-call", "--rounds", "1", "--kinds", "1", "--json", str(path)]) == 0
    data = json.loads(path.read_text())
    assert list(data["imports"]) == ["import numpy"]
    assert list(data["kinds"]) == list(first_call.KINDS)[:1]
    assert all(ms > 0 for ms in data["kinds"]["images, block 2"].values())
    assert "images, block 2 " in capsys.readouterr().out
    assert main(["page", str(path)]) == 0
    assert "| images, block 2 | " in capsys.readouterr().out


def test_a_process_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"first-call: a process failed: (?s:.*)ZeroDivisionError"):
        first_call.seconds_of("1 / 0", tmp_path)


@pytest.mark.parametrize(
    ("mode", "command", "seen"), [(None, "list", "wait"), ("off", "list", "off"), (None, "first-call", None)]
)
def test_kernels_are_compiled_before_they_are_timed(
    monkeypatch: pytest.MonkeyPatch, mode: str | None, command: str, seen: str | None
) -> None:
    if mode is None:
        monkeypatch.delenv("SPACEBATCH_COMPILE", raising=False)
    else:
        monkeypatch.setenv("SPACEBATCH_COMPILE", mode)
    found: list[str | None] = []
    for module, name in ((sweep, "listing"), (first_call, "main")):
        monkeypatch.setattr(module, name, lambda options: found.append(os.environ.get("SPACEBATCH_COMPILE")) or 0)
    assert main([command]) == 0
    assert found == [seen]
    assert os.environ.get("SPACEBATCH_COMPILE") == mode
