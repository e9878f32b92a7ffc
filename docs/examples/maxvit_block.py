"""MaxViT's two attentions, in blocks of neighbours and in a grid over the whole image, in the layout NHWC."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from spacebatch.windows import grid_merge, grid_partition, window_merge, window_partition


class PartitionAttention(nn.Module):
    """Attention among the cells of each window or grid."""

    def __init__(self, channels: int, heads: int, size: int, grid: bool) -> None:
        super().__init__()
        self.heads, self.size, self.grid = heads, size, grid
        self.norm, self.qkv = nn.LayerNorm(channels), nn.Linear(channels, 3 * channels)
        self.projection = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        partition, merge = (grid_partition, grid_merge) if self.grid else (window_partition, window_merge)
        y = partition(self.norm(x), self.size, layout="NHWC")  # (N * windows, size, size, C)
        cells = self.qkv(y).view(len(y), -1, 3, self.heads, y.shape[-1] // self.heads)
        q, k, v = cells.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(y.shape)
        return x + merge(self.projection(seen), self.size, x.shape[1:3], layout="NHWC")


def main() -> None:
    """After both attentions each pixel has seen the whole image."""
    torch.manual_seed(0)
    block = nn.Sequential(PartitionAttention(16, 2, 4, grid=False), PartitionAttention(16, 2, 4, grid=True))
    x = torch.randn(1, 12, 16, 16, requires_grad=True)
    block(x)[0, 5, 7].sum().backward()
    assert x.grad is not None
    print(f"{x.grad.abs().sum(-1).count_nonzero().item()} of {12 * 16} pixels are seen by one")


if __name__ == "__main__":
    main()
