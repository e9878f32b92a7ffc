"""Statistics in batch space: of the valid cells alone, which are those of the image."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .cells import Cells, valid


def batch_statistics(cells: Cells) -> tuple[Tensor, Tensor, Tensor, int]:
    """(values, mean, variance, count) of each channel over the valid cells of all samples, in float32 at least.

    >>> from spacebatch.nn.cells import enter
    >>> x = torch.randn(3, 2, 5)
    >>> _, mean, variance, count = batch_statistics(enter(x, (2,)))
    >>> torch.allclose(mean.flatten(), x.mean((0, 2)), atol=1e-6), count
    (True, 15)

    The variance is the mean of the squared distances from the mean.
    """
    x = cells.tensor.float() if cells.tensor.dtype in (torch.float16, torch.bfloat16) else cells.tensor
    dims = [d for d in range(x.dim()) if d != 1]
    count = cells.samples
    for size in cells.sizes:
        count = count * size
    inside = valid(cells)
    mean = torch.where(inside, x, 0.0).sum(dims, keepdim=True) / count
    variance = torch.where(inside, x - mean, 0.0).square().sum(dims, keepdim=True) / count
    return x, mean, variance, count


def batch_norm(
    cells: Cells,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    momentum: float,
    eps: float,
) -> Tensor:
    """`torch.nn.functional.batch_norm` of the valid cells in training, the running statistics brought on as it does.

    >>> from spacebatch.nn.cells import enter, leave
    >>> x = torch.randn(3, 2, 5)
    >>> cells = enter(x, (2,))
    >>> y = leave(cells._replace(tensor=batch_norm(cells, None, None, None, None, 0.1, 1e-5)))
    >>> torch.allclose(y, torch.nn.BatchNorm1d(2)(x), atol=1e-5)
    True
    """
    x, mean, variance, count = batch_statistics(cells)
    with torch.no_grad():
        for running, now in ((running_mean, mean), (running_var, variance * (count / max(count - 1, 1)))):
            if running is not None:
                running.mul_(1 - momentum).add_(now.reshape(-1).to(running.dtype) * momentum)
    y = (x - mean) * torch.rsqrt(variance + eps)
    return affine(y, weight, bias).to(cells.tensor.dtype)


def affine(y: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """y times a weight and plus a bias of each channel."""
    channels = [-1 if d == 1 else 1 for d in range(y.dim())]
    if weight is not None:
        y = y * weight.view(channels)
    return y if bias is None else y + bias.view(channels)


def group_norm(cells: Cells, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """`torch.nn.functional.group_norm` over the valid cells of all phases of each sample.

    >>> from spacebatch.nn.cells import enter, leave
    >>> x = torch.randn(3, 4, 5)
    >>> cells = enter(x, (2,))
    >>> y = leave(cells._replace(tensor=group_norm(cells, 2, None, None, 1e-5)))
    >>> torch.allclose(y, torch.nn.functional.group_norm(x, 2), atol=1e-5)
    True
    """
    x = cells.tensor.float() if cells.tensor.dtype in (torch.float16, torch.bfloat16) else cells.tensor
    phases, samples = math.prod(cells.rate), cells.samples
    split = x.reshape(phases, samples, groups, x.shape[1] // groups, *x.shape[2:])
    dims = [d for d in range(split.dim()) if d not in (1, 2)]
    count = x.shape[1] // groups
    for size in cells.sizes:
        count = count * size
    inside = None if cells.whole else valid(cells).view(phases, samples, 1, 1, *x.shape[2:])

    def total(values: Tensor) -> Tensor:
        return (values if inside is None else torch.where(inside, values, 0.0)).sum(dims, keepdim=True)

    mean = total(split) / count
    centered = split - mean
    y = centered * torch.rsqrt(total(centered.square()) / count + eps)
    return affine(y.reshape(x.shape), weight, bias).to(cells.tensor.dtype)
