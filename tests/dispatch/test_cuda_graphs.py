"""CUDA graphs, streams and several devices: what a launch must not do. `tests/dispatch/test_gpu.py` captures one shape per tuning mode."""

from __future__ import annotations

import pytest
import torch

import spacebatch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
]


def expected(x: torch.Tensor) -> torch.Tensor:
    with spacebatch.use_backend("torch"):
        return spacebatch.space_to_batch(x, 2, 1)


def test_the_first_call_of_a_shape_may_be_captured_forward_and_backward() -> None:
    warm = torch.rand(1, 3, 18, 18, device="cuda", requires_grad=True)
    spacebatch.space_to_batch(warm, 2, 1).sum().backward()
    x = torch.rand(3, 5, 26, 34, device="cuda", requires_grad=True)
    upstream = torch.rand(12, 5, 14, 18, device="cuda")
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        y = spacebatch.space_to_batch(x, 2, 1)
        (gradient,) = torch.autograd.grad(y, x, upstream)
    with torch.no_grad():
        x.copy_(torch.rand_like(x))
        upstream.copy_(torch.rand_like(upstream))
    graph.replay()
    assert torch.equal(y.detach(), expected(x.detach()))
    with spacebatch.use_backend("torch"):
        assert torch.equal(gradient, spacebatch.batch_to_space(upstream, 2, 1))


def test_what_was_warmed_up_is_captured() -> None:
    x = torch.randint(-9, 9, (3, 2, 7, 5, 9), dtype=torch.int16, device="cuda")
    spacebatch.warm_up(spacebatch.space_to_batch, x, (7, 5, 3))
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        y = spacebatch.space_to_batch(x, (7, 5, 3))
    x.neg_()
    graph.replay()
    with spacebatch.use_backend("torch"):
        assert torch.equal(y, spacebatch.space_to_batch(x, (7, 5, 3)))


def test_a_captured_call_allocates_from_the_graph_s_pool_alone() -> None:
    x = torch.rand(2, 4, 30, 30, device="cuda")
    spacebatch.space_to_batch(x[:1], 2, 1)
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    outside = torch.cuda.memory_stats()["allocation.all.allocated"]
    with torch.cuda.graph(graph):
        y = spacebatch.space_to_batch(x, 2, 1)
    assert torch.cuda.memory_stats()["allocation.all.allocated"] - outside == 1  # the result, in the pool
    for _ in range(3):
        graph.replay()
    assert torch.equal(y, expected(x))


def test_reduce_overhead() -> None:
    call = torch.compile(
        lambda t: spacebatch.space_to_batch(t.relu(), 2, 1) * 2, fullgraph=True, mode="reduce-overhead"
    )
    for _ in range(4):  # recorded at the second call, replayed from the third
        x = torch.randn(2, 4, 30, 30, device="cuda")
        assert torch.equal(call(x), expected(x.relu()) * 2)


def test_no_call_waits_for_the_device() -> None:
    x = torch.rand(2, 4, 30, 30, device="cuda")
    spacebatch.space_to_batch(x, 2, 1)
    torch.cuda.set_sync_debug_mode("error")
    try:
        y = spacebatch.batch_to_space(spacebatch.space_to_batch(x, 2, 1, pad_value=1.5), 2, 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(y, x)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU")
def test_a_tensor_on_another_device_than_the_current_one() -> None:
    x = torch.rand(2, 4, 30, 30, device="cuda:1")
    with torch.cuda.device(0):
        y = spacebatch.space_to_batch(x, 2, 1)
        assert torch.cuda.current_device() == 0
    assert y.device == x.device
    assert torch.equal(y, expected(x))
