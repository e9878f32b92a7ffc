"""Gradients: against finite differences, against each other, and under every transform of torch.func."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import spacebatch
from spacebatch.by_hand import by_hand
from tests.bits import random_tensor, same
from tests.cases import Case, each_case, each_of, each_option

FEW = ("1d", "asymmetric_border", "dims_unordered_padded", "first_whole_last", "no_channels", "space_all_border")
# Small, for the Jacobian is dense: sizes that only matter to a copy are left to other tests.
SMALL_CASES = {
    "1d": Case("1d", (2, 4), (2,)),
    "2d_padded": Case("2d_padded", (1, 1, 3, 2), 2, ((1, 0), (1, 1))),
    "dims_reversed": Case("dims_reversed", (1, 2, 3), (3, 1), ((0, 0), (1, 0)), (2, 1)),
    "auto": Case("auto", (1, 1, 5), (3,), "auto"),
    "shifted": Case("shifted", (1, 1, 3, 4), 2, ((1, 0), (0, 0)), shifts=(1, -1)),
    "all_border": Case("all_border", (1, 0, 2), (1, 2), ((2, 0), (0, 0))),
}


def pair_of(case: Case, options: dict[str, Any]) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """(space_to_batch, batch_to_space) of a case, each of one tensor."""
    inverse = case.geometry(**options).inverse
    return (
        lambda x: spacebatch.space_to_batch(x, **case.arguments, **options),
        lambda y: spacebatch.batch_to_space(y, **inverse),
    )


@pytest.mark.parametrize("name", SMALL_CASES)
@each_option
def test_finite_differences(backend: str, name: str, options: dict[str, Any]) -> None:
    case = SMALL_CASES[name]
    dtype = torch.cdouble if name in ("2d_padded", "auto") else torch.double
    for function, shape in zip(pair_of(case, options), (case.shape, case.geometry(**options).batch_shape), strict=True):
        x = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0)).requires_grad_()
        checks = {"check_batched_grad": True, "check_forward_ad": True}
        assert gradcheck(function, x, **checks, check_batched_forward_grad=True)
        assert gradgradcheck(function, x, check_batched_grad=True, check_fwd_over_rev=True, check_rev_over_rev=True)


@each_case
@each_option
def test_each_is_the_gradient_of_the_other(backend: str, case: Case, options: dict[str, Any]) -> None:
    to_batch, to_space = pair_of(case, options)
    x = random_tensor(case.shape, torch.float32).requires_grad_()
    y = to_batch(x)
    assert y.requires_grad
    assert same(y.detach(), to_batch(x.detach()))
    upstream = random_tensor(tuple(y.shape), torch.float32, seed=1).requires_grad_()
    (grad,) = torch.autograd.grad(y, x, upstream, create_graph=True)
    assert same(grad.detach(), to_space(upstream.detach()))
    again = random_tensor(case.shape, torch.float32, seed=2)
    (second,) = torch.autograd.grad(grad, upstream, again, create_graph=True)
    assert same(second.detach(), to_batch(again))

    z = random_tensor(tuple(y.shape), torch.float32, seed=3).requires_grad_()
    back = to_space(z)
    (grad,) = torch.autograd.grad(back, z, again, create_graph=True)
    assert same(grad.detach(), to_batch(again))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "complex64"])
def test_gradients_of_every_dtype(backend: str, dtype: str) -> None:
    x = random_tensor((1, 2, 3, 5), getattr(torch, dtype)).requires_grad_()
    y = spacebatch.space_to_batch(x, 2, "auto", pad_value=3)
    upstream = random_tensor(tuple(y.shape), x.dtype, seed=1)
    (grad,) = torch.autograd.grad(y, x, upstream)
    assert same(grad, spacebatch.batch_to_space(upstream, 2, ((0, 1), (0, 1))))


def test_the_pad_value_has_no_gradient(backend: str) -> None:
    """Its gradient is zero: second order, where the border is read again, it must not come back."""
    x = torch.zeros(1, 3, requires_grad=True)
    z = torch.ones(2, 2, requires_grad=True)
    (grad,) = torch.autograd.grad(spacebatch.batch_to_space(z, (2,), ((0, 1),)), z, torch.ones(1, 3))
    assert grad.tolist() == [[1, 1], [1, 0]]
    y = spacebatch.space_to_batch(x, (2,), ((0, 1),), pad_value=7.0)
    assert y.tolist() == [[0, 0], [0, 7]]
    _, tangent = torch.func.jvp(
        lambda t: spacebatch.space_to_batch(t, (2,), ((0, 1),), pad_value=7.0), (x.detach(),), (torch.ones(1, 3),)
    )
    assert tangent.tolist() == [[1, 1], [1, 0]]
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x.detach(), torch.ones(1, 3))
        y = spacebatch.space_to_batch(dual, (2,), ((0, 1),), pad_value=7.0)
        back = spacebatch.batch_to_space(y, (2,), ((0, 1),))
        tangents = [torch.autograd.forward_ad.unpack_dual(t).tangent.tolist() for t in (y, back)]
        assert tangents == [[[1, 1], [1, 0]], [[1, 1, 1]]]


SHAPES = {"space_to_batch": (2, 1, 3, 3), "batch_to_space": (12, 1, 2, 2)}


def both_ways(op: str, options: dict[str, Any]) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """(the library's function, the one written by hand)."""
    shifts = (1, -2) if options["arrangement"] == "contiguous" else 0
    g = spacebatch.BlockGeometry(SHAPES["space_to_batch"], (2, 3), ((1, 0), (2, 1)), shifts=shifts, **options)
    arguments = g.arguments if op == "space_to_batch" else g.inverse
    return lambda x: getattr(spacebatch, op)(x, **arguments), by_hand(op, g)


TRANSFORMS: dict[str, Callable[[Callable[[Tensor], Tensor], Tensor], Any]] = {
    "call": lambda f, x: f(x),
    "grad": lambda f, x: torch.func.grad(lambda z: (f(z).sin() * 3).sum())(x),
    "grad_of_grad": lambda f, x: torch.func.grad(lambda z: torch.func.grad(lambda w: f(w).pow(3).sum())(z).sum())(x),
    "vjp": lambda f, x: torch.func.vjp(f, x)[1](f(x).cos())[0],
    "jvp": lambda f, x: torch.func.jvp(f, (x,), (x.cos(),)),
    "jacrev": lambda f, x: torch.func.jacrev(f)(x),
    "jacfwd": lambda f, x: torch.func.jacfwd(f)(x),
    "hessian": lambda f, x: torch.func.hessian(lambda z: f(z)[:3].pow(3).sum())(x),
    "vmap": lambda f, x: torch.vmap(f)(torch.stack([x, x + 1])),
    "vmap_last": lambda f, x: torch.vmap(f, in_dims=-1, out_dims=1)(torch.stack([x, x + 1], -1)),
    "vmap_of_vmap": lambda f, x: torch.vmap(torch.vmap(f))(torch.stack([x, x + 1])[None]),
    "vmap_of_grad": lambda f, x: torch.vmap(torch.func.grad(lambda z: f(z).sin().sum()))(torch.stack([x, x + 1])),
    "functionalize": lambda f, x: torch.func.functionalize(f)(x),
    "linearize": lambda f, x: torch.func.linearize(f, x)[1](x.cos()),
    "checkpoint": lambda f, x: torch.utils.checkpoint.checkpoint(f, x, use_reentrant=False),
    "batched_gradients": lambda f, x: torch.autograd.grad(
        (leaf := x.clone().requires_grad_(), y := f(leaf))[1], leaf, torch.stack([y, y * 2]), is_grads_batched=True
    )[0],
}


@pytest.mark.parametrize("op", SHAPES)
@pytest.mark.parametrize("transform", TRANSFORMS)
@each_option
def test_transforms_equal_the_composition_by_hand(op: str, transform: str, options: dict[str, Any]) -> None:
    x = torch.randn(SHAPES[op], generator=torch.Generator().manual_seed(0))
    found, expected = (TRANSFORMS[transform](function, x) for function in both_ways(op, options))
    for a, b in zip(found, expected, strict=True) if isinstance(found, tuple) else ((found, expected),):
        assert same(a, b)


@each_of(*FEW)
@each_option
def test_vmap_is_a_loop(case: Case, options: dict[str, Any]) -> None:
    to_batch, to_space = pair_of(case, options)
    xs = random_tensor((3, *case.shape), torch.int32)
    ys = torch.vmap(to_batch)(xs)
    assert same(ys, torch.stack([to_batch(x) for x in xs]))
    assert same(torch.vmap(to_space)(ys), xs)
    padded = {**case.arguments, **options, "pad_value": 1 - 2j}
    zs = random_tensor((3, *case.shape), torch.complex64)
    mapped = torch.vmap(lambda z: spacebatch.space_to_batch(z, **padded))(zs)
    assert same(mapped, torch.stack([spacebatch.space_to_batch(z, **padded) for z in zs]))


def test_a_gradient_in_place_after(backend: str) -> None:
    """The result may be written to, and what was saved for the gradient does not notice."""
    x = torch.ones(1, 4, requires_grad=True)
    y = spacebatch.space_to_batch(x, (2,))
    y.mul_(3)
    z = spacebatch.batch_to_space(y, (2,))
    z.add_(1).mul_(2)
    z.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[6, 6, 6, 6]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
def test_results_are_written_to_freely(backend: str, dtype: torch.dtype) -> None:
    """No result is a view as autograd sees it: made without gradients, it may meet them later, in place."""
    weight = torch.tensor(2.0, dtype=dtype, requires_grad=True)
    x = torch.ones(1, 4, dtype=dtype, requires_grad=True)
    with torch.no_grad():
        first = spacebatch.space_to_batch(x, (2,))
        second = spacebatch.batch_to_space(first, (2,), ((1, 0),))
    third = torch.ops.spacebatch.space_to_batch(x, (2,), (0, 0), (1,))
    for y in (first, second, third):
        assert not y._is_view()
        y.mul_(weight)
        assert y.requires_grad


def test_no_grad_and_inference(backend: str) -> None:
    x = torch.rand(1, 2, 4, 4, requires_grad=True)
    out = torch.empty(4, 2, 2, 2)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            y = spacebatch.space_to_batch(x, 2)
            assert not y.requires_grad
            assert spacebatch.explain("space_to_batch", x, 2).route == "eager"
            assert same(spacebatch.batch_to_space(y, 2), x.detach())
            spacebatch.space_to_batch(x, 2, out=out)
            assert same(out, spacebatch.space_to_batch(x.detach(), 2))
    with torch.inference_mode():
        inside = spacebatch.space_to_batch(torch.ones(1, 2, 4, 4), 2)
    assert inside.is_inference()
    assert same(spacebatch.batch_to_space(inside, 2), torch.ones(1, 2, 4, 4))  # what was made there is read here


def test_out_inside_a_dual_level(backend: str) -> None:
    """The way of a possible tangent: no gradient is wanted, and `out` is filled."""
    x, out = random_tensor((1, 2, 4, 4)), torch.empty(4, 2, 2, 2)
    with torch.autograd.forward_ad.dual_level():
        assert spacebatch.space_to_batch(x, 2, out=out) is out
        back = torch.empty_like(x)
        assert spacebatch.batch_to_space(out, 2, out=back) is back
    assert same(back, x)
    assert same(out, spacebatch.space_to_batch(x, 2))
