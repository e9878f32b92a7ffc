"""The Triton kernels as a backend; triton is imported when the first tensor of a GPU needs it."""

from __future__ import annotations

import importlib.util
import os
from functools import lru_cache

import torch
from torch import Tensor

from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.memory_order import dense_strides
from spacebatch.reference.prepared import Backend, Direction, Layout, Prepared
from spacebatch.tl_kernels.family import elsewhere

from . import aten
from .backend import Backend as TensorBackend
from .backend import PadValue, empty_result

_HAS_TRITON = importlib.util.find_spec("triton") is not None


def prepare(direction: Direction, geometry: BlockGeometry, source: Layout, result: Layout) -> Prepared | str:
    """A call of the kernels, or why they cannot take it; see `tl_kernels.launch.prepare`."""
    if not _HAS_TRITON:
        return "triton is not installed"
    interpreted = source.device == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"
    if source.device not in ("cuda", "meta") and not interpreted:
        return elsewhere(source.device)
    from spacebatch.tl_kernels import launch

    from . import tuning

    return launch.prepare(direction, geometry, source, result, tuning)


BACKEND = Backend("triton", prepare)


# The same as a backend that is asked with tensors


@lru_cache(maxsize=4096)
def _prepared(direction: Direction, geometry: BlockGeometry, source: Layout, result: Layout) -> Prepared | str:
    return prepare(direction, geometry, source, result)


def _for_tensors(direction: Direction, geometry: BlockGeometry, source: Tensor, out: Tensor | None) -> Prepared | str:
    there = Layout(source.stride(), source.element_size(), source.dtype, source.device.type)
    if out is not None:
        strides = out.stride()
    else:
        shape = geometry.batch_shape if direction == "space_to_batch" else geometry.space_shape
        strides = tuple(dense_strides(shape, aten.output_order(source)))
    return _prepared(direction, geometry, there, there._replace(strides=strides, new=out is None))


def _can_run(direction: Direction, geometry: BlockGeometry, source: Tensor, out: Tensor | None) -> str | None:
    found = _for_tensors(direction, geometry, source, out)
    return found if isinstance(found, str) else None


def _run(
    direction: Direction, geometry: BlockGeometry, source: Tensor, pad_value: PadValue, out: Tensor | None
) -> Tensor:
    result = out
    if result is None:
        shape = geometry.batch_shape if direction == "space_to_batch" else geometry.space_shape
        result = empty_result(source, shape)
    if 0 in (source.numel(), result.numel()):
        return result.fill_(pad_value)
    found = _for_tensors(direction, geometry, source, out)
    assert not isinstance(found, str)
    zero = type(pad_value) is int and pad_value == 0
    found(source, result, b"" if zero else bits_of(pad_value, source.dtype))
    return result


def bits_of(pad_value: PadValue, dtype: torch.dtype) -> bytes:
    """The bits of one element of padding."""
    return torch.tensor([pad_value], dtype=dtype, device="cpu").view(torch.uint8).numpy().tobytes()


def describe(direction: Direction, geometry: BlockGeometry, source: Tensor) -> str:
    """The kernel and its plan in a line, for `explain`."""
    return "none: there is nothing to move" if geometry.empty else str(_for_tensors(direction, geometry, source, None))


TRITON = TensorBackend("triton", _can_run, _run)
