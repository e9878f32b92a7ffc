"""With a halo as wide as the model sees, tiles give the result of the whole image, its borders included."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spacebatch
from spacebatch import tiled
from tests.tiled.models import Counting, Hourglass, image, network

# The order of additions inside a convolution depends on the shape: float64 to 1e-12.
CLOSE = {"rtol": 0, "atol": 1e-12}


def whole(model: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("batch", [1, 3, 100])
@pytest.mark.parametrize(
    ("shape", "tile"),
    [
        ((1, 2, 41, 37), 16),  # last tiles are smaller
        ((2, 2, 41, 37), (13, 20)),
        ((1, 2, 41, 37), (5, -1)),  # the halo is nearly as large as the tile
        ((1, 2, 33, 32), 32),  # the last tile is one row
        ((1, 2, 9, 9), 100),  # one tile
        ((1, 2, 50), (16,)),
        ((1, 2, 14, 15, 11), (8, 8, 8)),
    ],
)
def test_equal_to_the_whole_image(shape: tuple[int, ...], tile: Any, batch: int) -> None:
    model, x = network(len(shape) - 2), image(*shape)
    torch.testing.assert_close(tiled(model, x, tile, halo=4, batch=batch), whole(model, x), **CLOSE)


def test_a_halo_that_is_too_small_differs() -> None:
    model, x = network(), image(1, 2, 40, 40)
    for halo in (3, (4, 3), (3, 4), 0):
        assert not torch.allclose(tiled(model, x, 16, halo=halo), whole(model, x), **CLOSE)


def test_padding_acts_at_the_border_alone() -> None:
    """Reflections and replicas, too; the circular kind sees the other end."""
    for mode in ("reflect", "replicate"):
        model, x = network(mode=mode), image(1, 2, 40, 27)
        torch.testing.assert_close(tiled(model, x, 16, halo=4), whole(model, x), **CLOSE)
    model = network(mode="circular")
    assert not torch.allclose(tiled(model, x, 16, halo=4), whole(model, x), **CLOSE)


def test_strides_and_pools_with_aligned_tiles() -> None:
    model, x = Hourglass().double(), image(1, 2, 52, 44)
    y = tiled(model, x, 16, halo=12, batch=4)
    torch.testing.assert_close(y, whole(model, x), **CLOSE)


@pytest.mark.parametrize(
    ("model", "scale"),
    [
        (nn.Conv2d(2, 3, 3, stride=2, padding=1), 0.5),
        (nn.ConvTranspose2d(2, 3, 4, stride=2, padding=1), 2),
        (nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.PixelShuffle(2)), 2),
        (nn.Sequential(nn.ConvTranspose2d(2, 3, 3, 3), nn.AvgPool2d(2)), 1.5),
    ],
    ids=["stride", "transposed", "super-resolution", "3/2"],
)
def test_scales(model: nn.Module, scale: float) -> None:
    model, x = model.double(), image(2, 2, 44, 36)
    y = tiled(model, x, (16, 8), halo=4, batch=2)
    assert y.shape[2:] == (44 * scale, 36 * scale)
    torch.testing.assert_close(y, whole(model, x), **CLOSE)


def test_samples_and_channels_may_be_missing() -> None:
    model, x = network(), image(2, 41, 37)
    y = tiled(model, x, (16, 16), halo=4)
    torch.testing.assert_close(y, whole(model, x[None])[0], **CLOSE)
    one = nn.Conv2d(1, 1, 3, padding=1).double()
    torch.testing.assert_close(tiled(one, x[0], (16, 16), halo=1), whole(one, x[None, :1])[0, 0], **CLOSE)
    many = nn.Conv2d(1, 5, 3, padding=1).double()
    torch.testing.assert_close(tiled(many, x[0], (16, 16), halo=1), whole(many, x[None, :1])[0], **CLOSE)


def test_any_strides_and_dtypes() -> None:
    x = torch.arange(2 * 3 * 20 * 14, dtype=torch.int16).view(2, 20, 14, 3).permute(0, 3, 1, 2)  # channels_last
    assert torch.equal(tiled(lambda t: t + 1, x, 8), x + 1)
    for dtype in (torch.bool, torch.uint8, torch.bfloat16, torch.complex64):
        kept = tiled(lambda t: t, x.to(dtype)[:, :, 1::2].flip(3), (4, 5), halo=1, batch=2)
        assert kept.dtype is dtype
        assert torch.equal(kept, x.to(dtype)[:, :, 1::2].flip(3))


def test_the_image_is_not_written_to() -> None:
    x = image(1, 2, 20, 20)
    before = x.clone()
    y = tiled(lambda t: t.mul_(2), x, 8, halo=1)
    assert torch.equal(x, before)
    assert torch.equal(y, 2 * before)


def test_batches_are_full() -> None:
    """7 x 7 tiles, of which 5 x 5 have one shape: no batch of it but the last is smaller than asked for."""
    model = Counting(lambda t: t)
    tiled(model, image(1, 1, 56, 56), 8, halo=2, batch=4)
    assert model.tiles == 49
    assert model.calls == 7 + 3 + 3 + 1  # 25 inner tiles, 10 above and below, 10 at the sides, and the corners


def test_gradients() -> None:
    """Off by default; asked for, those of the whole image."""
    model, x = network(), image(1, 2, 30, 22).requires_grad_()
    assert not tiled(model, x, 16, halo=4).requires_grad
    upstream = image(1, 3, 30, 22, seed=1)
    inputs = (x, *model.parameters())
    expected = torch.autograd.grad(model(x), inputs, upstream)
    with torch.no_grad():
        y = tiled(model, x, 16, halo=4, batch=2, grad=True)
    found = torch.autograd.grad(y, inputs, upstream)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_modes_and_autocast_are_the_callers() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Dropout(0.0)).train()
    tiled(model, torch.zeros(1, 1, 8, 8), 4)
    assert model.training
    with torch.autocast("cpu", torch.bfloat16):
        assert tiled(model, torch.zeros(1, 1, 8, 8), 4).dtype is torch.bfloat16


def test_finish() -> None:
    model, x = network(), image(1, 2, 41, 37)
    y = spacebatch.tiled(model, x, 16, halo=4, finish=lambda t: t.argmax(1, keepdim=True).to(torch.uint8))
    assert y.dtype is torch.uint8
    assert torch.equal(y, whole(model, x).argmax(1, keepdim=True).to(torch.uint8))
