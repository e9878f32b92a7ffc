"""Calls of the kernels: everything that does not depend on the tensors' addresses is worked out once."""

from __future__ import annotations

import ctypes
import math
import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.loops import Direction

from . import openmp, workers
from .engine import Functions, compiled, vector_bytes
from .plan import HEAD_NUMBERS, Plan, make_plan

PadValue: TypeAlias = "bool | int | float | complex"

# Bytes read and written, of float32 in blocks of 2 and 4 on 2 cores of an AMD EPYC. Below SHORT_BYTES a call keeps the interpreter's
# lock, which takes longer to give away than the call. From SHARED_BYTES on threads share a call: 1 MiB to and fro takes 21 us by one
# and 16 by two of PyTorch's, half of that 11 and 9.7, 4 MiB 84 and 54; threads of our own, which have to be woken, take 30 and 63.
SHORT_BYTES = 1 << 16
SHARED_BYTES = 1 << 20
SHARED_BYTES_OF_OUR_OWN = 6 << 20
CHUNK_BYTES = 1 << 17  # what the last thread may be late by
# Of a result that was there before, which is written past the cache: 64 MiB take 2.2 ms instead of 2.8 and 256 MiB 9.6 instead of 12.7,
# but 16 MiB, which stay in the cache, 0.39 instead of 0.35. New memory comes from the kernel's hands, zeroed through the cache, where it is
# in the way: 256 MiB 23 ms instead of 18.
STREAM_BYTES = 32 << 20


class Job:
    """A geometry between two tensors of given strides and item size, compiled.

    Attributes:
        kind: of kernel. result_bytes: what is written. shared: whether threads share a call.
        short: the function of (space, batch, numbers) to call where that is all there is to do, else None.
        plain: its numbers, with a pad value of 0.
    """

    __slots__ = (
        "_chunk",
        "_functions",
        "_numbers",
        "_padded",
        "_steps",
        "_streaming",
        "_to_batch",
        "kind",
        "plain",
        "result_bytes",
        "shared",
        "short",
    )

    def __init__(self, direction: Direction, geometry: BlockGeometry, plan: Plan, itemsize: int) -> None:
        space, batch = math.prod(geometry.space_shape) * itemsize, math.prod(geometry.batch_shape) * itemsize
        self._to_batch = direction == "space_to_batch"
        self.kind = replace(plan.kind, stream=False)
        self.result_bytes = batch if self._to_batch else space
        self.shared = space + batch >= (SHARED_BYTES if openmp.loaded() else SHARED_BYTES_OF_OUR_OWN)
        self._steps = plan.steps
        self._streaming = plan.kind if plan.kind.stream else None
        self._functions = compiled(self.kind)
        self.short = self._functions.short if space + batch < SHORT_BYTES else None
        self._chunk = max(1, plan.steps * CHUNK_BYTES // (space + batch))
        self.plain = (ctypes.c_int64 * len(plan.numbers))(*plan.numbers)  # with a pad value of 0
        self._numbers: dict[bytes, Any] = {b"": self.plain}
        self._padded = geometry.padded and direction == "space_to_batch"

    def run(self, space: int, batch: int, pad: bytes, threads: int, new: bool = True) -> None:
        """Move everything between two addresses; `pad` is the pad value's bits, empty for zeros, `new` says it of the result."""
        numbers = self._numbers.get(pad) or self._with_pad(pad)
        functions = self._functions if new else self.functions(batch if self._to_batch else space)
        if self.shared:
            workers.run(functions, space, batch, numbers, self._steps, self._chunk, threads)
        else:
            (self.short or functions.long)(space, batch, numbers)

    def functions(self, result: int) -> Functions:
        """What runs for a result that was there before, at an address."""
        if self._streaming is not None and result % self.kind.vector == 0:
            return compiled(self._streaming)
        return self._functions

    def __str__(self) -> str:
        """What runs, for `explain`."""
        ways = [", an aligned out= past the cache"] if self._streaming is not None else []
        ways += [", shared by threads"] if self.shared else []
        return "".join([str(self.kind), *ways])

    def _with_pad(self, pad: bytes) -> Any:
        if not self._padded:
            return self.plain
        if len(self._numbers) > 16:
            self._numbers = {b"": self.plain}
        numbers = type(self.plain)(*self.plain)
        numbers[1 : HEAD_NUMBERS - 1] = list(struct.unpack("qq", (pad * 16)[:16]))
        self._numbers[pad] = numbers
        return numbers


def job_of(
    direction: Direction,
    geometry: BlockGeometry,
    space_strides: Sequence[int],
    batch_strides: Sequence[int],
    itemsize: int,
) -> Job | str:
    """The job, compiled, or the reason why there is none; strides in elements."""
    if geometry.empty or 0 in geometry.batch_shape:
        return "there is nothing to move"
    if itemsize not in (1, 2, 4, 8, 16):
        return f"no word has the {itemsize} bytes of an element"
    result = geometry.batch_shape if direction == "space_to_batch" else geometry.space_shape
    stream = math.prod(result) * itemsize >= STREAM_BYTES
    plan = make_plan(direction, geometry, space_strides, batch_strides, itemsize, vector_bytes(), stream)
    return plan if isinstance(plan, str) else Job(direction, geometry, plan, itemsize)
