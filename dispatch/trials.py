"""Networks and parts of them timed against each other, with nothing about them changed by it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from .timing import Timing, interleaved

ROUNDS, WARMUP = 7, 2
MOST_ROUNDS = 5  # times as many, where the choice is close
CLOSE = 0.05  # of the time: what another run may find


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


@contextmanager
def gradients_kept(network: nn.Module) -> Iterator[None]:
    """The gradients of a network's parameters are afterwards what they were; in between there are none.

    >>> layer = nn.Linear(1, 1)
    >>> with gradients_kept(layer):
    ...     layer(torch.ones(1)).backward()
    >>> layer.weight.grad is None
    True
    """
    kept = [(parameter, parameter.grad) for parameter in network.parameters()]
    try:
        for parameter, _ in kept:
            parameter.grad = None
        yield
    finally:
        for parameter, grad in kept:
            parameter.grad = grad


def step(network: nn.Module, call: Callable[[], Any], training: bool) -> Callable[[], object]:
    """What is timed: the call, in training with the backward pass into the parameters' gradients."""

    def infer() -> object:
        with torch.no_grad():
            return call()

    def train() -> None:
        for parameter in network.parameters():
            parameter.grad = None
        results = [value for value in tensors_of(call()) if value.requires_grad]
        torch.autograd.backward(results, [torch.ones_like(value) for value in results])

    return train if training else infer


def timings(
    calls: Mapping[str, Callable[[], object]], device: torch.device, rounds: int = ROUNDS, until: float | None = None
) -> dict[str, Timing]:
    """The calls against each other; see `timing.interleaved`.

    Args:
        until: of `time.monotonic()`; "before" and "after" get more rounds as long as it is close which of them is to be taken, but no
            new ones past that time. None: the rounds are all.
    """

    def more(times: dict[str, Timing]) -> bool:
        if until is None or time.monotonic() >= until or times["before"].runs >= MOST_ROUNDS * rounds:
            return False
        before, after = times["before"], times["after"]
        return gains(_scaled(before, 1 - CLOSE), after) != gains(_scaled(before, 1 + CLOSE), after)

    return interleaved(calls, device, rounds=rounds, warmup=WARMUP, more=more)


def _scaled(times: Timing, factor: float) -> Timing:
    return Timing(times.median * factor, times.lower * factor, times.upper * factor, times.runs)


def tensors_of(value: Any) -> list[Tensor]:
    """The tensors of a result, in whatever containers they are."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


GAIN = 1.03  # what is measured less than 3% faster is not replaced: another run may say the opposite


def gains(before: Timing, after: Timing) -> bool:
    """Whether `after` is faster beyond noise: 3% at least, and the quartiles apart.

    >>> gains(Timing(2.0, 1.9, 2.1, 9), Timing(1.0, 0.9, 1.1, 9)), gains(Timing(2.0, 1.0, 3.0, 9), Timing(1.5, 1.4, 1.6, 9))
    (True, False)
    """
    return before.median >= GAIN * after.median and before.lower > after.upper
