"""From a block geometry and the strides of both tensors to what a kernel is launched with. Pure Python: no GPU needed.

Both directions walk the *padded space*: every element of the batch tensor has one place u in it, along each blocked dim
u = outer * extent + inner, where one of (outer, inner) is the phase and the other the position (see `reference.geometry`).
Batch order and arrangement are nothing but strides of outer and inner in the batch tensor, and padding and cropping the
test 0 <= u - before < covered. So there is one loop nest for everything:

    space[ sum(index * space_stride) + sum((u - before) * space_stride) ]
    batch[ sum(index * outer_stride) + sum(outer * outer_stride + inner * inner_stride) ]

Blocks of one without padding are plain dims, and plain dims that follow each other in both tensors merge into one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from spacebatch.reference.geometry import BlockGeometry

Direction: TypeAlias = Literal["space_to_batch", "batch_to_space"]

PLAIN, SPLIT, SHIFTED = 0, 1, 2  # how a loop dim maps to the batch tensor
RUN, HALF, WHOLE = 0, 1, 2  # what the elements of a row are
MAX_DIMS = 8
INT32_MAX = 2**31 - 1


@dataclass(frozen=True)
class LoopDim:
    """One loop over padded space; strides in elements."""

    kind: (
        int  # PLAIN: no border, no split. SHIFTED: a border. SPLIT: split into outer and inner, with or without border
    )
    size: int
    space_stride: int
    outer_stride: int
    inner_stride: int = 0
    extent: int = 0
    before: int = 0
    covered: int = 0

    @property
    def masked(self) -> bool:
        return self.kind != PLAIN and (self.before > 0 or self.covered < self.size)


@dataclass(frozen=True)
class Plan:
    """What a launch needs; hashable, and readable as the explanation of a call.

    A program owns a tile of rows times elements. The elements of a row are, by `mode`:
    RUN, a plain dim (channels of channels_last, a merged rest); HALF, the outer or the inner half of the last blocked dim,
    whichever is dense in the batch tensor; WHOLE, a stretch of the last dim in space, read from all its phases at once.
    """

    direction: Direction
    mode: int
    dims: tuple[LoopDim, ...]  # of the rows, innermost first
    rows: int
    length: int  # elements of a row
    halves: int  # HALF: how many values the other half takes, the innermost part of the row index
    half_stride: int  # HALF: of the other half in the batch tensor
    half_step: int  # HALF: padded coordinates per step of the other half
    step: int  # HALF: padded coordinates per element
    space_step: int  # stride of an element in space
    batch_step: int  # and in the batch tensor
    inner: LoopDim  # the dim that the row runs along
    space_unit: int  # every space offset of a row is a multiple of this many elements
    batch_unit: int
    length_unit: int
    wide: bool  # offsets need 64 bits
    long_rows: bool  # row numbers or coordinates need 64 bits
    pair: bool  # 16-byte elements: two 8-byte words, each with its own half of the pad value
    words: int  # bytes of a word


def loop_dims(geometry: BlockGeometry, space_strides: Sequence[int], batch_strides: Sequence[int]) -> list[LoopDim]:
    """All loops, outermost in space first, with nothing merged yet.

    >>> [d.kind for d in loop_dims(BlockGeometry((2, 3, 4, 4), 2), (48, 16, 4, 1), (12, 4, 2, 1))]
    [0, 0, 1, 1]
    """
    sample, phases = geometry.split_batch_stride(batch_strides[0])
    dims = [LoopDim(PLAIN, geometry.samples, space_strides[0], sample)]
    axes = {axis.dim: (axis, phase) for axis, phase in zip(geometry.axes, phases, strict=True)}
    for d in range(1, len(geometry.space_shape)):
        if d not in axes:
            dims.append(LoopDim(PLAIN, geometry.space_shape[d], space_strides[d], batch_strides[d]))
            continue
        axis, phase = axes[d]
        size = axis.blocks * axis.block
        position = batch_strides[d]
        outer, inner = (position, phase) if geometry.arrangement == "interleaved" else (phase, position)
        if axis.block == 1 or axis.blocks == 1:  # only one half moves
            moving = position if axis.block == 1 else phase
            kind = SHIFTED if axis.before or axis.after else PLAIN
            dims.append(LoopDim(kind, size, space_strides[d], moving, moving, size, axis.before, axis.size))
        else:
            dims.append(LoopDim(SPLIT, size, space_strides[d], outer, inner, axis.extent, axis.before, axis.size))
    return dims


def merged(dims: Sequence[LoopDim]) -> list[LoopDim]:
    """Loops in the order of space memory, without those of one step, plain neighbours made one."""
    # expanded dims have no place in space memory, only in the batch tensor
    moving = [d for d in dims if d.size > 1]
    ordered = sorted(moving, key=lambda d: (-(d.space_stride or d.outer_stride), -d.outer_stride))
    result: list[LoopDim] = []
    for dim in ordered:
        last = result[-1] if result else None
        if (
            last is not None
            and last.kind == dim.kind == PLAIN
            and last.space_stride == dim.size * dim.space_stride
            and last.outer_stride == dim.size * dim.outer_stride
        ):
            result[-1] = replace(dim, size=last.size * dim.size)
        else:
            result.append(dim)
    return result


def make_plan(
    direction: Direction,
    geometry: BlockGeometry,
    space_strides: Sequence[int],
    batch_strides: Sequence[int],
    element_bytes: int,
    space_aligned: bool = True,
    batch_aligned: bool = True,
) -> Plan | None:
    """The launch plan of a call, or None where nothing is to be done or the loops are more than the kernels take.

    Args:
        direction: which operator.
        geometry: of the call, with at least one element to write.
        space_strides, batch_strides: of both tensors, in elements.
        element_bytes: 1, 2, 4, 8 or 16.
        space_aligned, batch_aligned: whether the first element stands at a multiple of 16 bytes.
    """
    pair = element_bytes == 16
    words = min(element_bytes, 8)
    scale = 2 if pair else 1
    dims = loop_dims(geometry, [s * scale for s in space_strides], [s * scale for s in batch_strides])
    if pair:
        dims.append(LoopDim(PLAIN, 2, 1, 1))
    dims = merged(dims) or [LoopDim(PLAIN, 1, 1, 1)]
    inner = dims.pop()
    mode, halves, half_stride, half_step, step = RUN, 1, 0, 0, 1
    length, space_step, batch_step = inner.size, inner.space_stride, inner.outer_stride
    if inner.kind == SHIFTED:
        mode = HALF
    elif inner.kind == SPLIT:
        mode = HALF
        outers = inner.size // inner.extent
        if inner.inner_stride <= inner.outer_stride:  # contiguous: rows are stretches of one window
            length, halves = inner.extent, outers
            batch_step, half_stride = inner.inner_stride, inner.outer_stride
            half_step = inner.extent
        elif direction == "space_to_batch":  # interleaved: rows are every block-th element
            length, halves = outers, inner.extent
            batch_step, half_stride = inner.outer_stride, inner.inner_stride
            half_step, step = 1, inner.extent
            space_step *= step
        else:
            mode, length = WHOLE, inner.covered
    if len(dims) > MAX_DIMS:
        return None
    rows = halves
    for dim in dims:
        rows *= dim.size

    full = 16 // words
    space_values = [d.space_stride for d in dims]
    batch_values = [s for d in dims for s in (d.outer_stride, d.inner_stride)] + [half_stride]
    space_values += [half_step * inner.space_stride, inner.before * inner.space_stride] if mode == HALF else []
    if mode == HALF and inner.masked:
        space_values.append(inner.covered)
    length_unit = _unit([length], full)
    space_unit = _unit(space_values, length_unit) if space_step == 1 and space_aligned else 1
    batch_unit = _unit(batch_values, length_unit) if batch_step == 1 and batch_aligned and mode != WHOLE else 1
    sizes = [d.size for d in (*dims, inner)]
    return Plan(
        direction,
        mode,
        tuple(reversed(dims)),
        rows,
        length,
        halves,
        half_stride,
        half_step,
        step,
        space_step,
        batch_step,
        inner,
        space_unit,
        batch_unit,
        length_unit,
        wide=max(_reach(dims, inner, "space"), _reach(dims, inner, "batch")) > INT32_MAX,
        long_rows=max(rows, *sizes) > INT32_MAX // 2,
        pair=pair,
        words=words,
    )


def _unit(values: Sequence[int], most: int) -> int:
    """The largest power of two up to `most` that divides all values."""
    unit = most
    while any(value % unit for value in values):
        unit //= 2
    return unit


def _reach(dims: Sequence[LoopDim], inner: LoopDim, side: str) -> int:
    """An upper bound of the offsets, padding included, that a tensor is addressed with."""
    if side == "space":
        return sum((d.size - 1 + d.before) * d.space_stride for d in (*dims, inner))
    total = 0
    for d in (*dims, inner):
        outers, inners = (-(-d.size // d.extent), d.extent) if d.kind == SPLIT else (d.size, 1)
        total += (outers - 1) * d.outer_stride + (inners - 1) * d.inner_stride
    return total


def magic(divisor: int) -> int:
    """Multiplier and shift, in one number, by which 0 <= n < 2**31 is divided: n // d == (n * m >> 32) >> s.

    >>> code = magic(7)
    >>> all((n * (code >> 8) >> 32) >> (code >> 2 & 63) == n // 7 for n in (0, 6, 7, 48, 49, 2**31 - 1))
    True

    Source: Granlund and Montgomery, "Division by invariant integers using multiplication", with a 31-bit numerator.
    """
    if divisor < 2:
        raise ValueError(f"magic: the divisor must be at least 2, got {divisor}")
    shift = (divisor - 1).bit_length()
    multiplier = -(-(1 << (31 + shift)) // divisor)
    return multiplier << 8 | (shift - 1) << 2 | 3


def coded(value: int) -> int:
    """`value` in a form that Triton does not specialise a kernel on: neither 1 nor a multiple of 16."""
    return value << 2 | 3
