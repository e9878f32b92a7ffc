"""What a call with arithmetic on the way gives its kernel: the computation, and where its operands are."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

from spacebatch.reference.arithmetic import RESULTS, Arithmetic, Operands
from spacebatch.reference.geometry import BlockGeometry

from .spec import EXACT, MOST_AT_ONCE, Computation, KernelSpec


class Channelled(NamedTuple):
    """A computation, the dim of its channels, and how many there are; None and 1 where nothing depends on the channel."""

    computed: Computation
    dim: int | None
    channels: int


def channelled(arithmetic: Arithmetic, geometry: BlockGeometry, padded: bool) -> Channelled | str:
    """The computation of a call, or why there is none; `padded` tells whether border is written.

    >>> channelled(Arithmetic("uint8", "bfloat16", 1, scale=True), BlockGeometry((1, 3, 4, 4), 2), False)[1:]
    (1, 3)
    >>> channelled(Arithmetic("float64", "float64", activation="gelu"), BlockGeometry((1, 3, 4, 4), 2), False)
    'it has no gelu of float64'
    """
    found = computation(arithmetic, padded)
    if isinstance(found, str):
        return found
    dim = arithmetic.channel_dim if found.scale or found.bias or found.pads else None
    return Channelled(found, dim, 1 if dim is None else geometry.space_shape[dim])


def computation(arithmetic: Arithmetic, padded: bool) -> Computation | str:
    """What a kernel is compiled for, with channels in any place, or why there is none."""
    if arithmetic.compute == "float64" and arithmetic.activation not in EXACT:
        return f"it has no {arithmetic.activation} of float64"
    before = padded and arithmetic.pad == "before"
    if before and arithmetic.residual is not None:
        return "the border differs from place to place where a residual is added to it"
    a = arithmetic
    pads = before and a.channel_dim is not None
    return Computation(a.source, a.result, a.residual, a.scale, a.bias, a.activation, a.gradient, "outer", pads)


def tables_are_plain(spec: KernelSpec) -> bool:
    """Whether a kernel reads scale and bias as they are, and no pad values of channels."""
    computed = spec.computed
    assert computed is not None
    repeated = computed.channels == "cyclic" or (computed.channels == "phases" and spec.row == "deinterleave")
    return not (repeated or computed.pads)


class Given(NamedTuple):
    """Operands of a call as its kernel takes them.

    Attributes:
        numbers: see `spec.OPERAND_NUMBERS`. pad: the bytes of one element. kept: what holds the tables.
    """

    numbers: list[int]
    pad: bytes
    kept: list[bytes]


def given(spec: KernelSpec, channels: int, operands: Operands, pad: bytes, pad_count: int) -> Given:
    """Operands for a kernel.

    Args:
        channels: of the call. operands: addresses, or None. pad: the bytes of one element of padding, empty for zero bits.
        pad_count: how many pad values there are among the operands.
    """
    computed = spec.computed
    assert computed is not None
    scale, bias, residual, pads = (operand if isinstance(operand, int) else None for operand in operands)
    size, padded = (8 if computed.double else 4), RESULTS[computed.result]
    if pads is not None and pad_count == 1:
        pad = ctypes.string_at(pads, padded)
        pads = None
    kept: list[bytes] = []
    period, length = channels, channels
    if computed.channels == "cyclic":
        period = channels * -(-MOST_AT_ONCE // channels)
        length = period + MOST_AT_ONCE
    elif computed.channels == "phases" and spec.row == "deinterleave":
        length = channels * MOST_AT_ONCE

    def table(address: int | None, size: int) -> int:
        if address is None or length == channels:
            return address or 0
        return held(ctypes.string_at(address, channels * size), size)

    def held(entries: bytes, size: int) -> int:
        kept.append((entries * -(-length * size // len(entries)))[: length * size])
        return ctypes.cast(ctypes.c_char_p(kept[-1]), ctypes.c_void_p).value or 0

    numbers = [table(scale, size), table(bias, size), residual or 0, 0, period]
    if computed.pads:
        numbers[3] = table(pads, padded) or held(pad or bytes(padded), padded)
    return Given(numbers, pad, kept)
