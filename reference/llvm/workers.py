"""Threads that share large calls. Each has a range of steps, which it takes chunk by chunk, and then helps the others, so that a
busy core delays nobody for long, and yet no two begin in the same huge page of the result.

They are PyTorch's own threads where those are OpenMP's: after an operator of PyTorch they keep their cores busy for a while,
waiting for the next, and would be in the way of any others.
"""

from __future__ import annotations

import ctypes
import itertools
import os
from threading import Lock, Thread
from typing import Any

from . import openmp
from .engine import Functions
from .sharing import JOB

SPINS = 20_000  # some 20 us of waiting for the last chunks before the thread sleeps until they are done


class _Worker:
    """One thread, asleep until it is given a job; `idle` is held while it has one."""

    def __init__(self) -> None:
        self.idle = Lock()
        self._start = Lock()
        self._start.acquire()
        self._job: tuple[Any, Any, Any, int] | None = None
        Thread(target=self._run, name="spacebatch", daemon=True).start()

    def give(self, share: Any, job: Any, numbers: Any, first: int) -> bool:
        """Start on a job, from a range on, unless still at another."""
        if not self.idle.acquire(blocking=False):
            return False
        self._job = share, job, numbers, first  # kept alive by this
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


def run(functions: Functions, space: int, batch: int, numbers: Any, steps: int, chunk: int, threads: int) -> None:
    """A whole call by so many threads at most, this one among them; `chunk` steps at a time.

    Those of PyTorch where they are at hand, else our own; a call while another is at it has this thread for itself.
    """
    if threads <= 1 or not _in_use.acquire(blocking=False):
        functions.long(space, batch, numbers)
        return
    try:
        bounds = [steps * k // threads for k in range(threads + 1)]
        ranges = [n for pair in itertools.pairwise(bounds) for n in pair]
        found = openmp.loaded()
        which = found.number if found is not None else 0
        job = (ctypes.c_int64 * (len(JOB) + len(ranges)))(
            space, batch, ctypes.addressof(numbers), chunk, 0, which, threads, *ranges
        )
        if found is not None:
            found.parallel(functions.join, ctypes.addressof(job), threads, 0)
        else:
            _run_in_team(functions, job, numbers, threads)
    finally:
        _in_use.release()


def _run_in_team(functions: Functions, job: Any, numbers: Any, threads: int) -> None:
    while len(_team) < threads - 1:
        _team.append(_Worker())
    # a worker may come too late to find work, so the job is its own to keep
    busy = [worker for k, worker in enumerate(_team[: threads - 1], 1) if worker.give(functions.share, job, numbers, k)]
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
