"""BatchNorm in batch space: statistics of the valid cells alone, which are those of the image."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from .cells import Cells, valid

BatchNorm: TypeAlias = torch.nn.modules.batchnorm._BatchNorm


def counts_cells(layer: BatchNorm, cells: Cells) -> bool:
    """Whether cells that are not valid would enter the statistics of this call."""
    own = layer.training or layer.running_mean is None or layer.running_var is None
    return own and not cells.whole


def batch_norm(layer: BatchNorm, cells: Cells) -> Tensor:
    """What `layer` makes of the valid cells in training, its running statistics brought on as it does.

    >>> from spacebatch.nn.cells import enter, leave
    >>> layer, x = torch.nn.BatchNorm1d(2), torch.randn(3, 2, 5)
    >>> cells = enter(x, (2,))
    >>> y = leave(cells._replace(tensor=batch_norm(layer, cells)))
    >>> torch.allclose(y, torch.nn.BatchNorm1d(2)(x), atol=1e-5)
    True

    The variance is the mean of the squared distances from the mean, both computed in float32 at least.
    """
    x, inside = cells.tensor, valid(cells)
    if x.dtype in (torch.float16, torch.bfloat16):
        x = x.float()
    dims = [d for d in range(x.dim()) if d != 1]
    count = cells.samples
    for size in cells.sizes:
        count = count * size
    if count <= 1:
        raise ValueError(
            f"BatchSpace: BatchNorm needs more than one value per channel to train, got shape {cells.shape}"
        )
    mean = torch.where(inside, x, 0.0).sum(dims, keepdim=True) / count
    centered = x - mean
    variance = torch.where(inside, centered, 0.0).square().sum(dims, keepdim=True) / count
    if layer.training and layer.track_running_stats:
        _bring_on(layer, mean.detach().reshape(-1), variance.detach().reshape(-1) * (count / (count - 1)))
    y = centered * torch.rsqrt(variance + layer.eps)
    channels = [-1 if d == 1 else 1 for d in range(x.dim())]
    if layer.weight is not None:
        y = y * layer.weight.view(channels)
    if layer.bias is not None:
        y = y + layer.bias.view(channels)
    return y.to(cells.tensor.dtype)


@torch.no_grad()
def _bring_on(layer: BatchNorm, mean: Tensor, variance: Tensor) -> None:
    momentum: float | Tensor | None = layer.momentum
    if layer.num_batches_tracked is not None:
        layer.num_batches_tracked.add_(1)
        if momentum is None:
            momentum = 1 / layer.num_batches_tracked
    assert momentum is not None  # statistics that are tracked are counted
    if layer.running_mean is not None and layer.running_var is not None:
        for running, now in ((layer.running_mean, mean), (layer.running_var, variance)):
            running.mul_(1 - momentum).add_(now.to(running.dtype) * momentum)
