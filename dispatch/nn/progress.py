"""How far a measurement is, how long it will take, and who is told."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeAlias


class Progress(NamedTuple):
    """What the `progress` of `convert` is called with; `print` it.

    >>> print(Progress("layer4.0.conv2", 3, 12, 1.5, 4.5))
    3 of 12 parts measured in 1.5 s, about 4.5 s to go: layer4.0.conv2

    Attributes:
        part: what is measured next. measured, parts: how many are measured, and how many there are.
        seconds: since the beginning. remaining: a forecast, no more than the budget leaves, from what the parts before took.
    """

    part: str
    measured: int
    parts: int
    seconds: float
    remaining: float

    def __str__(self) -> str:
        return (
            f"{self.measured} of {self.parts} parts measured in {self.seconds:.1f} s, about {self.remaining:.1f} s to go: "
            f"{self.part}"
        )


Told: TypeAlias = Callable[[Progress], object]


class Budget:
    """Seconds that measuring the parts of a network may take, and the forecast of what they need.

    Args:
        seconds: of all. parts: how many there are. once: seconds of one call of the network, which parts add up to at most.
        runs: of each part, and of the network at the end.
    """

    def __init__(self, seconds: float, parts: int, once: float, runs: int, tell: Told) -> None:
        self.start, self.seconds, self.parts, self.measured, self.tell = time.monotonic(), seconds, parts, 0, tell
        self.whole = runs * once

    @property
    def until(self) -> float:
        """When it is spent, by `time.monotonic()`."""
        return self.start + self.seconds

    @property
    def needed(self) -> float:
        """Seconds that all parts and the whole would take, from what those before took."""
        spent = time.monotonic() - self.start
        return self.whole + (spent * self.parts / self.measured if self.measured else self.whole)

    def allows(self, part: str) -> bool:
        """Whether there is time for another part; whoever wants to know is told of it."""
        spent = time.monotonic() - self.start
        if spent >= self.seconds:
            return False
        remaining = min(self.needed, self.seconds) - spent
        self.tell(Progress(part, self.measured, self.parts, spent, max(remaining, 0.0)))
        return True


@contextmanager
def telling(progress: bool | Told) -> Iterator[Told]:
    """Whom to tell: nobody, the terminal, or a function.

    With `rich` installed, the terminal shows one line that changes; without, a line for each part.
    """
    if callable(progress):
        yield progress
    elif not progress:
        yield lambda _: None
    else:
        try:
            from rich.console import Console
        except ImportError:
            yield lambda found: print(f"convert: {found}", file=sys.stderr)
            return
        with Console(stderr=True).status("convert") as status:
            yield lambda found: status.update(f"convert: {found}")
