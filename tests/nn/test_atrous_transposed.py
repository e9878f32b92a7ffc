"""Transposed convolutions with a dilation through the batch equal PyTorch's: forward and backward, every argument."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spacebatch import nn
from spacebatch.nn import AtrousConv2d, functional, method_choice, transposed
from spacebatch.nn.batch_space_tensor import is_value
from tests.nn.test_atrous import assert_equal_with_gradients

F = torch.nn.functional
NATIVE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
OURS = {
    1: functional.atrous_conv_transpose1d,
    2: functional.atrous_conv_transpose2d,
    3: functional.atrous_conv_transpose3d,
}


def drawn(*shapes: tuple[int, ...], dtype: torch.dtype = torch.double) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(s, generator=generator, dtype=torch.double).to(dtype).requires_grad_() for s in shapes]


@pytest.mark.parametrize("same", [False, True], ids=["valid", "same"])
@pytest.mark.parametrize("rate", [1, 2, 3])
@pytest.mark.parametrize("kernel", [*itertools.product((1, 2, 3), repeat=2)], ids=str)
@pytest.mark.parametrize("width", [9, 10])
def test_the_shapes_of_tensorflow(width: int, kernel: tuple[int, int], rate: int, same: bool) -> None:
    """Odd and even widths, kernels up to 3 x 3, rates up to 3, both paddings; against zeros between the kernel's elements too.

    With "SAME" the result has the image's size, and the odd element is cropped at the end.
    """
    x, weight = drawn((2, 2, 9, width), (2, 2, *kernel))
    padding = tuple(rate * (k - 1) // 2 if same else 0 for k in kernel)
    found = functional.atrous_conv_transpose2d(x, weight, padding=padding, dilation=rate, method="batch_space")
    expected = F.conv_transpose2d(x, weight, padding=padding, dilation=rate)
    spread = weight.new_zeros(2, 2, *(rate * (k - 1) + 1 for k in kernel))
    spread[:, :, ::rate, ::rate] = weight
    defined = F.conv_transpose2d(x, spread)
    if same:
        found, expected = found[:, :, :9, :width], expected[:, :, :9, :width]
        defined = defined[:, :, padding[0] : padding[0] + 9, padding[1] : padding[1] + width]
    torch.testing.assert_close(found, defined, rtol=1e-10, atol=1e-10)
    assert_equal_with_gradients(found, expected, (x, weight))


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """(input shape, weight shape, arguments): anything that PyTorch computes."""
    dims, groups = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    lines = []
    for _ in range(dims):
        size, kernel, dilation = (
            draw(st.integers(1, 9 if dims < 3 else 5)),
            draw(st.integers(1, 4)),
            draw(st.integers(1, 5)),
        )
        stride = draw(st.sampled_from((1, 1, 1, 2, 3)))
        more = draw(st.integers(0, max(stride, dilation) - 1))
        full = (size - 1) * stride + dilation * (kernel - 1) + 1 + more
        lines.append((size, kernel, stride, draw(st.integers(0, (full - 1) // 2)), more, dilation))
    sizes, kernel_sizes, strides, paddings, output_paddings, dilations = zip(*lines, strict=True)
    shape = (draw(st.integers(0, 2)), groups * draw(st.integers(1, 2)), *sizes)
    names = ("stride", "padding", "output_padding", "dilation", "groups")
    arguments = dict(zip(names, (strides, paddings, output_paddings, dilations, groups), strict=True))
    return shape, (shape[1], draw(st.integers(1, 2)), *kernel_sizes), arguments


@settings(deadline=None, derandomize=True, max_examples=100, database=None)
@given(convolutions())
def test_equal_whatever_the_geometry(case: tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]) -> None:
    shape, weight_shape, arguments = case
    x, weight, bias = drawn(shape, weight_shape, (weight_shape[1] * arguments["groups"],))
    dims = len(shape) - 2
    expected = NATIVE[dims](x, weight, bias, **arguments)
    found = OURS[dims](x, weight, bias, **arguments, method="batch_space")
    assert_equal_with_gradients(found, expected, (x, weight, bias))


def test_output_padding_beyond_what_the_image_adds_to_holds_the_bias() -> None:
    x, weight, bias = drawn((1, 1, 4), (1, 1, 2), (1,))
    y = functional.atrous_conv_transpose1d(x, weight, bias, output_padding=3, dilation=4, method="batch_space")
    assert torch.equal(y[0, 0, -3:], bias.expand(3))


def test_the_steps() -> None:
    """Whole blocks of the padding are the convolution's; a dim with a stride keeps what it has."""
    assert transposed.line(12, 3, 1, 6, 0, 3) == (3, 0, 2, 0, 1, (0, 0))
    assert transposed.line(12, 3, 1, 7, 2, 3) == (3, 3, 2, 0, 1, (1, 2))
    assert transposed.line(12, 3, 2, 4, 1, 3) == (1, 0, 4, 1, 3, (0, 0))
    assert transposed.line(12, 1, 1, 0, 2, 3) == (1, 0, 0, 2, 3, (0, 0))


