"""The Triton kernels as a backend: what they refuse and why, and what is loaded to say so."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch

pytest.importorskip("triton")

import spacebatch
from spacebatch import BlockGeometry, triton_backend
from spacebatch.reference.prepared import Layout

GEOMETRY = BlockGeometry((1, 2, 4, 6), 2)
SOURCE = Layout((48, 24, 6, 1), 4, torch.float32, "meta")
RESULT = Layout((12, 6, 3, 1), 4, torch.float32, "meta", new=True)


def prepare(geometry: BlockGeometry = GEOMETRY, source: Layout = SOURCE, result: Layout = RESULT) -> Any:
    return triton_backend.prepare("space_to_batch", geometry, source, result)


def test_a_meta_tensor_is_told_what_a_gpu_would_do() -> None:
    call = prepare()
    assert call.ready()
    assert str(call).startswith("move_phases: ")
    assert str(call) == str(prepare(source=SOURCE._replace(device="cuda"), result=RESULT._replace(device="cuda")))


def test_refusals() -> None:
    assert "on mps, and the kernels run on CUDA and ROCm devices" in prepare(source=SOURCE._replace(device="mps"))
    assert prepare(source=SOURCE._replace(itemsize=3, dtype="rgb")) == "rgb has elements of 3 bytes"
    assert prepare(source=SOURCE._replace(strides=None)) == "strides are no whole numbers of elements"


@pytest.mark.parametrize("direction", ["space_to_batch", "batch_to_space"])
def test_an_out_whose_strides_keep_too_many_loops_apart(direction: str) -> None:
    """Whatever the source: dense, its dims are one loop, but a result with a gap after each of them has nine and more."""
    for count, taken in ((8, True), (9, False)):
        sizes = (2,) * count
        geometry = BlockGeometry((1, 2, *sizes), 1, spatial_dims=1)
        gaps = [1]
        for _ in range(count):
            gaps.insert(0, 3 * gaps[0])
        strides = (2 * gaps[0], *gaps)
        dense = tuple(torch.empty(geometry.space_shape, device="meta").stride())
        there = (Layout(s, 4, torch.float32, "meta") for s in (dense, strides))
        call = triton_backend.prepare(direction, geometry, *there)  # type: ignore[arg-type]
        assert isinstance(call, str) is not taken
        if taken:
            assert call.plans()  # type: ignore[union-attr]
            assert call.plans(False, False)  # type: ignore[union-attr]
        else:
            assert call == "the geometry takes more nested loops, after merging, than the kernels have"


def test_an_out_that_is_refused_is_filled_by_another_backend() -> None:
    x = torch.arange(2.0**11).view(1, *(2,) * 11)
    out = torch.empty(1, *(3,) * 11)[(slice(None), *(slice(2),) * 11)]
    assert torch.equal(spacebatch.space_to_batch(x, 1, spatial_dims=1, out=out), x)
    with spacebatch.use_backend("triton"), pytest.raises(RuntimeError, match="asked for, but"):
        spacebatch.space_to_batch(x, 1, spatial_dims=1, out=out)


def test_triton_is_not_loaded_to_refuse_another_device() -> None:
    program = """
import sys
from spacebatch import BlockGeometry, triton_backend
from spacebatch.reference.prepared import Layout
for device in ("cpu", "xpu", "numpy"):
    here = Layout((1,), 4, None, device)
    print(triton_backend.prepare("space_to_batch", BlockGeometry((1, 2), (2,)), here, here))
print("triton" in sys.modules, "spacebatch.tl_kernels.launch" in sys.modules)
"""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    *reasons, loaded = done.stdout.splitlines()
    assert reasons == [
        f"the tensor is on {device}, and the kernels run on CUDA and ROCm devices" for device in ("cpu", "xpu", "numpy")
    ]
    assert loaded == "False False"
