"""Copies of module trees over the same tensors, to try something on."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn


def shared_copy(model: nn.Module) -> nn.Module:
    """The module tree anew, over the same parameters and buffers.

    >>> layer = nn.Linear(1, 1)
    >>> copied = shared_copy(layer)
    >>> copied is layer, copied.weight is layer.weight
    (False, True)
    """
    kept = [t for part in model.modules() for d in (part._parameters, part._buffers, vars(part)) for t in d.values()]
    try:
        return copy.deepcopy(model, {id(tensor): tensor for tensor in kept if isinstance(tensor, Tensor)})
    except Exception:  # something that the model keeps cannot be copied; it is shared, then
        return _shallow(model, {})


def _shallow(module: nn.Module, memo: dict[int, nn.Module]) -> nn.Module:
    if id(module) not in memo:
        made = memo[id(module)] = module.__class__.__new__(module.__class__)
        made.__dict__.update({k: copy.copy(v) if isinstance(v, (dict, set)) else v for k, v in vars(module).items()})
        parts: Any = made._modules
        parts.update((name, _shallow(child, memo)) for name, child in module.named_children())
    return memo[id(module)]
