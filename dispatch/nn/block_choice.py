"""`spacebatch.choose_block`: which block size for a convolution or a network, by measuring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from spacebatch.reference.arguments import as_sequence

from .. import trials
from .convert_network import convert
from .converted_class import dilation_of
from .shared_copy import shared_copy
from .taps import positive


@dataclass(frozen=True)
class BlockChoice:
    """What `choose_block` measured; `print` it.

    Attributes:
        block: the fastest block size; 1 is the network as it is.
        seconds: the time of each block size that could be measured.
        skipped: the others, with the reason.
        measured: "inference" or "training step".
    """

    block: int
    seconds: dict[int, float] = field(hash=False)
    skipped: dict[int, str] = field(hash=False)
    measured: str

    def __str__(self) -> str:
        native = self.seconds[1]
        lines = [
            f"block {block:>3}  {time * 1e3:10.3f} ms  {native / time:5.2f}x{'  <- fastest' if block == self.block else ''}"
            for block, time in self.seconds.items()
        ]
        return "\n".join(
            [*lines, *(f"block {b:>3}  {why}" for b, why in self.skipped.items()), f"measured: {self.measured}"]
        )


def choose_block(model: nn.Module, *inputs: Any, candidates: Sequence[int] | None = None) -> BlockChoice:
    """Measure a convolution or a network with each block size, and name the fastest.

    >>> import torch
    >>> conv = torch.nn.Conv2d(4, 4, 3, padding=4, dilation=4).eval()
    >>> chosen = choose_block(conv, torch.randn(1, 4, 16, 16))
    >>> sorted(chosen.seconds), chosen.block in chosen.seconds
    ([1, 2, 4], True)

    A block of b takes a factor of b out of each dilation that is a multiple of it: the whole dilation leaves an ordinary
    convolution, a divisor leaves the rest of it to the native one, on fewer and larger pieces.

    Args:
        model: a dilated `torch.nn.Conv*d`, or any module with such in it, as `spacebatch.convert` takes it. Its mode decides
            what is measured: a training step in training, inference in evaluation.
        inputs: an example of what it is called with.
        candidates: block sizes to try; None: every divisor of the dilations. 1 is always measured.

    Returns:
        A `BlockChoice`. For the network itself: `spacebatch.convert(model, *inputs, method="batch_space", rate=block)`.

    Raises:
        ValueError, TypeError: no module, no input, nothing dilated, candidates that are no positive ints.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"choose_block: model must be a torch.nn.Module, got {type(model).__name__}")
    if not inputs:
        raise ValueError("choose_block: inputs are needed to measure; give an example of what the model is called with")
    dilations = {d for part in model.modules() for d in dilation_of(part) or () if d > 1}
    if not dilations:
        raise ValueError(f"choose_block: {type(model).__name__} has no dilated convolution")
    if candidates is None:
        blocks = sorted({b for d in dilations for b in range(2, d + 1) if d % b == 0})
    else:
        given = as_sequence(candidates, "choose_block: candidates")
        blocks = [*positive("choose_block", "candidates", given, len(given))]
    networks, skipped = {1: model}, {}
    for block in blocks:
        found = _with_block(model, inputs, block) if block > 1 else model
        if isinstance(found, str):
            skipped[block] = found
        else:
            networks[block] = found
    training = model.training and any(p.requires_grad for p in model.parameters())
    with trials.undisturbed(model), trials.gradients_kept(model):
        calls = {
            str(block): trials.step(network, lambda network=network: network(*inputs), training)  # type: ignore[misc]
            for block, network in networks.items()
        }
        times = trials.timings(calls, trials.device_of(model, inputs))
    seconds = {block: times[str(block)].median for block in networks}
    return BlockChoice(
        min(seconds, key=seconds.__getitem__), seconds, skipped, "training step" if training else "inference"
    )


def _with_block(model: nn.Module, inputs: Sequence[Any], block: int) -> nn.Module | str:
    """A copy of the model in batch space of a block, over the same tensors, or why it cannot be."""
    converted = convert(shared_copy(model), method="batch_space", rate=block)
    return converted if converted.conversion.rows else "no dilation of the network is a multiple of it"  # type: ignore[union-attr]
