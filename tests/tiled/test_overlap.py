"""Overlapping tiles are blended as MONAI's `sliding_window_inference` does it."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from spacebatch import tiled
from tests.tiled.models import image, network, places

# (shape, window, overlap, batch): those of MONAI's own tests, and the smaller ones of its buffers
CASES: list[tuple[tuple[int, ...], Any, Any, int]] = [
    ((2, 3, 16), (4,), 0.25, 3),
    ((1, 3, 4, 5, 3, 4), 3, 0.25, 3),
    ((3, 3, 16, 15, 7), (4, -1, 7), 0.25, 3),
    ((2, 3, 16, 15, 7), (4, 10, 7), 0.25, 3),
    ((1, 3, 16, 15, 7), (20, 22, 23), 0.5, 10),
    ((2, 3, 15, 7), (2, 6), 0.25, 1000),
    ((1, 3, 16, 7), (80, 50), 0.5, 7),
    ((5, 3, 16, 15, 7), (4, 1, 7), 0.25, 3),
    ((2, 3, 10, 11), (7, 10), 0.8, 5),
    ((2, 3, 10, 11), (15, 12), 0.0, 2),
    ((1, 3, 127, 61), (24, 20), 0.4, 5),
    ((1, 3, 128, 61), (128, 20), 0.125, 5),
    ((2, 3, 10, 11, 12), (7, 8, 10), (0.2, 0.4, 0.0), 2),
]
IDS = ["x".join(map(str, shape)) + f" by {window}" for shape, window, *_ in CASES]


def described(model: Any, x: Tensor, window: Any, overlap: Any, mode: str, sigma: float = 0.125) -> Tensor:
    """MONAI's blending from its description, one window at a time, without a thought of memory."""
    sizes = x.shape[2:]
    roi = [window] * len(sizes) if isinstance(window, int) else window
    roi = [size if r < 0 else r for r, size in zip(roi, sizes, strict=True)]
    shares = [overlap] * len(sizes) if isinstance(overlap, float) else overlap
    front = [max(r - size, 0) // 2 for r, size in zip(roi, sizes, strict=True)]
    back = [max(r - size, 0) - f for r, size, f in zip(roi, sizes, front, strict=True)]
    x = functional.pad(x, [n for pair in zip(reversed(front), reversed(back), strict=True) for n in pair])
    starts, weight = [], torch.ones(())
    for padded, r, share in zip(x.shape[2:], roi, shares, strict=True):
        interval = r if r == padded else max(int(r * (1 - share)), 1)
        count = next(k for k in itertools.count() if k * interval + r >= padded) + 1
        starts.append([min(k * interval, padded - r) for k in range(count)])
        line = torch.tensor([math.exp(-((k - (r - 1) / 2) ** 2) / (2 * (sigma * r) ** 2)) for k in range(r)])
        weight = weight[..., None] * (line if mode == "gaussian" else 1)
    weight = weight.expand(roi).clamp(min=max(weight.min().item(), 1e-3)).to(x.dtype)
    total, count = 0, torch.zeros(x.shape[2:], dtype=x.dtype)
    for place in itertools.product(*starts):
        where = tuple(slice(s, s + r) for s, r in zip(place, roi, strict=True))
        y = model(x[(..., *where)])
        total = total if isinstance(total, Tensor) else x.new_zeros((*y.shape[:2], *x.shape[2:]))
        total[(..., *where)] += y * weight
        count[where] += weight
    inner = tuple(slice(f, f + size) for f, size in zip(front, sizes, strict=True))
    return (total / count)[(..., *inner)]


@pytest.mark.parametrize("mode", ["constant", "gaussian"])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_as_described(case: tuple[Any, ...], mode: Any) -> None:
    shape, window, overlap, batch = case
    x = image(*shape)
    y = tiled(places, x, window, overlap=overlap, blend=mode, batch=batch)
    # Weights are made in float32, where exp may differ in the last bit.
    torch.testing.assert_close(y, described(places, x, window, overlap, mode), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["constant", "gaussian"])
def test_as_monai(mode: Any) -> None:
    inferers = pytest.importorskip("monai.inferers")
    for (shape, window, overlap, batch), sigma in itertools.product(CASES, (0.125, 0.5)):
        x = image(*shape)
        theirs = inferers.sliding_window_inference(x, window, batch, places, overlap, mode=mode, sigma_scale=sigma)
        ours = tiled(places, x, window, overlap=overlap, blend=mode, batch=batch, sigma_scale=sigma)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)  # products and sums may be fused


