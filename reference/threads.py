"""Threads for copies that are worth them: a pool made when it is first needed, and made anew after a fork."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

# Handing a part to a thread and back costs 20 to 40 us, about what 256 KiB take to copy.
THREADED_BYTES = 1 << 20

_lock = Lock()
_pool: ThreadPoolExecutor | None = None
_pool_process = -1
_pool_size = 0


def thread_limit() -> int:
    """How many threads a copy may use: OMP_NUM_THREADS, as elsewhere in numeric Python, else the cores allowed to us.

    >>> thread_limit() >= 1
    True
    """
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if first.isdigit() and int(first) > 0:
        return int(first)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_in_threads(calls: Sequence[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
    """Make all calls, one of them in this thread, and return when all are done; the first error is raised then.

    >>> done: list[int] = []
    >>> run_in_threads([(done.append, (1,)), (done.append, (2,))])
    >>> sorted(done)
    [1, 2]
    """
    if not calls:
        return
    (function, arguments), *others = calls
    try:
        futures = [_workers(len(others)).submit(other, *given) for other, given in others]
    except RuntimeError:  # the interpreter is shutting down and takes no more work
        futures = []
        for other, given in others:
            other(*given)
    try:
        function(*arguments)
    finally:
        for future in futures:
            future.exception()  # waits
    for future in futures:
        future.result()


def _workers(count: int) -> ThreadPoolExecutor:
    global _pool, _pool_process, _pool_size
    with _lock:
        if _pool is None or _pool_process != os.getpid() or _pool_size < count:
            _pool = ThreadPoolExecutor(max(count, 1), thread_name_prefix="spacebatch")
            _pool_process, _pool_size = os.getpid(), count
        return _pool


def _new_lock_after_fork() -> None:
    global _lock
    _lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock_after_fork)
