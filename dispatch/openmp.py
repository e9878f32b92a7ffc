"""The OpenMP library whose threads PyTorch uses: the compiled CPU path shares large calls among the same ones.

After an operator of PyTorch they keep their cores busy for a while, waiting for the next, and would delay any others.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import torch

from spacebatch.reference.llvm import openmp


def hand_over() -> None:
    """Let calls of tensors use PyTorch's threads; our own where they are not OpenMP's."""
    openmp.use(*(find() or (0, 0)), torch.get_num_threads)


def find() -> tuple[int, int] | None:
    """The addresses of `GOMP_parallel` and `omp_get_thread_num` in the library that PyTorch has loaded, or None."""
    if not sys.platform.startswith("linux") or "OpenMP" not in torch.__config__.parallel_info():
        return None
    home = Path(torch.__file__).parent
    for path in [*home.glob("lib/lib*omp*.so*"), *home.parent.glob("torch.libs/lib*omp*.so*")]:
        try:
            library = ctypes.CDLL(str(path), mode=os.RTLD_NOLOAD | os.RTLD_LOCAL)  # not loaded: not PyTorch's
            entries = library.GOMP_parallel, library.omp_get_thread_num
        except (OSError, AttributeError):
            continue
        parallel, number = (ctypes.cast(entry, ctypes.c_void_p).value or 0 for entry in entries)
        return parallel, number
    return None
