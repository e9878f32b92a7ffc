"""The report of a run: goals met and missed, the worst cases, geometric means; and tables of text."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

from .baselines import PROVIDERS
from .cases import dtype_of
from .load import crowded
from .plausible import believed, doubts
from .records import Record, Run
from .suites import ROWS

Table: TypeAlias = Sequence[Sequence[object]]  # of text, its first row the head

GRAPH_SHARE = 0.80  # of a captured copy, for small tensors inside a CUDA graph
MEANS = {"cuda": {"compile": 1.5, "eager": 2.5}, "cpu": {"tensorflow": 4.0, "eager": 1.5}}  # geometric means of ratios
NOISE = 0.02  # a call counts as not slower up to here: two timings of one call differ by as much
CPU_EXTRA_BYTES = 1 << 20  # of memory per thread, beside input and output

PEERS = tuple(name for name, provider in PROVIDERS.items() if provider.peer)


def report(run: Run, worst: int = 10) -> str:
    """The whole report; `table` prints every case.

    Args:
        run: what was measured. worst: how many of the worst cases to list.
    """
    parts = [header(run)]
    if not run.measured:
        parts.append("A rehearsal: every figure below comes from a clock that was made up, and none was measured.")
    wrong = [f"  {r.case.key}: {', '.join(r.wrong)}" for r in run.cases if r.wrong]
    if wrong:
        parts.append("\n".join(["WRONG results, not timed:", *wrong]))
    kept = believed(run.cases)
    parts += [
        doubtful(run.cases, worst),
        shares(kept),
        means(kept, run.device["type"]),
        worst_cases(kept, worst),
        memory(run),
    ]
    failed = [f"  {r.case.key}: {name}: {error}" for r in run.cases for name, error in r.failed.items()]
    if failed:
        rest = [f"  … and {len(failed) - worst} more"] if len(failed) > worst else []
        parts.append("\n".join(["Failed:", *failed[:worst], *rest]))
    if run.not_measured:
        parts.append(f"Not measured: {len(run.not_measured)} cases; the JSON names them.")
    if run.steps:
        parts.append(steps(run))
    return "\n\n".join(part for part in parts if part)


def header(run: Run) -> str:
    """The machine, the versions, the load, and who is absent."""
    lines = [f"spacebatch {run.spacebatch} on {run.device['name']}", run.software]
    cores, loads = run.device.get("cores"), {when: load for when, load in run.loads.items() if load is not None}
    if cores and loads:
        lines.append(f"load of {cores} cores: {', '.join(f'{load:.1f} at the {when}' for when, load in loads.items())}")
        if any(crowded(load, cores) for load in loads.values()):
            lines.append("WARNING: more ran than there are cores; the figures are not to be trusted")
    lines += [f"absent: {name}, {reason}" for name, reason in run.absent.items()]
    return "\n".join(lines)


def doubtful(records: Iterable[Record], most: int) -> str:
    """How many cases are left out of all that follows, and why."""
    found = [f"  {record.case.key}: {'; '.join(why)}" for record in records if (why := doubts(record))]
    if not found:
        return ""
    rest = [f"  … and {len(found) - most} more"] if len(found) > most else []
    head = f"left out of every verdict, since their times cannot be believed: {len(found)} cases, marked (?)"
    return "\n".join([head, *found[:most], *rest])


def shares(records: Iterable[Record]) -> str:
    """Per row of the goals: cases met and missed, the median and the lowest share, and how often no peer was faster."""
    records = list(records)
    lines: list[Sequence[object]] = [("row", "share of a copy", "met", "missed", "median", "lowest", "fastest")]
    for name, goal in ROWS.items():
        mine = [r for r in records if r.case.row == name]
        if not mine:
            continue
        found = [r.share for r in mine if r.share is not None]
        told = [verdict for verdict in map(not_slower, mine) if verdict is not None]
        goals: Sequence[object] = ("-", "-", "-")
        if goal is not None:
            good = sum(share >= goal for share in found)
            goals = f">= {goal:.0%}", good, len(mine) - good
        reached = (f"{statistics.median_low(found):.1%}", f"{min(found):.1%}") if found else ("-", "-")
        lines.append((name, *goals, *reached, f"{sum(told)}/{len(told)}" if told else "-"))
    notes = [
        f"fastest: no slower than the best peer on the case, within {NOISE:.0%}; tensors and NumPy arrays each beside their own"
    ]
    small = [r for r in records if r.host]
    if small:
        quick = sum(r.host["ours"] <= r.host["eager"] for r in small if {"ours", "eager"} <= {*r.host})
        inside = sum(r.graph["copy"] >= GRAPH_SHARE * r.graph["ours"] for r in small if {"ours", "copy"} <= {*r.graph})
        notes.append(f"small tensors: host's time at most eager's in {quick} of {len(small)} cases;")
        notes.append(f"  at least {GRAPH_SHARE:.0%} of a captured copy inside a CUDA graph in {inside} of {len(small)}")
    return "\n".join([aligned(lines), *notes])


def best_peer(record: Record) -> tuple[str, float] | None:
    """(name, its seconds over ours) of the fastest peer that was timed on a case."""
    found = {name: ratio for name, ratio in record.ratios.items() if name in PEERS}
    if not found:
        return None
    name = min(found, key=found.__getitem__)
    return name, found[name]


def not_slower(record: Record) -> bool | None:
    """Whether we are as fast as the best peer; None where there is none to compare with."""
    best = best_peer(record)
    return None if best is None else best[1] >= 1 - NOISE


def means(records: Iterable[Record], device: str) -> str:
    """Geometric mean of each provider's seconds over ours, over the large cases, with the goal."""
    records = [r for r in records if r.case.row != "small"]
    lines: list[Sequence[object]] = [("provider", "cases", "mean ratio", "lowest", "highest", "goal")]
    for name in PROVIDERS:
        found = [r.ratios[name] for r in records if name in r.ratios]
        if not found:
            continue
        mean, goal = statistics.geometric_mean(found), MEANS.get(device, {}).get(name)
        verdict = "" if goal is None else f">= {goal:.1f}: {'met' if mean >= goal else 'missed'}"
        lines.append((name, len(found), f"{mean:.2f}x", f"{min(found):.2f}x", f"{max(found):.2f}x", verdict))
    if len(lines) == 1:
        return ""
    return f"{aligned(lines)}\nratio: the provider's seconds over ours, of NumPy arrays over ours of those; median of the rounds' ratios"


