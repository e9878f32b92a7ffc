"""The threads of an OpenMP library that somebody else has loaded and hands over, by the entry that compilers call: `GOMP_parallel`.

libgomp has it, and so have LLVM's and Intel's libraries on Linux. In a child after a fork there is none: the threads of libgomp are gone,
and it would wait for them for ever.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from spacebatch.reference.threads import thread_limit


class OpenMP(NamedTuple):
    """The entries of a library.

    Attributes:
        parallel: runs a function of one pointer in so many threads at once: (its address, the pointer, threads, 0).
        number: address of `omp_get_thread_num`, which tells a thread its number among them.
    """

    parallel: Callable[[int, int, int, int], Any]
    number: int


threads: Callable[[], int] = thread_limit  # how many share a call of tensors

_library: OpenMP | None = None
_process = -1  # in which the library was handed over


def use(parallel_address: int, thread_number_address: int, thread_count: Callable[[], int]) -> None:
    """Share calls of tensors by the threads of this library from now on.

    Args:
        parallel_address: of `GOMP_parallel`; 0 where there is none, and our own threads share calls.
        thread_number_address: of `omp_get_thread_num`.
        thread_count: how many threads may share a call.
    """
    global _library, _process, threads
    threads = thread_count
    _library, _process = None, os.getpid()
    if parallel_address:
        entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
        _library = OpenMP(entry(parallel_address), thread_number_address)


def loaded() -> OpenMP | None:
    """The library, or None."""
    return _library if _library is not None and os.getpid() == _process else None
