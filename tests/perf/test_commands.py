"""`python -m spacebatch.perf`: what the options choose, what is printed and written, and mistakes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from spacebatch.perf import measure, tune
from spacebatch.perf.__main__ import COMMANDS, main
from spacebatch.perf.records import Run
from spacebatch.perf.tune import compile_all
from tests.perf_cases import by_name


def sweep(words: str, *options: str) -> int:
    fast = "sweep --device cpu --rounds 1 --provider ours,eager,numpy,tensorflow"
    return main([*fast.split(), *words.split(), *options])


def test_sweep_report_compare_and_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "run.json"
    chosen = "--shape 2x3x8x12 --block 2 --block 2,4 --pad 0 --pad 1:3,0:4 --dtype float16,uint8"
    chosen += " --layout contiguous,channels_last"
    assert sweep(chosen, "--json", str(file), "--plot", str(tmp_path)) == 0
    out = capsys.readouterr().out
    run = Run.load(file)
    assert len(run.cases) == 2 * 2 * 2 * 2 * 2  # blocks, paddings, dtypes, layouts, directions
    assert all(record.times["ours"].median > 0 and record.times["eager"].median > 0 for record in run.cases)
    assert {record.case.block for record in run.cases} == {(2, 2), (2, 4)}
    assert run.absent.get("tensorflow", "tensorflow is not installed") == "tensorflow is not installed"
    assert "space_to_batch float16 2x3x8x12 b2,4 p1:3,0:4 channels_last" in out
    assert (tmp_path / "run-limit.png").exists()
    assert main(["report", str(file), "--table", "--worst", "3"]) == 0
    assert "the worst 3 cases" in capsys.readouterr().out
    assert main(["compare", str(file), str(file)]) == 0
    assert "32 cases in both: 1.000x" in capsys.readouterr().out
    assert main(["plot", str(file), "--out", str(tmp_path / "other")]) == 0
    assert (tmp_path / "other" / "run-limit.png").exists()


def test_compare_fails_where_cases_got_slower(tmp_path: Path) -> None:
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    assert sweep("--shape 1x2x8", "--json", str(before)) == 0
    data = json.loads(before.read_text())
    data["cells"][0]["times"]["ours"]["median"] *= 2
    after.write_text(json.dumps(data))
    assert main(["compare", str(before), str(after)]) == 1
    assert main(["compare", str(after), str(before)]) == 0


def test_the_quick_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    """What continuous integration runs: every case right, no word on speed."""
    assert main(["sweep", "--quick", "--device", "cpu", "--rounds", "1", "--provider", "ours,out,eager,numpy"]) == 0
    out = capsys.readouterr().out
    assert "64 cases" in out
    assert "WRONG" not in out
    assert "not timed" not in out


def test_backward(tmp_path: Path) -> None:
    chosen = "--shape 2x3x8x12 --mode forward,backward --dtype float32,int32"
    assert sweep(chosen, "--json", str(tmp_path / "r")) == 0
    modes = [(record.case.dtype, record.case.mode) for record in Run.load(tmp_path / "r").cases]
    assert sorted({*modes}) == [("float32", "backward"), ("float32", "forward"), ("int32", "forward")]


def test_wrong_results_fail_the_sweep(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    right = measure.expected
    monkeypatch.setattr(measure, "expected", lambda case, x: right(case, x).flip(0))
    assert sweep("--shape 1x2x8") == 1
    assert "WRONG results, not timed" in capsys.readouterr().out


def test_check(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "case.json"
    file.write_text(json.dumps(asdict(by_name("window"))))
    assert main(["check", "--device", "cpu", "--case", str(file)]) == 0
    assert capsys.readouterr().out == "1 cases, 0 wrong\n"
    right = measure.expected
    monkeypatch.setattr(measure, "expected", lambda case, x: right(case, x).flip(0))
    assert main(["check", "--device", "cpu", "--case", str(file)]) == 1
    assert f"WRONG {by_name('window').key}" in capsys.readouterr().out


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--device", "cpu", "--preset", "swin,wavenet"]) == 0
    out = capsys.readouterr().out
    assert "cupy.pad and cupy.transpose (absent: does not run on cpu)" in out
    assert "cases: 22" in out
    assert main(["list", "--device", "cpu", "--direction", "batch_to_space", "--dtype", "uint8"]) == 0
    assert "cases: 40" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--provider ours,caffe", "no provider is called 'caffe'"),
        ("--layout nhwc", "no layout is called 'nhwc'"),
        ("--shape 8by4", "'8by4' is not made of integers and 'x'"),
        ("--shape 1x2x8 --pad 1:2:3", "a padding is one number, or before:after"),
        ("--rounds 0", "a positive number is needed, got '0'"),
        ("--shape 1x2x8 --block 3", "case: "),
        ("--shape 1x2x8 --dtype float12", "PyTorch has no dtype called 'float12'"),
        ("--preset vgg", "there is none called 'vgg'"),
        ("--block 3", "--block and --pad need a --shape"),
        ("--dtype int8", "no case is left"),
    ],
)
def test_mistakes(options: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of form are argparse's to tell, those of sense are told after it."""
    try:
        status = main(["sweep", "--device", "cpu", *options.split()])
    except SystemExit as exit:
        status = int(exit.code or 0)
    assert status == 2
    assert message in capsys.readouterr().err


def test_files_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path / "none.json")]) == 2
    (tmp_path / "other.json").write_text("{}")
    assert main(["plot", str(tmp_path / "other.json")]) == 2
    assert "is not a file of measurements" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune"]) == 2
    assert main(["sweep", "--device", "cuda"]) == 2
    assert capsys.readouterr().err.count("no CUDA or ROCm device") == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if name == "static":
        pytest.importorskip("triton")
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    assert f"usage: python -m spacebatch.perf {name}" in capsys.readouterr().out


def test_precompilation_in_other_processes() -> None:
    done, errors = compile_all([("kernel", None, None), ("dance",)], 120)
    assert done == 0
    assert [error.split(":")[0] for error in errors] == ["AttributeError", "KeyError"]


def test_precompilation_job_by_job(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setitem(tune._WORK, "kernel", lambda plan, config: seen.append((plan, config)))
    assert [tune.compile_one(job) for job in [("kernel", 1, 2), ("dance",), ("kernel", 3, 4)]] == [
        None,
        "KeyError: 'dance'",
        None,
    ]
    assert seen == [(1, 2), (3, 4)]


def test_precompilation_ends_in_time() -> None:
    assert compile_all([("compile", by_name("plain"), "cpu")], 0.2) == (0, [])


def test_lists_of_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "blocks.json"
    assert (
        main(
            [
                "blocks",
                *["--images", "2", "--block", "64", "--dtype", "uint8", "--match", "64", "--rounds", "1", "--json"],
                str(file),
            ]
        )
        == 0
    )
    out = capsys.readouterr().out
    assert "to blocks of 64, uint8" in out
    data = json.loads(file.read_text())
    assert len(data["cases"]) == 3
    assert all(case["ours_ms"] > 0 and case["ratio"] > 0 for case in data["cases"])
    assert {*data["host_seconds_per_image"]} == {"8", "500"}
