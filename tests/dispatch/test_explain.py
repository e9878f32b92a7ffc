"""spacebatch.explain: the way, the backend, the reasons, and the text it prints."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import spacebatch


def route(*args: Any) -> str:
    return spacebatch.explain("space_to_batch", *args).route


def test_the_whole_text() -> None:
    with spacebatch.use_backend("numpy"):
        told = spacebatch.explain("space_to_batch", torch.ones(1, 3, 5, 5), 2, "auto", arrangement="contiguous")
    assert str(told) == (
        "space_to_batch: (1, 3, 5, 5) -> (4, 3, 3, 3)\n"
        "  blocks   (2, 2) on dims (2, 3), borders ((0, 1), (0, 1)), block_major, contiguous\n"
        "  route    eager: straight to the backend\n"
        "  backend  numpy\n"
        "  kernel   strided copies of whole rectangles, border filled apart"
    )


def test_reasons_are_told() -> None:
    x = torch.ones(9, 3, 3, 3, device="meta")
    with spacebatch.use_backend("numpy"):
        told = spacebatch.explain(spacebatch.batch_to_space, x, 3, crops=2, out=None)
    assert told.reasons == {"numpy": "the tensor is on meta, not on the CPU"}
    lines = str(told).splitlines()
    assert lines[0] == "batch_to_space: (9, 3, 3, 3) -> (1, 3, 5, 5)"
    assert lines[-3:] == [
        "  backend  None",
        "  kernel   none: the call fails",
        "  not numpy: the tensor is on meta, not on the CPU",
    ]


def test_routes() -> None:
    x = torch.ones(1, 4)
    assert route(x, (2,)) == "eager"
    assert route(torch.nn.Parameter(x), (2,)) == route(x.clone().requires_grad_(), (2,)) == "autograd"
    with torch.no_grad():
        assert route(torch.nn.Parameter(x), (2,)) == "eager"
    with torch.autograd.forward_ad.dual_level():
        assert route(x, (2,)) == "autograd"
    routes = []
    torch.vmap(lambda row: routes.append(route(row, (2,))) or row)(torch.ones(2, 1, 4))
    torch.func.grad(lambda row: routes.append(route(row, (2,))) or row.sum())(x)
    assert routes == ["aten", "aten"]
    assert route(np.ones((1, 4)), (2,)) == "eager"


def test_what_is_said_of_routes() -> None:
    def told(x: Any) -> str:
        return str(spacebatch.explain("space_to_batch", x, (2,)))

    x, texts = torch.ones(1, 4), []
    torch.vmap(lambda row: texts.append(told(row)) or row)(torch.ones(2, 1, 4))
    with FakeTensorMode():
        texts.append(told(torch.ones(1, 4)))
    for text, line in zip(
        (told(x), told(np.ones((1, 4))), told(x.requires_grad_()), *texts),
        (
            "eager: straight to the backend",
            "eager: straight to the backend",
            "autograd: a gradient is wanted",
            "aten: compiling or transforming, hence PyTorch's own operators",
            "operator: a tensor subclass or a dispatch mode, hence torch.ops.spacebatch",
        ),
        strict=True,
    ):
        assert f"  route    {line}" in text.splitlines()


def test_backends_and_kernels() -> None:
    """A meta tensor is told what a GPU would do."""
    x = torch.ones(1, 4096)
    tensors = {"plain": x, "meta": x.to("meta"), "array": np.ones((1, 4096), np.float32)}
    told = {
        name: spacebatch.explain("space_to_batch", x, (2,), pad_value="not looked at") for name, x in tensors.items()
    }
    assert {name: t.backend for name, t in told.items()} == {"plain": "llvm", "meta": "triton", "array": "llvm"}
    assert told["plain"].kernel == told["array"].kernel
    assert told["meta"].kernel.startswith("move_")
    for name in ("plain", "array"):
        with spacebatch.use_backend("numpy"):
            kernel = spacebatch.explain("space_to_batch", tensors[name], (2,)).kernel
            assert kernel == "strided copies of whole rectangles, border filled apart"
    with spacebatch.use_backend("torch"):
        assert spacebatch.explain("space_to_batch", x, (2,)).kernel == "one strided copy"
        assert spacebatch.explain("space_to_batch", x, (2,), "auto").kernel == "one strided copy"
        assert spacebatch.explain("space_to_batch", x, (2,), 1).kernel == "padded, then one strided copy"
        assert spacebatch.explain("batch_to_space", x.view(2, -1), (2,), 1).kernel == "one strided copy, then cropped"
        told_of_array = spacebatch.explain("space_to_batch", tensors["array"], (2,))
    assert told_of_array.backend is None
    assert told_of_array.reasons == {"torch": "it does not compute on a NumPy array"}


def test_the_layout_of_an_out_is_looked_at() -> None:
    x, out = torch.ones(1, 4, 4), torch.ones(2, 2, 4).transpose(1, 2)
    assert "strides" not in str(spacebatch.explain("space_to_batch", x, (2,)).reasons)
    told = spacebatch.explain("space_to_batch", x, (2,), out=out)
    spacebatch.space_to_batch(x, (2,), out=out)
    assert told.kernel != spacebatch.explain("space_to_batch", x, (2,)).kernel


def test_an_explanation_is_frozen_and_hashable() -> None:
    told = spacebatch.explain("space_to_batch", torch.ones(1, 4), (2,))
    assert hash(told) == hash(spacebatch.explain("space_to_batch", torch.ones(1, 4), (2,)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        told.route = "other"  # type: ignore[misc]


def test_nothing_is_computed() -> None:
    huge = torch.empty(1, 2**20, 2**20, device="meta")
    assert spacebatch.explain("space_to_batch", huge, (2, 2)).geometry.batch_shape == (4, 2**19, 2**19)


@pytest.mark.parametrize(
    ("shape", "block", "layout", "kernel"),
    [
        ((1, 16, 64, 64), 3, None, "deinterleave 3 phases, words of 2 bytes"),
        ((1, 16, 64), 32, None, "transpose many phases in tiles, words of 2 bytes"),
        ((1, 16, 8), 8, None, "transpose in tiles, words of 2 bytes"),
        ((1, 16, 64, 64), 2, torch.channels_last, "strided segments of 32 bytes, words of 8 bytes"),
        ((2, 16, 512, 512), 2, None, "deinterleave 2 phases, words of 2 bytes, shared by threads"),
    ],
)
def test_vector_kernels(shape: tuple[int, ...], block: int, layout: Any, kernel: str) -> None:
    x = torch.empty(shape, dtype=torch.float16)
    x = x if layout is None else x.to(memory_format=layout)
    told = spacebatch.explain("space_to_batch", x, block, "auto")
    assert (told.backend, told.kernel) == ("llvm", kernel)


def test_why_no_vector_kernel() -> None:
    told = spacebatch.explain("space_to_batch", torch.ones(1, 2, 8, 8)[..., ::2], 2)
    assert told.backend == "torch"
    assert told.reasons["llvm"] == "what is next to each other in one tensor is neither near nor far in the other"
    told = spacebatch.explain("space_to_batch", np.array([["a", "b"]], dtype=object), (2,))
    assert told.backend == "numpy"
    assert told.reasons == {"llvm": "dtype object is not one of plain numbers", "numpy": None}
    assert "  not llvm: dtype object is not one of plain numbers" in str(told).splitlines()
