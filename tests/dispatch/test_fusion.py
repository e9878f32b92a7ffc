"""What Inductor makes of the operators between pointwise neighbours: as few kernels as of PyTorch's operators by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
import torch._inductor.config
from torch import Tensor
from torch.nn.functional import gelu, pad

import spacebatch

Operator = Callable[[Tensor], Tensor]


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def by_hand(border: int, shift: int) -> tuple[Operator, Operator]:
    """Both operators in PyTorch's own, block 2, as one writes them."""

    def to_batch(x: Tensor) -> Tensor:
        x = pad(x, (border,) * 4) if border else x
        x = torch.roll(x, (shift, shift), (2, 3)) if shift else x
        N, C, H, W = x.shape
        phases = x.view(N, C, H // 2, 2, W // 2, 2).permute(3, 5, 0, 1, 2, 4)
        return phases.contiguous().view(4 * N, C, H // 2, W // 2)

    def to_space(y: Tensor) -> Tensor:
        B, C, h, w = y.shape
        x = y.view(2, 2, B // 4, C, h, w).permute(2, 3, 4, 0, 5, 1).reshape(B // 4, C, 2 * h, 2 * w)
        x = torch.roll(x, (-shift, -shift), (2, 3)) if shift else x
        return x[:, :, border : 2 * h - border, border : 2 * w - border].contiguous()

    return to_batch, to_space


def ours(border: int, shift: int) -> tuple[Operator, Operator]:
    return (
        lambda x: spacebatch.space_to_batch(x, 2, border, shifts=shift),
        lambda y: spacebatch.batch_to_space(y, 2, border, shifts=shift),
    )


def one_way(s2b: Operator, b2s: Operator) -> Operator:
    return lambda x: gelu(s2b(x.relu()))


def there_and_back(s2b: Operator, b2s: Operator) -> Operator:
    return lambda x: b2s(s2b(x).relu() * 2)


def kernels(function: Operator, x: Tensor, backward: bool) -> int:
    """How many kernels Inductor generates."""
    from torch._inductor import metrics

    torch.compiler.reset()
    metrics.reset()
    x = x.clone().requires_grad_(backward)
    # counted while generating: what was generated before must not be found again
    with torch._inductor.config.patch(fx_graph_cache=False), torch._functorch.config.patch(enable_autograd_cache=False):
        y = torch.compile(function, fullgraph=True)(x)
        if backward:
            y.sum().backward()
    return int(metrics.generated_kernel_count)


# (function, border and shift, with the backward pass, kernels; None: as by hand)
CASES = {
    "relu-s2b-gelu": (one_way, (0, 0), False, 1),
    "relu-s2b-gelu-backward": (one_way, (0, 0), True, 2),
    "relu-padded-shifted-s2b-gelu-backward": (one_way, (1, -1), True, None),
    "padded-s2b-relu-b2s": (there_and_back, (1, 0), False, 1),
}


@pytest.mark.parametrize("name", CASES)
def test_as_few_kernels_as_by_hand(name: str) -> None:
    make, border, backward, wanted = CASES[name]
    x = torch.randn(2, 3, 8, 10)
    found = kernels(make(*ours(*border)), x, backward)
    assert found <= kernels(make(*by_hand(*border)), x, backward)
    assert wanted is None or found == wanted
