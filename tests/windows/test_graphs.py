"""Windows in compiled and exported graphs, under transforms, and their gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

from spacebatch import windows
from tests.bits import same


def by_views(x: Tensor) -> tuple[Tensor, ...]:
    """The functions that look at the memory order of an image, there and back."""
    tiles = windows.dilated_partition(x, 2, tile=(2, 1))
    phases = windows.polyphase(x, (2, 3))
    deep = windows.space_to_depth(x, 2, order="CRD")
    return (
        *(tiles, windows.dilated_merge(tiles, 2, (4, 6), tile=(2, 1))),
        *(phases, windows.inverse_polyphase(phases, (4, 6))),
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


def test_compiled() -> None:
    """Traced without a break, and the shifted pair serves other sizes."""
    x = torch.randn(2, 3, 4, 6)
    compiled = torch.compile(by_views, backend="eager", fullgraph=True)
    assert all(map(same, compiled(x), by_views(x)))

    def cut(x: Tensor) -> Tensor:
        return windows.window_partition(x, 3, shift=1, layout="NHWC")

    compiled_cut = torch.compile(cut, backend="eager", fullgraph=True, dynamic=True)
    for shape in ((2, 5, 8, 3), (3, 7, 4, 2)):
        x = torch.randn(shape)
        assert same(compiled_cut(x), cut(x))

    def merged(y: Tensor) -> Tensor:
        return windows.window_merge(y, 3, (7, 4), shift=1, layout="NHWC")

    assert same(torch.compile(merged, backend="eager", fullgraph=True)(cut(x)), x)


def test_exported_with_an_open_batch() -> None:
    model, x = Attention(), torch.randn(2, 6, 9, 4)
    exported = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=2, max=64)},))
    for count in (2, 5):
        x = torch.randn(count, 6, 9, 4)
        torch.testing.assert_close(exported.module()(x), model(x))  # attention may be computed by another kernel


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
    x = torch.randn(3, 2, 1, 4, 6)
    mapped = torch.vmap(by_views)(x)
    for k, sample in enumerate(x):
        assert all(same(m[k].contiguous(), e) for m, e in zip(mapped, by_views(sample), strict=True))
