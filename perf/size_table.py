"""A table for a page: how long the peers take, by the bytes that must move; with the machine and the file that it is of."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from .baselines import PROVIDERS
from .plausible import believed
from .records import Record, Run
from .report import NOISE, PEERS, markdown, not_slower


def size_class(count: int) -> int:
    """The size that a number of bytes is counted under: 3.4 to 13.5 KiB as 8 KiB, and so on by factors of 4.

    >>> size_class(5000), size_class(70_000), size_class(130 << 20) >> 20
    (8192, 131072, 128)
    """
    return 1 << max(0, 13 + 2 * round((math.log2(count) - 12.75) / 2))


def in_words(count: int) -> str:
    """A size in words.

    >>> in_words(2048), in_words(3 << 20)
    ('2 KiB', '3 MiB')
    """
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{count // unit} {name}"
    return f"{count} B"


def by_size(run: Run) -> str:
    """The table in Markdown: geometric means of each peer's time over ours, the lowest and the highest, of what can be believed."""
    kept = believed(run.cases)
    peers = [name for name in PEERS if any(name in record.ratios for record in kept)]
    rows: list[Sequence[object]] = [("bytes moved", "border", "cases", *peers, "no slower than any peer")]
    for size in sorted({size_class(record.moved_bytes) for record in kept}):
        for border in (False, True):
            mine = [r for r in kept if size_class(r.moved_bytes) == size and any(map(any, r.case.paddings)) is border]
            if mine:
                told = [not_slower(record) for record in mine]
                ratios = (_ratios(mine, name) for name in peers)
                rows.append((in_words(size), "yes" if border else "no", len(mine), *ratios, f"{sum(map(bool, told))}"))
    slower = sum(not_slower(record) is False for record in kept)
    lines = [
        f"{run.device['name']}; {run.software}; {run.path.name if run.path else 'no file'}.",
        "",
        markdown(rows),
        "",
        f"Geometric means of a peer's time over ours, lowest and highest. A peer is faster by more than {NOISE:.0%} in {slower} of "
        f"{len(kept)} cases; {len(run.cases) - len(kept)} more are left out, since their times cannot be believed.",
        *(f"{name}: {PROVIDERS[name].about}." for name in peers),
    ]
    return "\n".join(lines)


def _ratios(records: Sequence[Record], name: str) -> str:
    found = [record.ratios[name] for record in records if name in record.ratios]
    return f"{statistics.geometric_mean(found):.1f} ({min(found):.2f} - {max(found):.1f})" if found else "-"
