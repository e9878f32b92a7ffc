"""Rules for values whose channels have become the last dim, as layer norms and linear layers over channels want them.

Such a value is a view of the one that was permuted, or came of another one like it. Permuted back it is as any other. Beside these
rules only elementwise functions know it; all else gets the image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .value import Value, cells_of, value_of, view_of


def _permuted(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The channels to the end, or back from there: a view."""
    value: Any = args[0] if args else None
    dims = args[1:] if len(args) != 2 or isinstance(args[1], int) else tuple(args[1])
    if kwargs or not isinstance(value, Value) or not all(isinstance(d, int) for d in dims):
        return NotImplemented
    rank, last = len(value._sizes) + 2, value._last
    order = (0, rank - 1, *range(1, rank - 1)) if last else (0, *range(2, rank), 1)
    if tuple(d + rank if d < 0 else d for d in dims) != order:
        return NotImplemented
    cells = cells_of(value, last=True)
    if cells is None:
        return NotImplemented
    return view_of(value, lambda t: t.permute(order), cells.sizes, cells.tensor.permute(order), not last)


def _transposed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """With one spatial dim, it is exchanged for the channels."""
    if len(args) != 3 or not isinstance(args[0], Value) or len(args[0]._sizes) != 1:
        return NotImplemented
    if not {*args[1:]} <= {1, 2, -1, -2} or (args[1] - args[2]) % 3 == 0:
        return NotImplemented
    return _permuted(func, (args[0], 0, 2, 1), kwargs)


_LAYER_NORM = ("input", "normalized_shape", "weight", "bias", "eps")


def _layer_norm(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Over the channels of each position. Cells of no position may all hold zero: without an epsilon, gradients there are no numbers."""
    given = dict(zip(_LAYER_NORM, args, strict=False)) | kwargs
    eps, shape = given.get("eps", 1e-5), given.get("normalized_shape")
    if len(args) > len(_LAYER_NORM) or not isinstance(shape, (tuple, list)) or len(shape) != 1:
        return NotImplemented
    return _along_last(func, given, lambda cells: eps > 0 or cells.whole)


def _linear(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    return _along_last(func, dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs, lambda cells: True)


def _along_last(func: Any, given: dict[str, Any], fits: Callable[[Any], bool]) -> Any:
    value: Any = given.pop("input", None)
    if not isinstance(value, Value) or not value._last or any(isinstance(other, Value) for other in given.values()):
        return NotImplemented
    cells = cells_of(value, last=True)
    if cells is None or not fits(cells):
        return NotImplemented
    tensor: Tensor = func(cells.tensor, **given)
    return value_of(cells._replace(tensor=tensor, clean=False), value._memory)


RULES: dict[str, Callable[..., Any]] = {
    "permute": _permuted,
    "transpose": _transposed,
    "layer_norm": _layer_norm,
    "linear": _linear,
}
