"""Max pooling with a dilation, of values in batch space: they stay there, and are the definition's maxima.

PyTorch's average pooling has no dilation, hence there is none here.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from spacebatch.nn.batch_space_tensor import is_value
from spacebatch.nn.cells import enter
from spacebatch.nn.value import value_of

F = torch.nn.functional
POOLS: dict[int, Any] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}

# Sizes, windows and dilations of TensorFlow's tests of its dilated pooling, each with each; one more stands alone.
SHAPES = [
    *itertools.product(((9,), (10,)), ((1,), (2,), (3,)), ((1,), (2,), (3,))),
    *itertools.product(((9, 10), (10, 9)), ((1, 1), (2, 1), (2, 3)), ((1, 1), (2, 1), (1, 2), (2, 3))),
    *itertools.product(
        ((9, 10, 11), (10, 9, 11)),
        ((1, 1, 1), (2, 1, 2), (2, 3, 2)),
        ((1, 1, 1), (2, 1, 2), (1, 2, 2), (2, 3, 3)),
    ),
    ((7, 9), (2, 2), (2, 2)),
]
SAMPLES, CHANNELS = 2, 2


def defined(x: Tensor, window: tuple[int, ...], dilation: tuple[int, ...]) -> Tensor:
    """The greatest of what each element of the window sees: the image, shifted."""
    sizes = [s - d * (w - 1) for s, d, w in zip(x.shape[2:], dilation, window, strict=True)]
    seen = []
    for element in itertools.product(*map(range, window)):
        starts = [e * d for e, d in zip(element, dilation, strict=True)]
        seen.append(x[(..., *(slice(a, a + n) for a, n in zip(starts, sizes, strict=True)))])
    return torch.stack(seen).amax(0)


@pytest.mark.parametrize(("sizes", "window", "dilation"), SHAPES, ids=str)
def test_the_shapes_of_tensorflow(sizes: tuple[int, ...], window: tuple[int, ...], dilation: tuple[int, ...]) -> None:
    """Values and gradients, to the bit. All numbers are negative and no two are equal: a zero of the padding would show."""
    shape = (SAMPLES, CHANNELS, *sizes)
    count = torch.Size(shape).numel()
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    x = (-1.0 - order.double()).view(shape).requires_grad_()
    pool = POOLS[len(sizes)]
    found = pool(value_of(enter(x, dilation)), window, 1, 0, dilation)
    assert is_value(found)
    expected = pool(x, window, 1, 0, dilation)
    seed = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    gradients = [torch.autograd.grad(y, x, seed)[0] for y in (found, expected)]
    image = found.flip(-1).flip(-1)
    assert torch.equal(image, expected)
    assert torch.equal(image, defined(x, window, dilation))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rate", [2, 3])
@pytest.mark.parametrize("padding", [0, 1, 2, 3])
@pytest.mark.parametrize("dilation", [2, 3, 4, 6])
def test_a_padding_is_less_than_any_number(rate: int, padding: int, dilation: int) -> None:
    """In cells where the rate divides both, of the image elsewhere; windows reach beyond an image that no rate divides."""
    x = -1.0 - torch.randperm(2 * 41, generator=torch.Generator().manual_seed(0)).double().view(1, 2, 41)
    h = value_of(enter(x, (rate,))) - 1  # what lies beyond the image is -1 now, more than all of it
    found = F.max_pool1d(h, 7, 1, padding, dilation)
    assert is_value(found) == (padding % rate == 0 and dilation % rate == 0)
    assert torch.equal(found.flip(-1), F.max_pool1d(x - 1, 7, 1, padding, dilation).flip(-1))


def test_a_padding_that_pytorch_refuses() -> None:
    with pytest.raises(RuntimeError, match="half of"):
        F.max_pool1d(value_of(enter(torch.zeros(1, 2, 9), (2,))), 3, 1, 2, 2)
