"""The arguments of `tiled` in one form; every mistake that can be known without the model is named here.

>>> steps_of((64, 64), (0.25, 16), 2), steps_of((64, 64), 0.25, 2)
((48, 48), (48, 48))
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from spacebatch.reference.arguments import as_integer, as_sequence, is_scalar, shown

from .arrays import Image
from .positions import Grid, with_halo, with_overlap
from .weights import BLENDS, Blend, tile_weights


@dataclass(frozen=True)
class Tiling:
    """How an image is cut.

    Attributes:
        grid: the tiles. tile: their size. halo: read around each of them.
        steps: from one tile to the next; None where tiles do not overlap.
        blend, sigma_scale: how overlaps are weighted. batch: tiles per call of the model.
    """

    grid: Grid
    tile: tuple[int, ...]
    halo: tuple[int, ...]
    steps: tuple[int, ...] | None
    blend: Blend
    sigma_scale: tuple[float, ...]
    batch: int

    def weights(self) -> torch.Tensor | None:
        """Of each element of a tile."""
        return None if self.steps is None else tile_weights(self.blend, self.tile, self.steps, self.sigma_scale)


def spatial_dims(tile: Any) -> int | None:
    """How many spatial dims a tile names; None for one size of them all."""
    return None if is_scalar(tile) else len(as_sequence(tile, "tiled: tile"))


def tiling_of(image: Image, tile: Any, halo: Any, overlap: Any, blend: Any, sigma_scale: Any, batch: Any) -> Tiling:
    """Check the arguments against the image and lay the tiles."""
    M = len(image.sizes)
    if halo is not None and overlap is not None:
        raise ValueError(
            f"tiled: halo ({shown(halo)}) and overlap ({shown(overlap)}) exclude each other: a halo is cropped, an overlap blended"
        )
    if blend not in BLENDS:
        raise ValueError(f"tiled: blend must be one of {', '.join(BLENDS)}, got {shown(blend)}")
    if overlap is None and blend != "none":
        raise ValueError(f"tiled: blend={blend!r} needs an overlap: without one there is nothing to blend")
    batch = as_integer(batch, "tiled: batch")
    if batch < 1:
        raise ValueError(f"tiled: batch must be at least 1, got {batch}")
    tiles = _integers(tile, "tile", M)
    for dim, t in enumerate(tiles):
        if t < 1 and t != -1:
            raise ValueError(f"tiled: tile[{dim}] must be positive, or -1 for all of the image, got {t}")
    tiles = tuple(size if t == -1 else t for t, size in zip(tiles, image.sizes, strict=True))
    halos = _integers(0 if halo is None else halo, "halo", M)
    if min(halos) < 0:
        raise ValueError(f"tiled: halo[{halos.index(min(halos))}] must not be negative, got {min(halos)}")
    sigmas = _numbers(sigma_scale, "sigma_scale", M)
    if not all(0 < sigma < math.inf for sigma in sigmas):
        raise ValueError(f"tiled: sigma_scale must be positive, got {shown(sigma_scale)}")
    steps = None if overlap is None else steps_of(tiles, overlap, M)
    if steps is None:
        grid = with_halo(image.samples, image.sizes, tiles, halos)
    else:
        grid = with_overlap(image.samples, image.sizes, tiles, steps)
    return Tiling(grid, tiles, halos, steps, blend, sigmas, batch)


def steps_of(tile: tuple[int, ...], overlap: Any, count: int) -> tuple[int, ...]:
    """From one tile to the next: a float is a share of the tile, as MONAI's; an int is a number of elements."""
    overlaps = (overlap,) * count if is_scalar(overlap) else as_sequence(overlap, "tiled: overlap", "numbers")
    if len(overlaps) != count:
        raise ValueError(f"tiled: overlap has {len(overlaps)} entries for {count} spatial dims")
    steps = []
    for dim, (t, o) in enumerate(zip(tile, overlaps, strict=True)):
        share = isinstance(o, float)
        o = o if share else as_integer(o, f"tiled: overlap[{dim}]")
        if not 0 <= o < (1 if share else t):
            limit = "1, a share of the tile" if share else f"the tile, {t}"
            raise ValueError(f"tiled: overlap[{dim}] must be from 0 to less than {limit}; got {o}")
        steps.append(max(int(t * (1 - o)), 1) if share else t - o)
    return tuple(steps)


def device_of(model: Any, image: Image, device: Any) -> torch.device:
    """Where tiles are computed: as told, or where the model's parameters are, or where the image is."""
    if device is not None:
        return torch.device(device)
    if isinstance(model, nn.Module):
        for tensor in (*model.parameters(), *model.buffers()):
            return tensor.device
    return image.device


def check_callables(model: Any, finish: Any, progress: Any) -> None:
    """What is called later can be called."""
    if not callable(model):
        raise TypeError(f"tiled: model must be callable, got {type(model).__name__}")
    if finish is not None and not callable(finish):
        raise TypeError(f"tiled: finish must be callable, got {type(finish).__name__}")
    if not isinstance(progress, bool) and not callable(progress):
        raise TypeError(f"tiled: progress must be a bool or a callable, got {shown(progress)}")


def _integers(value: Any, name: str, count: int) -> tuple[int, ...]:
    return _each(value, name, count, lambda entry, what: as_integer(entry, what))


def _numbers(value: Any, name: str, count: int) -> tuple[float, ...]:
    return _each(value, name, count, lambda entry, what: float(entry))


def _each(value: Any, name: str, count: int, convert: Callable[[Any, str], Any]) -> tuple[Any, ...]:
    """One entry per spatial dim; a single one is for all of them."""
    if is_scalar(value):
        return (convert(value, f"tiled: {name}"),) * count
    entries = as_sequence(value, f"tiled: {name}")
    if len(entries) != count:
        raise ValueError(f"tiled: {name} has {len(entries)} entries for {count} spatial dims")
    return tuple(convert(entry, f"tiled: {name}[{dim}]") for dim, entry in enumerate(entries))
