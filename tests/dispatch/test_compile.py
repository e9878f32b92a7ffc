"""Compiled calls: whole graphs, static and dynamic sizes, forward and backward, the same bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import spacebatch
from tests.bits import random_tensor, same
from tests.cases import Case, each_of, each_option

FEW = ("2d_blocks_differ", "asymmetric_border", "dims_unordered_padded", "auto_each_dim", "space_all_border")


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def there_and_back(case: Case, options: dict[str, Any]) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    inverse = case.geometry(**options).inverse

    def function(x: Tensor) -> tuple[Tensor, Tensor]:
        y = spacebatch.space_to_batch(x, **case.arguments, pad_value=3, **options)
        return y, spacebatch.batch_to_space(y * 2, **inverse)

    return function


@each_of(*FEW)
@each_option
def test_whole_graph(case: Case, options: dict[str, Any]) -> None:
    function = there_and_back(case, options)
    x = torch.randn(case.shape, generator=torch.Generator().manual_seed(0))
    for found, expected in zip(
        torch.compile(function, fullgraph=True, backend="aot_eager")(x), function(x), strict=True
    ):
        assert same(found, expected)
        assert found.stride() == expected.stride()


@each_of("asymmetric_border", "dims_unordered_padded", "shifted_padded")
@each_option
def test_backward(case: Case, options: dict[str, Any]) -> None:
    function = there_and_back(case, options)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")

    def gradient(f: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Tensor:
        x = torch.randn(case.shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
        y, z = f(x)
        return torch.autograd.grad(y.square().sum() + z.square().sum(), x)[0]

    assert same(gradient(compiled), gradient(function))


@each_option
def test_dynamic_sizes(options: dict[str, Any]) -> None:
    """One graph for every size: nothing but divisibility is guarded on."""

    def function(x: Tensor) -> Tensor:
        y = spacebatch.space_to_batch(x, (2, 3), ((1, 1), (2, 1)), shifts=(3, -2), **options)
        return spacebatch.batch_to_space(y.relu(), (2, 3), ((1, 1), (2, 1)), shifts=(3, -2), **options)

    graphs = 0

    def count(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        nonlocal graphs
        graphs += 1
        return graph.forward

    compiled = torch.compile(function, fullgraph=True, dynamic=True, backend=count)
    for shape in ((2, 3, 4, 6), (3, 2, 6, 9), (5, 4, 8, 3)):
        x = torch.randn(shape)
        assert same(compiled(x), x.relu())
    assert graphs == 1


def test_dynamic_backward_and_auto() -> None:
    def function(x: Tensor) -> Tensor:
        return spacebatch.space_to_batch(x, 4, "auto").sin()

    compiled = torch.compile(function, fullgraph=True, dynamic=True, backend="aot_eager")
    for shape in ((2, 3, 5, 6), (3, 2, 9, 11), (2, 2, 8, 4)):
        x = torch.randn(shape).requires_grad_()
        found, expected = compiled(x), function(x)
        assert same(found.detach(), expected.detach())
        assert same(*(torch.autograd.grad(y, x, torch.ones_like(y))[0] for y in (found, expected)))


def test_one_graph_for_a_geometry_of_any_sizes() -> None:
    graphs = 0

    def count(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        nonlocal graphs
        graphs += 1
        return graph.forward

    def function(x: Tensor) -> tuple[Tensor, Tensor]:
        g = spacebatch.BlockGeometry(x.shape, (2, 3), "auto", batch_order="batch_major", shifts=(0, -1))
        y = spacebatch.space_to_batch(x, **g.arguments)
        return y, spacebatch.batch_to_space(y * 2, **g.inverse)

    compiled = torch.compile(function, fullgraph=True, dynamic=True, backend=count)
    for shape in ((2, 3, 4, 6), (3, 3, 5, 7), (7, 3, 9, 6), (5, 3, 8, 16)):
        x = torch.randn(shape)
        for found, expected in zip(compiled(x), function(x), strict=True):
            assert same(found, expected)
    assert graphs == 1


class Network(torch.nn.Module):
    """What a convolution keeps for its gradient is what `space_to_batch` or `batch_to_space` made."""

    def __init__(self, border: int) -> None:
        super().__init__()
        self.border = border
        self.layers = torch.nn.ModuleList(torch.nn.Conv2d(a, b, 3, padding=1) for a, b in ((2, 3), (3, 2), (2, 1)))

    def forward(self, x: Tensor) -> Tensor:
        first, second, third = self.layers
        y = spacebatch.space_to_batch(first(x), 2, self.border)
        return third(spacebatch.batch_to_space(second(y), 2, self.border)).mean()


@pytest.mark.parametrize(
    ("border", "dtype", "layout"),
    [(0, torch.float32, torch.channels_last), (1, torch.bfloat16, torch.contiguous_format)],
    ids=["float32-channels_last", "padded-bfloat16"],
)
def test_convolutions_are_trained_at_every_size(border: int, dtype: torch.dtype, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    network = Network(border).to(dtype)
    compiled = torch.compile(network, dynamic=None if border else True)  # by itself, and from the first call on
    for shape in ((2, 2, 8, 6), (2, 2, 12, 10), (2, 2, 18, 4)):
        x = torch.randn(shape, dtype=dtype).to(memory_format=layout)
        found, expected = (torch.autograd.grad(f(x), list(network.parameters())) for f in (compiled, network))
        for a, b in zip(found, expected, strict=True):  # sums come in another order
            scale = float(b.abs().max())
            torch.testing.assert_close(a, b, rtol=0, atol=scale * (0.05 if dtype is torch.bfloat16 else 1e-4))


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_inductor(dynamic: bool) -> None:
    """Compiled to native code; only moves and exact arithmetic, so the bits are the same."""

    def function(x: Tensor) -> Tensor:
        return spacebatch.space_to_batch(x.relu() * 2, (2, 3), ((1, 1), (2, 1)), pad_value=1) + 1

    x = random_tensor((2, 3, 4, 6), torch.int8).float()
    assert same(torch.compile(function, fullgraph=True, dynamic=dynamic)(x), function(x))


def test_inductor_backward() -> None:
    def function(y: Tensor) -> Tensor:
        return spacebatch.batch_to_space(y * 2, (2, 3), ((1, 1), (1, 2)), arrangement="contiguous")

    y = random_tensor((12, 3, 4, 3), torch.int8).float().requires_grad_()
    found, expected = torch.compile(function, fullgraph=True)(y), function(y)
    assert same(found.detach(), expected.detach())
    upstream = random_tensor(tuple(expected.shape), torch.int8, seed=1).float()
    assert same(*(torch.autograd.grad(z, y, upstream)[0] for z in (found, expected)))


def test_channels_last_stays() -> None:
    x = random_tensor((2, 3, 4, 6)).to(memory_format=torch.channels_last)
    y = torch.compile(lambda t: spacebatch.space_to_batch(t, 2, 1), fullgraph=True, backend="aot_eager")(x)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert same(y, spacebatch.space_to_batch(x, 2, 1))


def test_modules_and_compiled_out() -> None:
    module = torch.compile(spacebatch.nn.SpaceToBatch(2, "auto"), fullgraph=True, backend="aot_eager")
    x = random_tensor((1, 3, 5, 5))
    expected = spacebatch.space_to_batch(x, 2, "auto")
    assert same(module(x), expected)

    def into(x: Tensor, out: Tensor) -> Tensor:
        return spacebatch.space_to_batch(x, 2, "auto", out=out)

    out = torch.empty(4, 3, 3, 3)
    torch.compile(into, fullgraph=True, backend="aot_eager")(x, out)
    assert same(out, expected)


@pytest.mark.parametrize("op", ["space_to_batch", "batch_to_space"])
def test_bad_arguments_of_a_compiled_call(op: str) -> None:
    """The same exception, raised while tracing, and the shape of `out` is no other than the result's."""

    def function(x: Tensor, **given: Any) -> Tensor:
        return getattr(spacebatch, op)(x, **given)

    compiled = torch.compile(function, backend="eager")
    x = torch.zeros(4, 3, 4, 4)
    with pytest.raises(ValueError, match=rf"^{op}: block_shape\[0\] must be at least 1"):
        compiled(x, block_shape=0)
    with pytest.raises(TypeError, match=rf"^{op}: block_shape\[0\] must be an integer, got 2.0"):
        compiled(x, block_shape=2.0)
    with pytest.raises(ValueError, match=rf"^{op}: out has shape \(2, "):
        compiled(x, block_shape=2, out=torch.zeros(2, 16, 3, 2, 2))