def test_a_stride_beside_a_dilation(monkeypatch: pytest.MonkeyPatch) -> None:
    """One dim goes through the batch, the other keeps its stride; with strides everywhere nothing is moved."""
    moved: list[Any] = []
    space_to_batch = transposed.functions.space_to_batch
    monkeypatch.setattr(
        transposed.functions,
        "space_to_batch",
        lambda x, blocks, *a: (moved.append(blocks), space_to_batch(x, blocks, *a))[1],
    )
    x, weight = drawn((1, 2, 5, 6), (2, 3, 3, 3))
    for stride in ((2, 1), 2):
        arguments: dict[str, Any] = {"stride": stride, "dilation": 2, "padding": 1, "output_padding": 1}
        found = functional.atrous_conv_transpose2d(x, weight, **arguments, method="batch_space")
        assert_equal_with_gradients(found, F.conv_transpose2d(x, weight, **arguments), (x, weight))
    assert moved == [(1, 2)]


@pytest.mark.parametrize("method", ["native", "batch_space"])
def test_without_a_batch(method: Any) -> None:
    x, weight = drawn((2, 7), (2, 3, 3))
    found = functional.atrous_conv_transpose1d(x, weight, dilation=2, method=method)
    assert_equal_with_gradients(found, F.conv_transpose1d(x, weight, dilation=2), (x, weight))


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2), (torch.cdouble, 1e-10)]
)
def test_dtypes(dtype: torch.dtype, tolerance: float) -> None:
    """The tolerance is that of a sum of 18 products in another order."""
    x, weight = drawn((2, 2, 8, 9), (2, 3, 3, 3), dtype=dtype)
    found = functional.atrous_conv_transpose2d(x, weight, padding=2, dilation=2, method="batch_space")
    expected = F.conv_transpose2d(x, weight, padding=2, dilation=2)
    assert_equal_with_gradients(found, expected, (x, weight), tolerance)


def test_the_gradient_of_a_dilated_convolution() -> None:
    """It is the transposed convolution, whatever computes either."""
    x, weight = drawn((1, 3, 9, 10), (2, 3, 3, 2))
    y = functional.atrous_conv2d(x, weight, padding=2, dilation=3, method="batch_space")
    seed = torch.randn_like(y)
    (expected,) = torch.autograd.grad(y, x, seed)
    found = functional.atrous_conv_transpose2d(
        seed, weight, padding=2, output_padding=0, dilation=3, method="batch_space"
    )
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_double_backward() -> None:
    x, weight = drawn((1, 1, 5), (1, 2, 3))

    def function(x: Tensor, weight: Tensor) -> Tensor:
        return functional.atrous_conv_transpose1d(x, weight, padding=1, dilation=2, method="batch_space")

    assert torch.autograd.gradcheck(function, (x, weight))
    assert torch.autograd.gradgradcheck(function, (x, weight))


