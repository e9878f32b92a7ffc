"""Programs that leave Python: torch.export, AOTInductor, ONNX and torch.jit.trace, with sizes that may change."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.export import Dim

import spacebatch
from tests.bits import random_tensor, same


class Network(torch.nn.Module):
    """There, something in between, and back; what is in between leaves the bits alone."""

    def __init__(self, block: Any = (2, 2), borders: Any = ((1, 1), (2, 0)), **options: Any) -> None:
        super().__init__()
        self.split = spacebatch.nn.SpaceToBatch(block, paddings=borders, pad_value=-1, **options)
        self.join = spacebatch.nn.BatchToSpace(block, crops=borders, **options)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.split(x)
        return y, self.join(y.relu())


def dynamic() -> dict[str, dict[int, Any]]:
    """Samples from 2 on, for PyTorch's views of symbolic sizes tell 1 from the others; heights and widths in whole blocks."""
    return {"x": {0: Dim("samples", min=2, max=64), 2: 2 * Dim("h", min=1, max=64), 3: 2 * Dim("w", min=1, max=64)}}


SHAPES = ((2, 4, 2, 4), (5, 4, 10, 2), (64, 4, 4, 128))


def equal(found: Any, expected: tuple[Tensor, ...]) -> None:
    for a, b in zip(found, expected, strict=True):
        assert same(torch.as_tensor(a), b)


@pytest.mark.parametrize("strict", [False, True], ids=["nonstrict", "strict"])
def test_dynamic_dims(strict: bool) -> None:
    network = Network()
    program = torch.export.export(network, (torch.randn(3, 4, 6, 8),), dynamic_shapes=dynamic(), strict=strict)
    plain = program.run_decompositions()
    for shape in SHAPES:
        x = torch.randn(shape)
        equal(program.module()(x), network(x))
        equal(plain.module()(x), network(x))
    for node in (*program.graph.nodes, *plain.graph.nodes):
        assert "spacebatch" not in str(node.target)


class Auto(torch.nn.Module):
    """Padded up to whole blocks and back, as a geometry of the sizes says or, without the way back, as the argument does."""

    def __init__(self, geometry: bool, block: Any = (2, 3), **options: Any) -> None:
        super().__init__()
        self.geometry, self.block, self.options = geometry, block, options

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        if not self.geometry:
            return (spacebatch.space_to_batch(x, self.block, "auto", pad_value=-1, **self.options),)
        g = spacebatch.BlockGeometry(x.shape, self.block, "auto", **self.options)
        y = spacebatch.space_to_batch(x, pad_value=-1, **g.arguments)
        return y, spacebatch.batch_to_space(y.relu(), **g.inverse)


OPEN: dict[str, Any] = {
    "auto": {"x": {0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO}},
    # two blocks or more: PyTorch's views of symbolic sizes tell 1 from the others
    "named": {"x": {0: Dim("n", min=2, max=64), 2: Dim("h", min=3, max=256), 3: Dim("w", min=4, max=256)}},
}


@pytest.mark.parametrize("strict", [False, True], ids=["nonstrict", "strict"])
@pytest.mark.parametrize(
    ("shapes", "geometry"),  # PyTorch's views do not prove what they guard on for the way back and named dims
    [("auto", False), ("auto", True), ("named", False)],
    ids=["auto-argument", "auto-geometry", "named-argument"],
)
@pytest.mark.parametrize("first", [(2, 3, 4, 6), (2, 3, 5, 7)], ids=["divides", "does-not"])
def test_every_size_is_padded_to_whole_blocks(
    strict: bool, shapes: str, geometry: bool, first: tuple[int, ...]
) -> None:
    """From an example that divides and from one that does not."""
    network = Auto(geometry, **({"arrangement": "contiguous", "shifts": (-1, 2)} if strict else {}))
    program = torch.export.export(network, (torch.randn(first),), dynamic_shapes=OPEN[shapes], strict=strict).module()
    for shape in ((2, 3, 4, 6), (5, 3, 5, 6), (3, 3, 8, 7), (2, 3, 33, 65)):
        x = torch.randn(shape)
        equal(program(x), network(x))


