"""How far models see: known kernels, strides, what gradients miss, what is global."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spacebatch import receptive_field, tiled
from tests.tiled.models import Hourglass, image, network


def moved(x: Tensor, by: int) -> Tensor:
    """Each element `by` places on, zeros behind."""
    return nn.functional.pad(x, (by, -by))


@pytest.mark.parametrize(
    ("model", "before", "after"),
    [
        (network(1), 4, 4),
        (nn.Conv1d(2, 2, 5, padding=2), 2, 2),
        (nn.Sequential(nn.ConstantPad1d((6, 0), 0.0), nn.Conv1d(2, 2, 3, dilation=3)), 6, 0),  # causal
        (nn.Sequential(nn.ConstantPad1d((0, 4), 0.0), nn.Conv1d(2, 2, 5)), 0, 4),
        (nn.MaxPool1d(3, 1, 1), 1, 1),
        (nn.Sequential(nn.Conv1d(2, 2, 3, padding=1), nn.ReLU(), nn.Conv1d(2, 2, 7, padding=3)), 4, 4),
        (nn.Conv1d(2, 4, 3, stride=2, padding=1), 1, 0),  # result k is of elements 2k - 1, 2k, 2k + 1
        (nn.ConvTranspose1d(2, 2, 4, stride=2, padding=1), 1, 1),
        (nn.Identity(), 0, 0),
        (lambda t: t.argmax(1, keepdim=True), 0, 0),  # no gradient
        (lambda t: (moved(t, 3) > 0).long(), 3, 0),
        (lambda t: moved(t.detach(), -2) + t, 0, 2),  # a gradient of which only a part is known
    ],
)
def test_known(model: Any, before: int, after: int) -> None:
    found = receptive_field(model, (1, 2, 96))
    assert (found.before, found.after) == ((before,), (after,))


def test_each_dim_has_its_own() -> None:
    model = nn.Conv3d(1, 1, (3, 1, 5), padding=(1, 0, 2))
    field = receptive_field(model, (1, 1, 16, 12, 20))
    assert field.halo == (1, 0, 2)
    assert (
        str(field)
        == "spatial dim 0: 1 before, 1 after; spatial dim 1: 0 before, 0 after; spatial dim 2: 2 before, 2 after"
    )


def test_weak_weights_are_found() -> None:
    """A gradient of 1e-12 is lost in every rounded sum, but it is there."""
    model = nn.Conv1d(1, 1, 9, padding=4, bias=False)
    with torch.no_grad():
        model.weight.fill_(1e-12)[..., 4] = 1
    assert receptive_field(model, (1, 1, 64)).halo == (4,)


class Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        y = nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)
        return y.transpose(1, 2).reshape(x.shape)


@pytest.mark.parametrize(
    ("model", "unbounded"),
    [
        (nn.InstanceNorm2d(2), (0, 1)),
        (Attention(), (0, 1)),
        (lambda t: t + t.mean(2, keepdim=True), (0,)),
        (nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), (0, 1)),
        (nn.BatchNorm2d(2).train(), (0, 1)),
        (nn.BatchNorm2d(2).eval(), ()),
        (nn.Conv2d(2, 2, (45, 1), padding=(22, 0)), (0,)),  # wider than the image that it is measured on
        (nn.Dropout(0.5).train(), ()),
    ],
)
def test_what_is_global(model: Any, unbounded: tuple[int, ...]) -> None:
    assert receptive_field(model, (1, 2, 40, 36)).unbounded == unbounded


def test_the_halo_is_enough_and_one_less_is_not() -> None:
    for model, unit in ((network(), 1), (Hourglass().double().eval(), 4)):
        field = receptive_field(model, (1, 2, 64, 64), trials=1)
        halo = [-(-h // unit) * unit for h in field.halo]
        x = image(1, 2, 96, 64)
        with torch.no_grad():
            whole = model(x)
        assert (tiled(model, x, 32, halo=halo) - whole).abs().max() < 1e-12
        assert (tiled(model, x, 32, halo=[h - unit for h in halo]) - whole).abs().max() > 1e-9


def test_the_random_state_stays() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    receptive_field(nn.Dropout(0.5).train(), (1, 1, 16))
    assert torch.equal(torch.get_rng_state(), before)