def worst_cases(records: Iterable[Record], count: int) -> str:
    """The cases furthest below their goal: by share of the copy where there is a goal, else by the best peer."""
    found = scored(records)
    lines = [f"the worst {min(count, len(found))} cases, against their goals:"]
    for score, r in found[:count]:
        best = best_peer(r)
        peer = f", {best[0]} takes {best[1]:.2f}x our time" if best else ""
        share = f"{r.share:.1%} of a copy" if r.share is not None else ""
        lines.append(f"  {score:5.2f}  {r.case.key} [{r.case.row}]: {share}{peer}; {r.kernel}")
    return "\n".join(lines) if found else ""


def scored(records: Iterable[Record]) -> list[tuple[float, Record]]:
    """(what was reached over what is aimed at, record) of what was timed, the lowest first; below 1 a goal is missed."""
    found = []
    for record in records:
        goal, best = ROWS.get(record.case.row), best_peer(record)
        parts = [best[1]] if best else []
        if goal is not None and record.share is not None:
            parts.append(record.share / goal)
        if parts:
            found.append((min(parts), record))
    return sorted(found, key=lambda pair: pair[0])


def memory(run: Run) -> str:
    """The most memory that a call took beside its input and its result."""
    found = [(r.extra_bytes, r) for r in run.cases if r.extra_bytes is not None]
    if not found:
        return ""
    most, record = max(found, key=lambda pair: pair[0])
    allowed = CPU_EXTRA_BYTES * run.device.get("threads", 1)
    return (
        f"memory beside input and result: at most {most / 2**20:.2f} MiB, over {len(found)} cases, by {record.case.key} "
        f"(goal: {allowed >> 20} MiB, {'met' if most <= allowed else 'missed'})"
    )


def steps(run: Run) -> str:
    """What was done, and what was not and why."""
    rows = [(s["name"], s["state"], f"{s['seconds']:.1f} s", s["detail"]) for s in run.steps]
    return aligned([("step", "state", "time", "detail"), *rows], 4)


