"""The main job, in process, on a small picture: what it prints, writes and returns."""

from __future__ import annotations

import os
import re

import matplotlib.image
import numpy as np
import pytest
import torch

import spacebatch
from spacebatch import command, job, timing

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Arguments for a photograph of 37 x 50 pixels, timed twice on little memory."""
    monkeypatch.setattr(job, "TIMED_BYTES", {"cpu": 1 << 16, "cuda": 1 << 16})
    monkeypatch.setattr(job, "ROUNDS", 2)
    image = tmp_path / "small.png"
    matplotlib.image.imsave(image, np.random.default_rng(0).random((37, 50, 3)))
    return ["--device", "cpu", str(image), "--out", str(tmp_path / "out.png")]


def test_everything_passes_and_is_said(small, tmp_path, capsys):
    assert command.main(small) == 0
    text, errors = capsys.readouterr()
    assert errors == ""
    assert timing.hardware(torch.device("cpu")) in text
    assert f"torch {torch.__version__}" in text
    assert f"numpy {np.__version__}" in text
    assert "1 x 3 x 37 x 50" in text
    assert "4 x 3 x 20 x 26" in text  # 1 around, and one row more to be even
    checks = re.findall(r"^ +(space_to_batch|batch_to_space|backward) +equal +equal$", text, re.M)
    assert checks == ["space_to_batch", "backward", "batch_to_space", "backward"]
    assert "Dilated convolution, rate 2 x 2" in text
    assert "DIFFERS" not in text
    rows = re.findall(r"^ +(\w+) +(?:llvm|torch) +[\d.]+ +[\d.]+ +\d+% +[\d.]+ +[\d.]+x$", text, re.M)
    assert rows == ["space_to_batch", "backward", "batch_to_space", "backward"]
    assert max(map(len, text.splitlines())) <= 120
    assert (tmp_path / "out.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("arguments", "batch"),
    [
        (["--block", "1", "--pad", "0"], "1 x 3 x 37 x 50"),  # nothing to do
        (["--block", "1,2", "--pad", "0"], "2 x 3 x 37 x 25"),  # one dim only
        (["--block", "2,3", "--pad", "auto"], "6 x 3 x 19 x 17"),
        (["--block", "3", "--pad", "1,2"], "9 x 3 x 13 x 18"),
        (["--block", "5,4", "--pad", "0,3,2,0"], "20 x 3 x 8 x 13"),
        (["--block", "6,30", "--pad", "auto"], "180 x 3 x 7 x 2"),  # too many phases to label
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_blocks_and_paddings(small, capsys, arguments, batch):
    assert command.main([*small, *arguments]) == 0
    assert f"batch     {batch}, " in capsys.readouterr().out


def test_the_photograph_of_matplotlib_is_the_default_and_out_may_be_a_folder(small, tmp_path, capsys):
    assert command.main(["--device", "cpu", "--out", str(tmp_path / "new" / "folder")]) == 0
    assert "grace_hopper.jpg, float32, 1 x 3 x 600 x 512" in capsys.readouterr().out
    assert (tmp_path / "new" / "folder" / "phases.png").read_bytes().startswith(PNG)


def one_bit(y):
    return torch.zeros_like(y).index_fill_(0, torch.tensor([0]), 2.0**-20)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


@pytest.mark.parametrize(
    ("broken", "change", "row"),
    [
        ("space_to_batch", lambda y: y + one_bit(y), "space_to_batch"),
        ("batch_to_space", lambda y: y + one_bit(y), "batch_to_space"),
        ("space_to_batch", Doubled.apply, "backward"),
    ],
    ids=["space_to_batch", "batch_to_space", "gradient"],
)
def test_a_wrong_value_fails(small, capsys, monkeypatch, broken, change, row):
    right = getattr(spacebatch, broken)
    monkeypatch.setattr(spacebatch, broken, lambda x, *a, **k: change(right(x, *a, **k)))
    assert command.main(small) == 1
    text, errors = capsys.readouterr()
    assert re.search(rf"^ +{row} +DIFFERS in \d+ of \d+", text, re.M)
    assert row == "backward" or "DIFFERS by more than the allowed" in text
    assert row != "backward" or re.search(r"^ +space_to_batch +equal +equal$", text, re.M)
    assert "FAILED" in errors


def test_comparisons_are_of_bits():
    zeros = np.zeros((1, 2), np.float32)
    assert job._compare(zeros, zeros) == "equal"
    assert job._compare(zeros, -zeros) == "DIFFERS in 2 of 2"
    assert job._compare(zeros, zeros.T) == "DIFFERS: shape 1 x 2, not 2 x 1"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_the_gpu(small, capsys):
    assert command.main([*small, "--device", "cuda"]) == 0
    assert torch.cuda.get_device_name() in capsys.readouterr().out


def test_interleaved_runs_each_call_in_every_round(monkeypatch):
    monkeypatch.setattr(timing, "BURST_SECONDS", 0.0)
    monkeypatch.setattr(timing, "AGAIN_SECONDS", 0.0)
    counts = {"a": 0, "b": 0}

    def count(name):
        counts[name] += 1

    calls = {name: lambda name=name: count(name) for name in counts}
    found = timing.interleaved(calls, torch.device("cpu"), rounds=4, warmup=1)
    assert counts == {"a": 5, "b": 5}
    assert list(found) == ["a", "b"]
    assert all(t.runs == 4 and 0 <= t.lower <= t.median <= t.upper for t in found.values())


def test_short_calls_are_timed_in_bursts(monkeypatch):
    monkeypatch.setattr(timing, "BURST_SECONDS", 1e9)
    calls = []
    found = timing.interleaved({"short": lambda: calls.append(0)}, torch.device("cpu"), rounds=3, warmup=0)
    assert len(calls) == 3 * (2 + timing.MOST_IN_BURST)
    assert found["short"].runs == 3


def test_timing_summary():
    assert timing.Timing.of([3.0, 1.0, 2.0, 5.0, 4.0]) == timing.Timing(3.0, 2.0, 4.0, 5)
    assert timing.Timing.of([2.0]) == timing.Timing(2.0, 2.0, 2.0, 1)


@pytest.mark.parametrize("mode", [None, "off"])
def test_kernels_are_compiled_before_they_are_timed(monkeypatch, mode):
    monkeypatch.delenv("SPACEBATCH_COMPILE", raising=False)
    if mode:
        monkeypatch.setenv("SPACEBATCH_COMPILE", mode)
    seen = []

    def clock(calls):
        return [(name, 1.0) for name, call in calls if call() is None]

    call = {"call": lambda: seen.append(os.environ.get("SPACEBATCH_COMPILE"))}
    timing.interleaved(call, torch.device("cpu"), rounds=1, warmup=1, clock=clock)
    assert seen == [mode or "wait", mode]
    assert os.environ.get("SPACEBATCH_COMPILE") == mode
