"""How a command of the package ends when it is stopped: one line on stderr, and the status that shells expect."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress

INTERRUPTED, NOT_READ = 130, 141  # 128 and the number of the signal: of Ctrl-C, and of a pipe that nobody reads


def status_of(name: str, command: Callable[[], int]) -> int:
    """Run a command; its exit status, or that of what stopped it.

    >>> status_of("job", lambda: 7)
    7

    Args:
        name: what the line begins with. command: returns its status; what it raises otherwise is passed on.
    """
    try:
        try:
            return command()
        finally:
            sys.stdout.flush()  # a pipe that was closed is found here, not when Python ends
    except KeyboardInterrupt:
        said(f"{name}: interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        with suppress(OSError):  # else Python would complain once more
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        said(f"{name}: stopped, since nobody reads the output any more")
        return NOT_READ


def said(line: str) -> None:
    """Print a line on stderr, if anybody reads that."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)