def table(records: Sequence[Record]) -> str:
    """Every case in a line: our time, GB/s, share of the copy, and each provider's ratio."""
    names = [name for name in PROVIDERS if name != "ours" and any(name in r.ratios for r in records)]
    lines: list[Sequence[str]] = [("case", "us", "+-", "GB/s", "of copy", *names)]
    for r in records:
        key = f"{r.case.key} (?)" if doubts(r) else r.case.key
        ours = r.times.get("ours")
        if ours is None:
            lines.append((key, "WRONG" if "ours" in r.wrong else "not timed", *["-"] * (len(names) + 3)))
            continue
        spread = f"{(ours.upper - ours.lower) / 2 / ours.median:.0%}"
        share = "-" if r.share is None else f"{r.share:.1%}"
        ratios = [f"{r.ratios[name]:.2f}x" if name in r.ratios else "-" for name in names]
        speed = f"{r.moved_bytes / ours.median / 1e9:.1f}"
        lines.append((key, f"{ours.median * 1e6:.1f}", spread, speed, share, *ratios))
    return aligned(lines)


def aligned(rows: Table, left: int = 1) -> str:
    """A table: its first columns aligned to the left, the others to the right. Not rich's, which cuts lines to a terminal's width.

    >>> print(aligned([("name", "us"), ("a", 10.5)]))
    name    us
    a     10.5
    """
    columns = [list(map(str, column)) for column in zip(*rows, strict=True)]
    for i, column in enumerate(columns):
        width = max(map(len, column))
        columns[i] = [text.ljust(width) if i < left else text.rjust(width) for text in column]
    return "\n".join("  ".join(line).rstrip() for line in zip(*columns, strict=True))


def markdown(rows: Table) -> str:
    """A table for a page, the first row its head.

    >>> print(markdown([("name", "us"), ("a", "10.5")]))
    | name | us |
    |---|---|
    | a | 10.5 |
    """
    head, *lines = (f"| {' | '.join(map(str, row))} |" for row in rows)
    return "\n".join([head, "|---" * len(rows[0]) + "|", *lines])


def compare(before: Run, after: Run, threshold: float = 0.05) -> tuple[str, int]:
    """Two runs case by case: (text, how many cases got slower by more than the threshold).

    Where both have a copy, shares of it are compared, since that takes the state of the machine out; else seconds.
    """
    olds = {r.case.key: r for r in before.cases}
    rows = []
    for new in after.cases:
        old = olds.get(new.case.key)
        if old is None or "ours" not in old.times or "ours" not in new.times:
            continue
        if old.share is not None and new.share is not None:
            rows.append((new.share / old.share, new.case.key, f"{old.share:.1%} -> {new.share:.1%} of a copy"))
        else:
            a, b = old.times["ours"].median, new.times["ours"].median
            rows.append((a / b, new.case.key, f"{a * 1e6:.1f} -> {b * 1e6:.1f} us"))
    rows.sort()
    lines = [f"before: {before.device['name']}; {before.software}", f"after:  {after.device['name']}; {after.software}"]
    if not rows:
        return "\n".join([*lines, "no case was timed in both"]), 0
    slower = [row for row in rows if row[0] < 1 - threshold]
    faster = [row for row in rows if row[0] > 1 + threshold]
    lines.append(
        f"{len(rows)} cases in both: {statistics.geometric_mean([row[0] for row in rows]):.3f}x the speed (geometric mean), "
        f"{len(slower)} slower and {len(faster)} faster by more than {threshold:.0%}"
    )
    lines += [f"  {speed:.2f}x  {key}: {text}" for speed, key, text in [*slower, *reversed(faster)]]
    return "\n".join(lines), len(slower)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `report`."""
    parser.add_argument("file", type=Path)
    parser.add_argument("--worst", type=positive, default=10, help="how many of the worst cases; default: %(default)s")
    parser.add_argument("--table", action="store_true", help="every case as well")


def main(options: argparse.Namespace) -> int:
    """The report of a file."""
    run = Run.load(options.file)
    if options.table:
        print(table(run.cases), end="\n\n")
    print(report(run, options.worst))
    return 0


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `compare`."""
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--threshold", type=float, default=0.05, help="what counts as slower; default: %(default)s")


def compare_main(options: argparse.Namespace) -> int:
    """0, or 1 where cases got slower by more than the threshold."""
    text, slower = compare(Run.load(options.before), Run.load(options.after), options.threshold)
    print(text)
    return 1 if slower else 0


def dtype_name(text: str) -> str:
    """An option's dtype, by PyTorch's name."""
    try:
        dtype_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def positive(text: str) -> int:
    """An option's number, 1 or more."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a positive number is needed, got {text!r}")
    return int(text)
