"""Global memory as kernels see it: the elements of the tensors of a launch, and no byte beside them."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from .arithmetic import UNSIGNED, Array
from .program import KernelError
from .traffic import Traffic


class Buffer(Protocol):
    """The bytes of one tensor, from address `low` up to `high`; only a result is writable."""

    name: str
    low: int
    high: int
    writable: bool

    def inside(self, address: Array, width: int) -> Array:
        """Which accesses of so many bytes lie within elements."""

    def load(self, address: Array, count: int, bits: int) -> list[Array]:
        """What stands there: `count` numbers for each address."""

    def store(self, address: Array, values: Sequence[Array], bits: int, programs: Array) -> None:
        """Put numbers there; `programs` tells who does.

        Raises:
            KernelError: a byte is stored twice.
        """


class RealBuffer:
    """A tensor in the memory of the host. What lies between its elements may not be touched."""

    def __init__(self, name: str, tensor: torch.Tensor, writable: bool) -> None:
        self.name, self.writable, self._width = name, writable, tensor.element_size()
        starts = np.full((1,) * tensor.dim(), tensor.data_ptr(), np.int64)
        for dim, (size, stride) in enumerate(zip(tensor.shape, tensor.stride(), strict=True)):
            steps = np.arange(size if stride else 1) * (stride * self._width)
            starts = starts + steps.reshape([-1 if d == dim else 1 for d in range(tensor.dim())])
        starts = np.sort(starts, axis=None, kind="stable")
        first = np.append(True, starts[1:] != starts[:-1] + self._width)
        self._begin = starts[first]  # of each run of elements
        self._end = np.append(starts[:-1][first[1:]], starts[-1]) + self._width
        self._before = np.cumsum(self._end - self._begin) - (self._end - self._begin)  # bytes ahead of each run
        self.low, self.high = int(self._begin[0]), int(self._end[-1])
        self._base = self.low & -64
        raw = (ctypes.c_ubyte * (-(-self.high // 64) * 64 - self._base)).from_address(self._base)
        self._views = {bits: np.frombuffer(memoryview(raw), kind) for bits, kind in UNSIGNED.items()}
        self._stored = np.full(len(starts) * self._width if writable else 0, -1, np.int64)  # of each byte: a turn

    @property
    def unwritten(self) -> int:
        """Bytes of a result that no program has stored."""
        return int((self._stored < 0).sum())

    def inside(self, address: Array, width: int) -> Array:
        run = np.searchsorted(self._begin, address, side="right") - 1
        return np.asarray((run >= 0) & (address + width <= self._end[run]))

    def load(self, address: Array, count: int, bits: int) -> list[Array]:
        index = (address - self._base) // (bits // 8)
        return [self._views[bits][index + n] for n in range(count)]

    def store(self, address: Array, values: Sequence[Array], bits: int, programs: Array) -> None:
        width = len(values) * bits // 8
        run = np.searchsorted(self._begin, address, side="right") - 1
        place = ((self._before[run] + address - self._begin[run])[:, None] + np.arange(width)).ravel()
        turn, before = np.arange(len(place)), self._stored[place]
        self._stored[place] = turn
        if (before >= 0).any() or (self._stored[place] != turn).any():
            raise KernelError("a byte is stored twice")
        index = (address - self._base) // (bits // 8)
        for n, value in enumerate(values):
            self._views[bits][index + n] = value


class VirtualBuffer:
    """A dense tensor too large to exist: loads give a hash of the place, stores are kept.

    Attributes:
        stored: for each store, places in bytes from the tensor's start, the bytes, and the programs.
    """

    def __init__(self, name: str, tensor: torch.Tensor, writable: bool) -> None:
        self.name, self.writable, self.low = name, writable, tensor.data_ptr()
        self.high = self.low + math.prod(tensor.shape) * tensor.element_size()
        self.stored: list[tuple[Array, Array, Array]] = []

    @staticmethod
    def content(place: Array) -> Array:
        """The bytes at these places of a source."""
        return (place.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(56)).astype(np.uint8)

    def inside(self, address: Array, width: int) -> Array:
        return np.asarray((address >= self.low) & (address + width <= self.high))

    def load(self, address: Array, count: int, bits: int) -> list[Array]:
        places = (address - self.low)[:, None] + np.arange(count * bits // 8)
        return list(np.ascontiguousarray(self.content(places)).view(UNSIGNED[bits]).T)

    def store(self, address: Array, values: Sequence[Array], bits: int, programs: Array) -> None:
        data = np.ascontiguousarray(np.stack(values, axis=1)).view(np.uint8)
        self.stored.append(((address - self.low)[:, None] + np.arange(data.shape[1]), data, programs))

    def written(self) -> tuple[Array, Array, Array]:
        """All that was stored: places, bytes and programs, a byte each.

        Raises:
            KernelError: a byte is stored twice.
        """
        if not self.stored:
            return np.zeros(0, np.int64), np.zeros(0, np.uint8), np.zeros(0, np.int64)
        places = np.concatenate([place.ravel() for place, _, _ in self.stored])
        if len(np.unique(places)) != len(places):
            raise KernelError("a byte is stored twice")
        data = np.concatenate([data.ravel() for _, data, _ in self.stored])
        return places, data, np.concatenate([np.repeat(who, data.shape[1]) for _, data, who in self.stored])


class Memory:
    """The buffers that a launch may touch, and the traffic of loads and of stores, where it is to be counted.

    Args:
        others: what is read beside the source.
    """

    def __init__(
        self,
        source: Buffer,
        result: Buffer,
        traffic: tuple[Traffic, Traffic] | None = None,
        others: Sequence[Buffer] = (),
    ) -> None:
        self._buffers, self.traffic, self._others = (source, result), traffic, others

    def find(self, address: Array, width: int, write: bool) -> Buffer:
        """The one buffer that all these accesses belong to.

        Raises:
            KernelError: some are misaligned, or do not lie within its elements.
        """
        buffer, first = self._buffers[write], int(address[0])
        if not write:  # threads of one load read one tensor
            buffer = next((other for other in self._others if other.low <= first < other.high), buffer)
        kind = f"a {width}-byte {'store to' if write else 'load from'} the {buffer.name}"
        for wrong, fault in ((address % width != 0, "misaligned"), (~buffer.inside(address, width), "out of bounds")):
            if wrong.any():
                place = int(address[wrong][0]) - buffer.low
                raise KernelError(f"{kind} is {fault}, at byte {place} of {buffer.high - buffer.low}")
        return buffer
