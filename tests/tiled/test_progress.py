"""What is told of a run's progress: to a callable, on stderr, by a bar."""

from __future__ import annotations

import sys

import pytest
import torch

from spacebatch import tiled

X = torch.zeros(1, 1, 40)


def test_a_callable_gets_every_batch() -> None:
    told: list[tuple[int, int]] = []
    tiled(lambda t: t, X, 10, overlap=0, batch=3, progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 4), (3, 4), (4, 4)]


def test_lines_without_rich(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    tiled(lambda t: t, X, 10, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("tiles 4/4, 0 s")


def test_a_bar_by_rich(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rich")
    tiled(lambda t: t, X, 10, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "4/4" in err
