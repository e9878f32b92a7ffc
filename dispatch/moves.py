"""One rectangle of elements between space and its batch tensor, by the copies of PyTorch that take it there fastest.

`copy_` between two strided tensors goes through them in the order of its target, and what it takes for each element depends on the
dtype, not on the width alone. So three things are chosen here, and the bits that arrive are the same:

- **dtype**: elements travel as the numbers of their width that `copy_` is fastest for.
- **width**: neighbours that stay neighbours and fill a wider number (16 channels of bytes, last in memory) travel as that number.
- **phases**: to space, neighbours in the target come from far apart, and a copy's inner loops are over a handful of phases. One
  copy for each phase of the innermost blocked dim has long ones.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

Strides = tuple[int, ...]

# All figures: 2 cores of an AMD EPYC, torch 2.13, us for 1 MiB in blocks of 2 x 2 or rows of them (1-D), to the batch and back.
# 4 bytes: float32 156 and 174, int32 97 and 144; 1-D 148 and 147, 76 and 119. 8 bytes: float64 41 and 48, complex64 28 and 84,
# int64 33 and 49; 1-D 40 and 39, 22 and 76, 23 and 47. 1 byte: uint8 305 and 956, int8 586 and 1223, bool 403 and 659, float8_e5m2 295
# and 537. Two bytes differ where channels are last: float16 99 and 316, bfloat16 82 and 306, int16 81 and 306.
_SWIFT = {1: torch.float8_e5m2, 2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.complex128}
SWIFT_BYTES = 1 << 14  # looking at both tensors as another dtype takes 1 us: float32 of 16 KiB 5 and 4 or 3

# 16 bytes for each pixel, as one number of 16 bytes: 103 -> 19 us to the batch, 326 -> 33 back. Two numbers and more: as before.
_WIDE = (16, 8, 4, 2)

# Back, by a copy and by one for each of b phases. b = 2, planes: 256 KiB of float32 35 -> 55, 512 KiB 54 -> 52, 4 MiB 351 -> 247, float16
# 300 -> 219; 16 MiB of float64 746 -> 966. 16 channels last: 256 KiB of float32 32 -> 24, 512 KiB 52 -> 26, 4 MiB 370 -> 121, 8 MiB
# of float16 1316 -> 352; 1 MiB of bytes 618 -> 182. b = 3, 1 MiB: int32 71 -> 66, channels last 61 -> 22. b = 8: int32 86 -> 195.
_LEAST_BYTES_IN_PLANES = 1 << 19
_LEAST_BYTES_LAST = 1 << 18
_MOST_BYTES_OF_LARGE = 1 << 23  # of 8 bytes and more in planes
_LEAST_BYTES_OF_4 = 1 << 19  # of 1 or 2 bytes, or channels last: 1 MiB, bytes 469 -> 355, int32 channels last 75 -> 43
_LEAST_BYTES_OF_8 = 1 << 23  # of 1 byte: 16 MiB 8.3 -> 5.4 ms
_SHORT_RUN = 64  # elements of an inner loop over channels and phases; longer ones are as fast


class Part(NamedTuple):
    """A rectangle in both tensors, counted in elements, largest steps of the batch tensor first."""

    sizes: tuple[int, ...]
    space_strides: Strides
    space_offset: int
    batch_strides: Strides
    batch_offset: int


class Plan(NamedTuple):
    """How a rectangle of one item size is moved; its loops count units."""

    unit: int  # elements that travel as one
    dtype: torch.dtype
    sizes: tuple[int, ...]
    space_strides: Strides
    batch_strides: Strides
    space_span: int  # elements from the first to past the last
    batch_span: int
    nbytes: int
    phases: int | None  # the loop over the phases that go one by one to space


@lru_cache(maxsize=4096)
def plan_of(sizes: tuple[int, ...], space: Strides, batch: Strides, itemsize: int, wide: bool = True) -> Plan:
    """The plan for the loops of a rectangle; `wide` where neighbours may travel as one.

    >>> plan_of((2, 2, 8, 8, 16), (256, 16, 512, 32, 1), (2048, 1024, 128, 16, 1), 1)[:3]
    (16, torch.complex128, (2, 2, 8, 8))
    """
    nbytes = math.prod(sizes) * itemsize
    in_space, in_batch = (
        1 + sum((n - 1) * s for n, s in zip(sizes, strides, strict=True)) for strides in (space, batch)
    )
    unit = 1
    loops = [loop for loop in zip(sizes, space, batch, strict=True) if loop[0] != 1]
    for k, (size, *steps) in enumerate(loops):
        others = loops[:k] + loops[k + 1 :]
        multiples = all(step % size == 0 for _, *both in others for step in both)
        if wide and steps == [1, 1] and size * itemsize in _WIDE and multiples:
            unit = size
            loops = [(n, a // size, b // size) for n, a, b in others]
            break
    loops = loops or [(1, 1, 1)]
    sizes, space, batch = (tuple(numbers) for numbers in zip(*loops, strict=True))
    phases = _phases(sizes, space, batch, itemsize * unit, nbytes)
    return Plan(unit, _SWIFT[itemsize * unit], sizes, space, batch, in_space, in_batch, nbytes, phases)


def _phases(sizes: tuple[int, ...], space: Strides, batch: Strides, itemsize: int, nbytes: int) -> int | None:
    """The loop over phases that is better taken apart on the way to space, if any."""
    nearest = [k for k in sorted(range(len(sizes)), key=space.__getitem__) if sizes[k] > 1]
    if len(nearest) < 2:
        return None
    first, second = nearest[:2]
    run = space[first] == 1 == batch[first]
    k = second if run else first
    following = nearest[nearest.index(k) + 1 :]
    if not following or batch[k] < batch[following[0]]:
        return None  # neighbours in space are neighbours in the batch tensor
    b = sizes[k]
    if run and sizes[first] * b > _SHORT_RUN:
        return None
    if b in (2, 3):
        least = _LEAST_BYTES_LAST if run else _LEAST_BYTES_IN_PLANES
        if itemsize >= 8 and not run and nbytes > _MOST_BYTES_OF_LARGE:
            return None
    elif b == 4 and (itemsize <= 2 or run):
        least = _LEAST_BYTES_OF_4
    elif b <= 8 and itemsize == 1 and not run:
        least = _LEAST_BYTES_OF_8
    else:
        return None
    return k if nbytes >= least else None


def to_batch(part: Part, x: Tensor, y: Tensor) -> None:
    """Copy a rectangle of x to y; the part's offsets count from the beginnings of the tensors."""
    sizes, space, space_offset, batch, batch_offset = part
    read, write = int(x.storage_offset()) + space_offset, int(y.storage_offset()) + batch_offset
    if x.nbytes >= SWIFT_BYTES:
        plan, x, y, read, write = _swift(part, x, y, read, write)
        sizes, space, batch = plan.sizes, plan.space_strides, plan.batch_strides
    y.as_strided(sizes, batch, write).copy_(x.as_strided(sizes, space, read))


