"""On a real device: every case through the front door, streams, CUDA graphs, and tensors of more than 2**31 elements.

`tests/tl_kernels/test_kernels.py` runs on the device as well where there is one; this file holds what needs one.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import spacebatch
from spacebatch import BlockGeometry
from tests.cases import Case, each_case, each_option
from tests.kernel_calls import as_bytes, expected_batch, random_bits

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
]


@each_option
@each_case
@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16, torch.float32, torch.complex128], ids=str)
def test_every_case_through_the_routes(case: Case, options: dict[str, str], dtype: torch.dtype) -> None:
    x = random_bits(case.shape, dtype).cuda()
    geometry = case.geometry(**options)
    y = spacebatch.space_to_batch(x, **geometry.arguments, pad_value=1)
    np.testing.assert_array_equal(as_bytes(y), expected_batch(x.cpu(), geometry, 1))
    np.testing.assert_array_equal(as_bytes(spacebatch.batch_to_space(y, **geometry.inverse)), as_bytes(x))


@each_case
def test_gradients(case: Case) -> None:
    x = torch.rand(case.shape, device="cuda", dtype=torch.float64, requires_grad=True)
    geometry = case.geometry()
    y = spacebatch.space_to_batch(x, **geometry.arguments)
    weights = torch.rand_like(y)
    (gradient,) = torch.autograd.grad(y, x, weights)
    assert torch.equal(gradient, spacebatch.batch_to_space(weights, **geometry.inverse))


def test_the_kernels_are_what_runs() -> None:
    told = spacebatch.explain("space_to_batch", torch.zeros(2, 3, 8, 8, device="cuda"), 2)
    assert told.backend == "triton"
    assert "move_" in told.kernel


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.complex128], ids=str)
@pytest.mark.parametrize(("size", "channels_last"), [(64, False), (63, False), (64, True)], ids=str)
def test_later_calls_of_a_kind(dtype: torch.dtype, size: int, channels_last: bool) -> None:
    # the first call goes through Triton's binding, the others launch what it compiled
    for value in (0, 1, 0, 3, 1):
        x = random_bits((2, 8, size, size), dtype, seed=value).cuda()
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        geometry = BlockGeometry(x.shape, 2, 1 if size == 64 else "auto")
        y = spacebatch.space_to_batch(x, **geometry.arguments, pad_value=value)
        np.testing.assert_array_equal(as_bytes(y), expected_batch(x.cpu(), geometry, value))
        np.testing.assert_array_equal(as_bytes(spacebatch.batch_to_space(y, **geometry.inverse)), as_bytes(x))


def test_another_stream() -> None:
    x = torch.rand(4, 8, 64, 64, device="cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        y = spacebatch.space_to_batch(x, 2, 1)
    torch.cuda.current_stream().wait_stream(stream)
    with spacebatch.use_backend("torch"):
        assert torch.equal(y, spacebatch.space_to_batch(x, 2, 1))


@pytest.mark.parametrize("mode", ["off", "cached", "on"])
def test_graph_capture_at_the_first_call_of_a_shape(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACEBATCH_AUTOTUNE", mode)
    size = {"off": 38, "cached": 42, "on": 46}[mode]
    x = torch.rand(2, 5, size, size, device="cuda")
    spacebatch.space_to_batch(x[:1], 2)  # compiles and loads; the captured shape is another
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        y = spacebatch.space_to_batch(x, 2)
    x.copy_(torch.rand_like(x))
    graph.replay()
    with spacebatch.use_backend("torch"):
        assert torch.equal(y, spacebatch.space_to_batch(x, 2))


def test_autotuning_stores_what_it_measured(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from spacebatch import tuning

    monkeypatch.setenv("SPACEBATCH_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("SPACEBATCH_AUTOTUNE", "on")
    tuning.table.cache_clear()
    x = torch.rand(8, 16, 128, 128, device="cuda")
    y = spacebatch.space_to_batch(x, 2)
    assert torch.equal(spacebatch.batch_to_space(y, 2), x)
    assert len(tuning.table(torch.cuda.get_device_name()).entries) == 2
    tuning.table.cache_clear()


@pytest.mark.parametrize(("block", "options"), [(2, {}), (3, {"arrangement": "contiguous"})], ids=str)
def test_more_than_2_to_the_31_elements(block: int, options: dict[str, str]) -> None:
    if torch.cuda.mem_get_info()[0] < 16 * 2**30:
        pytest.skip("needs 16 GiB of free device memory")
    x = torch.empty(1, 3, 27648, 27648, dtype=torch.uint8, device="cuda").random_()
    assert x.numel() > 2**31
    y = spacebatch.space_to_batch(x, block, **options)  # type: ignore[arg-type]
    geometry = BlockGeometry(x.shape, block, **options)  # type: ignore[arg-type]
    generator = np.random.default_rng(0)
    for place in generator.integers(0, geometry.batch_shape, (2000, 4)):
        source = geometry.space_index(tuple(int(i) for i in place))
        assert source is not None
        assert y[tuple(place)] == x[source]
    assert torch.equal(spacebatch.batch_to_space(y, block, **options), x)  # type: ignore[arg-type]
