"""Images that enter batch space; one that several convolutions read is moved once."""

from __future__ import annotations

import weakref
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from .cells import Cells, enter

# By id: references to the image and to its cells, with the image's version. The cells live as long as what came of them.
_recent: dict[int, tuple[Any, int, tuple[int, ...], Any]] = {}


def entered(x: Tensor, rate: tuple[int, ...]) -> Cells:
    """x in batch space; what came of an earlier entering of it still holds those cells, they serve again."""
    if torch.compiler.is_compiling() or x.is_inference() or torch.is_inference_mode_enabled():
        return enter(x, rate)
    known = entered_before(x, rate)
    if known is not None:
        return known
    with recorded(x):
        cells = enter(x, rate)
    if len(_recent) > 8:
        _recent.clear()
    _recent[id(x)] = (weakref.ref(x), x._version, rate, weakref.ref(cells.tensor))
    return cells


def entered_before(x: Tensor, rate: tuple[int, ...]) -> Cells | None:
    """x in batch space, where it has been moved there before and something still holds those cells."""
    found = None if torch.compiler.is_compiling() else _recent.get(id(x))
    if found is None or found[0]() is not x or x.is_inference() or found[1:3] != (x._version, rate):
        return None
    tensor = found[3]()
    if tensor is None or tensor.requires_grad != x.requires_grad or version(tensor) != 0:
        return None
    return Cells(tensor, rate, tuple(x.shape[2:]), True)


def version(tensor: Tensor) -> int | None:
    if torch.compiler.is_compiling():
        return None
    try:
        return tensor._version
    except RuntimeError:  # an inference tensor has none
        return None


def recorded(tensor: Tensor) -> AbstractContextManager[Any]:
    """Moves of what autograd follows are recorded whatever the mode, as the value itself would have been."""
    if not torch.compiler.is_compiling() and torch.is_inference_mode_enabled() and not tensor.is_inference():
        return torch.inference_mode(False)
    return torch.enable_grad() if tensor.requires_grad and not torch.is_grad_enabled() else nullcontext()
