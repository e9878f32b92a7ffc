"""Every function on every CPU backend equals the definition, bit by bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

import spacebatch
from spacebatch import reference
from spacebatch.reference import definition
from tests.bits import define_batch, define_space, poisoned, random_tensor, same, using
from tests.cases import Case, each_case, each_of, each_option, named

FEW = ("2d_blocks_differ", "asymmetric_border", "first_whole_last", "dims_unordered_padded", "space_all_border")
NUMBERS = [
    "bool",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
]
DTYPES = [*NUMBERS, "bfloat16", "float8_e4m3fn", "float8_e5m2", "complex32"]
ARRAY_DTYPES = [*NUMBERS, ">i2", ">u4", ">f8", ">c8", "M8[s]", "m8[D]", "V3", "S5", "U2", "i1,>f4,(2,)u2"]


@pytest.fixture(params=("chosen", "numpy", "torch", "array"))
def kind(request: pytest.FixtureRequest) -> Iterator[Callable[[torch.Tensor], Any]]:
    """What makes an input of a tensor: the tensor itself while some backend computes, or an array of NumPy."""
    with using("chosen" if request.param == "array" else request.param):
        yield torch.Tensor.numpy if request.param == "array" else lambda x: x


@each_case
@each_option
def test_every_case(kind: Any, case: Case, options: dict[str, Any]) -> None:
    geometry = case.geometry(**options)
    x, z = (kind(random_tensor(shape, torch.int16)) for shape in (case.shape, geometry.batch_shape))
    y = spacebatch.space_to_batch(x, **case.arguments, pad_value=-7, **options)
    assert same(y, define_batch(x, **case.arguments, pad_value=-7, **options))
    assert same(spacebatch.batch_to_space(z, **geometry.inverse), define_space(z, **geometry.inverse))
    assert same(spacebatch.batch_to_space(y, **geometry.inverse), x)


@each_of(*FEW)
def test_the_reference(case: Case) -> None:
    geometry = case.geometry()
    x = random_tensor(case.shape, torch.int64).numpy()
    y = reference.space_to_batch(x, **case.arguments, pad_value=-7)
    assert same(y, definition.space_to_batch(x, **case.arguments, pad_value=-7))
    assert same(reference.batch_to_space(y, **geometry.inverse), x)


@each_of("asymmetric_border", "dims_unordered_padded", "space_all_border")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.filterwarnings("ignore:ComplexHalf:UserWarning")
def test_tensor_dtypes(backend: str, case: Case, dtype: str) -> None:
    """Random bits: for floats these hold NaNs of every payload, and -0.0."""
    x = random_tensor(case.shape, getattr(torch, dtype))
    geometry = case.geometry()
    y = spacebatch.space_to_batch(x, **case.arguments, pad_value=1)
    assert same(y, define_batch(x, **case.arguments, pad_value=1))
    z = random_tensor(geometry.batch_shape, x.dtype, seed=1)
    assert same(spacebatch.batch_to_space(z, **geometry.inverse), define_space(z, **geometry.inverse))


def random_array(shape: tuple[int, ...], name: str) -> np.ndarray:
    if name == "U2":
        return np.array([chr(65 + k % 50) * (k % 3) for k in range(int(np.prod(shape)))], dtype=name).reshape(shape)
    dtype = np.dtype(name)
    bits = random_tensor((int(np.prod(shape)) * dtype.itemsize,), torch.uint8).numpy()
    return (bits % 2 if name == "bool" else bits).view(dtype).reshape(shape)


@each_of(*FEW)
@pytest.mark.parametrize("name", ARRAY_DTYPES)
def test_array_dtypes(case: Case, name: str) -> None:
    x = random_array(case.shape, name)
    geometry = case.geometry()
    pad = np.zeros((), x.dtype)[()] if name.startswith(("V", "i1,")) else 0
    y = spacebatch.space_to_batch(x, **case.arguments, pad_value=pad)
    assert same(y, definition.space_to_batch(x, **case.arguments, pad_value=pad))
    z = random_array(geometry.batch_shape, name)
    assert same(spacebatch.batch_to_space(z, **geometry.inverse), definition.batch_to_space(z, **geometry.inverse))


@each_of(*FEW)
def test_arrays_of_objects(case: Case) -> None:
    """The very objects move; the border holds the very pad value."""
    pad = object()
    x = np.empty(case.shape, dtype=object)
    x.reshape(-1)[:] = [object() for _ in range(x.size)]
    y = spacebatch.space_to_batch(x, **case.arguments, pad_value=pad)
    assert same(y, definition.space_to_batch(x, **case.arguments, pad_value=pad))
    assert same(spacebatch.batch_to_space(y, **case.geometry().inverse), x)


PADS = {
    "bool-true": ("bool", True),
    "bool-one": ("bool", 1),
    "uint8-max": ("uint8", 255),
    "int8-min": ("int8", -128),
    "int64-max": ("int64", 2**63 - 1),
    "int64-min": ("int64", -(2**63)),
    "uint64-max": ("uint64", 2**64 - 1),
    "int32-whole-float": ("int32", 3.0),
    "float16-max": ("float16", 65504.0),
    "float32-nan": ("float32", float("nan")),
    "float32-inf": ("float32", float("inf")),
    "float64-minus-inf": ("float64", float("-inf")),
    "float32-minus-zero": ("float32", -0.0),
    "bfloat16-minus-zero": ("bfloat16", -0.0),
    "float32-rounded": ("float32", 0.1),
    "float64-int": ("float64", 2**60),
    "float8_e5m2-inf": ("float8_e5m2", float("inf")),
    "float8_e4m3fn-nan": ("float8_e4m3fn", float("nan")),
    "complex64-complex": ("complex64", 1.5 - 2j),
    "complex64-real": ("complex64", 1.5),
    "complex128-parts": ("complex128", complex(float("nan"), -0.0)),
    "numpy-scalar": ("int16", np.int8(-3)),
    "torch-scalar": ("float32", torch.tensor(2.5)),
}


@pytest.mark.parametrize("name", PADS)
def test_pad_values(kind: Any, name: str) -> None:
    dtype, value = PADS[name]
    if kind is torch.Tensor.numpy and dtype.startswith(("bfloat", "float8")):
        pytest.skip("no dtype of NumPy")
    number = value.item() if hasattr(value, "item") else value
    for case in named("each_dim_its_border", "space_all_border", "border_wider_than_the_tensor"):
        x = kind(random_tensor(case.shape, getattr(torch, dtype)))
        result = spacebatch.space_to_batch(x, **case.arguments, pad_value=value)
        assert same(result, define_batch(x, **case.arguments, pad_value=number))


@each_of(*FEW, "1d", "wide_row")
@each_option
def test_every_element_of_out_is_written(backend: str, case: Case, options: dict[str, Any]) -> None:
    geometry = case.geometry(**options)
    for dtype in (torch.bool, torch.bfloat16, torch.int32):
        x = random_tensor(case.shape, dtype)
        expected = define_batch(x, **case.arguments, **options)
        out = poisoned(torch.empty(geometry.batch_shape, dtype=dtype))
        assert spacebatch.space_to_batch(x, **case.arguments, **options, out=out) is out
        assert same(out, expected)
        z = random_tensor(geometry.batch_shape, dtype, seed=1)
        out = poisoned(torch.empty(geometry.space_shape, dtype=dtype))
        assert spacebatch.batch_to_space(z, **geometry.inverse, out=out) is out
        assert same(out, define_space(z, **geometry.inverse))


def inside(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """(a poisoned, padded and transposed store, a view of `shape` in the middle of it)."""
    store = poisoned(torch.empty([size + 2 for size in reversed(shape)], dtype=dtype))
    return store, store[tuple(slice(1, 1 + size) for size in reversed(shape))].permute(*reversed(range(len(shape))))


@each_of(*FEW)
@each_option
def test_out_of_any_strides(kind: Any, case: Case, options: dict[str, Any]) -> None:
    """`out` is filled and nothing around it is touched; of arrays, with a negative stride."""

    def placed(shape: tuple[int, ...]) -> tuple[torch.Tensor, Any]:
        store, view = inside(shape, torch.int32)
        view = kind(view)
        return store, view[::-1] if isinstance(view, np.ndarray) else view

    geometry = case.geometry(**options)
    x = kind(random_tensor(case.shape, torch.int32))
    y = spacebatch.space_to_batch(x, **case.arguments, **options)
    for function, source, result, arguments in (
        (spacebatch.space_to_batch, x, y, geometry.arguments),
        (spacebatch.batch_to_space, y, x, geometry.inverse),
    ):
        (store, out), (should, at) = placed(tuple(result.shape)), placed(tuple(result.shape))
        at[...] = result
        assert function(source, **arguments, out=out) is out
        assert same(store, should)


@each_case
def test_the_output_is_no_view(kind: Any, case: Case) -> None:
    x = kind(random_tensor(case.shape, torch.int32).clone())
    y = spacebatch.space_to_batch(x, **case.arguments)
    z = spacebatch.batch_to_space(y, **case.geometry().inverse)
    for a, b in ((x, y), (y, z), (x, z)):
        assert not np.shares_memory(np.asarray(a), np.asarray(b))
