"""Which times cannot be believed: of calls that waited for a core, or were timed while the machine did something else.

A case with such a time is marked in tables, listed, and left out of every verdict, whoever it speaks for.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from .records import Record

SPREAD = 1.0  # the quartiles are as far apart as the median is from zero: rounds were of two kinds
FASTEST = 2.0  # times the speed of a copy of as many bytes in the same run; results that find their memory in a cache reach 1.4
SLOWEST = 50.0  # times what the others took: threads waited for a core; small calls of TensorFlow reach 21


def doubts(record: Record) -> list[str]:
    """Why a case is left out; nothing where all of its times can be believed.

    >>> from spacebatch.timing import Timing
    >>> from .cases import Case
    >>> times = {"ours": Timing(1e-5, 1e-5, 1e-5, 9), "eager": Timing(2e-5, 2e-5, 2e-5, 9), "jax": Timing(0.07, 0.07, 0.07, 9)}
    >>> doubts(Record(Case("space_to_batch", (1, 8), (2,), ((0, 0),)), 64, times["ours"], times))
    ['jax took 7000 times as long as the others']
    """
    timed = {**record.times, **({"copy": record.copy} if record.copy else {})}
    found = []
    for name, timing in timed.items():
        others = [other.median for beside, other in timed.items() if beside != name]
        if timing.upper - timing.lower > SPREAD * timing.median:
            found.append(
                f"the quartiles of {name} are {(timing.upper - timing.lower) / timing.median:.1f} medians apart"
            )
        if record.copy and record.copy.median > FASTEST * timing.median:
            speed, copied = (record.moved_bytes / seconds / 1e9 for seconds in (timing.median, record.copy.median))
            found.append(f"{name} would move {speed:.0f} GB/s, where a copy moves {copied:.0f}")
        if others and timing.median > SLOWEST * statistics.median_high(others):
            found.append(
                f"{name} took {timing.median / statistics.median_high(others):.0f} times as long as the others"
            )
    return found


def believed(records: Iterable[Record]) -> list[Record]:
    """The records that verdicts are made of."""
    return [record for record in records if not doubts(record)]
