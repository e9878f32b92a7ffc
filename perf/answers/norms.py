"""Batch norm and dropout: statistics, gradients and masks of native networks and their twins in batch space."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

import spacebatch
from spacebatch import BlockGeometry

from .scenes import difference, small

RATE = 4
SIZES = (32, 33, 30)  # one that the rate divides, two that it does not
P = 0.3


def measure(quick: bool) -> dict[str, Any]:
    """In float64, so that what differs is no rounding."""
    channels = 4 if quick else 16
    return {
        "norms": [_norms(size, channels) for size in (SIZES[:2] if quick else SIZES)],
        "dropout": [_dropout(kind, channels, 16 if quick else 65) for kind in (nn.Dropout, nn.Dropout2d)],
        "p": P,
    }


def _chain(channels: int) -> nn.Sequential:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)

        def convolution() -> nn.Module:
            return nn.Conv2d(channels, channels, 3, padding=RATE, dilation=RATE)

        return nn.Sequential(convolution(), nn.BatchNorm2d(channels), nn.ReLU(), convolution()).double()


def _norms(size: int, channels: int) -> dict[str, Any]:
    """A training step of convolution, batch norm, ReLU and convolution, natively, as converted, and by hand without masks."""
    native = _chain(channels)
    x = torch.randn(2, channels, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ours = spacebatch.convert(copy.deepcopy(native), method="batch_space")
    by_hand = copy.deepcopy(native)
    geometry = BlockGeometry(x.shape, RATE, "auto")

    def unmasked(x: Tensor) -> Tensor:
        y = geometry.space_to_batch(x)
        for layer in by_hand:
            if isinstance(layer, nn.Conv2d):
                y = nn.functional.conv2d(y, layer.weight, layer.bias, padding=1)
            else:
                y = layer(y)
        return geometry.batch_to_space(y)

    wanted = _seen(native, native, x)
    return {"size": size, "divides": size % RATE == 0} | {
        name: {key: difference(a, b) for (key, a), b in zip(wanted.items(), _seen(call, net, x).values(), strict=True)}
        for name, call, net in (("converted", ours, ours), ("by hand", unmasked, by_hand))
    }


def _seen(call: Any, net: nn.Sequential, x: Tensor) -> dict[str, Tensor]:
    x = x.clone().requires_grad_()
    y = call(x)
    y.square().mean().backward()
    norm: Any = net[1]
    assert x.grad is not None
    return {
        "output": y.detach(),
        "running mean": norm.running_mean,
        "running variance": norm.running_var,
        "gradient of the weight": net[0].weight.grad,
        "gradient of the image": x.grad,
    }


def _dropout(kind: type[nn.Module], channels: int, size: int) -> dict[str, Any]:
    """Ones after a convolution that copies its input: what is zero then was dropped."""
    copies = nn.Conv2d(channels, channels, 3, padding=RATE, dilation=RATE, groups=channels, bias=False)
    with torch.no_grad():
        copies.weight.zero_()[:, :, 1, 1] = 1
    native = nn.Sequential(copies, kind(P))
    ours = spacebatch.convert(copy.deepcopy(native), method="batch_space")
    x = torch.ones(64, channels, size, size)
    found: dict[str, Any] = {"layer": kind.__name__, "elements": x.numel(), "channels": 64 * channels}
    masks = []
    with torch.random.fork_rng([]):
        for name, net in (("native", native), ("batch space", ours)):
            torch.manual_seed(0)
            with torch.no_grad():
                dropped = net(x) == 0
            shares = dropped.flatten(2).double().mean(2)
            masks.append(dropped)
            found[name] = {"share": dropped.double().mean().item(), "torn": int(((shares > 0) & (shares < 1)).sum())}
    found["equal"] = torch.equal(*masks)
    return found


def told(found: dict[str, Any]) -> list[Any]:
    """Two tables."""
    keys = list(found["norms"][0]["converted"])
    norms: list[Any] = [("size", "how", *keys)]
    for row in found["norms"]:
        for how in ("converted", "by hand"):
            size = f"{row['size']}x{row['size']}{'' if row['divides'] else ', not divisible'}"
            norms.append(
                (size, {"by hand": "by hand, without a mask"}.get(how, how), *(small(row[how][key]) for key in keys))
            )
    dropout: list[Any] = [("layer", "computed", "dropped", "of channels in part", "the mask is the native one")]
    for row in found["dropout"]:
        for how in ("native", "batch space"):
            same = "" if how == "native" else "yes" if row["equal"] else "no"
            dropout.append(
                (
                    f"{row['layer']}({found['p']})",
                    how,
                    f"{row[how]['share']:.4f}",
                    f"{row[how]['torn']} of {row['channels']}",
                    same,
                )
            )
    return [
        f"Largest difference from the native step in float64, relative to the largest value; rate {RATE}:",
        norms,
        "What dropout drops, from the same seed:",
        dropout,
    ]