def to_space(part: Part, y: Tensor, x: Tensor) -> None:
    """Copy a rectangle of y to x; the part's offsets count from the beginnings of the tensors."""
    sizes, space, space_offset, batch, batch_offset = part
    write, read = int(x.storage_offset()) + space_offset, int(y.storage_offset()) + batch_offset
    phases = None
    if y.nbytes >= SWIFT_BYTES:
        plan, x, y, write, read = _swift(part, x, y, write, read)
        sizes, space, batch, phases = plan.sizes, plan.space_strides, plan.batch_strides, plan.phases
    target, source = x.as_strided(sizes, space, write), y.as_strided(sizes, batch, read)
    if phases is None:
        target.copy_(source)
    else:
        for rows, elements in zip(target.unbind(phases), source.unbind(phases), strict=True):
            rows.copy_(elements)


def _swift(part: Part, x: Tensor, y: Tensor, in_space: int, in_batch: int) -> tuple[Plan, Tensor, Tensor, int, int]:
    """The plan, both tensors as its dtype, and the offsets in its units."""
    itemsize = x.itemsize
    plan = plan_of(part.sizes, part.space_strides, part.batch_strides, itemsize)
    if plan.unit > 1:
        if _aligned(x, in_space, plan.unit) and _aligned(y, in_batch, plan.unit):
            x = x.as_strided((in_space + plan.space_span,), (1,), 0)
            y = y.as_strided((in_batch + plan.batch_span,), (1,), 0)
            return plan, x.view(plan.dtype), y.view(plan.dtype), in_space // plan.unit, in_batch // plan.unit
        plan = plan_of(part.sizes, part.space_strides, part.batch_strides, itemsize, wide=False)
    return plan, x.view(plan.dtype), y.view(plan.dtype), in_space, in_batch


def _aligned(x: Tensor, offset: int, unit: int) -> bool:
    """Whether units begin where the storage does, and at the offset."""
    first = x.data_ptr() - int(x.storage_offset()) * x.itemsize
    return offset % unit == 0 and first % (unit * x.itemsize) == 0


def swift_dtype(x: Tensor) -> torch.dtype | None:
    """What a contiguous tensor is looked at as, where that saves more time than it takes."""
    if x.nbytes < SWIFT_BYTES or x.itemsize == 2:
        return None
    dtype = _SWIFT[x.itemsize]
    return None if x.dtype is dtype else dtype


def in_phases(sizes: tuple[int, ...], space: Strides, batch: Strides) -> int | None:
    """From how many bytes on a rectangle may go to space phase by phase, None where it never does."""
    return _LEAST_BYTES_LAST if _phases(sizes, space, batch, 1, 1 << 62) is not None else None
