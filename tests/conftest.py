"""Fixtures of all tests."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

# Without a GPU the Triton kernels run under its interpreter, which has to be chosen before they are defined.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# A call is computed by the kernel under test, not by what serves until that is compiled.
os.environ.setdefault("SPACEBATCH_COMPILE", "wait")

# Workers and child processes share the compiled kernels of one run; the user's own are neither used nor written.
if "SPACEBATCH_CACHE_DIR" not in os.environ:
    os.environ["SPACEBATCH_CACHE_DIR"] = tempfile.mkdtemp(prefix="spacebatch-tests-")
    atexit.register(shutil.rmtree, os.environ["SPACEBATCH_CACHE_DIR"], ignore_errors=True)

from tests.bits import using


@pytest.fixture(params=("chosen", "numpy", "torch"))
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each way of computing on the CPU while the test runs: what is chosen, vector kernels where they serve, and what can be forced."""
    with using(request.param):
        yield request.param


@pytest.fixture(params=(np.array, torch.tensor), ids=("numpy", "torch"))
def make(request: pytest.FixtureRequest) -> Any:
    """What makes an array or a tensor of nested lists."""
    return request.param


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that take a minute each come first, so that no worker is left with them at the end."""
    items.sort(key=lambda item: "test_machine_code" not in item.name and "test_executed" not in item.nodeid)
