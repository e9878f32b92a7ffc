"""Alternatives to a dilation: networks that look at the same task by other means, trained alike."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional

import spacebatch
from spacebatch.timing import round_seconds

from ..tiled import processor_clock
from .scenes import batches, draw, network, ratio, score, train

CHANNELS = 16


class Resized(nn.Module):
    """A stem and scores at full size, and between them layers on an image that is four times smaller."""

    def __init__(self, inner: nn.Sequential, down: nn.Module, up: nn.Module | None) -> None:
        super().__init__()
        self.stem, self.down, self.inner, self.scores = inner[:2], down, inner[2:-1], inner[-1]
        self.up = up

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 1, H, W) → (N, classes, H, W), of sizes that 4 divides."""
        y = self.inner(self.down(self.stem(x)))
        y = functional.interpolate(y, scale_factor=4, mode="bilinear") if self.up is None else self.up(y)
        return self.scores(y)  # type: ignore[no-any-return]


def _strided(channels: int) -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        down = nn.Sequential(*(nn.Conv2d(channels, channels, 4, 2, 1) for _ in range(2)))
        up = nn.Sequential(*(nn.ConvTranspose2d(channels, channels, 4, 2, 1) for _ in range(2)))
    return down, up


def networks(channels: int) -> dict[str, nn.Module]:
    """All of them, untrained; what they share has the same weights."""
    plain = network(channels, (1, 1, 1, 1))
    dilated = network(channels)
    return {
        "dilations 2, 4, 8, 4, native": dilated,
        "the same in batch space": spacebatch.convert(copy.deepcopy(dilated), method="batch_space"),
        "no dilation": copy.deepcopy(plain),
        "no dilation, 18 layers for the same reach": network(channels, (1,) * 18),
        "resized to a quarter, no dilation, resized back": Resized(copy.deepcopy(plain), nn.AvgPool2d(4), None),
        "strided, no dilation, transposed": Resized(plain, *_strided(channels)),
    }


def measure(quick: bool) -> dict[str, Any]:
    """Train all side by side; the overlap with the truth on images that none has seen, and the times."""
    nets = networks(4 if quick else CHANNELS)
    size = 16 if quick else 48
    data = batches(2 if quick else 140, 2 if quick else 8, size)
    train({name: copy.deepcopy(net) for name, net in nets.items()}, data[:2])  # kernels are compiled
    runs = train(nets, data)
    x, y = draw(2 if quick else 24, size, seed=7)
    overlaps = {name: score(net, x, y) for name, net in nets.items()}
    with torch.no_grad():
        calls = {name: partial(net, x[:8]) for name, net in nets.items()}
        times = round_seconds(calls, processor_clock, rounds=2 if quick else 9, warmup=1)
    native = next(iter(nets))
    rows = []
    for name, net in nets.items():
        # on an image more than twice as wide as any of them sees
        seen = spacebatch.receptive_field(copy.deepcopy(net).eval(), (1, 1, 32, 32) if quick else (1, 1, 96, 96))
        rows.append(
            {
                "network": name,
                "parameters": sum(p.numel() for p in net.parameters()),
                "reach": max(*seen.before, *seen.after),
                "overlap": overlaps[name],
                "training": ratio(runs[native].seconds, runs[name].seconds),
                "inference": ratio(times[native], times[name]),
            }
        )
    return {"images": f"{size}x{size}", "rows": rows}


def told(found: dict[str, Any]) -> list[Any]:
    """A table."""
    table: list[Any] = [("network", "parameters", "sees", "overlap", "training: gain", "inference: gain")]
    for row in found["rows"]:
        table.append(
            (
                row["network"],
                row["parameters"],
                row["reach"],
                f"{row['overlap']:.3f}",
                f"{row['training']:.2f}x",
                f"{row['inference']:.2f}x",
            )
        )
    return [
        f"Images of {found['images']}; \"sees\" is how far, in positions. Gains are the native dilated network's time over this one's.",
        table,
    ]
