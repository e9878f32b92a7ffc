"""A converted network against itself with all its convolutions native: outputs, gradients, buffers, on an example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from .. import trials
from .batch_space_tensor import Value

# Of the largest number of a tensor: sums of many products in another order, through many layers.
TOLERANCE = {torch.float64: 1e-7, torch.float32: 2e-3, torch.bfloat16: 0.1, torch.float16: 3e-2}
# Of the largest number of all gradients, or buffers: what is smaller by itself may be rounding errors alone.
SMALL = 0.1
RANDOM = "two native runs differ as well, for the network draws random numbers"


class Incomparable(Exception):  # noqa: N818
    """Nothing can be said of a network, and why."""


def difference(
    network: nn.Module, call: Callable[[], Any], natively: Callable[[bool], None], training: bool
) -> str | None:
    """What a run of the network gives that differs from the native run, or None.

    Args:
        network: converted. call: runs it on the example. natively: switches its convolutions between the methods.
        training: whether gradients are compared.

    Raises:
        Incomparable: two native runs differ.
    """
    natively(True)
    first, second = (_results(network, call, training, seed) for seed in (0, 1))
    natively(False)
    found = _results(network, call, training, 0)
    if _apart(first, second) is not None:
        raise Incomparable(RANDOM)
    return _apart(first, found)


def _results(network: nn.Module, call: Callable[[], Any], training: bool, seed: int) -> dict[str, Any]:
    with trials.undisturbed(network), trials.gradients_kept(network), torch.set_grad_enabled(training):
        torch.manual_seed(seed)
        leaves, structure = tree_flatten(call())
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        wanting = [leaf for leaf in tensors if training and leaf.requires_grad]
        if wanting:
            torch.autograd.backward(wanting, [_seed(leaf) for leaf in wanting])
        return {
            # autograd may need a value
            "the structure of the output": (structure, [Tensor if isinstance(x, Value) else type(x) for x in leaves]),
            "outputs": [leaf.detach() for leaf in tensors],
            "gradients": [None if p.grad is None else p.grad.detach().clone() for p in network.parameters()],
            "buffers": [buffer.detach().clone() for buffer in network.buffers()],
        }


def _apart(expected: dict[str, Any], found: dict[str, Any]) -> str | None:
    (what, shape), *rest = expected.items()
    if found[what] != shape:
        return what
    for name, tensors in rest:
        if len(tensors) != len(found[name]):
            return f"the number of {name}"
        scale = max((float(t.abs().max()) for t in tensors if t is not None and t.numel() and _inexact(t)), default=0.0)
        for k, (a, b) in enumerate(zip(tensors, found[name], strict=True)):
            if (a is None) != (b is None):
                return f"which {name} there are (number {k})"
            if a is not None and not _close(a, b, SMALL * scale):
                return f"{name} (number {k})"
    return None


def _seed(like: Tensor) -> Tensor:
    """Another number at each position: where all are the same, a norm lets no gradient pass but rounding errors."""
    generator = torch.Generator().manual_seed(2)
    return torch.randn(like.shape, generator=generator).to(like)


def _close(a: Tensor, b: Tensor, least: float) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if not _inexact(a) or not a.numel():
        return torch.equal(a, b)
    if a.is_complex():
        a, b = torch.view_as_real(a), torch.view_as_real(b)
    finite, limit = a.isfinite(), TOLERANCE.get(a.dtype, 0.1)
    if not torch.equal(finite, b.isfinite()):
        return False
    a, b = (torch.where(finite, t, 0).double() for t in (a, b))
    return bool((a - b).abs().max() <= limit * max(float(a.abs().max()), least))


def _inexact(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()
