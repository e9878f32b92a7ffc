"""A Swin transformer block on an image of any size: shifted windows, their mask, and attention, in the layout NHWC.

Padding, cyclic shift and partition are one pass over memory, and so are merge, shift back and crop. `Windows` remembers the sizes,
so nothing is given twice.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from spacebatch.windows import Windows


class SwinBlock(nn.Module):
    """Attention in windows, shifted in every second block, and a small network for each pixel."""

    def __init__(self, channels: int, heads: int, window: int = 7, shifted: bool = False) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, window // 2 if shifted else 0
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.qkv, self.projection = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))
        self.bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))  # by relative position
        place = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        row, column = place[:, :, None] - place[:, None, :] + window - 1
        self.register_buffer("relative", row * (2 * window - 1) + column, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        windows = Windows(x.shape, self.window, shift=self.shift, layout="NHWC", covered="stay")
        x = x + self.attention(self.norm1(x), windows)
        return x + self.mlp(self.norm2(x))

    def attention(self, x: Tensor, windows: Windows) -> Tensor:
        y = windows.partition(x)  # (N * windows, 7, 7, C)
        n, count, c = x.shape[0], windows.windows, x.shape[-1]
        q, k, v = self.qkv(y).view(n, count, -1, 3, self.heads, c // self.heads).permute(3, 0, 1, 4, 2, 5)
        bias = self.bias[self.relative].permute(2, 0, 1)  # (heads, cells, cells)
        mask = windows.mask(x, fill=-100.0)  # (windows, cells, cells); None where nothing is shifted
        bias = bias if mask is None else bias + mask[:, None]
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias.expand(n, count, -1, -1, -1))
        return windows.merge(self.projection(seen.transpose(2, 3).reshape(y.shape)))


def main() -> None:
    """Two blocks, plain and shifted, on an image that 7 divides in no dim."""
    torch.manual_seed(0)
    blocks = nn.Sequential(SwinBlock(32, heads=4), SwinBlock(32, heads=4, shifted=True))
    x = torch.randn(2, 30, 45, 32)
    print(blocks(x).shape)


if __name__ == "__main__":
    main()
