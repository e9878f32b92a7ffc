"""Threads that share large calls, of one piece or of many, each of which is a source, a result and the numbers between. A thread has a range of steps, which it takes chunk by chunk, and then helps the others, so that a
busy core delays nobody for long, and yet no two begin in the same huge page of the result.

They are the threads of an OpenMP library where one is given, else our own.
"""

from __future__ import annotations

import ctypes
import itertools
import os
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from .openmp import OpenMP

if TYPE_CHECKING:
    from .engine import Functions

# What `share` of a kernel is given, an int64 each; then, for each range, the step that follows and the one past its end.
JOB = ("table", "count", "steps", "chunk", "done", "which", "ranges")
PIECE = (
    "first",
    "space",
    "batch",
    "numbers",
)  # a row of the table; `first` is the number of steps of all pieces before
SPINS = 20_000  # some 20 us of waiting for the last chunks before the thread sleeps until they are done


class _Worker:
    """One thread, asleep until it is given a job; `idle` is held while it has one."""

    def __init__(self) -> None:
        self.idle = Lock()
        self._start = Lock()
        self._start.acquire()
        self._job: tuple[Any, Any, object, int] | None = None
        Thread(target=self._run, name="spacebatch", daemon=True).start()

    def give(self, share: Any, job: Any, kept: object, first: int) -> bool:
        """Start on a job, from a range on, unless still at another."""
        if not self.idle.acquire(blocking=False):
            return False
        self._job = share, job, kept, first  # kept alive by this
        self._start.release()
        return True

    def _run(self) -> None:
        while True:
            self._start.acquire()
            assert self._job is not None
            share, job, _, first = self._job
            share(ctypes.addressof(job), first, 0)
            self._job = None
            self.idle.release()


_team: list[_Worker] = []
_in_use = Lock()


def run(
    functions: Functions,
    space: int,
    batch: int,
    numbers: bytes,
    steps: int,
    chunk: int,
    threads: int,
    library: OpenMP | None = None,
) -> None:
    """A whole call by so many threads at most, this one among them; `chunk` steps at a time.

    A call while another is shared runs in this thread alone.
    """
    if threads <= 1 or _in_use.locked():
        functions.long(space, batch, numbers)
        return
    start = ctypes.cast(ctypes.c_char_p(numbers), ctypes.c_void_p).value or 0
    table = (ctypes.c_int64 * (2 * len(PIECE)))(0, space, batch, start, steps)
    run_pieces(functions, ctypes.addressof(table), 1, steps, chunk, threads, library, (table, numbers))


def run_pieces(
    functions: Functions,
    table: int,
    count: int,
    steps: int,
    chunk: int,
    threads: int,
    library: OpenMP | None = None,
    kept: object = None,
) -> None:
    """So many pieces by so many threads at most, which share the whole list.

    Args:
        functions: of the kernel of all pieces.
        table: address of a `PIECE` for each, and of one more row, whose `first` is the number of all steps.
        count, steps: of pieces, and of all their steps.
        chunk, threads, library: as for `run`.
        kept: what holds the table and the numbers.
    """
    alone = threads <= 1 or not _in_use.acquire(blocking=False)
    try:
        threads = 1 if alone else threads
        bounds = [steps * k // threads for k in range(threads + 1)]
        ranges = [n for pair in itertools.pairwise(bounds) for n in pair]
        which = library.number if library is not None else 0
        job = (ctypes.c_int64 * (len(JOB) + len(ranges)))(table, count, steps, chunk, 0, which, threads, *ranges)
        if alone:
            functions.share(ctypes.addressof(job), 0, 0)
        elif library is not None:
            library.parallel(functions.join, ctypes.addressof(job), threads, 0)
        else:
            _run_in_team(functions, job, kept, threads)
    finally:
        if not alone:
            _in_use.release()


def _run_in_team(functions: Functions, job: Any, kept: object, threads: int) -> None:
    while len(_team) < threads - 1:
        _team.append(_Worker())
    # a worker may come too late to find work, so the job is its own to keep
    busy = [worker for k, worker in enumerate(_team[: threads - 1], 1) if worker.give(functions.share, job, kept, k)]
    if not functions.share(ctypes.addressof(job), 0, SPINS):
        for worker in busy:
            with worker.idle:
                pass


def _after_fork() -> None:
    """A child has none of the threads."""
    global _in_use
    _team.clear()
    _in_use = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
