"""The registered operators, under everything that looks into them: opcheck, fake tensors, tracing, subclasses, modes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

import spacebatch
from spacebatch import aten
from tests.bits import random_tensor, same
from tests.cases import Case, each_case, each_of, each_option

OPS = torch.ops.spacebatch
FEW = (
    "2d_blocks_differ",
    "asymmetric_border",
    "dims_unordered_padded",
    "shifted_padded",
    "no_samples_padded",
    "space_all_border",
)


def call(x: torch.Tensor, case: Case, options: dict[str, Any]) -> torch.Tensor:
    return OPS.space_to_batch(x, *aten.operator_arguments(case.geometry(**options), 3))


def call_back(y: torch.Tensor, case: Case, options: dict[str, Any]) -> torch.Tensor:
    return OPS.batch_to_space(y, *aten.operator_arguments(case.geometry(**options)))


@each_case
@each_option
def test_the_operators_are_the_functions(backend: str, case: Case, options: dict[str, Any]) -> None:
    x = random_tensor(case.shape, torch.int32)
    y = spacebatch.space_to_batch(x, **case.arguments, pad_value=3, **options)
    assert same(call(x, case, options), y)
    assert same(call_back(y, case, options), x)


@each_of(*FEW)
@pytest.mark.parametrize("requires_grad", [False, True], ids=["plain", "grad"])
@pytest.mark.parametrize("layout", ["contiguous", "transposed"])
def test_opcheck(case: Case, requires_grad: bool, layout: str) -> None:
    geometry = case.geometry(batch_order="batch_major", arrangement="contiguous")
    for op, shape, pad in (
        (OPS.space_to_batch.default, geometry.space_shape, (2.5,)),
        (OPS.batch_to_space.default, geometry.batch_shape, ()),
    ):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        x = x.transpose(-1, -2).contiguous().transpose(-1, -2) if layout == "transposed" else x
        arguments = aten.operator_arguments(geometry, *pad)
        assert set(torch.library.opcheck(op, (x.requires_grad_(requires_grad), *arguments)).values()) == {"SUCCESS"}


@each_of(*FEW)
@pytest.mark.parametrize("transposed", [False, True], ids=["contiguous", "transposed"])
def test_fake_tensors(case: Case, transposed: bool) -> None:
    x = random_tensor(case.shape, torch.float32)
    x = x.transpose(0, 1).contiguous().transpose(0, 1) if transposed else x
    inverse = case.geometry().inverse
    y = spacebatch.space_to_batch(x, **case.arguments)
    z = spacebatch.batch_to_space(y, **inverse)
    with FakeTensorMode() as mode:
        fake = mode.from_tensor(x)
        assert spacebatch.explain("space_to_batch", fake, **case.arguments).route == "operator"
        fake_y = spacebatch.space_to_batch(fake, **case.arguments)
        fake_z = spacebatch.batch_to_space(fake_y, **inverse)
        assert spacebatch.space_to_batch(fake, **case.arguments, out=torch.empty_like(fake_y)).shape == y.shape
        assert spacebatch.batch_to_space(fake_y, **inverse, out=torch.empty_like(fake_z)).shape == z.shape
    for made, real in ((fake_y, y), (fake_z, z)):
        assert (made.shape, made.stride(), made.dtype) == (real.shape, real.stride(), real.dtype)


@each_of("2d_blocks_differ", "asymmetric_border", "dims_unordered_padded")
def test_fake_tensors_refuse_bad_arguments(case: Case) -> None:
    with FakeTensorMode():
        x = torch.empty(case.shape)
        with pytest.raises(ValueError, match=r"^space_to_batch: .* not divisible"):
            spacebatch.space_to_batch(x, 7, spatial_dims=1)
        with pytest.raises(ValueError, match=r"^batch_to_space: the batch size .* is not divisible"):
            spacebatch.batch_to_space(x, 7, spatial_dims=1)


@each_of(*FEW)
@pytest.mark.parametrize("where", [0, 1, -1])
def test_vmap_over_the_operators(case: Case, where: int) -> None:
    options = {"batch_order": "batch_major", "arrangement": "contiguous"}
    xs = random_tensor((3, *case.shape), torch.int32)
    ys = torch.stack([call(x, case, options) for x in xs])
    mapped = torch.vmap(lambda x: call(x, case, options), in_dims=where)(xs.movedim(0, where))
    assert same(mapped, ys)
    assert same(torch.vmap(lambda y: call_back(y, case, options), in_dims=where)(ys.movedim(0, where)), xs)


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
@each_of("2d_blocks_differ", "asymmetric_border", "auto_each_dim")
def test_make_fx(mode: str, case: Case) -> None:
    inverse = case.geometry().inverse

    def function(x: torch.Tensor) -> torch.Tensor:
        y = spacebatch.space_to_batch(x.sin(), **case.arguments)
        return y, spacebatch.batch_to_space(y + 1, **inverse)

    traced = make_fx(function, tracing_mode=mode)(torch.rand(case.shape))
    x = torch.rand(case.shape)
    for a, b in zip(traced(x), function(x), strict=True):
        assert same(a, b)
    names = {node.target for node in traced.graph.nodes}
    assert (OPS.space_to_batch.default in names) == (mode != "symbolic")


def test_a_symbolic_trace_serves_other_sizes() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        return spacebatch.batch_to_space(spacebatch.space_to_batch(x, 2, ((2, 0), (0, 2))) * 2, 2, 1)

    traced = make_fx(function, tracing_mode="symbolic")(torch.rand(2, 3, 4, 6))
    x = torch.rand(5, 3, 8, 10)
    assert same(traced(x), function(x))


class Wrapped(torch.Tensor):
    """A tensor that holds another and sends every operator to it, as DTensor and the like do."""

    seen: list[Any] = []  # noqa: RUF012

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Wrapped:
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), dtype=inner.dtype, requires_grad=inner.requires_grad
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        cls.seen.append(func)
        plain = tree_map(lambda a: a.inner if isinstance(a, Wrapped) else a, (args, kwargs or {}))
        return tree_map(lambda a: Wrapped(a) if isinstance(a, torch.Tensor) else a, func(*plain[0], **plain[1]))


@each_of(*FEW)
@each_option
def test_a_subclass_sees_one_operator(backend: str, case: Case, options: dict[str, Any]) -> None:
    x = random_tensor(case.shape)
    inverse = case.geometry(**options).inverse
    y = spacebatch.space_to_batch(x, **case.arguments, **options)
    Wrapped.seen.clear()
    wrapped = spacebatch.space_to_batch(Wrapped(x), **case.arguments, **options)
    assert Wrapped.seen == [OPS.space_to_batch.default]
    assert type(wrapped) is Wrapped
    assert same(wrapped.inner, y)
    Wrapped.seen.clear()
    back = spacebatch.batch_to_space(wrapped, **inverse)
    assert Wrapped.seen == [OPS.batch_to_space.default]
    assert same(back.inner, spacebatch.batch_to_space(y, **inverse))
    assert spacebatch.explain("space_to_batch", Wrapped(x), **case.arguments).route == "operator"


def test_gradients_through_a_subclass(backend: str) -> None:
    x = Wrapped(random_tensor((1, 2, 3, 5))).requires_grad_()
    y = spacebatch.space_to_batch(x, 2, "auto")
    upstream = random_tensor(tuple(y.shape), seed=1)
    Wrapped.seen.clear()
    (grad,) = torch.autograd.grad(y, x, Wrapped(upstream))
    assert OPS.batch_to_space.default in Wrapped.seen
    expected = spacebatch.batch_to_space(upstream, 2, ((0, 1), (0, 1)))
    assert same(grad.inner, expected)
    z = Wrapped(upstream).requires_grad_()
    (grad,) = torch.autograd.grad(spacebatch.batch_to_space(z, 2, ((0, 1), (0, 1))), z, Wrapped(expected))
    assert same(grad.inner, spacebatch.space_to_batch(expected, 2, "auto"))


class Recording(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(func)
        return func(*args, **kwargs or {})


def test_a_mode_sees_one_operator(backend: str) -> None:
    x = random_tensor((1, 3, 4, 4))
    expected = spacebatch.space_to_batch(x, 2, 1)
    with Recording() as mode:
        assert spacebatch.explain("space_to_batch", x, 2, 1).route == "operator"
        y = spacebatch.space_to_batch(x, 2, 1)
        z = spacebatch.batch_to_space(y, 2, 1)
    assert [f for f in mode.seen if f.namespace == "spacebatch"] == [
        OPS.space_to_batch.default,
        OPS.batch_to_space.default,
    ]
    assert same(y, expected)
    assert same(z, x)


DENORMAL = {
    "one-border-too-few": ((1, 3, 4, 4), ([2, 2], [0, 0, 0], [2, 3]), r"has 3 entries for 2 blocked dims"),
    "no-borders": ((1, 3, 4, 4), ([2, 2], [], [2, 3]), r"has 0 entries for 2 blocked dims"),
    "fewer-blocks-than-dims": ((1, 3, 4, 4), ([2], [0] * 4, [2, 3]), r"block_shape has 1 entries for 2"),
    "fewer-dims-than-blocks": ((1, 3, 4, 4), ([2, 2], [0, 0], [2]), r"block_shape has 2 entries for 1"),
    "block-of-zero": ((1, 3, 4, 4), ([0, 2], [0] * 4, [2, 3]), r"block_shape\[0\] must be at least 1"),
    "negative-border": ((1, 3, 4, 4), ([2, 2], [0, 0, -2, 0], [2, 3]), r"\[1\]\[0\] must not be negative"),
    "dim-zero": ((1, 3, 4, 4), ([2, 2], [0] * 4, [0, 3]), r"spatial_dims\[0\] names dim 0"),
    "dim-twice": ((1, 3, 4, 4), ([2, 2], [0] * 4, [3, -1]), r"names dim 3 twice"),
    "not-divisible": ((3, 3, 5, 5), ([2, 2], [0] * 4, [2, 3]), r"not divisible"),
}


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("name", DENORMAL)
def test_arguments_that_are_not_in_normal_form(device: str, name: str) -> None:
    shape, arguments, message = DENORMAL[name]
    x = torch.zeros(shape, device=device)
    with pytest.raises(ValueError, match=rf"^space_to_batch: .*{message}"):
        OPS.space_to_batch(x, *arguments)
    with pytest.raises(ValueError, match=rf"^batch_to_space: .*{message}"):
        OPS.batch_to_space(x, *arguments)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_words_and_pad_values_of_the_operators(device: str) -> None:
    x = torch.zeros(4, 4, dtype=torch.uint8, device=device)
    with pytest.raises(ValueError, match=r"^space_to_batch: batch_order must be one of"):
        OPS.space_to_batch(x, [2], [0, 0], [1], batch_order="major")
    with pytest.raises(ValueError, match=r"^batch_to_space: arrangement must be one of"):
        OPS.batch_to_space(x, [2], [0, 0], [1], arrangement="windows")
    with pytest.raises(ValueError, match=r"^space_to_batch: pad_value 256 is out of range"):
        OPS.space_to_batch(x, [2], [0, 0], [1], 256)


def test_deepcopies_of_results(backend: str) -> None:
    y = spacebatch.space_to_batch(random_tensor((1, 4)), (2,))
    assert same(copy.deepcopy(y), y)
