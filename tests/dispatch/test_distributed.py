"""Distributed tensors and models on 4 and 2 processes that talk by gloo: `tests/distributed_ranks.py` holds the checks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TESTS = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch has no torch.distributed"),
    pytest.mark.skipif(sys.platform != "linux", reason="starts processes that meet on Linux's loopback"),
]


def run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return done.stdout


def test_on_every_rank(tmp_path: Path) -> None:
    """Sharding rules, redistribution, DDP, FSDP2, compiled calls and tiles: no check fails on any rank."""
    run(str(TESTS / "distributed_ranks.py"), "4", str(tmp_path / "results.json"))
    found = json.loads((tmp_path / "results.json").read_text())
    assert len(found) >= 13
    assert {name: trace for name, trace in found.items() if trace} == {}


def test_the_documented_example() -> None:
    # A thread of gloo that still holds a tensor while the interpreter ends aborts the process (pytorch/pytorch#190489),
    # so the processes end without that.
    example = str(TESTS.parent / "docs/distributed_example.py")
    program = (
        f"import os, runpy, sys; runpy.run_path({example!r}, run_name='__main__'); sys.stdout.flush(); os._exit(0)"
    )
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--no-python")
    out = run(*launcher, sys.executable, "-c", program)
    assert "equal to the whole: True" in out
    assert "collectives: 0" in out


def test_nothing_of_it_is_imported_before_it_is_needed() -> None:
    program = "import sys, torch, spacebatch; spacebatch.space_to_batch(torch.zeros(1, 4), (2,)); "
    assert run("-c", program + "print('torch.distributed.tensor' in sys.modules)") == "False\n"
