"""Mean and standard deviation of an image's channels, as processors of images have them, as scale and bias."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .arguments import shown
from .words import PatchWords, Words, words_of


def normalized(op: str, given: Mapping[str, Any], integers: bool, channels: int) -> Words:
    """The words of a call in which mean and std have become scale and bias.

    Images of integers are taken as x / 255. (x / 255 - mean) / std is x * (1 / (255 * std)) - mean / std; both numbers of each channel
    are worked out in float64, and the images are computed with in two roundings instead of three.

    >>> normalized("patchify", {"mean": [0.5], "std": 0.25}, True, 1)[:2]
    (array([0.01568627]), array([-2.]))

    Args:
        op: the function, for messages. given: its words.
        integers: whether the images are of integers. channels: that they have.

    Raises:
        ValueError, TypeError: mean and std beside scale and bias, or of a wrong number.
    """
    mean, std = given.get("mean"), given.get("std")
    if mean is None and std is None:
        return words_of(op, {name: value for name, value in given.items() if name not in ("mean", "std")}, PatchWords)
    for name in ("scale", "bias"):
        if given.get(name) is not None:
            raise ValueError(f"{op}: mean and std already say what {name} would; give one or the other")
    m = _numbers(op, "mean", 0.0 if mean is None else mean, channels)
    s = _numbers(op, "std", 1.0 if std is None else std, channels)
    if not s.all():
        raise ValueError(f"{op}: std must not be 0, got {shown(std)}")
    words = {name: value for name, value in given.items() if name not in ("mean", "std")}
    return words_of(op, {**words, "scale": 1 / (s * (255 if integers else 1)), "bias": -m / s}, PatchWords)


def _numbers(op: str, name: str, value: Any, channels: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """One number for each channel."""
    try:
        found = np.asarray(value.tolist() if hasattr(value, "tolist") else value, np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{op}: {name} must be a number or a sequence of numbers, got {shown(value)}") from None
    if found.ndim > 1 or (found.ndim == 1 and len(found) not in (1, channels)):
        raise ValueError(f"{op}: {name} must be a number or one for each of {channels} channels, got {shown(value)}")
    return np.ascontiguousarray(np.broadcast_to(found, (channels,)))
