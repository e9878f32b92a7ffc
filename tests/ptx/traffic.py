"""Which sectors of 32 bytes the requests of warps touch."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .arithmetic import Array

SECTOR = 32
WARP = 32
_SECTOR_BITS = 43  # of the number of a sector, for addresses have 48


@dataclass
class Traffic:
    """Of one kind of access, loads or stores; `sectors` adds up those of every request."""

    sectors: int = 0
    _of_programs: list[Array] = field(default_factory=list)

    @property
    def distinct(self) -> int:
        """Sectors that programs touch, each once a program."""
        every = np.sort(np.concatenate(self._of_programs)) if self._of_programs else np.zeros(0, np.int64)
        return len(every[:1]) + int((every[1:] != every[:-1]).sum())

    def add(self, address: Array, active: Array, programs: Array) -> None:
        """One instruction of all threads: [program, thread] addresses, and which threads are at work."""
        sectors = np.sort(np.where(active, address // SECTOR, -1).reshape(-1, WARP), axis=1)
        fresh = sectors >= 0
        fresh[:, 1:] &= sectors[:, 1:] != sectors[:, :-1]
        self.sectors += int(fresh.sum())
        owners = np.repeat(programs, address.shape[1] // WARP)[:, None]
        self._of_programs.append((owners << _SECTOR_BITS | sectors)[fresh])
