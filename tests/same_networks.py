"""Two networks that are the same function: outputs, gradients of the input and of every parameter, buffers after the call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves


def results(network: nn.Module, x: Tensor, call: Callable[[Tensor], Tensor] | None = None) -> dict[str, Any]:
    """What one call of a network makes; `call` stands for the network where it is compiled, say."""
    x = x.detach().clone().requires_grad_()
    y = network(x) if call is None else call(x)
    seed = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
    gradients = torch.autograd.grad(y, [x, *network.parameters()], seed, allow_unused=True)
    return {"output": y, "gradients": gradients, "buffers": dict(network.named_buffers())}


def assert_same(
    network: nn.Module,
    other: nn.Module,
    x: Tensor,
    tolerance: float = 1e-9,
    call: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """`other` gives what the network gives, up to the order of sums; each of the two has tensors of its own."""
    torch.testing.assert_close(results(other, x, call), results(network, x), rtol=tolerance, atol=tolerance)


def assert_same_in_both_modes(network: nn.Module, other: nn.Module, x: Tensor) -> None:
    for training in (True, False):
        assert_same(network.train(training), other.train(training), x)


def all_results(network: nn.Module, *inputs: Tensor, **options: Any) -> tuple[Any, Any, Any]:
    """(outputs, gradients of the inputs and of all parameters, buffers) of a network with any number of results."""
    torch.manual_seed(0)
    given = [x.detach().clone().requires_grad_(x.is_floating_point()) for x in inputs]
    results = [leaf for leaf in tree_leaves(network(*given, **options)) if isinstance(leaf, Tensor)]
    wanting = [y for y in results if y.requires_grad]
    seeds = [torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape) for y in wanting]
    sources = [*(x for x in given if x.requires_grad), *network.parameters()]
    gradients = torch.autograd.grad(wanting, sources, seeds, allow_unused=True) if wanting else ()
    return [y.detach() for y in results], gradients, [buffer.clone() for buffer in network.buffers()]


def assert_close_beside_the_largest(found: Any, expected: Any, tolerance: float = 1e-9) -> None:
    """The same tensors, None where None is, up to rounding: of each one's largest number, or a thousandth of the largest of all."""
    numbers = [x for x in expected if isinstance(x, Tensor) and x.is_floating_point() and x.numel()]
    largest = max((float(x.abs().max()) for x in numbers), default=0.0)
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if isinstance(other, Tensor):
            own = float(other.abs().max()) if other.is_floating_point() and other.numel() else 0.0
            torch.testing.assert_close(one, other, rtol=0, atol=tolerance * max(own, largest / 1000))
