"""Rules for what looks at all positions of a sample: means over space, norms over valid cells of all its phases."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .cells import Cells, cleaned
from .masked_norm import group_norm
from .value import Value, cells_of, value_of


def _bound(names: tuple[str, ...], args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    return dict(zip(names, args, strict=False)) | kwargs


def _total(cells: Cells) -> Tensor:
    """(N, C): the sum over all positions of each sample."""
    x = cleaned(cells).tensor
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    return wide.reshape(math.prod(cells.rate), cells.samples, x.shape[1], -1).sum((0, 3))


def _mean_or_sum(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Over all spatial dims, and over none else."""
    given = _bound(("input", "dim", "keepdim"), args, kwargs)
    value, dim, keep = given.pop("input", None), given.pop("dim", None), given.pop("keepdim", False)
    if not isinstance(value, Value) or given or not isinstance(dim, (tuple, list)):
        return NotImplemented
    rank = len(value._sizes) + 2
    if {d % rank for d in dim} != set(range(2, rank)) or len(dim) != rank - 2:
        return NotImplemented
    cells = cells_of(value)
    if cells is None or not cells.tensor.is_floating_point():
        return NotImplemented
    total = _total(cells)
    if func.__name__ == "mean":
        total = total / math.prod(cells.sizes)
    total = total.to(cells.tensor.dtype)
    return total[(..., *(None,) * (rank - 2))] if keep else total


def _pooled_to_one(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    given = _bound(("input", "output_size"), args, kwargs)
    value, size = given.get("input"), given.get("output_size")
    entries = size if isinstance(size, (tuple, list)) else (size,)
    if not isinstance(value, Value) or any(entry != 1 for entry in entries):
        return NotImplemented
    cells = cells_of(value)
    if cells is None:
        return NotImplemented
    mean = (_total(cells) / math.prod(cells.sizes)).to(cells.tensor.dtype)
    return mean[(..., *(None,) * len(cells.sizes))]


def _group_norm(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    given = _bound(("input", "num_groups", "weight", "bias", "eps"), args, kwargs)
    value: Any = given.get("input")
    cells = cells_of(value) if isinstance(value, Value) else None
    groups = given.get("num_groups")
    if cells is None or not isinstance(groups, int) or not _several(cells, groups):
        return NotImplemented
    tensor = group_norm(cells, groups, given.get("weight"), given.get("bias"), given.get("eps", 1e-5))
    return value_of(cells._replace(tensor=tensor, clean=False), value._memory)


def _instance_norm(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    names = ("input", "running_mean", "running_var", "weight", "bias", "use_input_stats", "momentum", "eps")
    given = _bound(names, args, kwargs)
    value: Any = given.get("input")
    cells = cells_of(value) if isinstance(value, Value) else None
    if cells is None or given.get("running_mean") is not None or not given.get("use_input_stats", True):
        return NotImplemented
    if not _several(cells, cells.tensor.shape[1]):
        return NotImplemented
    tensor = group_norm(cells, cells.tensor.shape[1], given.get("weight"), given.get("bias"), given.get("eps", 1e-5))
    return value_of(cells._replace(tensor=tensor, clean=False), value._memory)


def _several(cells: Cells, groups: int) -> bool:
    """Whether there are several values for each statistic; PyTorch refuses a single one."""
    channels = cells.tensor.shape[1]
    return groups > 0 and channels % groups == 0 and channels // groups * math.prod(cells.sizes) > 1


RULES: dict[str, Callable[..., Any]] = {
    "mean": _mean_or_sum,
    "sum": _mean_or_sum,
    **{f"adaptive_avg_pool{k}d": _pooled_to_one for k in (1, 2, 3)},
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
}
