"""The threads of the OpenMP library that PyTorch has loaded, by the entry that compilers call: `GOMP_parallel`.

libgomp has it, and so have LLVM's and Intel's libraries on Linux. Elsewhere, and in a child after a fork, where the threads of
libgomp are gone and it would wait for them for ever, there is none.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

_process = os.getpid()


class OpenMP(NamedTuple):
    """The entries of a library.

    Attributes:
        parallel: runs a function of one pointer in so many threads at once: (its address, the pointer, threads, 0).
        number: address of `omp_get_thread_num`, which tells a thread its number among them.
    """

    parallel: Callable[[int, int, int, int], Any]
    number: int


def loaded() -> OpenMP | None:
    """What PyTorch runs its threads by, or None."""
    return _found() if os.getpid() == _process else None


@lru_cache(maxsize=1)
def _found() -> OpenMP | None:
    if not sys.platform.startswith("linux") or "OpenMP" not in torch.__config__.parallel_info():
        return None
    home = Path(torch.__file__).parent
    for path in [*home.glob("lib/lib*omp*.so*"), *home.parent.glob("torch.libs/lib*omp*.so*")]:
        try:
            library = ctypes.CDLL(str(path), mode=os.RTLD_NOLOAD | os.RTLD_LOCAL)  # not loaded: not PyTorch's
            parallel, number = library.GOMP_parallel, library.omp_get_thread_num
        except (OSError, AttributeError):
            continue
        parallel.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
        parallel.restype = None
        return OpenMP(parallel, ctypes.cast(number, ctypes.c_void_p).value or 0)
    return None
