"""An activation of a dilated convolution is what it is after PyTorch's, by every method, with gradients, inside chains and out of them."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spacebatch
from spacebatch.arithmetic import activated
from spacebatch.nn import AtrousConv2d, AtrousConvTranspose2d, activations, functional
from spacebatch.nn.batch_space_tensor import is_value
from spacebatch.nn.leaving import mark_ends
from spacebatch.reference.arithmetic import ACTIVATIONS

NATIVE = torch.nn.functional
CONVOLUTIONS = {
    "1d": (functional.atrous_conv1d, NATIVE.conv1d, (2, 3, 11), (4, 3, 3), {"padding": 2, "dilation": 2}),
    "1d_columns": (functional.atrous_conv1d, NATIVE.conv1d, (2, 3, 24), (4, 3, 3), {"padding": 8, "dilation": 8}),
    "2d": (functional.atrous_conv2d, NATIVE.conv2d, (2, 3, 9, 8), (4, 3, 3, 3), {"padding": 2, "dilation": 2}),
    "2d_strided": (functional.atrous_conv2d, NATIVE.conv2d, (1, 2, 11, 9), (3, 2, 3, 3), {"stride": 2, "dilation": 3}),
    "transposed": (
        functional.atrous_conv_transpose2d,
        NATIVE.conv_transpose2d,
        (1, 2, 5, 6),
        (2, 3, 3, 3),
        {"dilation": (2, 3)},
    ),
}


def tensors(name: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape, weight = CONVOLUTIONS[name][2:4]
    channels = weight[1] if name == "transposed" else weight[0]
    return tuple(
        torch.randn(s, generator=generator, dtype=torch.double).to(dtype) for s in (shape, weight, (channels,))
    )  # type: ignore[return-value]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_equal(name: str, activation: Any) -> None:
    ours, native, _, _, options = CONVOLUTIONS[name]
    dtype = torch.float32 if name == "1d_columns" else torch.double
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype is torch.float32 else {"rtol": 1e-10, "atol": 1e-10}
    given = tensors(name, dtype)
    leaves = [t.clone().requires_grad_() for t in given]
    expected = activated(native(*leaves, **options), activation)
    seed = torch.linspace(-1, 1, expected.numel(), dtype=dtype).view_as(expected)
    wanted = torch.autograd.grad(expected, leaves, seed)
    for method in ("native", "batch_space"):
        torch.testing.assert_close(
            ours(*given, **options, method=method, activation=activation), expected.detach(), **tolerance
        )
        found = ours(*leaves, **options, method=method, activation=activation)
        torch.testing.assert_close(torch.autograd.grad(found, leaves, seed), wanted, **tolerance)


@pytest.mark.parametrize("kind", [AtrousConv2d, AtrousConvTranspose2d])
@pytest.mark.parametrize("method", ["native", "batch_space"])
def test_modules(kind: Any, method: Any) -> None:
    """In a chain the activation is computed in batch space; copies keep it, and a checkpoint has no part in it."""
    torch.manual_seed(0)
    options: Any = {"padding": 2, "dilation": 2, "method": method}
    layers = [kind(3, 3, 3, **options, activation=activation) for activation in ("silu", "gelu", "relu")]
    assert repr(layers[0]).endswith("activation='silu')")
    parent = kind.__mro__[2] if kind is AtrousConv2d else nn.ConvTranspose2d
    plain = parent(3, 3, 3, padding=2, dilation=2)
    x = torch.randn(2, 3, 9, 8)
    expected, found = x, x
    for layer, activation in zip(layers, (NATIVE.silu, NATIVE.gelu, torch.relu), strict=True):
        plain.load_state_dict(layer.state_dict())
        expected = activation(plain(expected))
        found = pickle.loads(pickle.dumps(layer))(found)
        assert is_value(found) == (method == "batch_space")
    torch.testing.assert_close(found + 0, expected)
    with torch.no_grad():
        for layer in layers:
            x = layer(x)
        torch.testing.assert_close(x + 0, expected.detach())


class Activated(nn.Conv2d):
    """A class that has an activation of its own."""

    def __init__(self) -> None:
        super().__init__(3, 3, 3, padding=2, dilation=2)
        self.activation = nn.Hardtanh()

    def forward(self, input: Tensor) -> Tensor:
        result: Tensor = self.activation(super().forward(input))
        return result


def test_what_is_converted_keeps_an_activation_of_its_own() -> None:
    network, x = nn.Sequential(Activated(), Activated()), torch.randn(1, 3, 8, 8)
    expected = network(x)
    spacebatch.convert(network, x, method="batch_space")
    assert isinstance(network[0], AtrousConv2d)
    torch.testing.assert_close(network(x), expected)


@pytest.mark.parametrize(("activation", "large", "apart"), [("relu", 1 << 24, 0), ("gelu", 1 << 24, 1), ("gelu", 0, 0)])
def test_one_pass_leaves_batch_space(activation: Any, large: int, apart: int, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    fused = activations.fused.batch_to_space
    monkeypatch.setattr(activations, "LARGE", large)
    monkeypatch.setattr(activations.fused, "batch_to_space", lambda *a, **k: passes.append(k) or fused(*a, **k))
    x, weight, _ = tensors("2d", torch.float32)
    y = functional.atrous_conv2d(x, weight, padding=2, dilation=2, method="batch_space", activation=activation)
    torch.testing.assert_close(y, activated(NATIVE.conv2d(x, weight, None, 1, 2, 2), activation))
    assert passes == [{"activation": activation}] * (1 - apart)


def test_traced_and_compiled() -> None:
    x, weight, bias = tensors("2d", torch.float32)

    def call(x: Any) -> Any:
        options: Any = {"padding": 2, "dilation": 2, "activation": "silu"}
        return functional.atrous_conv2d(x, weight, bias, **options, method="batch_space")

    expected = call(x)
    torch.testing.assert_close(torch.fx.symbolic_trace(call)(x), expected)
    torch.testing.assert_close(torch.compile(call, backend="aot_eager", fullgraph=True)(x), expected)
    torch.testing.assert_close(torch.vmap(call)(x[None])[0], expected)


def test_compiled_chains() -> None:
    """Inside of a graph, too, values know their activations; a function that missed them would read no numbers."""
    names: Any = [name for name in ACTIVATIONS if name != "none"]
    options: Any = {"padding": 2, "dilation": 2, "method": "batch_space"}
    network = nn.Sequential(*(AtrousConv2d(2, 2, 3, **options, activation=name) for name in names))
    mark_ends(network)
    x = torch.randn(1, 2, 9, 8)
    torch.testing.assert_close(torch.compile(network, backend="eager", fullgraph=True)(x), network(x))


def test_compiled_functions_that_the_compiler_does_not_know_as_overridden() -> None:
    """Applied to a value as if it were plain, they would read what stands for it in a graph: no numbers."""

    class Calls(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = AtrousConv2d(2, 2, 3, padding=2, dilation=2, method="batch_space")

        def forward(self, x: Tensor) -> Tensor:
            for call in (NATIVE.hardswish, torch.relu_, NATIVE.hardsigmoid, torch.tanh_, torch.exp2):
                x = call(self.convolution(x))
            return x

    network, x = Calls(), torch.randn(1, 2, 9, 8)
    mark_ends(network)
    with torch.no_grad():
        expected = network(x)
        torch.testing.assert_close(
            torch.compile(network, backend="eager", fullgraph=True)(x), expected, equal_nan=False
        )


def test_unknown() -> None:
    with pytest.raises(ValueError, match=r"AtrousConv2d: activation must be .*, got 'swish'"):
        AtrousConv2d(2, 2, 3, activation="swish")  # type: ignore[arg-type]
    x, weight, bias = tensors("transposed", torch.float32)
    with pytest.raises(TypeError, match=r"atrous_conv_transpose2d: activation must be .*, got 1 of type int"):
        functional.atrous_conv_transpose2d(x, weight, bias, activation=1)  # type: ignore[arg-type]
