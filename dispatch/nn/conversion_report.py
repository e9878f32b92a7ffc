"""The report of `spacebatch.convert`: what was found, where, at which rate, and the times before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Row(NamedTuple):
    """One finding.

    Attributes:
        kind: "chain", "convolution" or "network" (the whole of it).
        where: paths of the dilated convolutions.
        rate: blocks, one per spatial dim; empty for the network.
        before, after: measured seconds natively and in batch space; None where nothing was measured.
        replaced: whether it now computes in batch space.
        why: what decided.
    """

    kind: str
    where: tuple[str, ...]
    rate: tuple[int, ...]
    before: float | None
    after: float | None
    replaced: bool
    why: str


@dataclass(frozen=True)
class Conversion:
    """What `convert` found and did; `print` it.

    >>> print(Conversion((Row("convolution", ("head",), (2, 2), 4e-3, 2e-3, True, "faster"),), "inference"))
    what         where  rate  before ms  after ms   gain  replaced
    convolution  head   2x2       4.000     2.000  2.00x  yes: faster
    measured: inference

    Attributes:
        rows: one for each chain and each dilated convolution, and one for the network where it was measured.
        measured: "inference", "training step" or "nothing".
        notes: parts that could not be traced, with the reasons.
    """

    rows: tuple[Row, ...]
    measured: str
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        table = [("what", "where", "rate", "before ms", "after ms", "gain", "replaced")]
        for row in self.rows:
            gain = f"{row.before / row.after:.2f}x" if row.before and row.after else "-"
            answer = f"{'yes' if row.replaced else 'no'}: {row.why}"
            rate = "x".join(map(str, row.rate)) or "-"
            table.append((row.kind, _where(row.where), rate, _ms(row.before), _ms(row.after), gain, answer))
        widths = [max(len(line[k]) for line in table) for k in range(6)]
        lines = []
        for line in table:
            cells = [line[k].rjust(widths[k]) if 3 <= k < 6 else line[k].ljust(widths[k]) for k in range(6)]
            lines.append("  ".join([*cells, line[6]]))
        return "\n".join([*lines, f"measured: {self.measured}", *(f"note: {note}" for note in self.notes)])


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.3f}"


def _where(paths: tuple[str, ...]) -> str:
    return " ".join(paths) if len(paths) < 3 else f"{paths[0]} … {paths[-1]} ({len(paths)})"
