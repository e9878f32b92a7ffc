"""Eager fused calls on plain tensors: look up or prepare the call, bring what it meets to its place, fill the result."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spacebatch.reference import prepared
from spacebatch.reference.arithmetic import NO_OPERANDS, Arithmetic, Operands
from spacebatch.reference.memory_order import result_layout
from spacebatch.reference.prepared import Layout, Prepared

from ..arithmetic import Factor, computed, dtype_of
from ..checks import PadValue, check_tensor
from ..eager import pad_bits
from ..huge_pages import HUGE_BYTES, advised
from .aten import Call, Tensors


class Fused(NamedTuple):
    """What fused calls of one geometry and one arithmetic have in common whose tensors lie alike in memory."""

    fill: Prepared
    shape: tuple[int, ...]  # of the result
    strides: tuple[int, ...]
    dtype: torch.dtype
    channels: tuple[int, ...]  # the shape of scale and bias
    padded: bool  # a border is written
    huge: bool


def run(way: Call, tensors: Tensors, out: Tensor | None = None, again: Any = None) -> Tensor:
    """Compute without a look for gradients.

    Args:
        way, tensors: of the call, checked; the tensors are plain and strided.
        out: where to write, checked; None allocates the result in the source's memory order.
        again: a key by which the geometry is to remember the way and the prepared call together.
    """
    direction, geometry, arithmetic, number = way
    source, scale, bias, residual = tensors
    if source.is_neg():
        source = source.resolve_neg()  # backends move raw bits
    into = None if out is None else out.stride()
    on_host = not (isinstance(scale, Tensor) or isinstance(bias, Tensor))
    key = arithmetic, direction, source.stride(), source.device, into, prepared.demanded, on_host
    call = geometry._prepared.get(key) or _prepare(key, way, source, out, on_host)
    if again is not None and key in geometry._prepared:
        prepared.keep(geometry, again, _again(call, way, source, scale, bias))
    return filled(call, arithmetic, number, source, scale, bias, residual, out)


class _Again(NamedTuple):
    """What is left to do of a call that was checked, for one like it.

    Attributes:
        call, way: of the first.
        pad: what the border holds.
        scale, bias: of a call, where they are numbers.
        straight: whether nothing has to be worked out of the tensors: they can be read as they are, and so the border is known.
    """

    call: Fused
    way: Call
    pad: bytes
    scale: Tensor | None
    bias: Tensor | None
    straight: bool


def _again(call: Fused, way: Call, x: Tensor, scale: Factor, bias: Factor) -> _Again:
    arithmetic, channels = way.arithmetic, call.channels
    pad, operands = operands_of(arithmetic, x, scale, bias, way.number, channels, call.padded)
    straight = operands.pad is None
    compute = dtype_of(arithmetic.compute)
    for value in (scale, bias):
        if isinstance(value, Tensor):
            straight &= value.dtype is compute and value.shape == channels and value.is_contiguous()
    kept_scale = None if isinstance(scale, Tensor) else operands.scale
    kept_bias = None if isinstance(bias, Tensor) else operands.bias
    return _Again(call, way, pad, kept_scale, kept_bias, straight)


def run_again(again: _Again, source: Tensor, scale: Factor, bias: Factor, residual: Tensor | None) -> Tensor:
    """Compute what is known to be like a call that was checked."""
    call, way, pad, kept_scale, kept_bias, straight = again
    if not straight:
        return filled(call, way.arithmetic, way.number, source, scale, bias, residual)
    fill, shape, strides, dtype, _, _, huge = call
    result = source.new_empty_strided(shape, strides, dtype=dtype)
    if huge:
        advised(result)
    beside = None if residual is None else _alike(residual, shape, strides)
    fill(
        source,
        result,
        pad,
        Operands(scale if kept_scale is None else kept_scale, bias if kept_bias is None else kept_bias, beside),
    )
    return result


def filled(
    call: Fused,
    arithmetic: Arithmetic,
    number: PadValue,
    source: Tensor,
    scale: Factor,
    bias: Factor,
    residual: Tensor | None,
    out: Tensor | None = None,
) -> Tensor:
    """The result of a call that was prepared."""
    fill, shape, strides, dtype, channels, padded, huge = call
    if out is None:
        result = source.new_empty_strided(shape, strides, dtype=dtype)
        if huge:
            advised(result)
    else:
        result = out
        if not out.is_inference():  # kernels write past autograd, which may have kept the tensor for a gradient
            torch.autograd.graph.increment_version(out)
    pad, operands = operands_of(arithmetic, source, scale, bias, number, channels, padded)
    if residual is not None:
        operands = operands._replace(residual=_alike(residual, shape, strides))
    fill(source, result, pad, operands)
    return result


def operands_of(
    arithmetic: Arithmetic,
    x: Tensor,
    scale: Factor,
    bias: Factor,
    number: PadValue,
    channels: tuple[int, ...],
    padded: bool,
) -> tuple[bytes, Operands]:
    """What a call meets on its way: the bytes of a pad value, scale and bias as backends read them, and a border that is a table.

    Args:
        arithmetic, x, scale, bias, number: of the call.
        channels: the shape of scale and bias. padded: whether a border is written.
    """
    pad, table = b"", None
    if padded and (arithmetic.pad == "before" or number != 0 or type(number) is not int):
        if arithmetic.pad == "after":
            pad = pad_bits(number, dtype_of(arithmetic.result))
        elif isinstance(scale, Tensor) or isinstance(bias, Tensor):
            table = _border(arithmetic, x, scale, bias, number, channels)
        else:
            bits = _border_bits if scale and bias and number else _border_bits.__wrapped__  # likewise
            pad = bits(arithmetic, x.dtype, scale, bias, number)
    if scale is None and bias is None:
        return pad, NO_OPERANDS
    compute = dtype_of(arithmetic.compute)
    return pad, Operands(
        None if scale is None else _brought(scale, compute, channels, x.device),
        None if bias is None else _brought(bias, compute, channels, x.device),
        None,
        table,
    )


def _prepare(key: tuple[Any, ...], way: Call, source: Tensor, out: Tensor | None, on_host: bool) -> Fused:
    direction, geometry, arithmetic, _ = way
    check_tensor(f"fused.{direction}", source)
    layouts = layouts_of(way, source, out)
    padded = direction == "space_to_batch" and geometry.padded
    fill, keep = prepared.find(direction, geometry, *layouts, asked(arithmetic, padded and not on_host))
    shape = geometry.batch_shape if direction == "space_to_batch" else geometry.space_shape
    result = layouts[1]
    assert result.strides is not None  # a tensor's always are
    huge = result.device == "cpu" and prod(shape) * result.itemsize >= HUGE_BYTES
    c = arithmetic.channel_dim
    call = Fused(fill, shape, result.strides, result.dtype, (1,) if c is None else (shape[c],), padded, huge)
    if keep:
        prepared.keep(geometry, key, call)
    return call


def asked(arithmetic: Arithmetic, table: bool) -> Arithmetic | None:
    """The arithmetic that backends are asked for; None where bits are moved.

    Args:
        table: whether a border that enters the arithmetic is a table of the channels. Else it is known before the call, and a pad
            value like any other.
    """
    if arithmetic.plain:
        return None
    return arithmetic if table else replace(arithmetic, pad="after")


def layouts_of(way: Call, source: Tensor, out: Tensor | None = None) -> tuple[Layout, Layout]:
    """How source and result of a call lie in memory, as backends are told."""
    dtype = dtype_of(way.arithmetic.result)
    device = source.device.type
    if out is not None:
        strides = out.stride()
    else:
        _, strides = result_layout(way.direction, way.geometry, source.stride(), source.is_contiguous())
    there = Layout(source.stride(), source.itemsize, source.dtype, device)
    return there, Layout(strides, dtype.itemsize, dtype, device, out is None)


def _brought(value: Factor, dtype: torch.dtype, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Scale or bias as kernels read it: contiguous, of the dtype of the arithmetic, and of one entry for each channel."""
    if not isinstance(value, Tensor):
        number = _number if value else _number.__wrapped__  # minus zero equals zero, and is another number
        return number(value, dtype, shape, device)
    if value.dtype is dtype and value.shape == shape and value.is_contiguous() and not value.is_neg():
        return value.detach() if value.requires_grad else value
    brought: Tensor = value.detach().to(device, dtype).resolve_neg()
    return (brought.expand(shape) if brought.dim() == 0 else brought).contiguous()