def test_of_a_value() -> None:
    """What stays in batch space is taken as the image that it is."""
    convolution = AtrousConv2d(2, 2, 3, padding=2, dilation=2, method="batch_space", dtype=torch.double)
    x, weight = drawn((1, 2, 8, 9), (2, 3, 3, 3))
    h = convolution(x)
    for method in ("native", "batch_space"):
        found = functional.atrous_conv_transpose2d(h, weight, padding=1, dilation=2, method=method)  # type: ignore[arg-type]
        expected = F.conv_transpose2d(torch.nn.Conv2d.forward(convolution, x), weight, padding=1, dilation=2)
        torch.testing.assert_close(found + 0, expected, rtol=1e-10, atol=1e-10)


def test_vmap_and_compile() -> None:
    """ "auto" measures nothing there."""
    x, weight = torch.randn(3, 1, 2, 9, dtype=torch.double), torch.randn(2, 4, 3, dtype=torch.double)

    def function(x: Tensor) -> Tensor:
        return functional.atrous_conv_transpose1d(x, weight, padding=1, dilation=2, method="batch_space")

    torch.testing.assert_close(torch.vmap(function)(x), torch.stack([function(part) for part in x]))
    torch.compiler.reset()
    compiled = torch.compile(function, fullgraph=True, dynamic=True, backend="aot_eager")
    for size in (9, 12):
        part = torch.randn(2, 2, size, dtype=torch.double)
        torch.testing.assert_close(compiled(part), function(part))
    torch.compiler.reset()


def test_tracers_record_the_call() -> None:
    class Module(torch.nn.Module):
        def forward(self, x: Tensor, weight: Tensor) -> Tensor:
            return functional.atrous_conv_transpose1d(x, weight, dilation=2, method="batch_space")

    x, weight = drawn((1, 2, 5), (2, 3, 3))
    traced = torch.fx.symbolic_trace(Module())
    assert functional.atrous_conv_transpose1d in [node.target for node in traced.graph.nodes]
    torch.testing.assert_close(traced(x, weight), F.conv_transpose1d(x, weight, dilation=2))


MODULES: dict[int, Any] = {
    1: (torch.nn.ConvTranspose1d, nn.AtrousConvTranspose1d),
    2: (torch.nn.ConvTranspose2d, nn.AtrousConvTranspose2d),
    3: (torch.nn.ConvTranspose3d, nn.AtrousConvTranspose3d),
}


@pytest.mark.parametrize("method", ["native", "batch_space"])
@pytest.mark.parametrize(
    ("sizes", "options", "extra", "stays"),
    [
        ((9,), {"padding": 2, "dilation": 2}, None, True),
        ((9,), {"padding": 1, "dilation": 2}, None, False),
        ((5, 6), {"padding": 3, "dilation": 3, "bias": False, "groups": 2}, None, True),
        ((5, 6), {"stride": (1, 2), "dilation": 2}, [9, 16], False),
        ((4, 5, 6), {"dilation": (2, 1, 2), "output_padding": (1, 0, 1)}, None, False),
        ((4, 5, 6), {"dilation": (2, 1, 2)}, None, True),
    ],
    ids=str,
)
def test_modules(method: Any, sizes: Any, options: dict[str, Any], extra: Any, stays: bool) -> None:
    """Those of PyTorch, with or without a batch; a result whose padding is of whole blocks stays in batch space."""
    native, ours = (kind(2, 4, 3, **options).double() for kind in MODULES[len(sizes)])
    ours.load_state_dict(native.state_dict())
    ours.method = method
    assert repr(ours) == repr(native).replace("Conv", "AtrousConv", 1)[:-1] + f", method={method!r})"
    for x in (*drawn((2, 2, *sizes)), *drawn((2, *sizes))):
        found, expected = ours(x, extra), native(x, extra)
        assert is_value(found) == (stays and method == "batch_space" and x.dim() == len(sizes) + 2)
        results = (
            torch.autograd.grad(y.square().sum(), [x, *n.parameters()]) for y, n in ((found, ours), (expected, native))
        )
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


