"""The ends of a network: what leaves it are images, in whatever containers they are."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, MutableMapping
from types import SimpleNamespace
from typing import Any

from torch import nn

from . import chains
from .batch_space_tensor import BatchSpaceTensor, Value, graph
from .value import become_image

DEPTH = 16  # of containers in containers


def entering(module: nn.Module, args: Any) -> None:
    """The hook before a converted network."""
    graph.enter()


def as_images(module: nn.Module, args: Any, result: Any) -> Any:
    """The hook after it: what leaves it are images."""
    graph.leave()
    chains.called("")
    return images_in(result)


def mark_ends(network: nn.Module) -> None:
    """Let what leaves a network be images."""
    if as_images not in network._forward_hooks.values():
        network.register_forward_pre_hook(entering)
        network.register_forward_hook(as_images, always_call=True)


def images_in(result: Any, depth: int = 0) -> Any:
    """A result whose values have become images, in whatever containers they are; mutable containers stay the same objects."""
    if depth > DEPTH:  # a container in itself, as likely as not
        return result
    if isinstance(result, Value):
        image = become_image(result)  # one that others were computed from stays the tensor that autograd knows
        return result if type(result) is BatchSpaceTensor and result._own is not None else image
    if isinstance(result, tuple):
        parts = [images_in(part, depth + 1) for part in result]
        if all(a is b for a, b in zip(parts, result, strict=True)):
            return result
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    if isinstance(result, (list, deque)):
        _exchange(result, range(len(result)), depth)
    elif isinstance(result, (dict, MutableMapping)):
        _exchange(result, list(result), depth)
    if isinstance(result, SimpleNamespace):
        _exchange(vars(result), list(vars(result)), depth)
    elif hasattr(result, "__dataclass_fields__") and not isinstance(result, type):
        for name in result.__dataclass_fields__:
            part = getattr(result, name, None)
            found = images_in(part, depth + 1)
            if found is not part:
                object.__setattr__(result, name, found)
    return result


def _exchange(container: Any, keys: Iterable[Any], depth: int) -> None:
    for key in keys:
        part = container[key]
        found = images_in(part, depth + 1)
        if found is not part:
            container[key] = found
