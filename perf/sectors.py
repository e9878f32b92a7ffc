"""What the memory of an NVIDIA GPU makes of the addresses of warps: requests, sectors and wavefronts.

One instruction of a warp is a *request*. It touches *sectors* of 32 bytes. Loads get theirs from L1, which fetches from L2
what it has not got, so that a program costs L2 at least its distinct sectors; stores are written through, so that each
request costs L2 all of its sectors. L1 has 32 banks of 4 bytes and answers a request in as many *wavefronts* as one bank is
asked for different words; 8-byte accesses go by half-warps and 16-byte accesses by quarter-warps.

What it leaves out: that L1 looks up few cache lines at a time, so that a request over very many lines takes longer; that
sectors are evicted from L1, and that programs on one multiprocessor share them; that shared memory uses the same banks;
and whatever L2 and memory do with neighbouring sectors.

Source: NVIDIA's Nsight Compute documentation, "Memory Tables", for requests, sectors and wavefronts; that of L1's banks is
the model of shared memory in the CUDA C++ Programming Guide, with which L1 shares its data array.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

SECTOR = 32
BANKS = 32
WORD = 4  # bytes of a bank


@dataclass(frozen=True)
class Requests:
    """What the loads, or the stores, of some programs come to.

    Attributes:
        needed: different bytes that are asked for.
        bits: the widest access of one thread.
        requests: instructions of warps, those with no thread at work left out.
        sectors: that requests touch, added up. distinct: those that differ within a program.
        wavefronts: of all requests.
    """

    needed: int = 0
    bits: int = 0
    requests: int = 0
    sectors: int = 0
    distinct: int = 0
    wavefronts: int = 0

    @property
    def request_efficiency(self) -> float:
        """Sectors that the bytes need over those that requests touch: 1 where each is touched once, and all of it used."""
        return self.needed / (SECTOR * self.sectors) if self.sectors else 1.0

    @property
    def program_efficiency(self) -> float:
        """Sectors that the bytes need over those that differ within a program."""
        return self.needed / (SECTOR * self.distinct) if self.distinct else 1.0

    @property
    def bytes_per_request(self) -> float:
        """Of 512 at most, with 16 bytes a thread: narrower accesses need more instructions."""
        return self.needed / self.requests if self.requests else 0.0

    @property
    def wavefronts_per_request(self) -> float:
        """At least 1, 2 and 4 of full warps with up to 4, 8 and 16 bytes a thread."""
        return self.wavefronts / self.requests if self.requests else 0.0

    def __add__(self, other: Requests) -> Requests:
        return Requests(
            self.needed + other.needed,
            max(self.bits, other.bits),
            self.requests + other.requests,
            self.sectors + other.sectors,
            self.distinct + other.distinct,
            self.wavefronts + other.wavefronts,
        )


@dataclass(frozen=True)
class WarpAccesses:
    """The instructions of one load or store: where each lane's access starts, and its width.

    `offsets` and `active` are [instruction, lane], in bytes from the start of an aligned tensor.
    """

    offsets: np.ndarray[Any, Any]
    active: np.ndarray[Any, Any]
    width: int


def count(program: Iterable[WarpAccesses]) -> Requests:
    """What all loads, or all stores, of one program come to.

    >>> lanes = np.arange(32)[None, :]
    >>> count([WarpAccesses(lanes * 8, lanes >= 0, 4)])  # every other word of 256 bytes
    Requests(needed=128, bits=32, requests=1, sectors=8, distinct=8, wavefronts=2)

    Raises:
        ValueError: an access does not start at a multiple of its width, which a GPU refuses.
    """
    total = Requests()
    sectors: list[np.ndarray[Any, Any]] = []
    starts: list[np.ndarray[Any, Any]] = []
    for access in program:
        active = access.active.any(axis=1)
        offsets, mask = access.offsets[active], access.active[active]
        if (offsets[mask] % access.width).any():
            raise ValueError(
                f"sectors: accesses of {access.width} bytes start elsewhere than at multiples of {access.width}"
            )
        touched = np.where(mask, offsets // SECTOR, -1)
        total += Requests(
            0, 8 * access.width, len(offsets), _distinct_rows(touched), 0, _wavefronts(offsets, mask, access.width)
        )
        sectors.append(np.unique(offsets[mask] // SECTOR))
        starts.append((offsets[mask][:, None] + np.arange(access.width)).ravel())
    if not sectors:
        return total
    return total + Requests(len(np.unique(np.concatenate(starts))), distinct=len(np.unique(np.concatenate(sectors))))


def _distinct_rows(values: np.ndarray[Any, Any]) -> int:
    """How many different values, -1 not counted, each row has, added up."""
    ordered = np.sort(values, axis=1)
    new = np.ones(ordered.shape, bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return int((new & (ordered >= 0)).sum())


def _wavefronts(offsets: np.ndarray[Any, Any], mask: np.ndarray[Any, Any], width: int) -> int:
    """Of each group of lanes that ask for 128 bytes at once, the most different words in one bank, added up."""
    words = max(width // WORD, 1)
    asked = offsets[:, :, None] // WORD + np.arange(words)
    asked = np.where(mask[:, :, None], asked, -1).reshape(-1, offsets.shape[1])  # [group, word], `words` groups a warp
    ordered = np.sort(asked, axis=1)
    new = ordered >= 0
    new[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
    groups = np.broadcast_to(np.arange(len(ordered))[:, None], ordered.shape)
    banks = np.bincount((groups * BANKS + ordered % BANKS)[new], minlength=len(ordered) * BANKS)
    return int(banks.reshape(-1, BANKS).max(axis=1).sum())
