"""Other sizes: one network, trained on images of one size, on images of others, whole, in blocks, in tiles and resized."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import spacebatch
from spacebatch.windows import Windows

from .scenes import RATES, batches, difference, draw, network, score, small, train

TRAINED = 48
SIZES = {48: 16, 65: 10, 96: 6, 131: 4}  # size: images


@cache
def trained(quick: bool) -> nn.Module:
    """The network of this page, after its training on images of `TRAINED` x `TRAINED`; nobody may change it."""
    net = network(4 if quick else 16)
    train({"it": net}, batches(2 if quick else 160, 2 if quick else 8, TRAINED))
    return net.eval()


def ways_of(net: nn.Module) -> dict[str, Callable[[Tensor], Tensor]]:
    """What can be done with an image that is larger than those of the training."""
    ours = spacebatch.convert(copy.deepcopy(net), method="batch_space").eval()

    def in_blocks(x: Tensor) -> Tensor:
        windows = Windows(x.shape, TRAINED)
        merged: Tensor = windows.merge(net(windows.partition(x)))
        return merged

    def resized(x: Tensor) -> Tensor:
        shrunk = functional.interpolate(x, size=(TRAINED, TRAINED), mode="bilinear", antialias=True)
        return functional.interpolate(net(shrunk), size=x.shape[2:], mode="bilinear")

    reach = 1 + sum(RATES)
    return {
        "whole image, native": net,
        "whole image, batch space": ours,
        f"tiles of {TRAINED} with a halo of {reach}": lambda x: spacebatch.tiled(net, x, TRAINED, halo=reach, batch=4),
        f"tiles of {TRAINED}, half overlapping": lambda x: spacebatch.tiled(
            net, x, TRAINED, overlap=0.5, blend="gaussian", batch=4
        ),
        f"blocks of {TRAINED}, each for itself": in_blocks,
        f"resized to {TRAINED} and back": resized,
    }


def measure(quick: bool) -> dict[str, Any]:
    """The overlap with the truth, for each way and size, and by how much the scores differ from the whole image's."""
    net = trained(quick)
    sizes = {48: 2, 65: 1} if quick else SIZES
    images = {size: draw(count, size, seed=size) for size, count in sizes.items()}
    rows = []
    for name, way in ways_of(net).items():
        found = {str(size): score(way, x, y) for size, (x, y) in images.items()}
        far = max(_difference(net, way, x) for x, _ in images.values())
        rows.append({"way": name, "overlap": found, "difference": far})
    return {"trained": TRAINED, "rows": rows}


def _difference(net: nn.Module, way: Callable[[Tensor], Tensor], x: Tensor) -> float:
    with torch.no_grad():
        return difference(net(x), way(x))


def told(found: dict[str, Any]) -> list[Any]:
    """A table."""
    sizes = list(found["rows"][0]["overlap"])
    table: list[Any] = [("how", *(f"{size}x{size}" for size in sizes), "scores differ from the whole image's by")]
    for row in found["rows"]:
        table.append(
            (
                row["way"],
                *(f"{row['overlap'][size]:.3f}" for size in sizes),
                small(row["difference"]),
            )
        )
    return [
        f"Mean overlap (intersection over union) with the truth, after training on {found['trained']}x{found['trained']} alone:",
        table,
    ]
