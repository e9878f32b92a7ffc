"""`use_compiled`: a compiled graph holds PyTorch's operators, or ours, with the same results and gradients."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import spacebatch
from spacebatch import compiled
from tests.bits import random_tensor, same


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def function(x: Tensor) -> Tensor:
    return spacebatch.batch_to_space(spacebatch.space_to_batch(x.relu(), 2, ((1, 1), (2, 0))) * 2, 2, ((1, 1), (2, 0)))


class Seen:
    """A compiler that keeps the names of each graph's operators and leaves the graph as it is."""

    def __init__(self) -> None:
        self.graphs: list[set[str]] = []

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        self.graphs.append({str(node.target) for node in graph.graph.nodes if node.op == "call_function"})
        return graph.forward

    @property
    def ours(self) -> list[bool]:
        return [any("spacebatch" in name for name in graph) for graph in self.graphs]


def test_the_choice_is_part_of_the_compiled_code() -> None:
    seen, x = Seen(), random_tensor((1, 2, 4, 4))
    call = torch.compile(function, fullgraph=True, backend=seen)
    expected = function(x)
    assert same(call(x), expected)
    with spacebatch.use_compiled("kernel"):
        assert same(call(x), expected)
        with spacebatch.use_compiled("aten"):
            assert same(call(x), expected)
    assert same(call(x), expected)
    assert seen.ours == [False, True]  # the first graph is found again


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_the_operator_in_a_graph_forward_and_backward(backend: str, dynamic: bool) -> None:
    with spacebatch.use_compiled("kernel"):
        call = torch.compile(function, fullgraph=True, dynamic=dynamic, backend=backend)
        for shape in ((2, 3, 4, 6), (3, 2, 6, 8)) if dynamic else ((2, 3, 4, 6),):
            x = random_tensor(shape, torch.int8).float().requires_grad_()
            y, expected = call(x), function(x)
            assert same(y.detach(), expected.detach())
            upstream = random_tensor(tuple(y.shape), torch.int8, seed=1).float()
            assert same(*(torch.autograd.grad(z, x, upstream)[0] for z in (y, expected)))


def test_one_graph_for_every_size() -> None:
    seen = Seen()
    with spacebatch.use_compiled("kernel"):
        call = torch.compile(function, fullgraph=True, dynamic=True, backend=seen)
        for shape in ((2, 3, 4, 6), (3, 2, 6, 8), (5, 4, 8, 2)):
            x = torch.randn(shape)
            assert same(call(x), function(x))
    assert seen.ours == [True]


TRANSFORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "jvp": lambda x: torch.func.jvp(function, (x,), (x.cos(),))[1],
    "grad": lambda x: torch.func.grad(lambda z: function(z).sin().sum())(x),
    "vmap": lambda x: torch.vmap(function)(torch.stack([x, x + 1])),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_look_inside(name: str) -> None:
    """The operator would drop tangents without a word; in a transform it is not used."""
    seen, x = Seen(), torch.randn(1, 2, 4, 4)
    with spacebatch.use_compiled("kernel"):
        found = torch.compile(TRANSFORMS[name], fullgraph=True, backend=seen)(x)
    torch.testing.assert_close(found, TRANSFORMS[name](x))
    assert seen.ours == [False]


def test_under_triton_s_interpreter() -> None:
    """The compiled graph runs what an eager call would: here the kernels, interpreted."""
    pytest.importorskip("triton")
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("on a GPU the kernels are compiled")
    x = random_tensor((1, 2, 4, 4))
    with spacebatch.use_compiled("kernel"), spacebatch.use_backend("triton"):
        if spacebatch.explain("space_to_batch", x, 2).backend is None:
            pytest.skip("Triton came without its interpreter")
        assert same(torch.compile(function, fullgraph=True, backend="aot_eager")(x), function(x))


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match=r"^use_compiled: no spelling is called 'triton'; there are aten, kernel"):
        spacebatch.use_compiled("triton").__enter__()  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^use_compiled: the spelling must be a name, got 1 of type int"):
        spacebatch.use_compiled(1).__enter__()  # type: ignore[arg-type]
    assert compiled._chosen == "aten"


@pytest.mark.parametrize(
    ("value", "printed"), [("kernel", "kernel"), ("", "aten"), ("xla", "no spelling is called 'xla'")]
)
def test_the_environment_chooses(value: str, printed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import torch, spacebatch.compiled; print(spacebatch.compiled._chosen)"],
        env={**os.environ, "SPACEBATCH_COMPILED": value},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert printed in done.stdout + done.stderr
