"""Transforms around whole functions: functional_call, nested vmap, dual tensors, checkpoints, anomaly mode, compiled autograd.

`tests/dispatch/test_gradients.py` has each transform of torch.func against the composition by hand.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

import spacebatch
from tests.bits import same

BORDERS = ((1, 0), (2, 1))


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(2, 3, 3, padding=1),
        spacebatch.nn.SpaceToBatch((2, 3), BORDERS),
        torch.nn.Conv2d(3, 2, 1),
        torch.nn.Tanh(),
        spacebatch.nn.BatchToSpace((2, 3), BORDERS),
    ).double()


def by_hand(model: Any, x: Tensor) -> Tensor:
    """The same network, with PyTorch's operators in place of ours."""
    first, _, second, _, _ = model
    y = torch.nn.functional.pad(first(x), (*BORDERS[1], *BORDERS[0]))
    N, C, H, W = y.shape
    y = y.view(N, C, H // 2, 2, W // 3, 3).permute(3, 5, 0, 1, 2, 4).reshape(6 * N, C, H // 2, W // 3)
    z = second(y).tanh()
    z = z.view(2, 3, N, -1, H // 2, W // 3).permute(2, 3, 4, 0, 5, 1).reshape(N, -1, H, W)
    return z[:, :, 1:, 2 : W - 1]


def random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_functional_call_with_per_sample_gradients() -> None:
    model, x = network(), random(3, 2, 3, 6)
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
        return torch.func.functional_call(model, parameters, (sample[None],)).square().sum()

    found = torch.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    for k, sample in enumerate(x):
        expected = torch.autograd.grad(by_hand(model, sample[None]).square().sum(), list(model.parameters()))
        for (name, gradient), wanted in zip(found.items(), expected, strict=True):
            # a batched convolution adds in another order than one of a sample
            torch.testing.assert_close(gradient[k], wanted, rtol=1e-10, atol=1e-12, msg=name)


@pytest.mark.parametrize("dims", list(itertools.product((0, 2, -1), (0, 1, -1))), ids=str)
def test_nested_vmap_over_any_dims(dims: tuple[int, int]) -> None:
    outer, inner = dims
    x = random(2, 3, 2, 2, 3, 6)

    def function(t: Tensor) -> Tensor:
        return spacebatch.batch_to_space(spacebatch.space_to_batch(t, (2, 3), BORDERS).sin(), (2, 3), BORDERS)

    moved = x.movedim(1, 1 + inner if inner >= 0 else -1).movedim(0, outer)
    found = torch.vmap(torch.vmap(function, in_dims=inner), in_dims=outer)(moved)
    assert same(found, torch.stack([torch.stack([function(t) for t in row]) for row in x]))


def test_dual_tensors_through_a_network() -> None:
    model, x, tangent = network(), random(2, 2, 3, 6), random(2, 2, 3, 6).flip(0)
    results = []
    for function in (model, lambda t: by_hand(model, t)):
        with forward_ad.dual_level():
            dual = forward_ad.unpack_dual(function(forward_ad.make_dual(x, tangent)))
            results.append((dual.primal.detach(), dual.tangent.detach()))
    for a, b in zip(*results, strict=True):
        assert same(a, b)


@pytest.mark.parametrize("reentrant", [False, True], ids=["not-reentrant", "reentrant"])
def test_checkpointing(reentrant: bool) -> None:
    model, x = network(), random(2, 2, 3, 6).requires_grad_()
    (expected,) = torch.autograd.grad(by_hand(model, x).square().sum(), x)
    checkpoint(model, x, use_reentrant=reentrant).square().sum().backward()
    assert x.grad is not None
    assert same(x.grad, expected)


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_anomaly_mode() -> None:
    model, x = network(), random(2, 2, 3, 6).requires_grad_()
    (expected,) = torch.autograd.grad(by_hand(model, x).square().sum(), x)
    with torch.autograd.detect_anomaly():
        (found,) = torch.autograd.grad(model(x).square().sum(), x)
    assert same(found, expected)
    y = torch.zeros(1, 4, requires_grad=True)
    with torch.autograd.detect_anomaly(), pytest.raises(RuntimeError, match="returned nan values"):
        spacebatch.batch_to_space(spacebatch.space_to_batch(y, (2,)).sqrt() * 0, (2,)).sum().backward()


def test_compiled_autograd() -> None:
    """The backward pass as a graph: the gradient's own operators are traced, forward calls stay eager."""
    from torch._dynamo import compiled_autograd

    torch.compiler.reset()
    model, x = network(), random(2, 2, 3, 6).requires_grad_()
    (expected,) = torch.autograd.grad(by_hand(model, x).square().sum(), x)
    with compiled_autograd._enable(torch.compile(backend="aot_eager", fullgraph=True)):
        model(x).square().sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, expected, rtol=1e-12, atol=1e-12)  # traced convolutions may add in another order


def test_double_backward_through_a_network() -> None:
    model, x = network(), random(1, 2, 3, 6).requires_grad_()
    results = []
    for function in (model, lambda t: by_hand(model, t)):
        (first,) = torch.autograd.grad(function(x).pow(3).sum(), x, create_graph=True)
        results.append(torch.autograd.grad(first.square().sum(), x)[0])
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)  # sums over the two uses of x come in another order