@pytest.mark.parametrize("strict", [False, True], ids=["nonstrict", "strict"])
def test_a_batch_without_a_largest_size(strict: bool) -> None:
    network, x = Network(), torch.randn(3, 4, 6, 8)
    shapes = {"x": {0: Dim("samples")}}
    program = torch.export.export(network, (x,), dynamic_shapes=shapes, strict=strict).module()
    for samples in (2, 5):
        x = torch.randn(samples, 4, 6, 8)
        equal(program(x), network(x))


def test_static_shapes() -> None:
    network = Network(3, ((1, 2), (0, 1)), arrangement="contiguous", shifts=(4, -2))
    x = torch.randn(2, 1, 3, 5)
    equal(torch.export.export(network, (x,)).module()(x), network(x))


def test_aot_inductor(tmp_path: Path) -> None:
    """A package of native code, loaded again and called with batches it was not compiled for."""
    network = Network()
    shapes = {"x": {0: Dim("samples", min=2, max=64)}}
    program = torch.export.export(network, (torch.randn(3, 4, 6, 8),), dynamic_shapes=shapes)
    path = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "network.pt2"))
    loaded = torch._inductor.aoti_load_package(path)
    for samples in (2, 5):
        x = torch.randn(samples, 4, 6, 8)
        equal(loaded(x), network(x))


OPTIONS = [
    {"batch_order": order, "arrangement": arrangement}
    for order, arrangement in itertools.product(("block_major", "batch_major"), ("interleaved", "contiguous"))
]
# name: (network, input, dims that may change, other shapes)
ONNX: dict[str, tuple[torch.nn.Module, tuple[int, ...], Any, tuple[tuple[int, ...], ...]]] = {
    "static": (Network(), (2, 3, 4, 6), None, ()),
    "dynamic": (Network(), (3, 4, 6, 8), dynamic(), SHAPES[:2]),
    "auto": (Auto(True, shifts=(0, -1)), (3, 4, 6, 8), OPEN["auto"], ((2, 4, 7, 9), (5, 4, 4, 6), (2, 4, 3, 5))),
    "auto-3d": (
        Auto(True, (2, 1, 3), spatial_dims=(4, 2, 3)),
        (2, 2, 3, 3, 4),
        {"x": {0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO, 4: Dim.AUTO}},
        ((3, 2, 4, 6, 5), (2, 2, 3, 4, 4)),
    ),
    **{
        f"3d-{'-'.join(options.values())}": (
            Network((2, 1, 3), ((1, 1), (0, 0), (1, 2)), spatial_dims=(4, 2, 3), shifts=(1, 0, -2), **options),
            (2, 2, 3, 3, 4),
            None,
            (),
        )
        for options in OPTIONS
    },
}


@pytest.mark.parametrize("name", ONNX)
@pytest.mark.filterwarnings("ignore")
def test_onnx(name: str) -> None:
    """onnxruntime computes the same bits, from standard operators on tensors of at most 6 dims."""
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    network, shape, shapes, others = ONNX[name]
    x = torch.randn(shape)
    model = torch.onnx.export(network, (x,), dynamo=True, dynamic_shapes=shapes, verbose=False).model_proto
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert not model.functions
    values = onnx.shape_inference.infer_shapes(model).graph.value_info
    ranks = [len(value.type.tensor_type.shape.dim) for value in values]
    assert 4 < max(ranks) <= 6
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for each in (shape, *others):
        x = torch.randn(each)
        equal(session.run(None, {session.get_inputs()[0].name: x.numpy()}), network(x))


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options.values()))
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
def test_a_recorded_trace_serves_other_batches(options: dict[str, Any], layout: torch.memory_format) -> None:
    network = Network(**options)
    first = random_tensor((2, 3, 4, 6)).to(memory_format=layout)
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        traced = torch.jit.trace(network, first, check_trace=False)
    for samples in (2, 5, 1):
        x = torch.randn(samples, 3, 4, 6).to(memory_format=layout)
        found, expected = traced(x), network(x)
        equal(found, expected)
        assert found[0].shape[0] == 4 * samples
