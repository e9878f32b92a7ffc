"""How much a tile's result counts at each of its elements, where tiles overlap.

>>> tile_weights("linear", (6,), (4,), (0.125,)).tolist()  # ramps over an overlap of 2
[0.3333333432674408, 0.6666666865348816, 1.0, 1.0, 0.6666666865348816, 0.3333333432674408]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Blend: TypeAlias = Literal["none", "constant", "linear", "gaussian"]
BLENDS = ("none", "constant", "linear", "gaussian")
_LEAST = 1e-3  # no element of a Gaussian counts less: far from the middle of a tile its weights would vanish


def tile_weights(
    blend: Blend, tile: Sequence[int], steps: Sequence[int], sigma_scale: Sequence[float]
) -> Tensor | None:
    """The weight of each element of a tile in float32; None where all count alike.

    Args:
        blend: "none" or "constant": alike. "linear": the product of one ramp per dim, which rises over the overlap and falls
            as it rose. "gaussian": a normal distribution about the middle of the tile, never below 1/1000.
        tile, steps: elements of a tile, and from one to the next, along each dim.
        sigma_scale: the standard deviation over the tile's size, along each dim.

    Source: the Gaussian is that of MONAI's `compute_importance_map`.
    """
    if blend in ("none", "constant"):
        return None
    weights = torch.ones(())
    for size, step, sigma in zip(tile, steps, sigma_scale, strict=True):
        if blend == "linear":
            rise = torch.arange(1, size + 1, dtype=torch.float32)
            line = torch.minimum(rise, rise.flip(0)).clamp_(max=size - step + 1) / (size - step + 1)
        else:
            middle = (size - 1) / 2
            line = torch.arange(-middle, middle + 1, dtype=torch.float32)
            line = torch.exp(line**2 / (-2 * (size * sigma) ** 2))
        weights = weights[..., None] * line
    return weights if blend == "linear" else weights.clamp_(min=max(weights.min().item(), _LEAST))


def resized(weights: Tensor, sizes: Sequence[int]) -> Tensor:
    """Weights for a result of other sizes than the tile: of each element, that of the nearest one.

    >>> resized(torch.tensor([1.0, 2.0]), (4,)).tolist()
    [1.0, 1.0, 2.0, 2.0]
    """
    for dim, (size, wanted) in enumerate(zip(weights.shape, sizes, strict=True)):
        if size != wanted:
            nearest = (torch.arange(wanted) * 2 + 1) * size // (2 * wanted)
            weights = weights.index_select(dim, nearest.to(weights.device))
    return weights
