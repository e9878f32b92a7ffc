"""How far a run is: a bar by rich where that is installed, lines on stderr, or whatever a callable does with the numbers.

>>> with shown(lambda done, total: print(done, "of", total), 2) as advance:
...     advance(0)
...     advance(2)
0 of 2
2 of 2
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

Progress: TypeAlias = "bool | Callable[[int, int], object]"
_SECONDS = 2.0  # between two lines


@contextmanager
def shown(progress: Progress, total: int) -> Iterator[Callable[[int], object]]:
    """A function that is told how many tiles are done."""
    if callable(progress):
        report = progress
        yield lambda done: report(done, total)
        return
    if not progress:
        yield lambda done: None
        return
    try:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars
    except ImportError:
        yield _lines(total)
        return
    columns = (TextColumn("tiles"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    from rich.console import Console

    with Bars(*columns, console=Console(stderr=True)) as bars:
        bar = bars.add_task("tiles", total=total)
        yield lambda done: bars.update(bar, completed=done)


def _lines(total: int) -> Callable[[int], object]:
    """Lines on stderr, with the time that is left; one every few seconds, and the last one."""
    start = time.monotonic()
    first: list[int] = []
    said = [start]

    def report(done: int) -> None:
        now = time.monotonic()
        first.append(done)
        if done < total and now - said[0] < _SECONDS:
            return
        said[0] = now
        computed = done - first[0]
        left = f", {(now - start) / computed * (total - done):.0f} s left" if computed else ""
        print(f"tiles {done}/{total}, {now - start:.0f} s{left}", file=sys.stderr, flush=True)

    return report
