"""Images that enter batch space; one that several convolutions read is moved once."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import TensorWeakRef

from .cells import Cells, enter


class _Call(threading.local):
    """One call of a converted network, by its thread: what has entered batch space in it, by id.

    References to the image and to its cells, with the image's version. The cells live as long as what came of them. Nothing is kept
    from one call to the next: an image may be written to in ways that its version does not show.
    """

    depth = 0
    entered: dict[int, tuple[Any, int, tuple[int, ...], Any]] | None = None


_call = _Call()


def begin() -> None:
    """A network, or a part of one, is called."""
    if _call.depth == 0:
        _call.entered = {}
    _call.depth += 1


def end() -> None:
    """It has returned, or raised an error."""
    _call.depth -= 1
    if _call.depth <= 0:
        _call.depth, _call.entered = 0, None


def entered(x: Tensor, rate: tuple[int, ...]) -> Cells:
    """x in batch space; what came of an earlier entering of it in this call still holds those cells, they serve again."""
    if torch.compiler.is_compiling() or _call.entered is None or x.is_inference() or torch.is_inference_mode_enabled():
        return enter(x, rate)
    known = entered_before(x, rate)
    if known is not None:
        return known
    with recorded(x):
        cells = enter(x, rate)
    _call.entered[id(x)] = (TensorWeakRef(x), x._version, rate, TensorWeakRef(cells.tensor))
    return cells


def entered_before(x: Tensor, rate: tuple[int, ...]) -> Cells | None:
    """x in batch space, where it has been moved there before and something still holds those cells."""
    if torch.compiler.is_compiling() or _call.entered is None:
        return None
    found = _call.entered.get(id(x))
    if found is None or found[0]() is not x or x.is_inference() or found[1:3] != (x._version, rate):
        return None
    tensor = found[3]()
    if tensor is None or tensor.requires_grad != x.requires_grad or version(tensor) != 0:
        return None
    return Cells(tensor, rate, tuple(x.shape[2:]), True)


def version(tensor: Tensor) -> int | None:
    """How often it has been written to, as far as is known."""
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
