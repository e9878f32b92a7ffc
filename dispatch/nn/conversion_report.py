"""The report of `spacebatch.convert`: every dilated convolution, its chain, what ended it, and the times before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..timing import Timing


class Row(NamedTuple):
    """One finding.

    Attributes:
        kind: "chain", "convolution" or "network" (the whole of it).
        where: paths of the dilated convolutions.
        rate: blocks, one per spatial dim; empty for the network.
        before, after: seconds natively and in batch space, medians with quartiles; None where nothing was measured.
        replaced: whether it now computes in batch space.
        why: what decided.
        ended: what needed the image in the end: functions, with the module that called them.
    """

    kind: str
    where: tuple[str, ...]
    rate: tuple[int, ...]
    before: Timing | None
    after: Timing | None
    replaced: bool
    why: str
    ended: tuple[str, ...] = ()


@dataclass(frozen=True)
class Conversion:
    """What `convert` found and did; `print` it.

    >>> before, after = Timing(4e-3, 3.9e-3, 4.1e-3, 9), Timing(2e-3, 2e-3, 2.2e-3, 9)
    >>> print(Conversion((Row("convolution", ("head",), (2, 2), before, after, True, "faster", ("mean",)),), "inference"))
    what         where  rate  before ms         after ms           gain  replaced     ended by
    convolution  head   2x2   4.000 ±0.100      2.000 ±0.100      2.00x  yes: faster  mean
    measured: inference

    Attributes:
        rows: one for each chain and for each dilated convolution outside of any, and one for the network where it was measured.
        measured: "inference", "training step" or "nothing".
        notes: what could not be measured or compared, and what was taken back.
    """

    rows: tuple[Row, ...]
    measured: str
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        table = [("what", "where", "rate", "before ms", "after ms", "gain", "replaced", "ended by")]
        for row in self.rows:
            gain = f"{row.before.median / row.after.median:.2f}x" if row.before and row.after else "-"
            answer = f"{'yes' if row.replaced else 'no'}: {row.why}"
            rate = "x".join(map(str, row.rate)) or "-"
            where = _where(row.where)
            table.append(
                (row.kind, where, rate, _ms(row.before), _ms(row.after), gain, answer, ", ".join(row.ended) or "-")
            )
        widths = [max(len(line[k]) for line in table) for k in range(7)]
        lines = []
        for line in table:
            cells = [line[k].rjust(widths[k]) if 3 <= k < 6 else line[k].ljust(widths[k]) for k in range(7)]
            lines.append("  ".join([*cells, line[7]]))
        return "\n".join([*lines, f"measured: {self.measured}", *(f"note: {note}" for note in self.notes)])


def _ms(timing: Timing | None) -> str:
    return "-" if timing is None else f"{timing.median * 1e3:.3f} ±{(timing.upper - timing.lower) * 5e2:.3f}"


def _where(paths: tuple[str, ...]) -> str:
    return " ".join(paths) if len(paths) < 3 else f"{paths[0]} … {paths[-1]} ({len(paths)})"