@pytest.fixture
def empty_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("SPACEBATCH_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("SPACEBATCH_AUTOTUNE", "on")
    method_choice.table_of.cache_clear()
    yield
    method_choice.table_of.cache_clear()


@pytest.mark.usefixtures("empty_table")
def test_auto_measures_a_geometry_once(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Any] = []

    def measure(calls: Any, tensors: Any, device: Any) -> method_choice.Choice:
        measured.append({name: call(*tensors) for name, call in calls.items()})
        return method_choice.Choice("batch_space", 2.0, 1.0)

    monkeypatch.setattr(method_choice, "measure", measure)
    x, weight = drawn((1, 2, 9), (2, 3, 3))
    for output_padding in (0, 0, 1):
        functional.atrous_conv_transpose1d(x, weight, dilation=2, output_padding=output_padding)
    functional.atrous_conv_transpose1d(x, weight, stride=2, dilation=2)  # there is nothing to choose
    assert [results["native"].shape[2] for results in measured] == [13, 14]
    torch.testing.assert_close(measured[1]["native"], measured[1]["batch_space"])


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"method": "fast"}, ValueError, r"method must be one of .*, got 'fast'"),
        ({"dilation": 0}, ValueError, r"dilation\[0\] must be at least 1, got 0"),
        ({"stride": (1, -1)}, ValueError, r"stride\[1\] must be at least 1, got -1"),
        ({"padding": -1}, ValueError, r"padding\[0\] must not be negative, got -1"),
        ({"padding": "same"}, TypeError, r"padding must be an integer or a sequence of integers, got 'same'"),
        ({"output_padding": 2}, ValueError, r"output_padding\[0\] must not be negative, and smaller than .*, got 2"),
        ({"output_padding": (1, -1)}, ValueError, r"output_padding\[1\] must not be negative, .*, got -1"),
        ({"padding": 7}, ValueError, r"dim 2 of size 8 with a kernel of 3 would become one of -2"),
        ({"input": torch.zeros(1, 3, 8, 0)}, ValueError, r"dim 3 of size 0 with a kernel of 3"),
        ({"groups": 0}, ValueError, r"groups must be at least 1, got 0"),
        ({"groups": 2}, ValueError, r"groups=2 does not divide the 3 channels of the input"),
        ({"input": torch.zeros(1, 4, 8, 8)}, ValueError, r"the input has 4 channels, the weight .* takes 3"),
        ({"bias": torch.zeros(3)}, ValueError, r"bias must have shape \(4,\), got \(3,\)"),
        ({"weight": torch.zeros(3, 4, 3)}, ValueError, r"weight must be 4-D, got shape \(3, 4, 3\)"),
        ({"weight": torch.zeros(3, 4, 3, 3).double()}, ValueError, r"weight has dtype torch.float64, the input has"),
    ],
    ids=str,
)
def test_bad_arguments(change: dict[str, Any], kind: type[Exception], message: str) -> None:
    arguments = {"input": torch.zeros(1, 3, 8, 8), "weight": torch.zeros(3, 4, 3, 3), "dilation": 2, **change}
    with pytest.raises(kind, match=rf"^atrous_conv_transpose2d: {message}"):
        functional.atrous_conv_transpose2d(**arguments)


def test_modules_explain_themselves() -> None:
    module = nn.AtrousConvTranspose2d(2, 4, 3, padding=2, dilation=2, method="batch_space")
    found = module.explain(torch.ones(1, 2, 8, 8))
    assert (found.operation, found.method, found.blocks) == ("atrous_conv_transpose2d", "batch_space", (2, 2))
    with pytest.raises(ValueError, match="AtrousConvTranspose2d: method must be one of"):
        nn.AtrousConvTranspose2d(2, 4, 3, method="channels_last")
