"""The compiled kernels, executed thread for thread without a GPU, against the definition; processes of their own run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .driver import unavailable

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=f"no compiled kernel is executed: {unavailable()}")


def executed(file: Path, *words: str) -> dict[str, Any]:
    """What a command of `python -m tests.ptx` found."""
    root = Path(__file__).parents[2]
    folder = Path(os.environ["SPACEBATCH_CACHE_DIR"], "ptx")  # which all workers share
    command = [sys.executable, "-m", "tests.ptx", "--folder", str(folder), "--json", str(file), *words]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    assert file.exists(), done.stdout[-2000:] + done.stderr[-3000:]
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@pytest.mark.parametrize("first", [0, 20])
def test_random_calls(first: int, tmp_path: Path) -> None:
    found = executed(tmp_path / "found.json", "cases", "--first", str(first), "--count", "20")
    assert not found["failures"]
    assert {name.split()[0] for name in found["ran"]} == {"rows", "vectors", "phases", "granules"}
