"""Rules for what layers call: dropout, padding, and what goes along the channels."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .batch_space_tensor import Value
from .cells import Cells, cleaned
from .rule import rule, rule_of_cells
from .value import cells_of, copy_of, value_of, wanting, writable, written

F = torch.nn.functional


@rule_of_cells("softmax", "log_softmax", "softmin", "glu")
def _along_channels(func: Any, cells: Cells, dim: Any = None, dtype: Any = None) -> Any:
    if dim not in (1, 1 - cells.tensor.dim()):
        return NotImplemented
    options = {} if dtype is None else {"dtype": dtype}
    return cells._replace(tensor=func(cells.tensor, dim=dim, **options), clean=False)


@rule_of_cells("prelu")
def _prelu(func: Any, cells: Cells, weight: Any = None) -> Any:
    return cells._replace(tensor=func(cells.tensor, weight))


@rule("dropout", "alpha_dropout", "dropout1d", "dropout2d", "dropout3d")
def _dropout(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Elements alone, or a channel of a sample in all phases or in none."""
    given = {"p": 0.5, "training": True, "inplace": False}
    given |= dict(zip(("input", "p", "training", "inplace"), args, strict=False)) | kwargs
    value: Any = given.get("input")
    p, writes = given["p"], given["inplace"]
    cells = cells_of(value) if isinstance(value, Value) else None
    if cells is None or func not in _DROPOUTS or not 0 <= p <= 1 or (writes and not writable(value)):
        return NotImplemented
    if not given["training"]:
        return value
    x, clean = cells.tensor, cells.clean and func is not F.alpha_dropout
    if func in (F.dropout, F.alpha_dropout):
        tensor = func(x, p, True, writes)
    else:
        kept = func(x.new_ones((cells.samples, x.shape[1], *(1,) * len(cells.rate))), p, True)
        kept = kept.repeat(math.prod(cells.rate), *(1,) * (x.dim() - 1))
        tensor = x.mul_(kept) if writes else x * kept
    return written(value, clean) if writes else value_of(cells._replace(tensor=tensor, clean=clean), value._memory)


_DROPOUTS = (F.dropout, F.alpha_dropout, F.dropout1d, F.dropout2d, F.dropout3d)


@rule("pad")
def _pad(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """With a constant, in cells; what fills the border otherwise is done to the image, which wants to go back."""
    given: dict[str, Any] = {"mode": "constant", "value": None}
    given |= dict(zip(("input", "pad", "mode", "value"), args, strict=False)) | kwargs
    value, amounts = given.get("input"), given.get("pad")
    if not isinstance(value, Value) or not isinstance(amounts, (tuple, list)):
        return NotImplemented
    cells = cells_of(value)
    number = 0 if given["value"] is None else given["value"]
    padded = None if cells is None or given["mode"] != "constant" else _padded(cells, amounts, number)
    if padded is not None:
        return value_of(padded, value._memory)
    if func is not F.pad or value._last:
        return NotImplemented
    plain = copy_of(value)
    return wanting(F.pad(plain, amounts, given["mode"], given["value"]), value._memory.rate, value._memory.chain)


def _padded(cells: Cells, amounts: Any, number: float) -> Cells | None:
    """With a constant number, before and after channels and spatial dims, the last one first; None where it cannot be in cells."""
    nd, pairs = len(cells.rate), list(zip(amounts[::2], amounts[1::2], strict=False))
    if len(amounts) % 2 or not all(isinstance(amount, int) for amount in amounts) or any(amounts[2 * nd + 2 :]):
        return None
    if any(min(pair) < 0 or pair[0] % block for pair, block in zip(pairs, cells.rate[::-1], strict=False)):
        return None
    sizes, counts = list(cells.sizes), []
    for dim, (before, after) in zip(range(nd - 1, -1, -1), pairs, strict=False):
        block, old = cells.rate[dim], cells.tensor.shape[2 + dim]
        sizes[dim] += before + after
        counts += [before // block, (sizes[dim] + block - 1) // block - old - before // block]
    if tuple(sizes) != cells.sizes:
        cells = cleaned(cells, number)
    tensor: Tensor = F.pad(cells.tensor, [*counts, *amounts[2 * nd : 2 * nd + 2]], value=number)
    return cells._replace(tensor=tensor, sizes=tuple(sizes), clean=cells.clean and number == 0)
