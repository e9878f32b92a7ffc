"""What warps ask of global memory: requests, the sectors of 32 bytes that they touch, and bytes at work."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .arithmetic import Array

SECTOR = 32
WARP = 32


@dataclass
class Traffic:
    """Counts of one kind of access, loads or stores.

    Attributes:
        requests: of warps, with a lane at work. sectors: touched by each request, all added up. bytes: asked for.
    """

    requests: int = 0
    sectors: int = 0
    bytes: int = 0
    _of_programs: list[Array] = field(default_factory=list)

    @property
    def distinct(self) -> int:
        """Sectors that programs touch, each once a program."""
        return int(np.unique(np.concatenate(self._of_programs, axis=1), axis=1).shape[1]) if self._of_programs else 0

    def add(self, address: Array, active: Array, width: int, programs: Array) -> None:
        """One instruction of all threads: [program, thread] addresses, and which threads are at work."""
        lanes, on = address.reshape(-1, WARP) // SECTOR, active.reshape(-1, WARP)
        sectors = np.sort(np.where(on, lanes, -1), axis=1)
        fresh = sectors >= 0
        fresh[:, 1:] &= sectors[:, 1:] != sectors[:, :-1]
        self.requests += int(on.any(axis=1).sum())
        self.sectors += int(fresh.sum())
        self.bytes += int(on.sum()) * width
        owner = np.repeat(programs, address.shape[1])
        self._of_programs.append(np.unique(np.stack([owner[on.ravel()], lanes[on]]), axis=1))
