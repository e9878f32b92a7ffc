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
from .work import ANY, GRANULE, LANE, NONE

# what stands where in WORK
_SOURCE, _RESULT, _RESIDUAL, _DOUBLE = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2), tl.constexpr(3)
_SCALE, _BIAS, _ACTIVATION, _GRADIENT = tl.constexpr(4), tl.constexpr(5), tl.constexpr(6), tl.constexpr(7)
_PLAIN, _PADDED, _TABLE, PLACE = tl.constexpr(8), tl.constexpr(9), tl.constexpr(10), tl.constexpr(11)
_NONE, _GRANULE, _LANE, _ANY = tl.constexpr(NONE), tl.constexpr(GRANULE), tl.constexpr(LANE), tl.constexpr(ANY)


@triton.jit
def finished(bits, valid, place, exists, channel, known, result_pointer, tables, pad_low, WORK: tl.constexpr):
    """What is stored at some places of the result.

    Args:
        bits: of the source, or anything where an element is in the border. valid: which are not; not read without a border.
        place: offsets in the result, and in the residual. exists: which of them are stored.
        channel: of each element, in a shape that broadcasts. known: which of them there are; None for all.
        result_pointer: whose elements are stored. pad_low: bits of the border.
    """
    scale, bias, other = bits, bits, bits
    if WORK[_SCALE]:
        scale = tl.load(tables.scale + channel, mask=known)
    if WORK[_BIAS]:
        bias = tl.load(tables.bias + channel, mask=known)
    if WORK[_RESIDUAL] != "":
        other = tl.load(tables.residual + place, mask=exists)
    value = _computed(bits, scale, bias, other, WORK)
    if WORK[_PADDED]:
        pad = tl.cast(pad_low, result_pointer.dtype.element_ty)
        if WORK[_TABLE]:
            pad = tl.load(tables.pad + channel, mask=known)
        value = tl.where(valid, value, pad)
    return value


@triton.jit
def _computed(bits, scale, bias, other, WORK: tl.constexpr):
    """Bits of the result of bits of the source; each step is rounded, so that none may be contracted."""
    DOUBLE: tl.constexpr = WORK[_DOUBLE]
    EXACT: tl.constexpr = DOUBLE or WORK[_RESULT] == "float32"
    if WORK[_PLAIN]:
        result = bits
    else:
        value = decoded(bits, WORK[_SOURCE], DOUBLE)
        if WORK[_GRADIENT]:
            if WORK[_ACTIVATION] != "none":
                z = decoded(other, WORK[_RESIDUAL], DOUBLE)
                if WORK[_SCALE]:
                    z = z * scale
                if WORK[_BIAS]:
                    z = z + bias
                value = backward(value, z, WORK[_ACTIVATION], EXACT)
            if WORK[_SCALE]:
                value = value * scale
        else:
            if WORK[_SCALE]:
                value = value * scale
            if WORK[_BIAS]:
                value = value + bias
            if WORK[_RESIDUAL] != "":
                value = value + decoded(other, WORK[_RESIDUAL], DOUBLE)
            value = activated(value, WORK[_ACTIVATION], EXACT)
        result = encoded_as(value, WORK[_RESULT])
    return result


@triton.jit
def channels_of(first, granule, tables, LANES: tl.constexpr, WORK: tl.constexpr):
    """Channels of granules of a dense result, [G, 1] or [G, LANES].

    Args:
        first: the program's first element, a scalar. granule: places of granules from there on, in elements; [G].
    """
    SPREAD: tl.constexpr = WORK[PLACE]
    if SPREAD == _NONE:
        channel = 0
    else:
        local = (granule + (first % number(tables.period, tl.int64)).to(tl.int32))[:, None]
        if SPREAD != _GRANULE and SPREAD != _LANE:
            local += tl.arange(0, LANES)[None, :]
        if SPREAD == _GRANULE or SPREAD == _ANY:
            local = divide(local, tables.stride, False)
        channel = local - divide(local, tables.channels, False) * number(tables.channels.value, tl.int32)
        if SPREAD == _LANE:
            channel += tl.arange(0, LANES)[None, :]
    return channel
