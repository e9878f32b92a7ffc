"""Words of four bytes at any byte address, and bytes moved about within words, for the kernels that move single bytes.

A thread reads whole aligned words and shifts two neighbours by bytes: a funnel. One instruction of NVIDIA's, `prmt`, takes
any four bytes of two words, in an order that may be computed; shifts and masks say the same elsewhere.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl


@triton.jit
def permuted(low, high, SELECTOR: tl.constexpr, PERMUTES: tl.constexpr):
    """Four of the bytes 0 … 3 of `low` and 4 … 7 of `high`: a hexadecimal digit of the selector for each, the lowest first."""
    if PERMUTES:
        result = tl.inline_asm_elementwise(
            f"prmt.b32 $0, $1, $2, {SELECTOR};", "=r,r,r", [low, high], dtype=tl.int32, is_pure=True, pack=1
        )
    else:
        result = low * 0
        for byte in tl.static_range(4):
            if (SELECTOR >> (4 * byte)) & 4:
                word = high
            else:
                word = low
            result = result | (((word >> (8 * ((SELECTOR >> (4 * byte)) & 3))) & 255) << (8 * byte))
    return result


@triton.jit
def funnelled(low, high, shift, PERMUTES: tl.constexpr):
    """The word that starts `funnel(address)` bytes into `low`, and ends in `high`."""
    if PERMUTES:
        result = tl.inline_asm_elementwise(
            "prmt.b32 $0, $1, $2, $3;", "=r,r,r,r", [low, high, shift], dtype=tl.int32, is_pure=True, pack=1
        )
    else:
        both = low.to(tl.uint32).to(tl.uint64) | (high.to(tl.uint32).to(tl.uint64) << 32)
        result = (both >> shift.to(tl.uint64)).to(tl.int32)
    return result


@triton.jit
def funnel(address, PERMUTES: tl.constexpr):
    """What `funnelled` shifts by for bytes at this address."""
    part = (address & 3).to(tl.int32)
    if PERMUTES:
        shift = part * 0x1111 + 0x3210
    else:
        shift = part * 8
    return shift


@triton.jit
def spread(limit, COUNT: tl.constexpr):
    """A limit as `reached` takes it; COUNT is the number of bytes."""
    return tl.minimum(tl.maximum(limit, 0), COUNT) * 0x01010101


@triton.jit
def reached(limit, WORD: tl.constexpr, PERMUTES: tl.constexpr):
    """A mask of the bytes of the WORD-th word, counted from 4 * WORD on, that have reached the limit."""
    signs = (0x83828180 - 0x100000000 + 0x04040404 * WORD) - limit  # the sign of each byte
    if PERMUTES:
        mask = tl.inline_asm_elementwise(
            "prmt.b32 $0, $1, $1, 0xba98;", "=r,r", [signs], dtype=tl.int32, is_pure=True, pack=1
        )
    else:
        mask = ((signs >> 7) & 0x01010101) * 255
    return mask


@triton.jit
def chosen(mask, one, other):
    """Bits of `one` where the mask is set, of the other elsewhere."""
    return (one & mask) | (other & ~mask)


@triton.jit
def joined(low, high):
    """Two words as one of eight bytes."""
    return low.to(tl.uint32, bitcast=True).to(tl.int64) | (high.to(tl.int64) << 32)


@triton.jit
def tail_word(pointer, index, size):
    """The bytes from 8 * index on that lie inside of the tensor of `size` bytes, as a word of eight."""
    word = tl.cast(0, tl.int64)
    for byte in tl.static_range(8):
        place = index * 8 + byte
        there = tl.load(pointer + place, mask=place < size, other=0).to(tl.int64)
        word = word | ((there & 255) << (8 * byte))
    return word


@triton.jit
def stream(pointer, offset, size, BYTES: tl.constexpr, EDGE: tl.constexpr, PERMUTES: tl.constexpr):
    """BYTES bytes from a byte offset on as words; BYTES is 8 or 16.

    Whole aligned words of 8 bytes are read. At an EDGE, where these may leave the tensor of `size` bytes, the one
    that lies across its end is put together of the bytes in it.
    """
    shift = funnel(offset, PERMUTES)
    eight = pointer.to(tl.pointer_type(tl.int64), bitcast=True)
    index = offset >> 3
    last = size >> 3
    if EDGE:
        tail = tail_word(pointer, last, size)
    apart = ()
    for n in tl.static_range(BYTES // 8 + 1):
        if EDGE:
            both = tl.load(eight + index + n, mask=index + n < last, other=0)
            both = tl.where(index + n == last, tail, both)
        else:
            both = tl.load(eight + index + n)
        apart = apart + (both.to(tl.int32), (both >> 32).to(tl.int32))
    four = (offset & 4) != 0
    words = ()
    for n in tl.static_range(BYTES // 4 + 1):
        words = words + (tl.where(four, apart[n + 1], apart[n]),)
    result = ()
    for n in tl.static_range(BYTES // 4):
        result = result + (funnelled(words[n], words[n + 1], shift, PERMUTES),)
    return result


@triton.jit
def window(pointer, offset, valid, elsewhere, size, SPAN: tl.constexpr, EDGE: tl.constexpr, PERMUTES: tl.constexpr):
    """The SPAN bytes from a byte offset on as words; SPAN is 16 or 32. Those that are not valid are any, as from `elsewhere`.

    Whole aligned vectors of 16 bytes are read. At an EDGE, where these may leave the tensor of `size` bytes, those that lie
    across its end are put together of the bytes in it.
    """
    offset = tl.where(valid, offset, elsewhere)
    vector = offset >> 4
    pair = tl.arange(0, 2)[None, :]
    start = pointer.to(tl.pointer_type(tl.int64), bitcast=True) + (vector * 2)[:, None] + pair
    words = ()
    if EDGE:
        last = size >> 4
        tail = tl.where(pair == 0, tail_word(pointer, last * 2, size), tail_word(pointer, last * 2 + 1, size))
    for n in tl.static_range(SPAN // 16 + 1):
        if EDGE:
            there = (vector + n)[:, None] + pair * 0
            both = tl.load(start + 2 * n, mask=(there >= 0) & (there < last), other=0)
            both = tl.where(there == last, tail, both)
        else:
            both = tl.load(start + 2 * n)
        low, high = tl.split(both)
        words = words + (low.to(tl.int32), (low >> 32).to(tl.int32), high.to(tl.int32), (high >> 32).to(tl.int32))
    eight = (offset & 8) != 0
    four = (offset & 4) != 0
    shift = funnel(offset, PERMUTES)
    nearer = ()
    for n in tl.static_range(SPAN // 4 + 2):
        nearer = nearer + (tl.where(eight, words[n + 2], words[n]),)
    at = ()
    for n in tl.static_range(SPAN // 4 + 1):
        at = at + (tl.where(four, nearer[n + 1], nearer[n]),)
    result = ()
    for n in tl.static_range(SPAN // 4):
        result = result + (funnelled(at[n], at[n + 1], shift, PERMUTES),)
    return result


# Under Triton's interpreter, and for AMD, bytes are moved by shifts.
PERMUTES = isinstance(permuted, triton.JITFunction) and torch.version.hip is None
