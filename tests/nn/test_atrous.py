"""Dilated convolutions through the batch equal PyTorch's: forward and backward, every argument of theirs."""

from __future__ import annotations

import copy
import pickle
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spacebatch.nn import AtrousConv1d, AtrousConv2d, AtrousConv3d, dilated, functional, taps

NATIVE = {1: torch.nn.functional.conv1d, 2: torch.nn.functional.conv2d, 3: torch.nn.functional.conv3d}
OURS = {1: functional.atrous_conv1d, 2: functional.atrous_conv2d, 3: functional.atrous_conv3d}
PARENTS = {AtrousConv1d: torch.nn.Conv1d, AtrousConv2d: torch.nn.Conv2d, AtrousConv3d: torch.nn.Conv3d}


class Case(NamedTuple):
    """Input shape, (out channels, kernel), and what else the convolution takes."""

    id: str
    shape: tuple[int, ...]
    out: int
    kernel: tuple[int, ...]
    arguments: dict[str, Any]


CASES = (
    # the padding is the rate's multiple: the convolution pads in batch space, whole blocks are moved
    Case("1d_aligned", (2, 3, 12), 4, (3,), {"dilation": 2, "padding": 2}),
    Case("2d_aligned", (2, 3, 8, 12), 4, (3, 3), {"dilation": (2, 4), "padding": (2, 4)}),
    Case("3d_aligned", (1, 2, 4, 4, 6), 3, (3, 3, 3), {"dilation": 2, "padding": 2}),
    # the rate does not divide the size
    Case("2d_rest", (2, 3, 9, 11), 4, (3, 3), {"dilation": 4, "padding": 4}),
    # the padding is not: space_to_batch pads
    Case("1d_other_padding", (2, 3, 12), 4, (3,), {"dilation": 3, "padding": 2}),
    Case("2d_no_padding", (1, 2, 9, 10), 4, (2, 3), {"dilation": 3}),
    Case("2d_same_even_kernel", (1, 2, 9, 10), 4, (2, 4), {"dilation": 3, "padding": "same"}),
    Case("2d_same", (1, 2, 9, 10), 4, (3, 5), {"dilation": 2, "padding": "same"}),
    Case("2d_valid", (1, 2, 9, 10), 4, (3, 2), {"dilation": 2, "padding": "valid"}),
    # a rate wider than the image: most phases hold padding alone
    Case("2d_wide_rate", (1, 2, 5, 6), 4, (3, 3), {"dilation": 18, "padding": 18}),
    # one dim dilated, kernels of one, groups, depthwise, one output
    Case("2d_one_dim", (2, 4, 7, 9), 4, (3, 3), {"dilation": (1, 3), "padding": 1}),
    Case("2d_kernel_of_one", (2, 4, 7, 9), 4, (1, 3), {"dilation": (5, 2), "padding": (0, 2)}),
    Case("2d_groups", (2, 4, 8, 8), 6, (3, 3), {"dilation": 2, "padding": 2, "groups": 2}),
    Case("1d_depthwise", (2, 4, 13), 8, (5,), {"dilation": 4, "padding": 8, "groups": 4}),
    Case("1d_one_output", (2, 4, 9), 2, (3,), {"dilation": 4}),
    # strides: a divisor of the rate, a multiple, neither, beside a rate of one
    Case("1d_stride_divides", (2, 3, 17), 4, (3,), {"dilation": 4, "stride": 2, "padding": 3}),
    Case("1d_stride_multiple", (2, 3, 17), 4, (3,), {"dilation": 2, "stride": 4, "padding": 1}),
    Case("1d_stride_coprime", (2, 3, 17), 4, (3,), {"dilation": 3, "stride": 2, "padding": 4}),
    Case("2d_stride_beside", (2, 3, 9, 9), 4, (3, 3), {"dilation": (1, 2), "stride": (2, 1), "padding": (1, 2)}),
    Case("1d_stride_skips_the_image", (1, 1, 1), 1, (2,), {"dilation": 4, "stride": 4, "padding": 6}),
    Case("no_samples", (0, 3, 8, 8), 4, (3, 3), {"dilation": 2, "padding": 2}),
)


each_case = pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])


