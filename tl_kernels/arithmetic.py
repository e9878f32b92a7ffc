"""Arithmetic on the way, as kernels do it where they store: decode, scale, add, activate, convert; see `reference.arithmetic`.

A kernel that takes it has two more parameters: `WORK`, what it is compiled for (`Work.constants`), and `tables` (`work.Tables`).
Both are None where bits are moved, and then nothing of this is in the code.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .activations import activated, backward
from .conversions import decoded, encoded_as
from .integers import divide, number
from .work import LANE, NONE, SINGLE, TWO

# what stands where in WORK
_SOURCE, _RESULT, _RESIDUAL, _DOUBLE = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2), tl.constexpr(3)
_SCALE, _BIAS, _ACTIVATION, _GRADIENT = tl.constexpr(4), tl.constexpr(5), tl.constexpr(6), tl.constexpr(7)
_PLAIN, _PADDED, _TABLE, PLACE = tl.constexpr(8), tl.constexpr(9), tl.constexpr(10), tl.constexpr(11)
_NONE, _TWO, _LANE, _SINGLE = tl.constexpr(NONE), tl.constexpr(TWO), tl.constexpr(LANE), tl.constexpr(SINGLE)


@triton.jit
def looked_up(channel, known, pad_low, result_pointer, tables, WORK: tl.constexpr):
    """Scale, bias and what the border holds, for `finished`.

    Args:
        channel: of each element, in a shape that broadcasts; or two and which elements are of the first, see `channels_of`.
        known: which channels there are; None for all. pad_low: bits of the border. result_pointer: to whose elements it belongs.
    """
    scale, bias, pad = 0, 0, 0
    if WORK[_SCALE]:
        scale = _at(tables.scale, channel, known)
    if WORK[_BIAS]:
        bias = _at(tables.bias, channel, known)
    if WORK[_TABLE]:
        pad = _at(tables.pad, channel, known)
    elif WORK[_PADDED]:
        pad = tl.cast(pad_low, result_pointer.dtype.element_ty)
    return scale, bias, pad


@triton.jit
def _at(table, channel, known):
    if len(channel) == 1:
        value = tl.load(table + channel[0], mask=known)
    else:
        value = tl.where(channel[2], tl.load(table + channel[0]), tl.load(table + channel[1]))
    return value


@triton.jit
def finished(bits, valid, place, exists, found, tables, WORK: tl.constexpr):
    """What is stored at some places of the result.

    Args:
        bits: of the source, or anything where an element is in the border. valid: which are not; not read without a border.
        place: offsets in the result, and in the residual. exists: which of them are stored.
        found: what `looked_up` gives.
    """
    scale, bias, pad = found
    other = bits
    if WORK[_RESIDUAL] != "":
        other = tl.load(tables.residual + place, mask=exists)
    value = _computed(bits, scale, bias, other, WORK)
    if WORK[_PADDED]:
        value = tl.where(valid, value, pad)
    return value


@triton.jit
def marked(bits, valid):
    """Bits in a word of twice their size, which is negative where they are not valid."""
    if bits.dtype == tl.int8:
        wide = bits.to(tl.uint8, bitcast=True).to(tl.int16)
    elif bits.dtype == tl.int16:
        wide = bits.to(tl.uint16, bitcast=True).to(tl.int32)
    else:
        wide = bits.to(tl.uint32, bitcast=True).to(tl.int64)
    return tl.where(valid, wide, -1)


@triton.jit
def _computed(bits, scale, bias, other, WORK: tl.constexpr):
    """Bits of the result of bits of the source; each step is rounded, so that none may be contracted."""
    SOURCE: tl.constexpr = WORK[_SOURCE]
    RESULT: tl.constexpr = WORK[_RESULT]
    RESIDUAL: tl.constexpr = WORK[_RESIDUAL]
    ACTIVATION: tl.constexpr = WORK[_ACTIVATION]
    DOUBLE: tl.constexpr = WORK[_DOUBLE]
    EXACT: tl.constexpr = DOUBLE or RESULT == "float32"
    if WORK[_PLAIN]:
        result = bits
    else:
        value = decoded(bits, SOURCE, DOUBLE)
        if WORK[_GRADIENT]:
            if ACTIVATION != "none":
                z = decoded(other, RESIDUAL, DOUBLE)
                if WORK[_SCALE]:
                    z = z * scale
                if WORK[_BIAS]:
                    z = z + bias
                value = backward(value, z, ACTIVATION, EXACT)
            if WORK[_SCALE]:
                value = value * scale
        else:
            if WORK[_SCALE]:
                value = value * scale
            if WORK[_BIAS]:
                value = value + bias
            if RESIDUAL != "":
                value = value + decoded(other, RESIDUAL, DOUBLE)
            value = activated(value, ACTIVATION, EXACT)
        result = encoded_as(value, RESULT)
    return result


@triton.jit
def channels_of(first, granule, tables, LANES: tl.constexpr, WORK: tl.constexpr):
    """Channels of granules of a dense result, for `finished`.

    Args:
        first: the program's first element, a scalar. granule: places of granules from there on, in elements; [G].
    """
    SPREAD: tl.constexpr = WORK[PLACE]
    lane = tl.arange(0, LANES)[None, :]
    if SPREAD == _NONE:
        found = (0,)
    else:
        local = (granule + (first % number(tables.period, first.dtype)).to(tl.int32))[:, None]
        count = number(tables.channels.value, tl.int32)
        if SPREAD <= _TWO:
            nth = divide(local, tables.stride, False)
            channel = nth - divide(nth, tables.channels, False) * count
            found = (channel,)
            if SPREAD == _TWO:
                left = (nth + 1) * number(tables.stride.value, tl.int32) - local
                following = tl.where(channel + 1 < count, channel + 1, 0)
                found = (channel, following, lane < left)
        elif SPREAD == _LANE:
            found = (local - divide(local, tables.channels, False) * count + lane,)
        else:
            nth = local + lane
            if SPREAD != _SINGLE:
                nth = divide(nth, tables.stride, False)
            found = (nth - divide(nth, tables.channels, False) * count,)
    return found
