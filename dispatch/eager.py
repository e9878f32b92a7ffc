"""Eager calls on plain tensors: look up or prepare the call, allocate its result, fill it."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spacebatch.reference import prepared
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.llvm import recipes
from spacebatch.reference.memory_order import result_layout
from spacebatch.reference.prepared import Direction, Layout, Prepared

from . import backends as backends  # lists them
from .checks import PadValue, check_apart, check_fits, check_kind, check_plain, check_tensor, reach
from .huge_pages import HUGE_BYTES, advised
from .torch_private import increment_version

_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


class _Call(NamedTuple):
    """What calls of one geometry have in common whose sources and results lie alike in memory."""

    fill: Prepared
    shape: tuple[int, ...]  # of the result
    strides: tuple[int, ...]
    huge: bool  # a new result asks for huge pages
    reaches: tuple[int, int]  # of source and `out`, see `checks.reach`


def run(direction: Direction, geometry: BlockGeometry, source: Tensor, pad: bytes, out: Tensor | None = None) -> Tensor:
    """Compute without a look for gradients.

    Args:
        direction, geometry: of the call.
        source: a plain, strided tensor of the geometry's shape.
        pad: the bytes of one element of padding, empty for zero bits.
        out: where to write; None allocates the result in the source's memory order.

    Raises:
        ValueError, TypeError: an `out` that does not fit.
    """
    into = None
    if out is not None:
        if type(out) is not Tensor:
            check_kind(direction, out)
        into = out.shape, out.stride(), out.dtype, out.device  # what these tell is checked when the call is prepared
    is_complex = source.is_complex()
    if is_complex or source.is_neg():
        plain = source.resolve_conj().resolve_neg()  # backends move raw bits
        if out is not None and plain is not source:
            check_apart(direction, source, out)
        source = plain
    key = direction, source.stride(), source.dtype, source.device, into, prepared.demanded
    fill, shape, strides, huge, reaches = geometry._prepared.get(key) or _prepare(key, direction, geometry, source, out)
    if out is None:
        result = source.new_empty_strided(shape, strides)
        if huge:
            advised(result)
    else:
        result = out
        if out.requires_grad or out.is_neg() or (is_complex and out.is_conj()):
            check_plain(direction, out, source)
        if -reaches[1] < out.data_ptr() - source.data_ptr() < reaches[0]:
            check_apart(direction, source, out)
        increment_version((out,))  # kernels write past autograd, which may have kept it for a gradient
    fill(source, result, pad)
    return result


def run_new(
    direction: Direction,
    source: Tensor,
    pad: bytes,
    shape: tuple[int, ...],
    block_shape: Any,
    borders: Any,
    spatial_dims: Any,
    batch_order: Any,
    arrangement: Any,
    shifts: Any,
) -> Tensor | None:
    """The same of a shape that was not met before, by a recipe; None where there is none.

    Args:
        direction, source, pad: as for `run`. shape: of the source.
        block_shape, borders, spatial_dims, batch_order, arrangement, shifts: of the call, not checked.
    """
    if prepared.demanded is not None or not source.is_cpu:
        return None
    last = False
    if not source.is_contiguous():
        last = len(shape) in _LAST and source.is_contiguous(memory_format=_LAST[len(shape)])
        if not last:
            return None
    if source.is_neg() or source.is_conj() or source.is_quantized:
        return None
    found = recipes.find(
        direction, shape, source.itemsize, last, block_shape, borders, spatial_dims, batch_order, arrangement, shifts
    )
    if found is None:
        return None
    recipe, (size, strides, numbers) = found
    result = source.new_empty(size) if strides is None else source.new_empty_strided(size, strides)
    recipes.run(recipe, source.data_ptr(), result.data_ptr(), numbers, pad)
    return result


def _prepare(
    key: tuple[Any, ...], direction: Direction, geometry: BlockGeometry, source: Tensor, out: Tensor | None
) -> _Call:
    check_tensor(direction, source)
    shape = geometry.batch_shape if direction == "space_to_batch" else geometry.space_shape
    if out is not None:
        check_fits(direction, source, shape, out)
    there, result = layouts_of(direction, geometry, source, out)
    fill, keep = prepared.find(direction, geometry, there, result)
    assert result.strides is not None  # a tensor's always are
    huge = there.device == "cpu" and prod(shape) * there.itemsize >= HUGE_BYTES
    reaches = (0, 0) if out is None else (reach(source), reach(out))
    call = _Call(fill, shape, result.strides, huge, reaches)
    if keep:
        prepared.keep(geometry, key, call)
    return call


def layouts_of(
    direction: Direction, geometry: BlockGeometry, source: Tensor, out: Tensor | None = None
) -> tuple[Layout, Layout]:
    """How source and result of a call lie in memory, as backends are told."""
    dtype, size, device = source.dtype, source.itemsize, source.device.type
    if out is not None:
        strides = out.stride()
    else:
        _, strides = result_layout(direction, geometry, source.stride(), source.is_contiguous())
    return Layout(source.stride(), size, dtype, device), Layout(strides, size, dtype, device, out is None)


def pad_bits(value: PadValue, dtype: torch.dtype) -> bytes:
    """The bytes of a pad value that the dtype holds; empty for zero bits.

    >>> pad_bits(1.0, torch.float16), pad_bits(0, torch.float16)
    (b'\\x00<', b'')
    """
    if value == 0:
        if type(value) is int:
            return b""
        return _bits(value, dtype)  # minus zero equals zero, and has other bits
    return _kept_bits(value, dtype)


def _bits(value: PadValue, dtype: torch.dtype) -> bytes:
    return bytes(torch.tensor([value], dtype=dtype, device="cpu").view(torch.uint8).tolist())


_kept_bits = lru_cache(maxsize=256, typed=True)(_bits)