def tensors(case: Case, dtype: torch.dtype = torch.double) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    weight = (case.out, case.shape[1] // case.arguments.get("groups", 1), *case.kernel)
    return tuple(  # type: ignore[return-value]
        torch.randn(shape, generator=generator, dtype=torch.double).to(dtype).requires_grad_()
        for shape in (case.shape, weight, (case.out,))
    )


def assert_equal_with_gradients(actual: Tensor, expected: Tensor, inputs: Any, tolerance: float = 1e-10) -> None:
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)
    seed = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.double).to(
        expected.dtype
    )
    found, wanted = (torch.autograd.grad(y, inputs, seed) for y in (actual, expected))
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@each_case
@pytest.mark.parametrize("method", ["native", "batch_space"])
def test_equal(case: Case, method: Any) -> None:
    x, weight, bias = tensors(case)
    dims = len(case.kernel)
    expected = NATIVE[dims](x, weight, bias, **case.arguments)
    found = OURS[dims](x, weight, bias, **case.arguments, method=method)
    assert_equal_with_gradients(found, expected, (x, weight, bias))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("kind", PARENTS)
def test_padding_modes(kind: Any, mode: str) -> None:
    dims = int(kind.__name__[-2])
    arguments: dict[str, Any] = {"padding": (3,) * dims, "dilation": 2, "padding_mode": mode, "dtype": torch.double}
    ours = kind(2, 4, 3, method="batch_space", **arguments)
    theirs = PARENTS[kind](2, 4, 3, **arguments)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 2, *(5, 6, 7)[:dims], dtype=torch.double, requires_grad=True)
    assert_equal_with_gradients(ours(x), theirs(x), x)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """(input shape, weight shape, arguments): anything that PyTorch computes."""
    dims = draw(st.integers(1, 3))
    groups = draw(st.integers(1, 2))
    each = st.tuples

    def per_dim(values: st.SearchStrategy[int]) -> tuple[int, ...]:
        return draw(each(*[values] * dims))

    kernel, dilation, stride = (
        per_dim(st.integers(1, 4)),
        per_dim(st.integers(1, 6)),
        per_dim(st.sampled_from((1, 1, 2, 3, 4))),
    )
    padding: Any = per_dim(st.integers(0, 7))
    if draw(st.integers(0, 4)) == 0:
        padding, stride = "same", (1,) * dims
    sizes = []
    for k in range(dims):
        reach = dilation[k] * (kernel[k] - 1) + 1
        least = 1 if padding == "same" else max(1, reach - 2 * padding[k])
        sizes.append(least + draw(st.integers(0, 9 if dims < 3 else 3)))
    shape = (draw(st.integers(1, 2)), groups * draw(st.integers(1, 2)), *sizes)
    arguments = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return shape, (groups * draw(st.integers(1, 2)), shape[1] // groups, *kernel), arguments


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@settings(deadline=None, derandomize=True, max_examples=100, database=None)
@given(convolutions())
def test_equal_whatever_the_geometry(drawn: tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]) -> None:
    shape, weight_shape, arguments = drawn
    generator = torch.Generator().manual_seed(0)
    x, weight = (
        torch.randn(s, generator=generator, dtype=torch.double, requires_grad=True) for s in (shape, weight_shape)
    )
    dims = len(shape) - 2
    expected = NATIVE[dims](x, weight, **arguments)
    found = OURS[dims](x, weight, **arguments, method="batch_space")
    assert_equal_with_gradients(found, expected, (x, weight))


def moves(x_sizes: tuple[int, ...], weight: tuple[int, ...], **arguments: Any) -> tuple[dilated.Line, ...]:
    defaults = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    found = taps.normalize("conv", (1, weight[1], *x_sizes), weight, **{**defaults, **arguments})
    return dilated.lines(x_sizes, found)


def test_the_aligned_path_moves_whole_blocks() -> None:
    (line,) = moves((12,), (4, 2, 3), dilation=3, padding=6)
    assert (line.block, line.paddings, line.padding, line.crop) == (3, (0, 0), 2, 0)
    (line,) = moves((12,), (4, 2, 3), dilation=3, padding=5)
    assert (line.block, line.paddings, line.padding) == (3, (5, 7), 0)