@lru_cache(maxsize=256, typed=True)
def _number(value: float, dtype: torch.dtype, shape: tuple[int, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.full(shape, value, dtype=dtype, device=device)


def _alike(residual: Tensor, shape: tuple[int, ...], strides: tuple[int, ...]) -> Tensor:
    """The residual where the result's elements are."""
    residual = residual.detach().resolve_neg()
    if residual.stride() == strides:
        return residual
    copy = torch.empty_strided(shape, strides, dtype=residual.dtype, device=residual.device)
    return copy.copy_(residual)


def _border(
    arithmetic: Arithmetic, source: Tensor, scale: Factor, bias: Factor, number: PadValue, channels: tuple[int, ...]
) -> Tensor:
    """What the border holds for each channel: the arithmetic of the pad value."""
    scale, bias = (x.detach() if isinstance(x, Tensor) else x for x in (scale, bias))
    alone = arithmetic if arithmetic.channel_dim is None else replace(arithmetic, channel_dim=0)
    return computed(source.new_full(channels, number), alone, scale, bias).contiguous()


@lru_cache(maxsize=256, typed=True)
def _border_bits(arithmetic: Arithmetic, dtype: torch.dtype, scale: Any, bias: Any, number: PadValue) -> bytes:
    """The same where scale and bias are numbers."""
    value = computed(torch.full((1,), number, dtype=dtype, device="cpu"), arithmetic, scale, bias)
    return bytes(value.view(torch.uint8).tolist())
