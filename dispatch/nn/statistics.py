"""Rules for statistics: means, sums and norms, of the positions of the image alone, whatever phase they are in."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .cells import Cells, cleaned, valid
from .rule import rule_of_cells


@rule_of_cells("mean", "sum")
def _mean_or_sum(func: Any, cells: Cells, dim: Any = None, keepdim: bool = False) -> Any:
    """Over all spatial dims, and over none else."""
    rank = cells.tensor.dim()
    if not isinstance(dim, (tuple, list)) or sorted(d % rank for d in dim) != [*range(2, rank)]:
        return NotImplemented
    return _over_space(cells, func.__name__ == "mean", keepdim)


@rule_of_cells(*(f"adaptive_avg_pool{k}d" for k in (1, 2, 3)))
def _pooled_to_one(func: Any, cells: Cells, output_size: Any = None) -> Any:
    sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size,)
    return _over_space(cells, True, True) if all(size == 1 for size in sizes) else NotImplemented


def _over_space(cells: Cells, mean: bool, keepdim: bool) -> Any:
    if not cells.tensor.is_floating_point():
        return NotImplemented
    x = _wide(cleaned(cells).tensor)
    total = x.reshape(math.prod(cells.rate), cells.samples, x.shape[1], -1).sum((0, 3))
    found = (total / math.prod(cells.sizes) if mean else total).to(cells.tensor.dtype)
    return found[(..., *(None,) * len(cells.sizes))] if keepdim else found


@rule_of_cells("batch_norm")
def _batch_norm(
    func: Any,
    cells: Cells,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: Any = 0.1,
    eps: float = 1e-5,
) -> Any:
    """PyTorch's own kernel where every cell is a position of the image, or no statistics are computed."""
    count = cells.samples * math.prod(cells.sizes)
    if func is not torch.nn.functional.batch_norm or (training and count <= 1):  # which PyTorch refuses
        return NotImplemented
    if cells.whole or not training:
        tensor = func(cells.tensor, running_mean, running_var, weight, bias, training, momentum, eps)
        return cells._replace(tensor=tensor, clean=False)
    x, inside = _wide(cells.tensor), valid(cells)
    y, mean, variance = standardized(x, inside, [d for d in range(x.dim()) if d != 1], count, eps)
    with torch.no_grad():
        for running, now in ((running_mean, mean), (running_var, variance * (count / max(count - 1, 1)))):
            if running is not None:
                share = 0.0 if momentum is None else momentum
                running.mul_(1 - share).add_(now.reshape(-1).to(running.dtype) * share)
    return _affine(cells, y, weight, bias)


@rule_of_cells("group_norm")
def _group_norm(
    func: Any, cells: Cells, num_groups: Any = None, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    x, phases = _wide(cells.tensor), math.prod(cells.rate)
    channels = x.shape[1]
    if not isinstance(num_groups, int) or num_groups < 1 or channels % num_groups:
        return NotImplemented
    count = channels // num_groups * math.prod(cells.sizes)
    if count <= 1:  # which PyTorch refuses
        return NotImplemented
    split = x.reshape(phases, cells.samples, num_groups, channels // num_groups, *x.shape[2:])
    inside = None if cells.whole else valid(cells).view(phases, cells.samples, 1, 1, *x.shape[2:])
    y, _, _ = standardized(split, inside, [d for d in range(split.dim()) if d not in (1, 2)], count, eps)
    return _affine(cells, y.reshape(x.shape), weight, bias)


@rule_of_cells("instance_norm")
def _instance_norm(
    func: Any,
    cells: Cells,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: Any = 0.1,
    eps: float = 1e-5,
) -> Any:
    """A group for each channel, where no statistics are kept."""
    if running_mean is not None or not use_input_stats:
        return NotImplemented
    return _group_norm(func, cells, cells.tensor.shape[1], weight, bias, eps)


def standardized(
    x: Tensor, inside: Tensor | None, dims: list[int], count: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(x less its mean, over its deviation; the mean; the variance), over some dims of the cells `inside`, so many of them.

    >>> x = torch.tensor([[1.0, 3.0, 7.0]])
    >>> _, mean, variance = standardized(x, torch.tensor([True, True, False]), [1], 2, 0.0)
    >>> mean.item(), variance.item()
    (2.0, 1.0)

    The variance is the mean of the squared distances from the mean.
    """

    def average(values: Tensor) -> Tensor:
        return (values if inside is None else torch.where(inside, values, 0.0)).sum(dims, keepdim=True) / count

    mean = average(x)
    centered = x - mean
    variance = average(centered.square())
    return centered * torch.rsqrt(variance + eps), mean, variance


def _wide(x: Tensor) -> Tensor:
    """In float32 at least."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _affine(cells: Cells, y: Tensor, weight: Tensor | None, bias: Tensor | None) -> Cells:
    """Cells of y times a weight and plus a bias of each channel, in the type of those before."""
    channels = [-1 if d == 1 else 1 for d in range(y.dim())]
    if weight is not None:
        y = y * weight.view(channels)
    if bias is not None:
        y = y + bias.view(channels)
    return cells._replace(tensor=y.to(cells.tensor.dtype), clean=False)