def test_strides_leave_out_what_is_never_read() -> None:
    """A stride that divides the rate halves the image first; one that is its multiple leaves no dilation at all."""
    (line,) = moves((16,), (4, 2, 3), dilation=4, stride=2, padding=4)
    assert (line.step, line.block, line.stride, line.keep) == (2, 2, 1, 1)
    (line,) = moves((16,), (4, 2, 3), dilation=2, stride=4)
    assert (line.step, line.block, line.stride, line.keep) == (2, 1, 2, 1)
    (line,) = moves((16,), (4, 2, 3), dilation=3, stride=2)
    assert (line.step, line.block, line.stride, line.keep) == (1, 3, 1, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.complex128])
def test_dtypes(dtype: torch.dtype) -> None:
    """The tolerance is that of a sum of 18 products in another order."""
    case = CASES[1]
    x, weight, bias = tensors(case, dtype)
    expected = NATIVE[2](x, weight, bias, **case.arguments)
    found = functional.atrous_conv2d(x, weight, bias, **case.arguments, method="batch_space")
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 5e-2, torch.float16: 1e-2, torch.complex128: 1e-10}[dtype]
    assert_equal_with_gradients(found, expected, (x, weight, bias), tolerance)


@pytest.mark.parametrize("method", ["native", "batch_space"])
def test_autocast(method: Any) -> None:
    module = AtrousConv2d(2, 4, 3, padding=2, dilation=2, method=method)
    parent = torch.nn.Conv2d(2, 4, 3, padding=2, dilation=2)
    parent.load_state_dict(module.state_dict())
    x = torch.randn(1, 2, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, expected = module(x), parent(x)
        assert found.dtype == expected.dtype == torch.bfloat16
        torch.testing.assert_close(found, expected, rtol=5e-2, atol=5e-2)


def test_memory_order_is_kept() -> None:
    weight = torch.randn(4, 3, 3, 3)
    for layout in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(2, 3, 8, 8).contiguous(memory_format=layout)
        y = functional.atrous_conv2d(x, weight, padding=2, dilation=2, method="batch_space")
        assert y.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("kind", PARENTS)
def test_modules_are_their_parents(kind: Any) -> None:
    """Constructor, weights drawn from the same seed, state_dict both ways, copies, repr, unbatched input."""
    parent = PARENTS[kind]
    dims = int(kind.__name__[-2])
    arguments: dict[str, Any] = {"padding": 2, "dilation": 2, "groups": 2, "bias": False}
    torch.manual_seed(3)
    theirs = parent(2, 4, 3, **arguments)
    torch.manual_seed(3)
    ours = kind(2, 4, 3, method="batch_space", **arguments)
    assert isinstance(ours, parent)
    assert torch.equal(ours.weight, theirs.weight)
    assert repr(ours) == repr(theirs).replace("Conv", "AtrousConv")[:-1] + ", method='batch_space')"
    ours.load_state_dict(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, *(6, 7, 8)[:dims])
    copied = pickle.loads(pickle.dumps(copy.deepcopy(ours)))
    assert copied.method == "batch_space"
    assert ours(x).shape == theirs(x).shape
    torch.testing.assert_close(copied(x), theirs(x))


def test_double_backward() -> None:
    weight = torch.randn(2, 1, 3, dtype=torch.double, requires_grad=True)
    x = torch.randn(1, 1, 7, dtype=torch.double, requires_grad=True)

    def function(x: Tensor, weight: Tensor) -> Tensor:
        return functional.atrous_conv1d(x, weight, padding=2, dilation=2, method="batch_space")

    assert torch.autograd.gradcheck(function, (x, weight))
    assert torch.autograd.gradgradcheck(function, (x, weight))


def test_vmap_and_jvp() -> None:
    x, weight = torch.randn(3, 1, 2, 9, dtype=torch.double), torch.randn(4, 2, 3, dtype=torch.double)

    def function(x: Tensor) -> Tensor:
        return functional.atrous_conv1d(x, weight, padding=1, dilation=2)  # "auto" does not measure in a transform

    torch.testing.assert_close(torch.vmap(function)(x), torch.stack([function(part) for part in x]))
    _, tangent = torch.func.jvp(function, (x[0],), (x[1],))
    torch.testing.assert_close(tangent, function(x[1]))


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"method": "fast"}, ValueError, r"method must be one of .*, got 'fast'"),
        ({"method": None}, TypeError, r"method must be one of"),
        ({"padding_mode": "wrap"}, ValueError, r"padding_mode must be one of .*, got 'wrap'"),
        ({"dilation": 0}, ValueError, r"dilation\[0\] must be at least 1, got 0"),
        ({"dilation": (1, 2, 3)}, ValueError, r"dilation has 3 entries for 2 spatial dims"),
        ({"dilation": 1.5}, TypeError, r"dilation must be an integer or a sequence of integers, got 1.5"),
        ({"dilation": True}, TypeError, r"dilation must be an integer, got the bool True"),
        ({"stride": (1, -1)}, ValueError, r"stride\[1\] must be at least 1, got -1"),
        ({"stride": [1] * 999}, ValueError, r"stride has 999 entries for 2 spatial dims: .{,300}$"),
        ({"padding": -1}, ValueError, r"padding\[0\] must not be negative, got -1"),
        ({"padding": "full"}, ValueError, r"padding must be one of \('same', 'valid'\), got 'full'"),
        ({"padding": "same", "stride": 2}, ValueError, r'padding="same" needs a stride of 1, got \(2, 2\)'),
        ({"groups": 0}, ValueError, r"groups must be at least 1, got 0"),
        (
            {"input": torch.zeros(1, 6, 8, 8), "weight": torch.zeros(3, 3, 3, 3), "groups": 2},
            ValueError,
            r"groups=2 does not divide the 3 channels of the result",
        ),
        ({"groups": 2}, ValueError, r"the input has 3 channels, the weight .* takes 6"),
        ({"dilation": 9}, ValueError, r"dim 2 of size 8, padded by \(0, 0\), is smaller than the 19 elements"),
        ({"weight": torch.zeros(4, 3, 3)}, ValueError, r"weight must be 4-D, got shape \(4, 3, 3\)"),
        ({"weight": None}, TypeError, r"weight must be a torch.Tensor, got NoneType"),
        (
            {"weight": torch.zeros(4, 3, 3, 3).double()},
            ValueError,
            r"weight has dtype torch.float64, the input has torch.float32",
        ),
        ({"weight": torch.zeros(4, 3, 3, 3, device="meta")}, ValueError, r"weight is on meta, the input on cpu"),
        ({"bias": torch.zeros(3)}, ValueError, r"bias must have shape \(4,\), got \(3,\)"),
        ({"input": torch.zeros(8, 8)}, ValueError, r"input must be 4-D, or 3-D without a batch, got shape \(8, 8\)"),
    ],
    ids=str,
)
def test_bad_arguments(change: dict[str, Any], kind: type[Exception], message: str) -> None:
    arguments = {"input": torch.zeros(1, 3, 8, 8), "weight": torch.zeros(4, 3, 3, 3), "dilation": 2, **change}
    with pytest.raises(kind, match=rf"^atrous_conv2d: {message}"):
        functional.atrous_conv2d(**arguments)


def test_a_module_refuses_an_unknown_method() -> None:
    with pytest.raises(ValueError, match=r"^AtrousConv2d: method must be one of"):
        AtrousConv2d(1, 1, 3, method="best")  # type: ignore[arg-type]


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled(dynamic: bool) -> None:
    """One whole graph; "auto" is native there, for nothing can be measured."""
    torch.compiler.reset()
    for module in (
        AtrousConv2d(2, 4, 3, padding=2, dilation=2, method="batch_space"),
        AtrousConv2d(2, 4, 3, dilation=2),
    ):
        compiled = torch.compile(module, fullgraph=True, dynamic=dynamic, backend="aot_eager")
        for size in ((8, 8), (9, 11)) if dynamic else ((8, 9),):
            x = torch.randn(1, 2, *size, requires_grad=True)
            assert_equal_with_gradients(compiled(x), torch.nn.Conv2d.forward(module, x), (x, module.weight), 1e-5)
    torch.compiler.reset()
