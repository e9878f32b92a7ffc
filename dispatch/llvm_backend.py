"""Vector kernels of the CPU on tensors and arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from spacebatch.reference.cpu_path import copy_to_batch, copy_to_space
from spacebatch.reference.functions import result_like
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.llvm.prepare import Call as Prepared
from spacebatch.reference.llvm.prepare import prepare
from spacebatch.reference.memory_order import dense_strides, memory_order
from spacebatch.reference.prepared import Layout

from . import openmp, torch_backend
from .backend import Backend, Direction, Into, PadValue
from .huge_pages import HUGE_BYTES, advised

Array = np.ndarray[Any, Any]
Strides = tuple[int, ...]

openmp.hand_over()


class Call:
    """What all calls of one geometry, with inputs of the same strides and dtype, have in common."""

    def __init__(self, geometry: BlockGeometry, shape: Strides, strides: Strides, prepared: Prepared) -> None:
        self.shape, self.strides, self.prepared = shape, strides, prepared

    def __call__(self, source: Tensor, pad_value: PadValue = 0) -> Tensor:
        result = source.new_empty_strided(self.shape, self.strides)
        if result.nbytes >= HUGE_BYTES:
            advised(result)
        self.into(source, result, pad_value)
        return result

    def into(self, source: Tensor, result: Tensor, pad_value: PadValue = 0) -> None:
        """Fill a tensor."""
        zero = type(pad_value) is int and pad_value == 0
        self.prepared(source, result, b"" if zero else pad_bits(pad_value, source.dtype))


def pad_bits(value: PadValue, dtype: torch.dtype) -> bytes:
    """The bits of a pad value that the dtype holds.

    >>> pad_bits(1.0, torch.float16)
    b'\\x00<'
    """
    return bytes(torch.tensor([value], dtype=dtype, device="cpu").view(torch.uint8).tolist())


@lru_cache(maxsize=4096)
def _call_of(
    direction: Direction, geometry: BlockGeometry, strides: Strides, dtype: torch.dtype, out: Strides | None
) -> Call | str:
    shapes = geometry.space_shape, geometry.batch_shape
    source, result = shapes if direction == "space_to_batch" else shapes[::-1]
    if 0 in source or 0 in result:
        return "there is nothing to move"
    written = out or dense_strides(result, memory_order(source, strides))
    size = dtype.itemsize
    layouts = Layout(strides, size, dtype, "cpu"), Layout(written, size, dtype, "cpu", out is None)
    found = prepare(direction, geometry, *layouts)
    return found if isinstance(found, str) else Call(geometry, result, written, found)


def call_for(direction: Direction, geometry: BlockGeometry, source: Tensor, out: Tensor | None = None) -> Call | str:
    """What carries out such calls on the CPU, or the reason why nothing does."""
    if not source.is_cpu:
        return f"the tensor is on {source.device}, not on the CPU"
    return _call_of(direction, geometry, source.stride(), source.dtype, None if out is None else out.stride())


def into(direction: Direction, geometry: BlockGeometry, source: Tensor, out: Tensor) -> Into:
    """What fills an `out` on the CPU from such a source."""
    found = call_for(direction, geometry, source, out)
    if not isinstance(found, str):
        return found.into
    return lambda source, out, pad_value: torch_backend.run(direction, geometry, source, pad_value, out)


class ArrayCopies(NamedTuple):
    """What fills the result for a NumPy array: of (geometry, x, y, pad value), and of (geometry, y, x)."""

    to_batch: Callable[..., None]
    to_space: Callable[..., None]


def array_call(
    direction: Direction, geometry: BlockGeometry, source: Array, out: Array | None = None
) -> Prepared | str:
    """What carries out such calls on arrays, or the reason why nothing does."""
    result = result_like(source, geometry.batch_shape if direction == "space_to_batch" else geometry.space_shape)
    return _array_call(direction, geometry, source.strides, (result if out is None else out).strides, source.dtype)


@lru_cache(maxsize=4096)
def _array_call(
    direction: Direction, geometry: BlockGeometry, source: Strides, result: Strides, dtype: np.dtype[Any]
) -> Prepared | str:
    if geometry.empty or 0 in geometry.batch_shape:
        return "there is nothing to move"
    size = dtype.itemsize
    whole = size > 0 and not any(stride % size for stride in (*source, *result))
    read, written = (
        Layout(tuple(s // size for s in strides) if whole else None, size, dtype, "numpy", new)
        for strides, new in ((source, False), (result, True))
    )
    return prepare(direction, geometry, read, written)


def _to_batch(geometry: BlockGeometry, x: Array, y: Array, pad: Array) -> None:
    call = array_call("space_to_batch", geometry, x, y)
    if isinstance(call, str):
        copy_to_batch(geometry, x, y, pad)
    else:
        call(x, y, pad.tobytes() if geometry.padded else b"")


def _to_space(geometry: BlockGeometry, y: Array, x: Array) -> None:
    call = array_call("batch_to_space", geometry, y, x)
    if isinstance(call, str):
        copy_to_space(geometry, y, x)
    else:
        call(y, x, b"")


def array_copies() -> ArrayCopies:
    """The vector kernels, and NumPy alone for what they do not take."""
    return ArrayCopies(_to_batch, _to_space)


def _can_run(direction: Direction, geometry: BlockGeometry, source: Tensor, out: Tensor | None) -> str | None:
    call = call_for(direction, geometry, source, out)
    return call if isinstance(call, str) else None


def _run(
    direction: Direction, geometry: BlockGeometry, source: Tensor, pad_value: PadValue, out: Tensor | None
) -> Tensor:
    call = call_for(direction, geometry, source, out)
    assert not isinstance(call, str)  # which `can_run` found out
    if out is None:
        return call(source, pad_value)
    call.into(source, out, pad_value)
    return out


LLVM = Backend("llvm", _can_run, _run)
