"""Eager calls: what is kept, who serves while a kernel is compiled, and calls that move nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import spacebatch
from spacebatch import BlockGeometry, eager
from spacebatch.reference import prepared
from tests.bits import using
from tests.test_imports import run, succeeds

SERVED = """
    import time, numpy as np, torch, spacebatch
    from spacebatch.reference.kept_geometries import space_geometry
    x = torch.arange(2 * 3 * 8 * 8).view(2, 3, 8, 8)
    g = space_geometry(x.shape, 2, 1, None, "block_major", "interleaved")
    expected = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=7).reshape(2, 3, 5, 2, 5, 2)
    expected = expected.transpose(3, 5, 0, 1, 2, 4).reshape(8, 3, 5, 5)
    first, end = None, time.monotonic() + 60
    while len(g._prepared) < 2 and time.monotonic() < end:
        for source in (x, x.numpy()):
            found = spacebatch.space_to_batch(source, 2, 1, pad_value=7)
            assert (np.asarray(found) == expected).all()
            if first is None:
                first = len(g._prepared)
    print(first, sorted(type(getattr(call, "fill", call)).__name__ for call in g._prepared.values()))
"""


def test_a_copy_serves_until_the_kernel_is_compiled(tmp_path: Path) -> None:
    """Nothing is kept of it; what is kept then are the kernel's calls."""
    out = succeeds(SERVED, SPACEBATCH_COMPILE="behind", SPACEBATCH_CACHE_DIR=str(tmp_path))
    assert out == "0 ['ArrayCall', 'Call']\n"


def test_without_compiling_copies_serve_for_good(tmp_path: Path) -> None:
    code = f"""{SERVED}
    with spacebatch.use_backend("llvm"):
        try:
            spacebatch.space_to_batch(x, 2)
        except RuntimeError as error:
            print(error)
    """
    out = succeeds(code, SPACEBATCH_COMPILE="off", SPACEBATCH_CACHE_DIR=str(tmp_path)).splitlines()
    assert out[0] == "0 ['NumpyCopies', 'TorchCopy']"
    reason = "SPACEBATCH_COMPILE is off, and its kernel is not on disk"
    assert out[1] == f"space_to_batch: the backend 'llvm' was asked for, but {reason}"


def test_an_unknown_way_of_compiling() -> None:
    finished = run(
        "import torch, spacebatch; spacebatch.space_to_batch(torch.ones(1, 4), (2,))", SPACEBATCH_COMPILE="x"
    )
    assert finished.returncode == 1
    assert "ValueError: SPACEBATCH_COMPILE: 'x' is none of behind, wait, off" in finished.stderr


def test_few_calls_of_a_geometry_are_kept() -> None:
    g = BlockGeometry((1, 4), (2,))
    for k in range(3 * prepared.MOST_KEPT):
        prepared.keep(g, (k,), k)
    assert 0 < len(g._prepared) <= prepared.MOST_KEPT


def test_memory_order_dtype_and_demand_are_told_apart() -> None:
    g = BlockGeometry((2, 3, 4, 4), 2)
    x = torch.arange(96).view(2, 3, 4, 4)
    calls = [x, x.to(memory_format=torch.channels_last), x.float(), x.flip(0)[::2].repeat(2, 1, 1, 1)]
    for source in calls:
        eager.run("space_to_batch", g, source, b"")
    count = len(g._prepared)
    assert count == 3
    with spacebatch.use_backend("torch"):
        eager.run("space_to_batch", g, x, b"")
    eager.run("space_to_batch", g, x, b"", torch.empty(8, 3, 2, 2, dtype=torch.int64))
    assert len(g._prepared) == count + 2


@pytest.mark.parametrize("backend", ["chosen", "llvm", "numpy", "torch"])
def test_a_call_without_elements_is_served_whatever_is_demanded(backend: str) -> None:
    with using(backend):
        for zeros in (torch.zeros, np.zeros):
            y = spacebatch.space_to_batch(zeros((1, 0, 2)), (2,), 1, spatial_dims=1, pad_value=3)
            assert y.shape == (2, 1, 2)
            assert (y == 3).all()
            assert spacebatch.batch_to_space(y, (2,), 1, spatial_dims=1).shape == (1, 0, 2)
            assert spacebatch.space_to_batch(zeros((0, 3, 4, 4)), 2).shape == (0, 3, 2, 2)
