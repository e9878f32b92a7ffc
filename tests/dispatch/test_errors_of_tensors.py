"""Inputs and outputs that are refused for what they are: kinds of tensors and arrays, and every unfit `out`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import spacebatch
from spacebatch import reference
from tests.bits import poisoned, random_tensor, same

OPERATIONS = {
    "space_to_batch": ((1, 3, 4, 4), (4, 3, 2, 2)),
    "batch_to_space": ((4, 3, 2, 2), (1, 3, 4, 4)),
}
each_operation = pytest.mark.parametrize("op", OPERATIONS)


def quantized() -> torch.Tensor:
    return torch.quantize_per_tensor(torch.zeros(1, 3, 4, 4), 1.0, 0, torch.quint8)


def nested(layout: torch.layout) -> torch.Tensor:
    return torch.nested.nested_tensor([torch.zeros(3, 4, 4), torch.zeros(2, 4, 4)], layout=layout)


INPUTS: dict[str, tuple[Callable[[], Any], str]] = {
    "list": (lambda: [[1, 2]], r"must be a torch.Tensor or a numpy.ndarray, got list"),
    "none": (lambda: None, r"must be a torch.Tensor or a numpy.ndarray, got NoneType"),
    "number": (lambda: 1.0, r"must be a torch.Tensor or a numpy.ndarray, got float"),
    "numpy-scalar": (lambda: np.float32(1), r"must be a torch.Tensor or a numpy.ndarray, got float32"),
    "masked-array": (lambda: np.ma.zeros((1, 3, 4, 4)), r"masked array.*\.data and \.mask"),
    "nested-strided": (lambda: nested(torch.strided), r"nested tensors have no common spatial sizes.*unbind"),
    "nested-jagged": (lambda: nested(torch.jagged), r"nested tensors have no common spatial sizes.*unbind"),
    "sparse-coo": (lambda: torch.zeros(1, 3, 4, 4).to_sparse(), r"must be a dense tensor.*sparse_coo.*to_dense"),
    "sparse-csr": (lambda: torch.zeros(4, 4).to_sparse_csr(), r"must be a dense tensor.*sparse_csr.*to_dense"),
    "mkldnn": (lambda: torch.zeros(1, 3, 4, 4).to_mkldnn(), r"must be a dense tensor.*mkldnn.*to_dense"),
    "quantized": (quantized, r"quantized tensors are not supported.*int_repr"),
}


@each_operation
@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_inputs(op: str, name: str) -> None:
    make, message = INPUTS[name]
    with pytest.raises(TypeError, match=rf"^{op}: .*{message}"):
        getattr(spacebatch, op)(make(), 2)


@each_operation
@pytest.mark.parametrize("make", [lambda: [[1]], lambda: torch.zeros(1, 3, 4, 4)], ids=["list", "tensor"])
def test_the_reference_takes_arrays_only(op: str, make: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match=rf"^{op}: the input must be a numpy.ndarray, got (list|Tensor)"):
        getattr(reference, op)(make(), 2)


def odd_places(shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    store = torch.zeros(*shape, 2)
    return store[..., 0], store[..., 1]


# name: (exception, message, maker of (input, out) from the two shapes)
Pair = tuple[Any, Any]
Maker = Callable[[tuple[int, ...], tuple[int, ...]], Pair]
OUTS: dict[str, tuple[type[Exception], str, Maker]] = {
    "shape": (ValueError, r"out has shape \(1,\), the result has", lambda s, r: (torch.zeros(s), torch.zeros(1))),
    "rank": (ValueError, r"out has shape \(1, .*, the result has", lambda s, r: (torch.zeros(s), torch.zeros(1, *r))),
    "dtype": (
        ValueError,
        r"out has dtype torch.int32, the input has torch.float32",
        lambda s, r: (torch.zeros(s), torch.zeros(r).int()),
    ),
    "device": (
        ValueError,
        r"out is on meta, the input on cpu",
        lambda s, r: (torch.zeros(s), torch.zeros(r, device="meta")),
    ),
    "kind": (
        TypeError,
        r"out must be a torch.Tensor, got ndarray",
        lambda s, r: (torch.zeros(s), np.zeros(r, np.float32)),
    ),
    "not-a-tensor": (TypeError, r"out must be a torch.Tensor, got list", lambda s, r: (torch.zeros(s), [])),
    "expanded": (ValueError, r"out is expanded", lambda s, r: (torch.zeros(s), torch.zeros(1, 1, 1, 1).expand(r))),
    "input-needs-gradient": (
        ValueError,
        r"out= takes no part in automatic differentiation",
        lambda s, r: (torch.zeros(s, requires_grad=True), torch.zeros(r)),
    ),
    "out-needs-gradient": (
        ValueError,
        r"out= takes no part in automatic differentiation",
        lambda s, r: (torch.zeros(s), torch.zeros(r, requires_grad=True)),
    ),
    "conjugated": (
        ValueError,
        r"out is a lazily conjugated",
        lambda s, r: (torch.zeros(s) + 0j, (torch.zeros(r) + 0j).conj()),
    ),
    "negated": (
        ValueError,
        r"out is a lazily conjugated or negated",
        lambda s, r: (torch.zeros(s), torch.zeros(r)._neg_view()),
    ),
    "overlapping-by-one": (
        ValueError,
        r"out overlaps the input",
        lambda s, r: (torch.zeros(95)[:48].view(s), torch.zeros(0)),
    ),
    "numpy-kind": (
        TypeError,
        r"out must be a numpy.ndarray, got Tensor",
        lambda s, r: (np.zeros(s), torch.zeros(r)),
    ),
    "numpy-not-an-array": (TypeError, r"out must be a numpy.ndarray, got list", lambda s, r: (np.zeros(s), [])),
    "numpy-shape": (ValueError, r"out has shape \(1,\), the result has", lambda s, r: (np.zeros(s), np.zeros(1))),
    "numpy-dtype": (
        ValueError,
        r"out has dtype >f8, the input has float64",
        lambda s, r: (np.zeros(s), np.zeros(r, ">f8")),
    ),
    "numpy-masked": (TypeError, r"out is a masked array", lambda s, r: (np.zeros(s), np.ma.zeros(r))),
    "numpy-read-only": (ValueError, r"out is read-only", lambda s, r: (np.zeros(s), np.broadcast_to(np.zeros(()), r))),
    "numpy-expanded": (
        ValueError,
        r"out is expanded",
        lambda s, r: (np.zeros(s), np.lib.stride_tricks.as_strided(np.zeros(1), r, (0,) * len(r))),
    ),
}


def _same_store(shift: int, make: Callable[[int], Any]) -> Maker:
    """Input and out as ranges of one store, `shift` elements apart."""

    def pair(source: tuple[int, ...], result: tuple[int, ...]) -> Pair:
        store = make(48 + shift)
        return store[:48].reshape(source), store[shift : shift + 48].reshape(result)

    return pair


OUTS["overlapping-by-one"] = (ValueError, r"out overlaps the input in memory", _same_store(47, torch.zeros))
OUTS["the-input-itself"] = (ValueError, r"out overlaps the input in memory", _same_store(0, torch.zeros))
OUTS["numpy-overlapping-by-one"] = (ValueError, r"out overlaps the input in memory", _same_store(47, np.zeros))
OUTS["numpy-the-input-itself"] = (ValueError, r"out overlaps the input in memory", _same_store(0, np.zeros))


@each_operation
@pytest.mark.parametrize("name", OUTS)
def test_outs(op: str, name: str) -> None:
    error, message, make = OUTS[name]
    x, out = make(*OPERATIONS[op])
    before = out.detach().clone() if isinstance(out, torch.Tensor) else np.array(out)
    with pytest.raises(error, match=rf"^{op}: {message}"):
        getattr(spacebatch, op)(x, 2, out=out)
    if isinstance(out, (torch.Tensor, np.ndarray)) and getattr(out, "device", "cpu") != torch.device("meta"):
        after = out.detach().clone() if isinstance(out, torch.Tensor) else np.array(out)
        assert same(after, before)


@each_operation
@pytest.mark.parametrize(
    "name", [name for name in OUTS if "numpy" not in name and "overlap" not in name and name != "the-input-itself"]
)
def test_outs_under_a_transform(op: str, name: str) -> None:
    """Compiling and transforming calls check `out` as well: copying would broadcast and convert.

    Only addresses are unknown there, and need not be known: the result is computed apart from `out`.
    """
    error, message, make = OUTS[name]
    x, out = make(*OPERATIONS[op])

    def function(z: torch.Tensor) -> torch.Tensor:
        getattr(spacebatch, op)(x, 2, out=out)
        return z

    with pytest.raises(error, match=rf"^{op}: {message}"):
        torch.vmap(function)(torch.zeros(2))


@each_operation
def test_neighbours_in_one_store_are_apart(backend: str, op: str) -> None:
    source, result = OPERATIONS[op]
    x, out = _same_store(48, torch.zeros)(source, result)
    x.copy_(random_tensor(source))
    expected = getattr(spacebatch, op)(x, 2)
    assert same(getattr(spacebatch, op)(x, 2, out=poisoned(out)), expected)
    if backend == "torch":
        return  # which takes no arrays
    a, b = _same_store(48, np.zeros)(source, result)
    assert getattr(spacebatch, op)(a, 2, out=b) is b


@each_operation
def test_empty_outs_are_never_expanded(backend: str, op: str) -> None:
    """An empty array may have any strides, zero included."""
    source, result = ((0, *shape[1:]) for shape in OPERATIONS[op])
    assert getattr(spacebatch, op)(torch.zeros(source), 2, out=torch.zeros(1, 1, 1, 1).expand(result)).shape == result
    out = np.lib.stride_tricks.as_strided(np.zeros(1), result, (0, 0, 0, 0))
    assert getattr(spacebatch, op)(np.zeros(source), 2, out=out) is out


def test_meta_outs() -> None:
    x, out = torch.zeros(1, 3, 4, 4, device="meta"), torch.zeros(4, 3, 2, 2, device="meta")
    assert spacebatch.space_to_batch(x, 2, out=out) is out
    assert spacebatch.batch_to_space(out, 2, out=x) is x


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_subclasses_of_arrays() -> None:
    """np.matrix is always 2-D; the result is an array, and a matrix will do as `out`."""
    x = np.matrix([[1, 2, 3, 4]])
    y = spacebatch.space_to_batch(x, (2,))
    assert same(y, np.array([[1, 3], [2, 4]]))
    out = np.matrix(np.zeros((2, 2), dtype=x.dtype))
    assert spacebatch.space_to_batch(x, (2,), out=out) is out
    assert out.tolist() == [[1, 3], [2, 4]]
    back = np.matrix(np.zeros((1, 4), dtype=x.dtype))
    assert spacebatch.batch_to_space(y, (2,), out=back).tolist() == x.tolist()


@pytest.mark.parametrize("name", ["cuda", "", "Torch", "no such"], ids=repr)
def test_unknown_backend(name: str) -> None:
    with pytest.raises(
        ValueError, match=r"^use_backend: no backend is called .*; there are llvm, numpy, torch, triton"
    ):
        spacebatch.use_backend(name).__enter__()


@pytest.mark.parametrize("name", [None, 1, b"torch"], ids=repr)
def test_a_backend_is_a_name(name: Any) -> None:
    with pytest.raises(TypeError, match=r"^use_backend: the backend must be a name, got"):
        spacebatch.use_backend(name).__enter__()


@each_operation
def test_a_backend_that_cannot(op: str) -> None:
    x = torch.zeros(OPERATIONS[op][0], device="meta")
    with spacebatch.use_backend("numpy"):
        assert spacebatch.explain(op, x, 2).backend is None
        with pytest.raises(RuntimeError, match=rf"^{op}: the backend 'numpy' was asked for, but the tensor is on meta"):
            getattr(spacebatch, op)(x, 2)
    assert getattr(spacebatch, op)(x, 2).shape == OPERATIONS[op][1]


def test_choices_nest_and_end_with_their_block() -> None:
    def chosen() -> str | None:
        return spacebatch.explain("space_to_batch", torch.zeros(1, 4), (2,)).backend

    before = chosen()
    with spacebatch.use_backend("torch"):
        with spacebatch.use_backend("numpy"):
            assert chosen() == "numpy"
        assert chosen() == "torch"
        with pytest.raises(KeyError), spacebatch.use_backend("numpy"):
            raise KeyError
        assert chosen() == "torch"
    assert chosen() == before


@pytest.mark.parametrize("operation", ["space_to_depth", "", None, 3, len, spacebatch.BlockGeometry], ids=repr)
def test_explain_of_another_operation(operation: Any) -> None:
    with pytest.raises(
        ValueError,
        match=r"^explain: the operation must be space_to_batch, batch_to_space or atrous_conv1d, 2d or 3d, got",
    ):
        spacebatch.explain(operation, torch.zeros(1, 4), (2,))


def test_explain_of_no_tensor() -> None:
    with pytest.raises(TypeError, match=r"^explain: x must be a torch.Tensor or a numpy.ndarray, got list"):
        spacebatch.explain("space_to_batch", [[1]], (1,))
    with pytest.raises(TypeError, match=r"^space_to_batch: the input must be a dense tensor"):
        spacebatch.explain("space_to_batch", torch.zeros(1, 4).to_sparse(), (1,))
