"""timm's, torchvision's, MONAI's and transformers' own functions on the shapes of their models, where they are installed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from spacebatch import windows
from tests.bits import same

STAGES = [(2, 56, 56, 96), (1, 28, 42, 192)]  # Swin-T, its first stage and its second of a wide image


@pytest.mark.parametrize("shape", STAGES)
def test_timm(shape: tuple[int, ...]) -> None:
    swin = pytest.importorskip("timm.models.swin_transformer")
    maxvit = pytest.importorskip("timm.models.maxxvit")
    sam = pytest.importorskip("timm.models.vision_transformer_sam")
    x, size = torch.randn(shape), shape[1:3]
    y = windows.window_partition(x, 7, layout="NHWC")
    assert same(y, swin.window_partition(x, (7, 7)))
    assert same(windows.window_merge(y, 7, size, layout="NHWC"), swin.window_reverse(y, (7, 7), *size))
    grid = windows.grid_partition(x, 7, layout="NHWC")
    assert same(grid, maxvit.grid_partition(x, (7, 7)))
    assert same(windows.grid_merge(grid, 7, size, layout="NHWC"), maxvit.grid_reverse(grid, (7, 7), size))
    first = x.movedim(-1, 1).contiguous()
    assert same(windows.window_partition(first, 7), maxvit.window_partition_nchw(first, (7, 7)))
    assert same(windows.grid_partition(first, 7), maxvit.grid_partition_nchw(first, (7, 7)))
    padded, whole = sam.window_partition(x, 11)
    assert same(windows.window_partition(x, 11, layout="NHWC"), padded)
    assert same(windows.window_merge(padded, 11, size, layout="NHWC"), sam.window_unpartition(padded, 11, size, whole))
    block = swin.SwinTransformerBlock(dim=8, input_resolution=size, num_heads=1, window_size=7, shift_size=3)
    assert same(windows.Windows(shape, 7, shift=3, layout="NHWC").mask(x, fill=-100.0), block.attn_mask)


@pytest.mark.parametrize("shape", STAGES)
def test_transformers(shape: tuple[int, ...]) -> None:
    pytest.importorskip("transformers")
    swin = pytest.importorskip("transformers.models.swin.modeling_swin")
    x, size = torch.randn(shape), shape[1:3]
    y = windows.window_partition(x, 7, layout="NHWC")
    assert same(y, swin.window_partition(x, 7))
    assert same(windows.window_merge(y, 7, size, layout="NHWC"), swin.window_reverse(y, 7, *size))
    layer = swin.SwinLayer(swin.SwinConfig(window_size=7), 96, size, 3, shift_size=3)
    mask = layer.get_attn_mask(*size, dtype=x.dtype, device=x.device)
    assert same(windows.Windows(shape, 7, shift=3, layout="NHWC").mask(x, fill=-100.0), mask)


@pytest.mark.parametrize("size", [(14, 21), (13, 22), (5, 16)])
def test_torchvision(size: tuple[int, int]) -> None:
    """Its function does all at once: with weights that pass on what they get, only its windows and its mask are left."""
    swin = pytest.importorskip("torchvision.models.swin_transformer")
    x = torch.randn(2, *size, 8)
    qkv = torch.randn(24, 8)
    bias = torch.zeros(1, 2, 49, 49)
    expected = swin.shifted_window_attention(x, qkv, torch.eye(8), bias, [7, 7], 2, [3, 3])
    kept = windows.Windows(x.shape, 7, shift=3, layout="NHWC", covered="stay")
    y = kept.partition(x).view(2, kept.windows, 49, 8)
    q, k, v = functional.linear(y, qkv).view(2, kept.windows, 49, 3, 2, 4).permute(3, 0, 1, 4, 2, 5)
    mask: Any = kept.mask(x, fill=-100.0)
    attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask[:, None])
    mine = kept.merge(attended.transpose(2, 3).reshape(-1, 7, 7, 8))
    torch.testing.assert_close(mine, expected)  # attention is arithmetic


def test_monai() -> None:
    pytest.importorskip("monai")
    swin = pytest.importorskip("monai.networks.nets.swin_unetr")
    x = torch.randn(1, 14, 21, 7, 4)
    y = windows.window_partition(x, 7, layout="NDHWC")
    assert same(y.flatten(1, 3), swin.window_partition(x, (7, 7, 7)))
    assert same(windows.window_merge(y, 7, (14, 21, 7), layout="NDHWC"), swin.window_reverse(y, (7, 7, 7), x.shape[:4]))
    kept = windows.Windows((1, 14, 21, 14, 4), 7, shift=3, layout="NDHWC")
    assert same(kept.mask(x, fill=-100.0), swin.compute_mask((14, 21, 14), (7, 7, 7), (3, 3, 3), x.device))


def test_einops() -> None:
    einops = pytest.importorskip("einops")
    x = torch.randn(2, 12, 20, 3)
    y = windows.window_partition(x, (3, 5), layout="NHWC")
    assert same(y, einops.rearrange(x, "n (h p) (w q) c -> (n h w) p q c", p=3, q=5).contiguous())
    y = windows.grid_partition(x, (3, 5), layout="NHWC")
    assert same(y, einops.rearrange(x, "n (p h) (q w) c -> (n h w) p q c", p=3, q=5).contiguous())
    signal = torch.randn(2, 3, 12)
    assert same(windows.polyphase(signal, 4), einops.rearrange(signal, "n c (l p) -> p n c l", p=4).contiguous())
