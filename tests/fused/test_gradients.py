"""Gradients of the fused operators: against finite differences, and against those of the unfused sequence."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

import spacebatch
from spacebatch import fused
from tests.bits import using
from tests.work_calls import ACTIVATED

PADS = ((1, 0), (0, 2))


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype).requires_grad_()


@pytest.mark.parametrize("activation", ACTIVATED)
def test_against_finite_differences(activation: Any) -> None:
    """Of both orders; relu has no second one."""
    x, y, s, b, r = random(1, 2, 1, 2), random(4, 2, 1, 2), random(2), random(2), random(1, 2, 1, 2)
    words: Any = {"activation": activation}

    def to_batch(x: torch.Tensor, s: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return fused.space_to_batch(x, 2, PADS, scale=s, bias=b, pad="before", pad_value=0.5, **words)

    def to_space(y: torch.Tensor, s: torch.Tensor, b: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
        return fused.batch_to_space(y, 2, PADS, scale=s, bias=b, residual=r, **words)

    for function, inputs in ((to_batch, (x, s, b)), (to_space, (y, s, b, r))):
        assert torch.autograd.gradcheck(function, inputs)
        if activation in ("none", "gelu", "gelu_tanh", "silu"):  # those whose slope is spelled here
            assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize("to_batch", [True, False], ids=["space_to_batch", "batch_to_space"])
def test_against_the_unfused_sequence(to_batch: bool) -> None:
    """Whatever is wanted, with and without a residual, a border that enters, and one number for all channels."""
    with using("torch"):  # where no kernel has to be compiled for each combination
        compare(to_batch, torch.float32, ACTIVATED)
        compare(to_batch, torch.bfloat16, ("none", "silu"))
    compare(to_batch, torch.float32, ("gelu",), ("x", "xsbr"))


def compare(to_batch: bool, dtype: torch.dtype, activations: Any, kinds: Any = ("x", "xs", "b", "xsb", "xsbr")) -> None:
    """Each gradient of a fused call beside that of the unfused one."""
    shape = (2, 3, 5, 6) if to_batch else (8, 3, 3, 4)
    chances = itertools.product(activations, kinds, ("after", "before"), (3, None))
    for k, (activation, wanted, pad, channels) in enumerate(chances):
        if (to_batch and "r" in wanted) or (not to_batch and pad == "before"):
            continue
        x = random(*shape, seed=k, dtype=dtype)
        s, b = (random(*([channels] if channels else []), seed=k + n, dtype=torch.float32) for n in (1, 2))
        r = random(2, 3, 5, 6, seed=k + 3, dtype=torch.float16) if "r" in wanted else None
        given = {"x": x, "s": s, "b": b, "r": r}
        inputs = [given[name] for name in wanted]
        words: Any = {"scale": s if k % 3 else None, "bias": b if k % 5 else None, "activation": activation}
        inputs = [t for t in inputs if t is not s or k % 3]
        inputs = [t for t in inputs if t is not b or k % 5]
        if not inputs:
            continue

        def apart(z: torch.Tensor, words: Any = words, curve: Any = ACTIVATED[activation]) -> torch.Tensor:
            z = z.float()
            for name, step in (("scale", torch.mul), ("bias", torch.add)):
                if words[name] is not None:
                    z = step(z, words[name].reshape(-1, 1, 1))
            return curve(z)

        if to_batch:
            found = fused.space_to_batch(x, 2, PADS, pad=pad, pad_value=0.5, **words)
            moved = {"block_shape": 2, "paddings": PADS, "pad_value": 0.5}
            if pad == "before":
                expected = apart(spacebatch.space_to_batch(x, **moved)).to(dtype)
            else:
                expected = spacebatch.space_to_batch(apart(x).to(dtype), **moved)
        else:
            found = fused.batch_to_space(x, 2, PADS, residual=r, **words)
            inner = ACTIVATED[activation if r is None else "none"]
            expected = apart(spacebatch.batch_to_space(x, 2, PADS), curve=inner)
            expected = (expected if r is None else ACTIVATED[activation](expected + r.float())).to(dtype)
        grad = torch.randn(found.shape, generator=torch.Generator().manual_seed(k)).to(dtype)
        mine = torch.autograd.grad(found, inputs, grad)
        theirs = torch.autograd.grad(expected, inputs, grad)
        for a, c in zip(mine, theirs, strict=True):
            assert (a.dtype, a.shape) == (c.dtype, c.shape)
            rtol = 2e-2 if dtype is torch.bfloat16 else 1e-4
            torch.testing.assert_close(a, c, rtol=rtol, atol=rtol)


def test_the_gradient_of_a_residual_is_the_gradient() -> None:
    """Not a copy, where nothing comes after it."""
    y, r, grad = random(4, 2, 2, dtype=torch.float32), random(1, 4, 4, dtype=torch.float32), torch.ones(1, 4, 4)
    found = fused.batch_to_space(y, 2, spatial_dims=(1, 2), scale=2.0, residual=r)
    of_y, of_r = torch.autograd.grad(found, (y, r), grad)
    assert of_r.data_ptr() == grad.data_ptr()
    assert torch.equal(of_y, torch.full_like(of_y, 2.0))


def test_nothing_comes_of_what_was_cropped() -> None:
    """Where a cropped element is no number, its gradient is zero all the same."""
    y = torch.full((2, 1, 2), float("nan"))
    y[0, 0, 1] = y[1, 0, 0] = 1.0
    y.requires_grad_()
    x = fused.batch_to_space(y, 2, 1, scale=3.0, activation="silu")
    (grad,) = torch.autograd.grad(x.sum(), y)
    assert grad[0, 0, 0] == 0
    assert grad[1, 0, 1] == 0
    assert grad.isfinite().all()


def test_forward_mode_and_batched_gradients() -> None:
    x, s = random(1, 2, 2, 4), random(2)

    def function(x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        return fused.space_to_batch(x, 2, scale=s, activation="tanh")

    def apart(x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        return spacebatch.space_to_batch(torch.tanh(x * s.view(2, 1, 1)), 2)

    tangents = (torch.ones_like(x), torch.ones_like(s))
    mine, theirs = (torch.autograd.forward_ad, torch.func.jvp(apart, (x, s), tangents)[1])
    with mine.dual_level():
        dual = function(*(mine.make_dual(t, d) for t, d in zip((x, s), tangents, strict=True)))
        torch.testing.assert_close(mine.unpack_dual(dual).tangent, theirs)
    y = function(x, s)
    grads = torch.randn((3, *y.shape), dtype=y.dtype)
    batched = torch.autograd.grad(y, (x, s), grads, is_grads_batched=True, retain_graph=True)
    for k, grad in enumerate(grads):
        for a, c in zip(batched, torch.autograd.grad(y, (x, s), grad, retain_graph=True), strict=True):
            torch.testing.assert_close(a[k], c)


def test_integers_that_are_scaled() -> None:
    """An image of bytes has no gradient; what scales it has."""
    x, s = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4), random(1, dtype=torch.float32)
    (grad,) = torch.autograd.grad(fused.space_to_batch(x, 2, scale=s).sum(), s)
    assert grad.tolist() == [120.0]
    assert not fused.space_to_batch(x, 2, scale=s, dtype=torch.uint8).requires_grad
