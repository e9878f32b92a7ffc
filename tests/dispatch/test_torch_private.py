"""The core of the suite with the public fallbacks in place of PyTorch's private hooks: other ways, the same results."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spacebatch import torch_private

TESTS = Path(__file__).parents[1]
CORE = (
    *("reference/test_literals.py", "reference/test_layouts.py", "dispatch/test_transforms.py", "nn/test_modules.py"),
    "dispatch/test_gradients.py::test_finite_differences",
)


@pytest.mark.skipif(not torch_private.PRIVATE, reason="the fallbacks are in place already")
def test_the_core_passes_without_private_hooks() -> None:
    # what is asked here is bits and gradients of the backends that are chosen; compiled autograd has a file of its own
    command = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", "not compiled and not numpy and not torch"]
    done = subprocess.run(
        [sys.executable, *command, *(str(TESTS / name) for name in CORE)],
        cwd=TESTS.parent,
        env={**os.environ, "SPACEBATCH_PUBLIC_HOOKS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout


class Square(torch.autograd.Function):
    """The plainest function, to compare two ways of applying it."""

    @staticmethod
    def forward(ctx, x):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        return 2 * x * grad


def test_the_short_apply_is_the_public_one() -> None:
    for apply in (torch_private.apply_of(Square), Square.apply):
        x = torch.tensor([1.0, 3.0], requires_grad=True)
        y = apply(x)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert (y.tolist(), gradient.tolist()) == ([1.0, 9.0], [2.0, 6.0])


@pytest.mark.skipif(not torch_private.PRIVATE, reason="the fallbacks are in place")
def test_every_private_hook_is_found() -> None:
    """On a release of PyTorch without one of them this fails, and the fallback goes on working."""
    assert torch_private.functorch_level is not torch_private._unknown_transform
    assert torch_private.functorch_level() is None
    assert not torch_private.mode_active()
    assert not torch_private.forward_ad_active()
    assert not torch_private.is_compiling()
    assert torch_private.transform_in_graph is not torch_private._unknown_transform
    assert torch_private.has_storage is not torch_private._reads_storage
    assert torch_private.dispatch_modes is not None
    assert torch_private._LEVELS
    assert torch_private.is_tracing is torch._C._is_tracing


def test_public_hooks_answer_the_same() -> None:
    seen = []

    def look(x: torch.Tensor) -> torch.Tensor:
        seen.append((bool(torch_private.has_storage(x)), torch_private._reads_storage(x)))
        return x.sum()

    torch.vmap(look)(torch.ones(2, 3))
    look(torch.ones(2))
    assert seen == [(False, False), (True, True)]
    assert torch_private._find("no_such_thing", "_C.no_such_thing") is None
    assert torch_private._unknown_transform()
