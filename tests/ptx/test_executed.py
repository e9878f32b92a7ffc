"""The compiled kernels, executed thread for thread without a GPU, against the definition; processes of their own run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ptx.driver import unavailable

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=f"no compiled kernel is executed: {unavailable()}")

ROOT = Path(__file__).parents[2]
LONG_ROWS = (  # of 2**31 words and more
    "rows of more than 2**31",
    "rows of more than 2**31, shifted",
    "windows of more than 2**31, shifted",
    "windows of 2**33",
    "nothing but a copy",
    "nothing but padding",
)
OTHERS = (  # all families, on either side of the limit
    "2**31 words of 2",
    "just under 2**31, padded past it",
    "odd, shifted",
    "single bytes, odd",
    "single bytes, block 4",
    "2**30 elements of 16 bytes",
    "channels_last",
    "windows, shifted",
    "1-D, rate 512",
)
HALVES = ("one small image", "odd planes", "windows of 5")
DIRECTIONS = ("space_to_batch", "batch_to_space")


def executed(file: Path, *words: str) -> dict[str, Any]:
    """What a command of `python -m tests.ptx` found."""
    folder = Path(os.environ["SPACEBATCH_CACHE_DIR"], "ptx")  # which all workers share
    command = [sys.executable, "-m", "tests.ptx", "--folder", str(folder), "--json", str(file), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert file.exists(), done.stdout[-2000:] + done.stderr[-3000:]
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@pytest.mark.parametrize(("first", "capability"), [("0", "9.0"), ("18", "8.0")])
def test_random_calls(first: str, capability: str, tmp_path: Path) -> None:
    words = "--capability", capability, "cases", "--first", first, "--count", "18"
    found = executed(tmp_path / "found.json", *words)
    assert not found["failures"]
    assert found["ran"].keys() >= {f"{f} {d}" for f in ("rows", "vectors", "granules") for d in DIRECTIONS}
    one_way = {
        "phases space_to_batch",
        "deinterleave space_to_batch",
        "runs batch_to_space",
        "interleave batch_to_space",
    }
    assert found["ran"].keys() >= one_way


@pytest.mark.parametrize("names", [OTHERS, LONG_ROWS], ids=["others", "long rows"])
def test_tensors_of_2_to_the_31(names: tuple[str, ...], tmp_path: Path) -> None:
    assert not executed(tmp_path / "found.json", "large", *names)["failures"]


def test_checks(tmp_path: Path) -> None:
    assert not executed(tmp_path / "found.json", "check", "alignment", "ones", "pads")["failures"]


def test_broken_kernels_show(tmp_path: Path) -> None:
    found = executed(tmp_path / "found.json", "mutants", "--count", "84")
    made, seen = found["made"], found["seen"]
    assert seen["a barrier removed"] == made["a barrier removed"] > 0
    assert sum(seen.values()) >= 0.8 * sum(made.values())


def test_figures(tmp_path: Path) -> None:
    """No family that is taken loads more sectors, or takes a tenth more instructions, than `perf/results` tells."""
    found = executed(tmp_path / "found.json", "figures", "--taken")
    for row in found["figures"]:
        # 8 bytes are stored at once where planes are no whole granules, and of single bytes in padded pixels
        assert row["stores"] <= (1.13 if row["element_bytes"] == 1 or row["case"] in HALVES else 1.05), row
        if row["element_bytes"] > 1 and row["direction"] == "batch_to_space":
            assert row["loads"] <= 2.5, row
        if row["element_bytes"] > 1:  # whatever requests touch again is in L1
            assert row["programs"] <= (2.5 if row["family"] == "granules" else 1.65), row
        if row["case"] in ("aligned", "channels_last"):
            assert row["loads"] == 1 and row["instructions"] <= 5.3, row  # noqa: PT018
    committed = ROOT / "perf" / "results" / f"executed-{'.'.join(found['triton'].split('.')[:2])}.json"
    if not committed.exists():  # for this version of Triton, whose compilers differ
        return
    before = {_key(row): row for row in json.loads(committed.read_text())["figures"]}
    for row in found["figures"]:
        assert row["loads"] <= 1.02 * before[_key(row)]["loads"], (row, before[_key(row)])
        assert row["programs"] <= 1.02 * before[_key(row)]["programs"], (row, before[_key(row)])
        assert row["instructions"] <= 1.1 * before[_key(row)]["instructions"], (row, before[_key(row)])


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["case"], row["direction"], row["element_bytes"]
