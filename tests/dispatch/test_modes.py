"""Under the modes of PyTorch, dtypes, devices and memory formats come out as they went in."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch

import spacebatch
from tests.bits import random_tensor, same
from tests.cases import Case, each_case, each_option

LAYOUTS = {
    "channels_last": ((2, 3, 4, 6), torch.channels_last),
    "channels_last_3d": ((2, 3, 4, 2, 6), torch.channels_last_3d),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str)
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


@each_case
@each_option
def test_meta_tensors_have_the_shapes_and_strides_of_real_ones(case: Case, options: dict[str, Any]) -> None:
    geometry = case.geometry(**options)
    for function, arguments, shape in (
        (spacebatch.space_to_batch, geometry.arguments, geometry.space_shape),
        (spacebatch.batch_to_space, geometry.inverse, geometry.batch_shape),
    ):
        plain = torch.empty(shape)
        swapped = torch.empty_strided(shape, tuple(reversed(torch.empty(shape[::-1]).stride())))
        for x in (plain, swapped):
            real, meta = function(x, **arguments), function(x.to("meta"), **arguments)
            assert meta.device.type == "meta"
            assert (meta.shape, meta.stride(), meta.dtype) == (real.shape, real.stride(), real.dtype)


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
def test_modules_are_copied_stored_and_compiled(cls: Any) -> None:
    torch.compiler.reset()
    module = cls((2, 2), ((1, 0), (0, 1)), batch_order="batch_major")
    x = random_tensor((4, 2, 3, 3))
    expected = module(x)
    for other in (
        copy.deepcopy(module),
        pickle.loads(pickle.dumps(module)),
        torch.compile(module, fullgraph=True, backend="aot_eager"),
    ):
        other.load_state_dict(module.state_dict())
        assert same(other(x), expected)


def test_inference_mode_and_its_results() -> None:
    x = random_tensor((1, 2, 4, 4))
    with torch.inference_mode():
        y = spacebatch.space_to_batch(x, 2, 1)
        assert y.is_inference()
        assert same(spacebatch.batch_to_space(y, 2, 1), x)
    assert same(spacebatch.batch_to_space(y, 2, 1), x)  # what was made there is read here


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


@pytest.mark.parametrize("op", ["space_to_batch", "batch_to_space"])
def test_jagged_tensors_name_the_alternative(op: str) -> None:
    x = torch.nested.nested_tensor([torch.zeros(3, 4), torch.zeros(2, 4)], layout=torch.jagged)
    with pytest.raises(
        TypeError, match=rf"^{op}: nested tensors .*unbind\(\), or pad them with torch.nested.to_padded"
    ):
        getattr(spacebatch, op)(x, 2)
