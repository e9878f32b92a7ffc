"""Commands that are stopped: one line, and the status that shells expect."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import spacebatch
from spacebatch.perf.__main__ import main
from spacebatch.perf.records import Run


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
def test_ctrl_c(tmp_path: Path) -> None:
    """A process of its own: what was measured is kept."""
    file = tmp_path / "run.json"
    command = ["-m", "spacebatch.perf", "sweep", "--device", "cpu", "--quick", "--rounds", "9", "--json", str(file)]
    process = subprocess.Popen(
        [sys.executable, *command, "--provider", "ours"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # a shell has what it runs in the background ignore it, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not file.exists() and process.poll() is None:  # it is there once a case was measured
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=120)
    lines = [line for line in errors.splitlines() if "WARNING: a load" not in line]
    assert len(lines) == 1, errors
    assert lines[0].startswith("sweep: interrupted after ")
    assert lines[0].endswith(f" of 64 cases, which are kept in {file}")
    assert process.returncode == 130
    assert "Not measured: " in out
    run = Run.load(file)
    assert len(run.cases) + len(run.not_measured) == 64


def test_ctrl_c_anywhere(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """While the command's module is imported, say."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("spacebatch.perf.__main__.import_module", interrupt)
    assert main(["tiled"]) == 130
    assert capsys.readouterr().err == "tiled: interrupted\n"


def test_nobody_reads(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The pipe was closed, as by `head`."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert main(["list", "--device", "cpu"]) == 141
    assert capsys.readouterr().err == "list: stopped, since nobody reads the output any more\n"


def test_nobody_reads_the_errors_either(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        monkeypatch.setattr(sys, "stderr", pipe)
        assert main(["list", "--device", "cpu"]) == 141


@pytest.mark.parametrize("command", ["sweep", "blocks"])
def test_a_dtype_that_is_none(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([command, "--dtype", "nonsense"])
    errors = capsys.readouterr().err
    assert errors.startswith(
        f"python -m spacebatch.perf {command}: argument --dtype: PyTorch has no dtype called 'nonsense'"
    )
    assert errors.count("\n") == 1


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"spacebatch {spacebatch.__version__}\n"
