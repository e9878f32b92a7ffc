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
from typing import Any, TypeAlias

import torch

Parallel: TypeAlias = (
    "Callable[[int, int, int, int], Any]"  # of a function of one pointer, that pointer, threads, flags
)

_process = os.getpid()


def parallel() -> Parallel | None:
    """What runs a function in so many threads at once and returns when all have, or None."""
    return _found() if os.getpid() == _process else None


@lru_cache(maxsize=1)
def _found() -> Parallel | None:
    if not sys.platform.startswith("linux") or "OpenMP" not in torch.__config__.parallel_info():
        return None
    home = Path(torch.__file__).parent
    for path in [*home.glob("lib/lib*omp*.so*"), *home.parent.glob("torch.libs/lib*omp*.so*")]:
        try:
            library = ctypes.CDLL(str(path), mode=os.RTLD_NOLOAD | os.RTLD_LOCAL)  # not loaded: not PyTorch's
            found = library.GOMP_parallel
        except (OSError, AttributeError):
            continue
        found.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
        found.restype = None
        return found
    return None
