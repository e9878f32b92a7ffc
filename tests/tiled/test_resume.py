"""A run that was interrupted goes on where it was; a record of another call is refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from spacebatch import tiled
from tests.tiled.models import Counting, image, places

X = image(2, 1, 40, 30)
WAYS: dict[str, dict[str, Any]] = {
    "halo": {"halo": 2},
    "overlap": {"overlap": 0.5, "blend": "gaussian"},
    "deep": {"overlap": (0.75, 0.2), "blend": "linear"},
}


def new(path: Path) -> np.memmap[Any, Any]:
    return np.lib.format.open_memmap(path, "w+", np.float64, (2, 2, 40, 30))


def again(path: Path) -> np.memmap[Any, Any]:
    return np.lib.format.open_memmap(path, "r+")


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("way", WAYS)
def test_no_tile_is_computed_twice(way: str, batch: int, tmp_path: Path) -> None:
    """Interrupted by an error or by Ctrl-C at a few calls: the sum of all tiles is what one run computes."""
    options = {**WAYS[way], "batch": batch}
    whole = Counting(places)
    expected = tiled(whole, X, 10, **options).numpy()
    file, record = tmp_path / "y.npy", tmp_path / "a" / "record.json"
    new(file).flush()
    tiles = 0
    for fails in (1, 2, 2, 3, None):
        model = Counting(places, fails, KeyboardInterrupt if fails in (1, 3) else ValueError)
        out = again(file)
        stops = nullcontext() if fails is None else pytest.raises((KeyboardInterrupt, RuntimeError), match="it failed")
        with stops:
            assert tiled(model, X, 10, **options, out=out, resume=record) is out
        tiles += model.tiles
    assert tiles == whole.tiles
    assert np.array_equal(again(file), expected)
    assert [path.name for path in record.parent.iterdir()] == ["record.json"]  # no slab is left
    done = Counting(places)
    tiled(done, X, 10, **options, out=again(file), resume=record)
    assert done.calls == 0


def test_an_error_while_writing(tmp_path: Path) -> None:
    """Sums that were being changed are not saved; the last record is gone back to."""
    expected = tiled(places, X, 10, **WAYS["deep"]).numpy()
    file, record = tmp_path / "y.npy", tmp_path / "record.json"

    class Breaks(np.memmap):
        writes = 0

        def __setitem__(self, index: Any, values: Any) -> None:
            super().__setitem__(index, values)
            Breaks.writes += 1
            if Breaks.writes == 5:
                raise OSError("the disk is full")

    out = new(file).view(Breaks)
    with pytest.raises(OSError, match="the disk is full"):
        tiled(Counting(places), X, 10, **WAYS["deep"], out=out, resume=record)
    model = Counting(places)
    tiled(model, X, 10, **WAYS["deep"], out=again(file), resume=record)
    assert np.array_equal(again(file), expected)
    assert 0 < model.tiles <= 128 - 4 * 4  # of 4 rows, which the first writes finished


@pytest.mark.skipif(sys.platform != "linux", reason="kills a process")
def test_killed(tmp_path: Path) -> None:
    """With no chance to say good-bye, at most one row of tiles is computed again."""
    program = f"""
        import os, signal, sys
        from spacebatch import tiled
        from tests.tiled.models import Counting, places
        from tests.tiled.test_resume import WAYS, X, new
        def dies(x):
            if model.calls == 21:
                os.kill(os.getpid(), signal.SIGKILL)
            return places(x)
        model = Counting(dies)
        tiled(model, X, 10, **WAYS["overlap"], out=new({str(tmp_path / "y.npy")!r}), resume={str(tmp_path / "r.json")!r})
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    whole, rest = Counting(places), Counting(places)
    expected = tiled(whole, X, 10, **WAYS["overlap"]).numpy()
    tiled(rest, X, 10, **WAYS["overlap"], out=again(tmp_path / "y.npy"), resume=tmp_path / "r.json")
    assert np.array_equal(again(tmp_path / "y.npy"), expected)
    assert whole.tiles - 20 <= rest.tiles < whole.tiles - 20 + 5


def test_another_call_is_refused(tmp_path: Path) -> None:
    file, record = tmp_path / "y.npy", tmp_path / "record.json"
    model = nn.Conv2d(1, 2, 1).double()
    options: dict[str, Any] = {"halo": 2, "batch": 2}
    tiled(model, X, 10, **options, out=new(file), resume=record)
    text = record.read_text()
    for changed, what in (
        ({"tile": 8}, "tile was [10, 10], now it is [8, 8]"),
        ({"halo": 1}, "halo was"),
        ({"batch": 1}, "batch was 2, now it is 1"),
        ({"image": X[:, :, :20].repeat(1, 1, 2, 1).float()}, "image was"),
        ({"model": nn.Conv2d(1, 2, 1).double()}, "model was torch.nn.modules.conv.Conv2d"),
        ({"finish": places}, "finish was None"),
    ):
        arguments = {"model": model, "image": X, "tile": 10, **options, **changed}
        with pytest.raises(ValueError, match=r"^tiled: the record .* is of another call: ") as raised:
            tiled(**arguments, out=again(file), resume=record)
        assert what in str(raised.value)
        assert record.read_text() == text
    with pytest.raises(ValueError, match="was it made anew"):
        tiled(model, X, 10, **options, out=new(file), resume=record)
    record.write_text("[1, 2]")
    with pytest.raises(ValueError, match="is not a record of tiled"):
        tiled(model, X, 10, **options, out=again(file), resume=record)
    record.write_text(json.dumps({**json.loads(text), "format": 0}))
    with pytest.raises(ValueError, match="has format 0, this version writes 1"):
        tiled(model, X, 10, **options, out=again(file), resume=record)
