"""The run for a real GPU, rehearsed: the same steps and cases, interpreted, with a clock that is made up."""

from __future__ import annotations

import importlib.util
import json
import os
import stat
import time
from pathlib import Path

import pytest
import torch

from spacebatch.perf import gpu, gpu_steps
from spacebatch.perf.__main__ import main
from spacebatch.perf.sweep import Deadline
from tests.perf_cases import by_name

launch = pytest.importorskip("spacebatch.tl_kernels.launch")
without_gpu = pytest.mark.skipif(
    torch.cuda.is_available() or not launch.INTERPRETED, reason="a rehearsal is for machines without a GPU"
)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpu"]) == 2
    assert "no CUDA or ROCm device; --rehearse runs the same code on the CPU" in capsys.readouterr().err


def test_unknown_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpu", "--rehearse", "--steps", "sweep,dance"]) == 2
    assert "no step is called 'dance'; there are families, " in capsys.readouterr().err


@without_gpu
def test_rehearsal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "never.json"
    before = sorted(gpu.RESULTS.iterdir())
    steps = [step for step in gpu.STEPS if step != "peers"]  # the compiler takes seconds a case
    assert main(["gpu", "--rehearse", "--cases", "3", "--steps", ",".join(steps), "--json", str(file)]) == 0
    out = capsys.readouterr().out
    assert "none was measured" in out
    assert "every result was right" in out
    lines = {line.split()[0]: line.split()[1] for line in out.partition("\nstep ")[2].splitlines()[1:9] if line}
    assert lines["families"] == lines["sweep"] == "done"
    assert {lines[name] for name in ("hazards", "tests", "tune", "sanitizer", "ncu")} == {"skipped"}
    assert not file.exists()
    assert sorted(gpu.RESULTS.iterdir()) == before


@without_gpu
def test_a_wrong_result_fails_the_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    right = launch.PreparedCall.__call__

    def forgetful(call: object, x: torch.Tensor, y: torch.Tensor, pad: bytes) -> None:
        before = y.reshape(-1)[-1].clone()
        right(call, x, y, pad)
        y.reshape(-1)[-1] = before

    monkeypatch.setattr(launch.PreparedCall, "__call__", forgetful)
    assert main(["gpu", "--rehearse", "--cases", "2", "--steps", "sweep"]) == 1
    out = capsys.readouterr().out
    assert "WRONG results" in out
    assert "failed" in out.partition("\nstep ")[2]


@without_gpu
def test_a_wrong_family_fails_the_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    right = launch.run

    def wrong(
        direction: object, geometry: object, x: object, y: torch.Tensor, *args: object, **options: object
    ) -> None:
        right(direction, geometry, x, y, *args, **options)
        y.view(torch.int16).reshape(-1)[0] ^= 1

    monkeypatch.setattr(launch, "run", wrong)
    assert main(["gpu", "--rehearse", "--cases", "2", "--steps", "families"]) == 1
    assert "is wrong for space_to_batch float16" in capsys.readouterr().out


@without_gpu
def test_no_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpu", "--rehearse", "--budget", "1"]) == 0
    out = capsys.readouterr().out
    assert out.count("no time left") >= len(gpu.STEPS)


def test_every_step_has_its_share() -> None:
    assert set(gpu.MOST) == set(gpu.STEPS)
    assert all(callable(getattr(gpu.Session, name)) for name in gpu.STEPS)


needs_shell = pytest.mark.skipif(os.name != "posix", reason="the tool is faked by a shell script")


@pytest.fixture
def fake_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """A function that puts a program of some name, made of shell commands, on PATH."""

    def put(name: str, commands: str) -> None:
        file = tmp_path / name
        file.write_text(f"#!/bin/sh\n{commands}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return put


def test_absent_tools_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_steps.sanitizer(Deadline(9)) == ("skipped", "compute-sanitizer is not on PATH")
    assert gpu_steps.ncu([by_name("plain")], tmp_path / "ncu.txt", Deadline(9)) == ("skipped", "ncu is not on PATH")


@needs_shell
def test_the_sanitizers_verdict(fake_tool: object) -> None:
    fake_tool("compute-sanitizer", 'echo "$@" >> "$0.log"; exit 0')  # type: ignore[operator]
    assert gpu_steps.sanitizer(Deadline(60)) == ("done", "memcheck clean; racecheck clean; initcheck clean")
    fake_tool("compute-sanitizer", 'case "$2" in racecheck) echo "========= Error: race"; exit 9;; esac')  # type: ignore[operator]
    assert gpu_steps.sanitizer(Deadline(60)) == ("failed", "racecheck: ========= Error: race")
    fake_tool("compute-sanitizer", "echo cannot attach; exit 3")  # type: ignore[operator]
    assert gpu_steps.sanitizer(Deadline(60)) == ("failed", "memcheck did not run: cannot attach")


@needs_shell
def test_tools_end_with_the_deadline(fake_tool: object) -> None:
    fake_tool("compute-sanitizer", "sleep 30 & sleep 30")  # type: ignore[operator]
    begun = time.monotonic()
    assert gpu_steps.sanitizer(Deadline(0.5)) == ("incomplete", "no time for memcheck")
    assert time.monotonic() - begun < 15  # what the tool had started ended with it


@needs_shell
def test_counters(fake_tool: object, tmp_path: Path) -> None:
    out = tmp_path / "results" / "ncu.txt"
    fake_tool("ncu", 'for last; do :; done; cat "$last"')  # type: ignore[operator]
    cases = [by_name("plain"), by_name("padded")]
    assert gpu_steps.ncu(cases, out, Deadline(60)) == ("done", "2 cases, in ncu.txt")
    assert all(case.key in out.read_text() and json.dumps(case.as_dict()) in out.read_text() for case in cases)
    fake_tool("ncu", "echo ERR_NVGPUCTRPERM; exit 1")  # type: ignore[operator]
    assert gpu_steps.ncu(cases, out, Deadline(60)) == ("skipped", "this user may not read the GPU's counters")


def test_pytests_summary() -> None:
    text = "....\n=== short test summary info ===\nFAILED tests/test_a.py::b - no\n1 failed, 3 passed, 2 warnings in 4.20s\n"
    assert gpu_steps._summary(text) == "1 failed, 3 passed, 2 warnings in 4.20s"
    assert gpu_steps._first_failure(text) == "FAILED tests/test_a.py::b - no"


@needs_shell
def test_pytest_is_run_in_two_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "tests"
    (folder / "tl_kernels").mkdir(parents=True)
    (folder / "tl_kernels" / "test_kernels.py").write_text("def test_a(): pass\n")
    (folder / "test_other.py").write_text("import pytest\n@pytest.mark.gpu\ndef test_b(): pass\ndef test_c(): pass\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n")
    monkeypatch.setattr(gpu_steps, "ROOT", tmp_path)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "xdist" else found(name)
    )  # too few tests
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    state, detail = gpu_steps.tests(Deadline(60))
    assert state == "done"
    assert [part.partition(" in ")[0] for part in detail.split("; then ")] == [
        "1 passed, 2 deselected",
        "2 passed, 1 deselected",
    ]
    (folder / "tl_kernels" / "test_kernels.py").write_text("def test_a(): assert 0\n")
    state, detail = gpu_steps.tests(Deadline(60))
    assert state == "failed"
    assert "test_kernels.py::test_a" in detail
