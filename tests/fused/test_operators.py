"""The fused operators under everything that looks into them: opcheck, compilers, transforms, exports, fake tensors, modes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import spacebatch
from spacebatch import fused
from tests.bits import same, using

OPS = torch.ops.spacebatch
CUT = ([2, 3], [1, 0, 0, 2], [2, 3])  # block_shape, borders, spatial_dims


def tensors() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(2, 3, 5, 4, generator=generator),
        torch.randn(3, generator=generator),
        torch.randn(3, generator=generator),
    )


def both(x: torch.Tensor, s: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """A call of each operator, back and forth."""
    y = fused.space_to_batch(x, (2, 3), ((1, 0), (0, 2)), scale=s, bias=b, activation="silu", dtype=torch.float16)
    return fused.batch_to_space(y, (2, 3), ((1, 0), (0, 2)), scale=s, residual=x, activation="tanh", dtype=x.dtype)


def test_opcheck() -> None:
    with using("torch"):
        opcheck()


def opcheck() -> None:
    """Both operators under PyTorch's own checks."""
    x, s, b = (t.requires_grad_() for t in tensors())
    y = torch.randn(12, 3, 3, 2, requires_grad=True)
    words: Any = {"channel_dim": 1, "activation": "gelu"}
    for op, inputs, more in (
        (OPS.fused_space_to_batch, (x, s, b, None), {"pad": "before", "pad_value": 0.5}),
        (OPS.fused_batch_to_space, (y, s, None, x.detach().half()), {"dtype": torch.float16}),
    ):
        found = torch.library.opcheck(op.default, (*inputs, *CUT), {**words, **more})
        assert set(found.values()) == {"SUCCESS"}


@pytest.mark.parametrize("spelling", ["aten", "kernel"])
def test_compiled(spelling: Any) -> None:
    """With gradients; a graph holds our operators where they are asked for, else none of them."""
    x, s, b = (t.requires_grad_() for t in tensors())
    targets: list[str] = []

    def backend(graph: Any, inputs: Any) -> Any:
        targets.extend(str(node.target) for node in graph.graph.nodes)
        from torch._dynamo.backends.debugging import aot_eager

        return aot_eager(graph, inputs)

    with spacebatch.use_compiled(spelling):
        found = torch.compile(both, backend=backend, fullgraph=True)(x, s, b)
        expected = both(x, s, b)
        torch.testing.assert_close(found, expected)
        for a, c in zip(*(torch.autograd.grad(z.sum(), (x, s, b)) for z in (found, expected)), strict=True):
            torch.testing.assert_close(a, c, rtol=1e-3, atol=1e-3)
    assert any("fused_space_to_batch" in target for target in targets) == (spelling == "kernel")


def test_vmap() -> None:
    """Over the functions and over the operators: the tensor, and what scales it."""
    x, s, b = tensors()
    xs, ss = torch.stack([x, 2 * x, -x], 1), torch.stack([s, 2 * s, -s])

    def call(x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        return OPS.fused_space_to_batch(x, s, b, None, *CUT, channel_dim=1, activation="relu")

    for function in (call, lambda x, s: both(x, s, b)):
        for dims in ((1, 0), (1, None)):
            mapped = torch.vmap(function, in_dims=dims)(xs, ss if dims[1] == 0 else s)
            for k in range(3):
                torch.testing.assert_close(mapped[k], function(xs[:, k], ss[k] if dims[1] == 0 else s))


def test_export() -> None:
    class Module(torch.nn.Module):
        def forward(self, x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
            return fused.space_to_batch(x, 2, "auto", scale=s, activation="gelu_tanh")

    x, s, _ = tensors()
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(Module(), (x, s), dynamic_shapes={"x": {0: batch}, "s": None})
    wide = torch.randn(5, 3, 5, 4)
    torch.testing.assert_close(program.module()(wide, s), Module()(wide, s))


def test_fake_and_meta_tensors() -> None:
    x, s, b = tensors()
    last = x.contiguous(memory_format=torch.channels_last)
    real = fused.space_to_batch(last, 2, "auto", scale=s, dtype=torch.int8)
    with FakeTensorMode() as mode:
        fake = mode.from_tensor(last)
        made = fused.space_to_batch(fake, 2, "auto", scale=mode.from_tensor(s), bias=2.0, dtype=torch.int8)
    assert (made.shape, made.stride(), made.dtype) == (real.shape, real.stride(), real.dtype)
    meta = both(*(t.to("meta") for t in (x, s, b)))
    assert (meta.shape, meta.dtype, meta.device.type) == (x.shape, x.dtype, "meta")


def test_subclasses_take_the_operator() -> None:
    class Named(torch.Tensor):
        pass

    x, s, b = tensors()
    assert spacebatch.explain(fused.space_to_batch, x.as_subclass(Named), 1, scale=s).route == "operator"
    assert same(both(x.as_subclass(Named), s, b).as_subclass(torch.Tensor), both(x, s, b))
