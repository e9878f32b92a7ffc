"""Networks and parts of them timed against each other, with nothing about them changed by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .timing import interleaved

ROUNDS, WARMUP = 7, 2


@contextmanager
def undisturbed(*networks: nn.Module) -> Iterator[None]:
    """Buffers (running statistics), modes and random numbers are afterwards what they were.

    >>> norm = nn.BatchNorm1d(2)
    >>> with undisturbed(norm):
    ...     _ = norm(torch.randn(8, 2))
    >>> norm.num_batches_tracked.item()
    0
    """
    buffers = [buffer for network in networks for buffer in network.buffers()]
    kept = [buffer.detach().clone() for buffer in buffers]
    modes = [(part, part.training) for network in networks for part in network.modules()]
    devices = sorted(
        {buffer.device.index or 0 for network in networks for buffer in _tensors(network) if buffer.is_cuda}
    )
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        with torch.no_grad():
            for buffer, before in zip(buffers, kept, strict=True):
                buffer.copy_(before)
        for part, training in modes:
            part.training = training


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


def device_of(network: nn.Module, inputs: Sequence[Any]) -> torch.device:
    """Where a network runs: the device of its first tensor, or of its first input."""
    tensors = [*_tensors(network), *(value for value in inputs if isinstance(value, Tensor))]
    return tensors[0].device if tensors else torch.device("cpu")


def filled(likes: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Random tensors of the shapes, types and layouts of meta tensors."""
    return [torch.empty_like(like, device=device).normal_() for like in likes]


def seconds(
    calls: Mapping[str, Callable[..., Any]], inputs: Sequence[Any], parameters: Sequence[Tensor], device: torch.device
) -> dict[str, float]:
    """The median time of each call on the inputs, with the backward pass where a parameter wants a gradient.

    Args:
        calls: by name; each takes the inputs. inputs: tensors and whatever else; they are not changed.
        parameters: what gradients are computed for, beside none of the inputs. Empty: inference.
    """
    wanted = [parameter for parameter in parameters if parameter.requires_grad]

    def run(call: Callable[..., Any]) -> Callable[[], object]:
        def infer() -> object:
            with torch.no_grad():
                return call(*inputs)

        def train() -> object:
            results = [value for value in _flat(call(*inputs)) if value.requires_grad]
            seeds = [torch.ones_like(value) for value in results]
            return torch.autograd.grad(results, wanted, seeds, allow_unused=True)

        return train if wanted else infer

    found = interleaved({name: run(call) for name, call in calls.items()}, device, rounds=ROUNDS, warmup=WARMUP)
    return {name: timing.median for name, timing in found.items()}


def _flat(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [leaf for part in value for leaf in _flat(part)] if isinstance(value, (tuple, list)) else []