def test_windows_of_other_sizes_as_monai() -> None:
    """Results of half the size, and of twice: MONAI resizes the weights to the nearest."""
    inferers = pytest.importorskip("monai.inferers")
    x = image(1, 2, 20, 28)
    for model in (lambda t: t[..., ::2, ::2] + 1, lambda t: t.repeat_interleave(2, 2)):
        theirs = inferers.sliding_window_inference(x, (8, 8), 3, model, 0.5, mode="gaussian")
        torch.testing.assert_close(
            tiled(model, x, 8, overlap=0.5, blend="gaussian", batch=3), theirs, rtol=0, atol=1e-12
        )


def test_by_hand() -> None:
    """Two windows of 4 over 6 elements, the second counted from 10 on: sums over 2 elements that both cover."""
    calls = iter((0.0, 10.0))
    y = tiled(lambda t: t + next(calls), torch.zeros(1, 1, 6), 4, overlap=2)
    assert y.tolist() == [[[0, 0, 5, 5, 10, 10]]]
    calls = iter((0.0, 9.0))
    y = tiled(lambda t: t + next(calls), torch.zeros(1, 1, 6), 4, overlap=2, blend="linear")
    torch.testing.assert_close(y, torch.tensor([[[0.0, 0, 3, 6, 9, 9]]]))


def test_padding_of_small_images() -> None:
    """MONAI's test of `cval`: 9 ones, 16 cells of -1."""
    y = tiled(lambda t: t + t.sum(), torch.ones(1, 1, 3, 3), 5, overlap=0.5, pad_value=-1)
    assert torch.equal(y, torch.full((1, 1, 3, 3), -6.0))


@pytest.mark.parametrize("blend", ["constant", "linear", "gaussian"])
def test_weights_sum_to_one(blend: Any) -> None:
    """What all tiles agree about stays, whatever the steps: also where three tiles meet, and in the last, shorter step."""
    x = image(1, 1, 31, 23)
    for overlap in ((0.5, 3), (0.8, 0.25), (5, 0)):
        torch.testing.assert_close(
            tiled(lambda t: t, x, (9, 8), overlap=overlap, blend=blend), x, rtol=1e-12, atol=1e-12
        )


def test_half_precision_is_summed_in_single() -> None:
    x = torch.ones(1, 1, 64, dtype=torch.float16)
    y = tiled(lambda t: t * 1.001, x, 8, overlap=7)  # 8 tiles over most elements
    assert y.dtype is torch.float16
    assert torch.equal(y, x * 1.001)


def test_an_overlap_and_gradients() -> None:
    model, x = network(1), image(1, 2, 40).requires_grad_()
    upstream = image(1, 3, 40, seed=1)
    y = tiled(model, x, 16, overlap=0.5, blend="gaussian", batch=2, grad=True)
    expected = described(model, x, 16, 0.5, "gaussian")
    inputs = (x, *model.parameters())
    found, wanted = (torch.autograd.grad(each, inputs, upstream) for each in (y, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_finish_gets_what_is_blended() -> None:
    x = image(1, 2, 40, 30)
    options: dict[str, Any] = {"overlap": 0.5, "blend": "gaussian", "batch": 3}
    labels = tiled(places, x, 16, **options, finish=lambda t: t.argmax(1, keepdim=True))
    assert torch.equal(labels, tiled(places, x, 16, **options).argmax(1, keepdim=True))


def test_arrays_out_and_poison() -> None:
    """The sums are kept in `out` itself where it can hold them, whatever it held; results are the same to the bit."""
    x = image(2, 2, 40, 30)
    options: dict[str, Any] = {"overlap": 0.5, "blend": "linear", "batch": 3}
    y = tiled(places, x, 16, **options)
    strided = torch.full((30, 4, 2, 40), torch.nan, dtype=torch.float64).permute(2, 1, 3, 0)
    array = np.full((2, 4, 40, 30), np.nan)[:, :, ::-1]
    for out in (torch.full_like(y, torch.nan), strided, array, np.full((2, 4, 40, 30), np.nan)):
        assert tiled(places, x, 16, **options, out=out) is out
        assert torch.equal(torch.from_numpy(out.copy()) if isinstance(out, np.ndarray) else out, y)
