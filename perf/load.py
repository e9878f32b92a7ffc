"""What else the machine does: a figure that was measured while more ran than there are cores is none.

Threads that wait for each other at a barrier then wait for a core, and a call of microseconds takes milliseconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from spacebatch.exit_status import said

BESIDE = 0.5  # of a core: what a system does beside a run that has all cores to itself


def cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def average() -> float | None:
    """How many threads ran or waited for a core, on average over the last minute; None where the system does not tell."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


def crowded(found: float | None, available: int) -> bool:
    """Whether more ran than there are cores.

    >>> crowded(2.1, 2), crowded(5.3, 2), crowded(None, 2)
    (False, True, False)
    """
    return found is not None and found > available + BESIDE


@contextmanager
def watched(command: str) -> Iterator[None]:
    """Warn, before and after what runs inside, where the load exceeds the cores."""
    try:
        _warn(command, "before the first figure")
        yield
    finally:
        _warn(command, "at the end")


def _warn(command: str, when: str) -> None:
    found, available = average(), cores()
    if crowded(found, available):
        said(
            f"{command}: WARNING: a load of {found:.1f} on {available} cores {when}: the figures are not to be trusted"
        )
