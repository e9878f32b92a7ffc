"""Shared memory of programs, which knows what warps did to each byte since the last barrier."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .arithmetic import UNSIGNED, Array
from .program import KernelError

NOBODY, SEVERAL = -1, -2


class SharedMemory:
    """[program, byte], at first rubbish; addresses count from `base`."""

    def __init__(self, programs: int, size: int, base: int, random: np.random.Generator) -> None:
        self.base, self._size = base, size
        data = random.integers(0, 256, (programs, max(-(-size // 16) * 16, 16)), dtype=np.uint8)
        self._views = {bits: data.view(kind) for bits, kind in UNSIGNED.items()}
        self._written = np.zeros(data.shape, bool)
        self._writer = np.full(data.shape, NOBODY, np.int32)  # the warp that wrote a byte since the last barrier
        self._reader = np.full(data.shape, NOBODY, np.int32)

    def barrier(self, programs: Array) -> None:
        """All threads of these programs (a mask) met."""
        self._writer[programs] = NOBODY
        self._reader[programs] = NOBODY

    def load(self, program: Array, warp: Array, address: Array, count: int, bits: int) -> list[Array]:
        """`count` numbers of so many bits from each address.

        Raises:
            KernelError: out of bounds, misaligned, never written, or written by another warp since the last barrier.
        """
        rows, places, warps = self._bytes(program, warp, address, count * bits // 8)
        if not self._written[rows, places].all():
            raise KernelError("shared memory is read that nobody wrote")
        self._not_written_by_others(rows, places, warps)
        read = self._reader[rows, places]
        self._reader[rows, places] = np.where((read == NOBODY) | (read == warps), warps, SEVERAL)
        differs = self._reader[rows, places] != warps  # of several warps in one instruction the last one stands there
        self._reader[rows[differs], places[differs]] = SEVERAL
        index = (address - self.base) // (bits // 8)
        return [self._views[bits][program, index + n] for n in range(count)]

    def store(self, program: Array, warp: Array, address: Array, values: Sequence[Array], bits: int) -> None:
        """Numbers of so many bits, side by side from each address on.

        Raises:
            KernelError: out of bounds, misaligned, or in a race with another warp.
        """
        rows, places, warps = self._bytes(program, warp, address, len(values) * bits // 8)
        self._not_written_by_others(rows, places, warps)
        read = self._reader[rows, places]
        if ((read != NOBODY) & (read != warps)).any():
            raise KernelError("shared memory is written that another warp read, without a barrier between them")
        self._writer[rows, places] = warps
        self._written[rows, places] = True
        index = (address - self.base) // (bits // 8)
        for n, value in enumerate(values):
            self._views[bits][program, index + n] = value
        # warps may write one byte by one and the same instruction if they write it alike, as they do with a small table
        data = np.ascontiguousarray(np.stack(values, axis=1)).view(np.uint8).ravel()
        if (self._views[8][rows, places] != data).any():
            raise KernelError("two warps write different values to one byte of shared memory")

    def _not_written_by_others(self, rows: Array, places: Array, warps: Array) -> None:
        writer = self._writer[rows, places]
        if ((writer != NOBODY) & (writer != warps)).any():
            raise KernelError("shared memory is touched that another warp wrote, without a barrier between them")

    def _bytes(self, program: Array, warp: Array, address: Array, width: int) -> tuple[Array, Array, Array]:
        """Program, place and warp of each byte of accesses of so many bytes."""
        place = address - self.base
        if place.size and ((address % width).any() or place.min() < 0 or place.max() + width > self._size):
            raise KernelError(
                f"an access of {width} bytes is misaligned or out of the {self._size} bytes of shared memory"
            )
        places = (place[:, None] + np.arange(width)).ravel()
        return np.repeat(program, width), places, np.repeat(warp, width)
