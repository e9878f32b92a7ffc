"""Windows in compiled and exported graphs, under transforms, and their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

from spacebatch import windows
from tests.bits import same


def there_and_back(x: Tensor) -> tuple[Tensor, ...]:
    """All pairs of functions, over an image."""
    size: Any = x.shape[2:]
    cut = windows.window_partition(x, (3, 4), shift=(1, 2))
    grid = windows.grid_partition(x, 3)
    tiles = windows.dilated_partition(x, 2, tile=(2, 1))
    phases = windows.polyphase(x, (2, 3))
    deep = windows.space_to_depth(x, 2, order="CRD")
    return (
        *(cut, windows.window_merge(cut, (3, 4), size, shift=(1, 2))),
        *(grid, windows.grid_merge(grid, 3, size)),
        *(tiles, windows.dilated_merge(tiles, 2, size, tile=(2, 1))),
        *(phases, windows.inverse_polyphase(phases, size)),
        *(deep, windows.depth_to_space(deep, 2, order="CRD")),
    )


class Attention(nn.Module):
    """Attention in shifted windows, without weights; the mask is made in the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.windows = windows.Windows((1, 6, 9, 4), 4, shift=2, layout="NHWC")

    def forward(self, x: Tensor) -> Tensor:
        y = self.windows.partition(x)
        cells = y.view(x.shape[0], -1, 16, 4)
        mask = self.windows.mask(x, fill=-100.0, padding=True)
        seen = nn.functional.scaled_dot_product_attention(cells, cells, cells, attn_mask=mask)
        return self.windows.merge(seen.reshape(y.shape))


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled(dynamic: bool) -> None:
    compiled = torch.compile(there_and_back, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    for shape in ((2, 3, 6, 8), (3, 2, 4, 6))[: 1 + dynamic]:
        x = torch.randn(shape)
        assert all(map(same, compiled(x), there_and_back(x)))
    model, x = Attention(), torch.randn(2, 6, 9, 4)
    compiled_model = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    torch.testing.assert_close(compiled_model(x), model(x))  # attention may be computed by another kernel


def test_exported_with_an_open_batch() -> None:
    model, x = Attention(), torch.randn(2, 6, 9, 4)
    batch = torch.export.Dim("batch", min=2, max=64)
    exported = torch.export.export(model, (x,), dynamic_shapes=({0: batch},))
    for count in (2, 5):
        x = torch.randn(count, 6, 9, 4)
        torch.testing.assert_close(exported.module()(x), model(x))


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "shifted windows": lambda x: windows.window_partition(x, (3, 2), shift=(1, 1)),
    "merge": lambda x: windows.window_merge(x, (3, 4), (5, 7), shift=1),
    "tiles": lambda x: windows.dilated_partition(x, 2, tile=(1, 2)),
    "depth": lambda x: windows.depth_to_space(x, 2, layout="NHWC"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients(name: str) -> None:
    x = torch.randn(4, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(FUNCTIONS[name], x, check_forward_ad=True, fast_mode=True)
    assert gradgradcheck(FUNCTIONS[name], x, fast_mode=True)


def test_vmap() -> None:
    x = torch.randn(3, 2, 1, 6, 6)
    mapped = torch.vmap(there_and_back)(x)
    for k, sample in enumerate(x):
        assert all(same(m[k].contiguous(), e) for m, e in zip(mapped, there_and_back(sample), strict=True))
