"""Rules for gradients of values: as images, by the cells that autograd knows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .batch_space_tensor import Value
from .cells import Cells, enter, leave
from .rule import RULES
from .value import cells_of, copy_of


def gradients(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """`torch.autograd.grad` with respect to values: by their cells."""
    given = dict(zip(("outputs", "inputs"), args, strict=False)) | kwargs
    wanted = given["inputs"] if isinstance(given["inputs"], (tuple, list)) else [given["inputs"]]
    anchors = [anchor_of(value) if isinstance(value, Value) else (value, None) for value in wanted]
    outputs = given["outputs"] if isinstance(given["outputs"], (tuple, list)) else [given["outputs"]]
    outputs = [copy_of(y) if isinstance(y, Value) else y for y in outputs]
    rest = {k: v for k, v in given.items() if k not in ("outputs", "inputs")}
    found = func(outputs, [anchor for anchor, _ in anchors], *args[2:], **rest)
    return tuple(
        grad if cells is None or grad is None else leave(cells._replace(tensor=grad))
        for grad, (_, cells) in zip(found, anchors, strict=True)
    )


def anchor_of(value: Any) -> tuple[Tensor, Cells | None]:
    """(the tensor whose gradient is that of the value, the value's cells if it is they)."""
    own, memory = value._own, value._memory
    if memory.image is None:
        cells = cells_of(value, last=True)
        assert cells is not None
        return cells.tensor, cells
    if own is not None:  # autograd knows its cells as inputs, of the image and of others
        return own, Cells(own, memory.rate, value._sizes, False, value._last)
    return value._plain, None


def hooked(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """`register_hook`: the hook is given the gradient as an image."""
    value, hook = args
    anchor, cells = anchor_of(value)
    if cells is None:
        return anchor.register_hook(hook)  # type: ignore[no-untyped-call]
    _, rate, sizes, _, last = cells

    def moved(grad: Tensor) -> Tensor | None:
        changed = hook(leave(Cells(grad, rate, sizes, False, last)))
        return None if changed is None else enter(changed, rate, last).tensor

    return anchor.register_hook(moved)  # type: ignore[no-untyped-call]


def retained(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """`retain_grad`."""
    return anchor_of(args[0])[0].retain_grad()


def gradient(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The attribute `grad`."""
    anchor, cells = anchor_of(args[0])
    found = anchor.grad
    return found if found is None or cells is None else leave(cells._replace(tensor=found))


_grad: Any = Tensor.grad
RULES |= {
    torch.autograd.grad: gradients,
    Tensor.register_hook: hooked,
    Tensor.retain_grad: retained,
    _grad.__get__: gradient,
}
