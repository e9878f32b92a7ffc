"""Machine code of the kernels, compiled ahead of time: it exists for every target, is vectorised, and spills nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

triton = pytest.importorskip("triton")

# Where all 16 bytes of an access are one thread's: by the case's alignment, for every element size.
WIDE_LOADS = ("channels_last", "channels_last, padded", "windows of 16", "windows, channels_last")
WIDE_STORES = (*WIDE_LOADS, "aligned", "1-D, rate 512", "3-D")

# Committed tables of `python -m spacebatch.perf static`, one per minor version of Triton, whose compilers differ.
RESULTS = Path(__file__).parents[1] / "perf" / "results"
COMMITTED = RESULTS / f"static-{'.'.join(triton.__version__.split('.')[:2])}.json"


@pytest.fixture(scope="module", params=["sm_80", "sm_90", "sm_100", "gfx942"])
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """All reports of one target; a process of its own compiles, since this one interprets."""
    target = request.param
    sizes = ["1", "2", "4", "8", "16"] if target == "sm_90" else ["1", "16"]
    file = tmp_path_factory.mktemp("static") / "reports.json"
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    options = [word for size in sizes for word in ("--bytes", size)]
    command = [sys.executable, "-m", "spacebatch.perf", "static", "--target", target, "--json", str(file), *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(file.read_text())["reports"]


def test_machine_code(compiled: list[dict[str, Any]]) -> None:
    assert compiled
    for report in compiled:
        assert report["spills"] == 0, report
        assert report["registers"] <= 128, report
        assert report["load_bits"] >= 8, report
        if report["case"] in WIDE_LOADS:
            assert report["load_bits"] == 128, report
        if report["case"] in WIDE_STORES:
            assert report["store_bits"] == 128, report


def test_no_worse_than_committed(compiled: list[dict[str, Any]]) -> None:
    # a tenth more instructions per payload byte is allowed, narrower accesses are not
    if not COMMITTED.exists():
        pytest.skip(f"no table was committed for Triton {triton.__version__}")
    committed = {_key(report): report for report in json.loads(COMMITTED.read_text())["reports"]}
    for report in compiled:
        if report["target"] != "sm_90":
            continue
        before = committed[_key(report)]
        assert report["instructions_per_byte"] <= 1.1 * before["instructions_per_byte"], (report, before)
        assert report["load_bits"] >= before["load_bits"], (report, before)
        assert report["store_bits"] >= before["store_bits"], (report, before)


def _key(report: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(report[name] for name in ("case", "direction", "element_bytes", "target"))
