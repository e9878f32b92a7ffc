"""Large results in huge pages: half of the time of a large copy goes to page faults on the new result.

NumPy asks for huge pages for arrays of 4 MiB and more, PyTorch only where THP_MEM_ALLOC_ENABLE=1 was in the environment before it
was imported. Where Linux leaves the choice to programs (`madvise` in /sys/kernel/mm/transparent_hugepage/enabled, the usual
setting), this asks for them for a tensor that is about to be filled. Elsewhere nothing happens.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Callable

from torch import Tensor

# As NumPy has it. A space_to_batch with blocks of 2 of 32 MiB of float32 took 4.5 instead of 9.3 ms, of 512 MiB 66 instead of
# 158 ms (2 cores of an AMD EPYC, Linux 6.18, torch 2.13); up to 24 MiB the allocator mostly reuses pages.
HUGE_BYTES = 1 << 22

_ADVICE: int = getattr(mmap, "MADV_HUGEPAGE", 0)


def _find_madvise() -> Callable[[int, int, int], int] | None:
    if not sys.platform.startswith("linux") or not _ADVICE:
        return None
    try:
        found = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return None
    found.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    found.restype = ctypes.c_int
    return found


_madvise = _find_madvise()


def advised(result: Tensor) -> Tensor:
    """`result`, a new CPU tensor that nothing was written to; a large one has asked for huge pages. Advice may be ignored.

    >>> import torch
    >>> advised(torch.empty(2, 3)).shape
    torch.Size([2, 3])
    """
    if _madvise is not None and result.nbytes >= HUGE_BYTES and result.is_cpu:
        page = mmap.PAGESIZE
        start = result.data_ptr()
        first, last = -(-start // page) * page, (start + result.nbytes) // page * page
        _madvise(first, last - first, _ADVICE)
    return result
