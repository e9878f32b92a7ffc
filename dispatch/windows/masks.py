"""Attention masks of windows as arrays or tensors, kept with the geometry."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from .. import functions
from ..reference import prepared
from ..reference.geometry import BlockGeometry
from ..reference.window_mask import region_numbers


def mask_like(geometry: BlockGeometry, like: Any, fill: float | None, padding: bool) -> Any:
    """`geometry.window_mask(…)`, an array, or a tensor on the device of `like`."""
    if like is None or isinstance(like, np.ndarray):
        return geometry.window_mask(fill=fill, padding=padding)
    import torch

    tensors = functions.tensors or functions._tensors("mask", like)
    tensors.shape_of("mask", like)
    if tensors.route_of(like) not in ("eager", "autograd"):
        return _mask(geometry, like, fill, padding)  # a graph's, or one of another kind: not to be kept
    key = "mask", fill, padding, like.device, like.dtype if fill is not None else None
    found = geometry._prepared.get(key)
    if found is None:
        with torch.inference_mode(False):  # else no gradient could keep it
            found = _mask(geometry, like, fill, padding)
        prepared.keep(geometry, key, found)
    return found


def _mask(geometry: BlockGeometry, like: Any, fill: float | None, padding: bool) -> Any:
    import torch

    regions = region_numbers(geometry, partial(torch.arange, device=like.device), padding)
    hidden = regions[:, :, None] != regions[:, None, :]
    if fill is None:
        return ~hidden
    dtype = like.dtype if like.dtype.is_floating_point else torch.float32
    return torch.zeros(hidden.shape, dtype=dtype, device=like.device).masked_fill(hidden, fill)
