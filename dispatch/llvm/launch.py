"""Calls of the kernels: everything that does not depend on the tensors' addresses is worked out once."""

from __future__ import annotations

import ctypes
import math
import struct
from collections.abc import Sequence
from typing import Any, TypeAlias

from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.loops import Direction

from . import workers
from .engine import compiled, vector_bytes
from .plan import HEAD_NUMBERS, Plan, make_plan

PadValue: TypeAlias = "bool | int | float | complex"

# Bytes read and written, measured on 2 cores of an AMD EPYC. Below, a call keeps the interpreter's lock, which another thread could
# have had in the meantime; from the second on, threads share it: waking one takes 5 to 10 us.
SHORT_BYTES = 1 << 16
SHARED_BYTES = 1 << 20
CHUNK_BYTES = 1 << 17  # what the last thread may be late by


class Job:
    """A geometry between two tensors of given strides and item size, compiled."""

    __slots__ = ("_chunk", "_functions", "_numbers", "_padded", "_short", "kind", "result_bytes", "shared")

    def __init__(self, direction: Direction, geometry: BlockGeometry, plan: Plan, itemsize: int) -> None:
        space, batch = math.prod(geometry.space_shape) * itemsize, math.prod(geometry.batch_shape) * itemsize
        self.kind = plan.kind
        self.result_bytes = batch if direction == "space_to_batch" else space
        self._short, self.shared = space + batch < SHORT_BYTES, space + batch >= SHARED_BYTES
        self._functions = compiled(plan.kind)
        self._chunk = max(1, plan.steps * CHUNK_BYTES // (space + batch))
        numbers = (ctypes.c_int64 * len(plan.numbers))(*plan.numbers)
        self._numbers: dict[bytes, Any] = {b"": numbers}
        self._padded = geometry.padded and direction == "space_to_batch"

    def run(self, space: int, batch: int, pad: bytes, threads: int) -> None:
        """Move everything between two addresses; `pad` is the pad value's bits, empty for zeros."""
        numbers = self._numbers.get(pad) or self._with_pad(pad)
        if self._short:
            self._functions.short(space, batch, numbers)
        elif not self.shared:
            self._functions.long(space, batch, numbers)
        else:
            workers.run(self._functions, space, batch, ctypes.addressof(numbers), self._chunk, threads)

    def __str__(self) -> str:
        """What runs, for `explain`."""
        return f"{self.kind}{', shared by threads' if self.shared else ''}"

    def _with_pad(self, pad: bytes) -> Any:
        if not self._padded:
            return self._numbers[b""]
        if len(self._numbers) > 16:
            self._numbers = {b"": self._numbers[b""]}
        plain = self._numbers[b""]
        numbers = type(plain)(*plain)
        numbers[1 : HEAD_NUMBERS - 1] = struct.unpack("qq", (pad * 16)[:16])
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
    plan = make_plan(direction, geometry, space_strides, batch_strides, itemsize, vector_bytes())
    return plan if isinstance(plan, str) else Job(direction, geometry, plan, itemsize)
