"""The block size: what `choose_block` chooses beside all candidates timed again, and what tiles of several sizes cost."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

import spacebatch
from spacebatch.timing import interleaved

from ..tiled import processor_clock
from .scenes import RATES, network

# convolution: (dims, channels, rate, groups, shape of the rest)
CONVOLUTIONS: dict[str, tuple[Any, ...]] = {
    "2-D, 32 channels, rate 8, 64x64": (nn.Conv2d, 32, 8, 1, (64, 64)),
    "2-D, depthwise, 64 channels, rate 8, 64x64": (nn.Conv2d, 64, 8, 64, (64, 64)),
    "3-D, 8 channels, rate 4, 24x24x24": (nn.Conv3d, 8, 4, 1, (24, 24, 24)),
}
TILES = (16, 32, 64, 128)
IMAGE = 256


def measure(quick: bool) -> dict[str, Any]:
    """Each convolution in inference with every divisor of its rate, and a network in tiles."""
    return {
        "convolutions": [_convolution(name, quick) for name in list(CONVOLUTIONS)[:: 2 if quick else 1]],
        "tiles": _tiles(quick),
        "image": 24 if quick else IMAGE,
    }


def _convolution(name: str, quick: bool) -> dict[str, Any]:
    kind, channels, rate, groups, sizes = CONVOLUTIONS[name]
    if quick:
        channels, groups, sizes = 4, min(groups, 4), (8,) * len(sizes)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        layer = kind(channels, channels, 3, padding=rate, dilation=rate, groups=groups).eval()
        x = torch.randn(2, channels, *sizes)
    chosen = spacebatch.choose_block(layer, x)
    again: dict[str, Any] = {}
    for block in chosen.seconds:
        again[str(block)] = layer
        if block > 1:
            copied = kind(channels, channels, 3, padding=rate, dilation=rate, groups=groups).eval()
            copied.load_state_dict(layer.state_dict())
            again[str(block)] = spacebatch.convert(nn.Sequential(copied), method="batch_space", rate=block)
    with torch.no_grad():
        times = interleaved(
            {block: partial(net, x) for block, net in again.items()},
            x.device,
            rounds=3 if quick else 31,
            clock=processor_clock,
        )
    return {"convolution": name, "chosen": chosen.block, "ms": {block: 1e3 * t.median for block, t in times.items()}}


def _tiles(quick: bool) -> list[dict[str, Any]]:
    """Native inference of an image, whole and in tiles with the halo that the network needs."""
    net = network(4 if quick else 16).eval()
    halo, size = 1 + sum(RATES), 24 if quick else IMAGE
    x = torch.randn(1, 1, size, size, generator=torch.Generator().manual_seed(0))
    calls: dict[str, Any] = {"whole": partial(net, x)}
    work = {"whole": 1.0}
    for tile in TILES[:1] if quick else TILES:
        calls[str(tile)] = partial(spacebatch.tiled, net, x, tile, halo=halo)
        edges = [(max(k - halo, 0), min(k + tile + halo, size)) for k in range(0, size, tile)]
        work[str(tile)] = (sum(end - start for start, end in edges) / size) ** 2
    with torch.no_grad():
        times = interleaved(calls, x.device, rounds=2 if quick else 9, warmup=1, clock=processor_clock)
    return [
        {"tile": tile, "halo": halo, "work": work[tile], "time": timing.median / times["whole"].median}
        for tile, timing in times.items()
    ]


def told(found: dict[str, Any]) -> list[Any]:
    """Two tables."""
    rows = found["convolutions"]
    blocks = list(dict.fromkeys(block for row in rows for block in row["ms"]))
    table: list[Any] = [
        ("convolution", *(f"block {block}, ms" for block in blocks), "choose_block said", "its time over the best")
    ]
    for row in rows:
        best = min(row["ms"].values())
        each = (f"{row['ms'][block]:.2f}" if block in row["ms"] else "" for block in blocks)
        table.append((row["convolution"], *each, row["chosen"], f"{row['ms'][str(row['chosen'])] / best:.2f}"))
    tiles: list[Any] = [("tile", "positions computed, of the image", "time, of the whole image's")]
    tiles += [(row["tile"], f"{row['work']:.2f}x", f"{row['time']:.2f}x") for row in found["tiles"]]
    return [
        "Block 1 is the native convolution.",
        table,
        f"Tiles of an image of {found['image']}x{found['image']}, with a halo of {found['tiles'][0]['halo']}:",
        tiles,
    ]
