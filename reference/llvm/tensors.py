"""The vector kernels on PyTorch tensors of the CPU."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from spacebatch.huge_pages import HUGE_BYTES, advised
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.loops import Direction
from spacebatch.reference.memory_order import dense_strides, memory_order

from .launch import Job, PadValue, job_of

Strides = tuple[int, ...]


class Call:
    """All that calls of one geometry, with inputs of the same strides and dtype, have in common."""

    __slots__ = ("_bits", "_dtype", "_huge", "_shape", "_short", "_strides", "_to_batch", "job")

    def __init__(
        self, direction: Direction, geometry: BlockGeometry, strides: Strides, dtype: torch.dtype, job: Job
    ) -> None:
        self._to_batch = direction == "space_to_batch"
        self._shape, self._strides = result_layout(direction, geometry, strides)
        self._dtype, self.job = dtype, job
        self._short = job.short
        self._huge = job.result_bytes >= HUGE_BYTES
        self._bits: dict[tuple[type, PadValue], bytes] = {}

    def __call__(self, source: Tensor, pad_value: PadValue = 0) -> Tensor:
        result = source.new_empty_strided(self._shape, self._strides)
        if self._huge:
            advised(result)
        short = self._short
        if short is None or type(pad_value) is not int or pad_value:
            self.into(source, result, pad_value, new=True)
        elif self._to_batch:
            short(source.data_ptr(), result.data_ptr(), self.job.plain)
        else:
            short(result.data_ptr(), source.data_ptr(), self.job.plain)
        return result

    def into(self, source: Tensor, result: Tensor, pad_value: PadValue = 0, new: bool = False) -> None:
        """Fill a tensor that has the strides of the job, and is new or was there before."""
        threads = torch.get_num_threads() if self.job.shared else 1
        if self._to_batch:
            pad = b"" if type(pad_value) is int and pad_value == 0 else self._pad(pad_value)
            self.job.run(source.data_ptr(), result.data_ptr(), pad, threads, new)
        else:
            self.job.run(result.data_ptr(), source.data_ptr(), b"", threads, new)

    def _pad(self, value: PadValue) -> bytes:
        if value == 0:  # minus zero is equal to zero, and has other bits
            return pad_bits(value, self._dtype)
        key = type(value), value
        bits = self._bits.get(key)
        if bits is None:
            if len(self._bits) > 16:
                self._bits.clear()
            bits = self._bits[key] = pad_bits(value, self._dtype)
        return bits


def pad_bits(value: PadValue, dtype: torch.dtype) -> bytes:
    """The bits of a pad value that the dtype holds.

    >>> pad_bits(1.0, torch.float16)
    b'\\x00<'
    """
    return bytes(torch.tensor([value], dtype=dtype, device="cpu").view(torch.uint8).tolist())


@lru_cache(maxsize=4096)
def result_layout(direction: Direction, geometry: BlockGeometry, strides: Strides) -> tuple[tuple[int, ...], Strides]:
    """Shape and strides of a result, which is dense in the memory order of its source."""
    shapes = geometry.space_shape, geometry.batch_shape
    source, result = shapes if direction == "space_to_batch" else shapes[::-1]
    return result, dense_strides(result, memory_order(source, strides))


@lru_cache(maxsize=4096)
def call_of(
    direction: Direction,
    geometry: BlockGeometry,
    strides: Strides,
    dtype: torch.dtype,
    result_strides: Strides | None = None,
) -> Call | str:
    """The call, or the reason why there is none.

    Args:
        direction, geometry: of the call.
        strides, dtype: of the source. result_strides: of an `out`; a new result is dense in the source's memory order.
    """
    result = result_strides or result_layout(direction, geometry, strides)[1]
    space, batch = (strides, result) if direction == "space_to_batch" else (result, strides)
    job = job_of(direction, geometry, space, batch, dtype.itemsize)
    return job if isinstance(job, str) else Call(direction, geometry, strides, dtype, job)
