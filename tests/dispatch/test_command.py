"""`python -m spacebatch` as a command: what it refuses, in one line each, and its exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import spacebatch
from spacebatch import command, job


@pytest.fixture
def pixel(tmp_path, monkeypatch):
    """Arguments for a picture of a single pixel."""
    monkeypatch.setattr(job, "TIMED_BYTES", {"cpu": 1 << 10, "cuda": 1 << 10})
    monkeypatch.setattr(job, "ROUNDS", 2)
    Image.new("LA", (1, 1), (9, 99)).save(tmp_path / "pixel.png")
    return [str(tmp_path / "pixel.png"), "--device", "cpu", "--out", str(tmp_path / "out.png")]


def one_line(capsys):
    text, errors = capsys.readouterr()
    assert errors.startswith("python -m spacebatch: ")
    assert errors.count("\n") == 1
    return text, errors.rstrip()


def test_a_picture_of_one_pixel(pixel, tmp_path, capsys):
    assert command.main(pixel) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[3:7] == [
        "  image     pixel.png, float32, 1 x 3 x 1 x 1",
        "  converted grey to three equal channels",
        "  converted transparency to a white background",
        "  batch     4 x 3 x 2 x 2, blocks of 2 x 2, padded by 1 above, 2 below, 1 left, 2 right",
    ]
    with Image.open(tmp_path / "out.png") as drawn:
        assert drawn.width == 1200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--block", "0"], "must be at least 1, got 0"),
        (["--block", "2,2,2"], "one or two block sizes"),
        (["--block", "2", "--pad", "0"], "not divisible by its block size 2"),
        (["--pad", "-1"], "must not be negative"),
        (["--pad", "1,2,3"], "one, two or four paddings"),
        (["--out", "picture.gif"], "must be a folder or end in .png"),
        (["--out", "{folder}/pixel.png"], "is the picture that is read"),
        (["--out", "{folder}/pixel.png/phases"], "Not a directory"),
        *([] if torch.cuda.is_available() else [(["--device", "cuda"], "no CUDA or ROCm device")]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_refused(pixel, tmp_path, capsys, arguments, message):
    assert command.main([*pixel, *(part.format(folder=tmp_path) for part in arguments)]) == 2
    text, errors = one_line(capsys)
    assert message in errors
    assert text == ""


def test_no_picture(capsys):
    assert command.main(["nowhere.jpg"]) == 2
    assert one_line(capsys)[1].endswith("nowhere.jpg cannot be read: No such file or directory")
    assert command.main([__file__]) == 2
    assert one_line(capsys)[1].endswith(f"{__file__} is not a picture of a kind that Pillow knows")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--block", "two"], "'two' is not made of integers"),
        (["--pad", "some"], "'some' is not made of integers"),
        (["--device", "tpu"], "invalid choice"),
        (["--what"], "unrecognized arguments"),
        (["a.png", "b.png"], "unrecognized arguments"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_in_arguments(capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("matplotlib", 'pip install "spacebatch[job]"'),
        ("PIL", 'pip install "spacebatch[job]"'),
        ("torch", "pip install torch"),
    ],
)
def test_without_a_package(pixel, capsys, monkeypatch, missing, message):
    for name in [missing, *(name for name in sys.modules if name.startswith(f"{missing}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    assert command.main(pixel) == 2
    text, errors = one_line(capsys)
    assert message in errors
    assert text == ""


def test_a_picture_that_cannot_be_written(pixel, tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("spacebatch.picture.write_bytes_atomically", full)
    assert command.main(pixel) == 1
    assert one_line(capsys)[1].endswith("the picture could not be written: [Errno 28] No space left on device")


def test_interrupted(pixel, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "run", interrupt)
    assert command.main(pixel) == 130
    assert one_line(capsys)[1] == "python -m spacebatch: interrupted"


def test_nobody_reads(pixel, capsys, monkeypatch):
    """Whoever read the output has gone, as `head` does: the job ends at its next line."""
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(job, "run", lambda *_: pytest.fail("went on"))
    with open(writer, "w", encoding="utf-8") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert command.main(pixel) == 141
    assert "nobody reads the output" in one_line(capsys)[1]


def test_names_that_the_terminal_cannot_show(pixel, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "run", lambda x, geometry: pytest.fail("stop"))
    named = Path(pixel[0]).rename(tmp_path / "écran-\udcff.png")
    with open(tmp_path / "said", "w", encoding="ascii") as said:
        monkeypatch.setattr(sys, "stdout", said)
        with pytest.raises(pytest.fail.Exception, match="stop"):
            command.main([str(named), *pixel[1:]])
    assert r"  image     \xe9cran-\udcff.png, float32" in (tmp_path / "said").read_text()


def test_the_version():
    """Of a process of its own, which needs no PyTorch."""
    code = "import sys; sys.modules['torch'] = None; from spacebatch.command import main; main(['--version'])"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (finished.stdout, finished.stderr) == (f"spacebatch {spacebatch.__version__}\n", "")
