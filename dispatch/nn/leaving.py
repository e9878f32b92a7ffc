"""The ends of a network: what leaves it are images, in whatever containers they are."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from . import chains
from .value import BatchSpaceTensor, Value, become_image, graph

_CONTAINERS = (tuple, list, dict)


def left(result: Any) -> Any:
    """What leaves a network, or an explicit chain, that `graph.enter` was called before."""
    graph.leave()
    chains.called("")
    return images_in(result)


def images_in(result: Any) -> Any:
    """A result whose values have become images, in whatever containers they are; mutable containers stay the same objects."""
    if isinstance(result, Value):
        image = become_image(result)  # one that others were computed from stays the tensor that autograd knows
        return result if type(result) is BatchSpaceTensor and result._own is not None else image
    if isinstance(result, Tensor) or (
        not isinstance(result, _CONTAINERS) and not hasattr(result, "__dataclass_fields__")
    ):
        return result
    if isinstance(result, tuple):
        parts = [images_in(part) for part in result]
        if all(a is b for a, b in zip(parts, result, strict=True)):
            return result
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    if isinstance(result, list):
        for k, part in enumerate(result):
            found = images_in(part)
            if found is not part:
                result[k] = found
        return result
    if isinstance(result, dict):
        for key in list(result):
            found = images_in(result[key])
            if found is not result[key]:
                result[key] = found
    if hasattr(result, "__dataclass_fields__") and not isinstance(result, type):
        for name in result.__dataclass_fields__:
            part = getattr(result, name, None)
            found = images_in(part)
            if found is not part:
                object.__setattr__(result, name, found)
    return result
