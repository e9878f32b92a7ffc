"""Rules for what layers call: convolutions, batch norm, dropout, padding, and what goes along the channels.

A convolution whose dilation is a multiple of the rate has that much less of it; padding becomes padding in cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from .cells import Cells, cleaned
from .masked_norm import batch_norm
from .value import Value, cells_of, copy_of, value_of, wanting, writable, written

F = torch.nn.functional


_BATCH_NORM = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")


def _batch_norm(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    given = dict(zip(_BATCH_NORM, args, strict=False)) | kwargs
    value = given.get("input")
    cells = cells_of(value) if isinstance(value, Value) else None
    if cells is None or func is not F.batch_norm:
        return NotImplemented
    if given.get("training") and not cells.whole:
        if cells.samples * math.prod(cells.sizes) <= 1:
            return NotImplemented  # PyTorch refuses a single value per channel
        mean, var, weight, bias = (given.get(name) for name in ("running_mean", "running_var", "weight", "bias"))
        momentum, eps = given.get("momentum", 0.1), given.get("eps", 1e-5)
        tensor = batch_norm(cells, mean, var, weight, bias, 0.0 if momentum is None else momentum, eps)
    else:
        if given.get("training") and cells.samples * math.prod(cells.sizes) <= 1:
            return NotImplemented
        tensor = F.batch_norm(**{**given, "input": cells.tensor})
    return value_of(cells._replace(tensor=tensor, clean=False), value._memory)  # type: ignore[union-attr]


def _dropout(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Elements alone, or a channel of a sample in all phases or in none."""
    given = dict(zip(("input", "p", "training", "inplace"), args, strict=False)) | kwargs
    value, p = given.get("input"), given.get("p", 0.5)
    training = given.get("training", given.get("train", True))
    cells = cells_of(value) if isinstance(value, Value) else None
    if cells is None or func not in _DROPOUTS or not 0 <= p <= 1:
        return NotImplemented
    if not training:
        return value
    if given.get("inplace") and not writable(value):
        return NotImplemented
    if func in (F.dropout, F.alpha_dropout):
        tensor = func(cells.tensor, p, True, bool(given.get("inplace")))
        clean = func is F.dropout
    else:
        x = cells.tensor
        kept = func(x.new_ones((cells.samples, x.shape[1], *(1,) * len(cells.rate))), p, True)
        kept = kept.repeat(math.prod(cells.rate), *(1,) * (x.dim() - 1))
        tensor, clean = x.mul_(kept) if given.get("inplace") else x * kept, True
    if given.get("inplace"):
        return written(value, clean)
    return value_of(cells._replace(tensor=tensor, clean=cells.clean and clean), value._memory)  # type: ignore[union-attr]


_DROPOUTS = (F.dropout, F.alpha_dropout, F.dropout1d, F.dropout2d, F.dropout3d)


def _pad(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """With a constant, in cells; what fills the border otherwise is done to the image, which wants to go back."""
    given: dict[str, Any] = {"mode": "constant", "value": None}
    given |= dict(zip(("input", "pad", "mode", "value"), args, strict=False)) | kwargs
    value, amounts = given.get("input"), given.get("pad")
    if not isinstance(value, Value) or not isinstance(amounts, (tuple, list)):
        return NotImplemented
    cells = cells_of(value)
    number = 0 if given["value"] is None else given["value"]
    if cells is not None and given["mode"] == "constant" and _fits(amounts, cells):
        return value_of(_padded(cells, tuple(amounts), number), value._memory)
    if func is not F.pad:
        return NotImplemented
    plain = copy_of(value)
    return wanting(F.pad(plain, amounts, given["mode"], given["value"]), value._memory.rate, value._memory.chain)


def _fits(amounts: Any, cells: Cells) -> bool:
    rate, rest = cells.rate, len(amounts) // 2
    if len(amounts) % 2 or rest > len(rate):
        return False
    return all(
        isinstance(before, int) and isinstance(after, int) and before >= 0 and after >= 0 and before % block == 0
        for before, after, block in zip(amounts[::2], amounts[1::2], rate[::-1], strict=False)
    )


def _padded(cells: Cells, amounts: tuple[int, ...], number: float) -> Cells:
    cells = cleaned(cells, number)
    sizes, counts = list(cells.sizes), []
    for k in range(len(amounts) // 2):
        dim, before, after = len(sizes) - 1 - k, amounts[2 * k], amounts[2 * k + 1]
        block, old = cells.rate[dim], cells.tensor.shape[2 + dim]
        sizes[dim] = sizes[dim] + before + after
        counts += [before // block, (sizes[dim] + block - 1) // block - old - before // block]
    tensor = F.pad(cells.tensor, counts, value=number)
    return cells._replace(tensor=tensor, sizes=tuple(sizes), clean=number == 0)


def _along_channels(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    given = dict(zip(("input", "dim"), args, strict=False)) | kwargs
    value = given.get("input")
    cells = cells_of(value) if isinstance(value, Value) else None
    if cells is None or given.get("dim") not in (1, 1 - cells.tensor.dim()) or "out" in kwargs:
        return NotImplemented
    tensor = func(cells.tensor, *args[1:], **{k: v for k, v in kwargs.items() if k != "input"})
    return value_of(cells._replace(tensor=tensor, clean=False), value._memory)  # type: ignore[union-attr]


def _prelu(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    if kwargs or len(args) != 2 or not isinstance(args[0], Value) or isinstance(args[1], Value):
        return NotImplemented
    cells = cells_of(args[0])
    return (
        NotImplemented
        if cells is None
        else value_of(cells._replace(tensor=func(cells.tensor, args[1])), args[0]._memory)
    )


RULES: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("softmax", "log_softmax", "softmin", "glu"), _along_channels),
    **dict.fromkeys(("dropout", "alpha_dropout", "dropout1d", "dropout2d", "dropout3d"), _dropout),
    "batch_norm": _batch_norm,
    "pad": _pad,
    "prelu": _prelu,
}
