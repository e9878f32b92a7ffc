"""The instructions of warps: what a kernel was compiled to, joined with the addresses that it uses.

Both are in the order of the kernel's code. The layout of a load or store says which element a thread holds in a register,
the PTX how many registers move at once, and the recorded pointers where they are. Whatever doesn't fit together is an error
rather than a figure: tensors of other shapes, other instructions than the layouts need, vectors that are no runs of memory.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from .addresses import Recorded
from .layouts import Access, accesses
from .sectors import Requests, WarpAccesses, count


def requests(ttgir: str, ptx: str, programs: Sequence[Sequence[Recorded]], words: int) -> tuple[Requests, Requests]:
    """What the loads and the stores of some programs come to; `words` are bytes of an element of their tensors."""
    compiled = accesses(ttgir)
    loads, stores = (
        _side([access for access in compiled if access.store is store], ptx, programs, words) for store in (False, True)
    )
    return loads, stores


def _side(compiled: Sequence[Access], ptx: str, programs: Sequence[Sequence[Recorded]], words: int) -> Requests:
    """Of all loads, or of all stores."""
    total = Requests()
    if not compiled:
        return total
    bytes_at_once = widths(ptx, compiled, words)
    for program in programs:
        recorded = [access for access in program if access.store is compiled[0].store]
        # the last ones may stand under a condition that this program does not meet
        fits = [a.layout.shape == r.offsets.shape for a, r in zip(compiled, recorded, strict=False)]
        if len(recorded) > len(compiled) or not all(fits):
            shapes = [a.layout.shape for a in compiled], [r.offsets.shape for r in recorded]
            raise ValueError(
                f"warps: the compiled kernel accesses tensors of {shapes[0]}, the interpreted one of {shapes[1]}"
            )
        matched = zip(compiled, bytes_at_once, recorded, strict=False)
        total += count([warp_accesses(access, width, found, words) for access, width, found in matched])
    return total


def widths(ptx: str, compiled: Sequence[Access], words: int) -> list[int]:
    """Bytes that a thread moves at once in each access, all of them loads or all stores, by the instructions in the PTX.

    Raises:
        ValueError: the instructions are more or fewer than the accesses need, or differ within one.
    """
    kind = "st" if compiled[0].store else "ld"
    found = re.findall(rf"\b{kind}\.global\S*?(?:\.v(\d+))?\.[bsuf](\d+)\s", ptx)
    sizes = iter([int(vector or 1) * int(bits) // 8 for vector, bits in found])
    result = []
    for access in compiled:
        left = access.layout.elements().shape[0] * words
        used = set()
        while left > 0:
            size = next(sizes, left + 1)
            used.add(size)
            left -= size
        if left or len(used) != 1:
            raise ValueError(f"warps: the {kind}.global of the PTX don't add up to {access}")
        result.append(used.pop())
    if next(sizes, None) is not None:
        raise ValueError(f"warps: the PTX has more {kind}.global than {compiled}")
    return result


def warp_accesses(access: Access, width: int, recorded: Recorded, words: int) -> WarpAccesses:
    """The instructions of one load or store: one for each warp and each `width` bytes of a thread.

    Raises:
        ValueError: `width` bytes of a thread are no run of memory, or only some of them are meant.
    """
    numbers = access.layout.elements()  # [register, lane, warp]
    offsets, mask = recorded.offsets.ravel()[numbers], recorded.mask.ravel()[numbers]
    if access.store:
        mask = mask & access.layout.firsts()
    vector = width // words
    offsets, mask = (a.reshape(-1, vector, *a.shape[1:]) for a in (offsets, mask))  # [instruction, word, lane, warp]
    runs = offsets[:, :1] + words * np.arange(vector)[:, None, None]
    if (mask != mask[:, :1]).any() or (mask & (offsets != runs)).any():
        raise ValueError(f"warps: accesses of {width} bytes are no runs of memory in {access}")
    lanes = offsets.shape[2]
    start, active = (a[:, 0].transpose(0, 2, 1).reshape(-1, lanes) for a in (offsets, mask))
    return WarpAccesses(start, active, width)
