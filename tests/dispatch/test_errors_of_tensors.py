"""Inputs and outputs that are refused for what they are: kinds of tensors and arrays, and every unfit `out`."""

from __future__ import annotations

import copy
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


def of_one_store(shift: int, zeros: Callable[[int], Any]) -> Callable[..., tuple[Any, Any]]:
    """What makes an input and an out of two shapes: ranges of one store, `shift` elements apart."""

    def pair(source: tuple[int, ...], result: tuple[int, ...]) -> tuple[Any, Any]:
        store = zeros(48 + shift)
        return store[:48].reshape(source), store[shift : shift + 48].reshape(result)

    return pair


NO_GRADIENT = r"out= takes no part in automatic differentiation"
OVERLAPS = r"out overlaps the input in memory"
# name: (exception, message, maker of out from its shape); the input is a tensor, or an array
OUTS: dict[str, tuple[type[Exception], str, Callable[[tuple[int, ...]], Any]]] = {
    "shape": (ValueError, r"out has shape \(1,\), the result has", lambda r: torch.zeros(1)),
    "rank": (ValueError, r"out has shape \(1, .*, the result has", lambda r: torch.zeros(1, *r)),
    "dtype": (ValueError, r"out has dtype torch.int32, the input has torch.float32", lambda r: torch.zeros(r).int()),
    "device": (ValueError, r"out is on meta, the input on cpu", lambda r: torch.zeros(r, device="meta")),
    "kind": (TypeError, r"out must be a torch.Tensor, got ndarray", lambda r: np.zeros(r, np.float32)),
    "not-a-tensor": (TypeError, r"out must be a torch.Tensor, got list", lambda r: []),
    "expanded": (ValueError, r"out is expanded", lambda r: torch.zeros(1, 1, 1, 1).expand(r)),
    "input-needs-gradient": (ValueError, NO_GRADIENT, lambda r: torch.zeros(r)),
    "out-needs-gradient": (ValueError, NO_GRADIENT, lambda r: torch.zeros(r, requires_grad=True)),
    "conjugated": (ValueError, r"out is a lazily conjugated", lambda r: (torch.zeros(r) + 0j).conj()),
    "negated": (ValueError, r"out is a lazily conjugated or negated", lambda r: torch.zeros(r)._neg_view()),
}
ARRAY_OUTS: dict[str, tuple[type[Exception], str, Callable[[tuple[int, ...]], Any]]] = {
    "kind": (TypeError, r"out must be a numpy.ndarray, got Tensor", lambda r: torch.zeros(r)),
    "not-an-array": (TypeError, r"out must be a numpy.ndarray, got list", lambda r: []),
    "shape": (ValueError, r"out has shape \(1,\), the result has", lambda r: np.zeros(1)),
    "dtype": (ValueError, r"out has dtype >f8, the input has float64", lambda r: np.zeros(r, ">f8")),
    "masked": (TypeError, r"out is a masked array", lambda r: np.ma.zeros(r)),
    "read-only": (ValueError, r"out is read-only", lambda r: np.broadcast_to(np.zeros(()), r)),
    "expanded": (ValueError, r"out is expanded", lambda r: np.lib.stride_tricks.as_strided(np.zeros(1), r, (0,) * 4)),
}


def input_for(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    dtype = torch.complex64 if name == "conjugated" else torch.float32
    return torch.zeros(shape, dtype=dtype, requires_grad=name == "input-needs-gradient")


def refuses(op: str, x: Any, out: Any, error: type[Exception], message: str) -> None:
    """The call fails with the message, and nothing was written to `out`."""
    before = copy.deepcopy(out.detach() if isinstance(out, torch.Tensor) else out)
    with pytest.raises(error, match=rf"^{op}: {message}"):
        getattr(spacebatch, op)(x, 2, out=out)
    if not isinstance(out, list) and str(getattr(out, "device", "cpu")) == "cpu":
        assert same(out.detach() if isinstance(out, torch.Tensor) else out, before)


@each_operation
@pytest.mark.parametrize("name", OUTS)
def test_outs(op: str, name: str) -> None:
    (source, result), (error, message, make) = OPERATIONS[op], OUTS[name]
    refuses(op, input_for(name, source), make(result), error, message)


@each_operation
@pytest.mark.parametrize("name", ARRAY_OUTS)
def test_outs_of_arrays(op: str, name: str) -> None:
    (source, result), (error, message, make) = OPERATIONS[op], ARRAY_OUTS[name]
    refuses(op, np.zeros(source), make(result), error, message)


@each_operation
@pytest.mark.parametrize("shift", [0, 47], ids=["the-input-itself", "by-one"])
@pytest.mark.parametrize("zeros", [np.ones, torch.ones], ids=["numpy", "torch"])
def test_outs_that_overlap(op: str, shift: int, zeros: Callable[[int], Any]) -> None:
    refuses(op, *of_one_store(shift, zeros)(*OPERATIONS[op]), ValueError, OVERLAPS)


@each_operation
@pytest.mark.parametrize("name", OUTS)
def test_outs_under_a_transform(op: str, name: str) -> None:
    """Compiling and transforming calls check `out` as well: copying would broadcast and convert.

    Only addresses are unknown there, and need not be known: the result is computed apart from `out`.
    """
    (source, result), (error, message, make) = OPERATIONS[op], OUTS[name]
    x, out = input_for(name, source), make(result)

    def function(z: torch.Tensor) -> torch.Tensor:
        getattr(spacebatch, op)(x, 2, out=out)
        return z

    with pytest.raises(error, match=rf"^{op}: {message}"):
        torch.vmap(function)(torch.zeros(2))


@each_operation
def test_neighbours_in_one_store_are_apart(backend: str, op: str) -> None:
    source, result = OPERATIONS[op]
    x, out = of_one_store(48, torch.zeros)(source, result)
    x.copy_(random_tensor(source))
    expected = getattr(spacebatch, op)(x, 2)
    assert same(getattr(spacebatch, op)(x, 2, out=poisoned(out)), expected)
    if backend == "torch":
        return  # which takes no arrays
    a, b = of_one_store(48, np.zeros)(source, result)
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


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("cuda", ValueError, r"no backend is called .*; there are llvm, numpy, torch, triton"),
        ("", ValueError, r"no backend is called"),
        ("Torch", ValueError, r"no backend is called"),
        (None, TypeError, r"the backend must be a name, got"),
        (b"torch", TypeError, r"the backend must be a name, got"),
    ],
)
def test_unknown_backends(name: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^use_backend: {message}"):
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
        match=r"^explain: the operation must be space_to_batch, batch_to_space, atrous_conv1d, 2d or 3d, or ",
    ):
        spacebatch.explain(operation, torch.zeros(1, 4), (2,))


def test_explain_of_no_tensor() -> None:
    with pytest.raises(TypeError, match=r"^explain: x must be a torch.Tensor or a numpy.ndarray, got list"):
        spacebatch.explain("space_to_batch", [[1]], (1,))
    with pytest.raises(TypeError, match=r"^space_to_batch: the input must be a dense tensor"):
        spacebatch.explain("space_to_batch", torch.zeros(1, 4).to_sparse(), (1,))
