"""Under the modes of PyTorch, dtypes, devices and memory formats come out as they went in."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import spacebatch
from tests.bits import random_tensor, same

LAYOUTS = {
    "channels_last": ((2, 3, 4, 6), torch.channels_last),
    "channels_last_3d": ((2, 3, 4, 2, 6), torch.channels_last_3d),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("requires_grad", [False, True], ids=["plain", "grad"])
def test_autocast_leaves_dtypes_alone(dtype: torch.dtype, requires_grad: bool) -> None:
    x = random_tensor((1, 2, 4, 4), dtype).requires_grad_(requires_grad)
    expected = spacebatch.space_to_batch(x, 2, 1).detach()
    with torch.autocast("cpu", torch.bfloat16):
        y = spacebatch.space_to_batch(x, 2, 1)
        z = spacebatch.batch_to_space(y, 2, 1)
    assert (y.dtype, z.dtype) == (dtype, dtype)
    assert same(y.detach(), expected)
    assert same(z.detach(), x.detach())


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("how", ["eager", "gradient", "compiled"])
def test_memory_formats_are_kept(name: str, how: str) -> None:
    shape, layout = LAYOUTS[name]
    x = random_tensor(shape).to(memory_format=layout).requires_grad_(how == "gradient")
    torch.compiler.reset()

    def function(t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = spacebatch.space_to_batch(t, 2, 1)
        return y, spacebatch.batch_to_space(y, 2, 1)

    call = torch.compile(function, fullgraph=True, backend="aot_eager") if how == "compiled" else function
    for found, expected in zip(call(x), function(x.detach().contiguous()), strict=True):
        assert found.is_contiguous(memory_format=layout)
        assert not found.is_contiguous()
        assert same(found.detach(), expected)


@pytest.mark.parametrize("cls", [spacebatch.nn.SpaceToBatch, spacebatch.nn.BatchToSpace])
def test_modules_are_compiled(cls: Any) -> None:
    torch.compiler.reset()
    module, x = cls((2, 2), ((1, 0), (0, 1)), batch_order="batch_major"), random_tensor((4, 2, 3, 3))
    assert same(torch.compile(module, fullgraph=True, backend="aot_eager")(x), module(x))


def test_deterministic_mode() -> None:
    x = random_tensor((1, 2, 4, 4)).requires_grad_()
    expected = spacebatch.space_to_batch(x, 2, 1).detach()
    torch.use_deterministic_algorithms(True)
    try:
        y = spacebatch.space_to_batch(x, 2, 1)
        y.sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)
    assert same(y.detach(), expected)
