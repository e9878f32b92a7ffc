"""What a run comes to: goals met and missed, the worst cases, geometric means, all as text."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from .baselines import PROVIDERS
from .records import Record, Run
from .suites import ROWS

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
    parts += [shares(run.cases), means(run.cases, run.device["type"]), worst_cases(run.cases, worst)]
    parts.append(memory(run))
    failed = [f"  {r.case.key}: {name}: {error}" for r in run.cases for name, error in r.failed.items()]
    if failed:
        rest = [f"  … and {len(failed) - worst} more"] if len(failed) > worst else []
        parts.append("\n".join(["Failed:", *failed[:worst], *rest]))
    if run.not_measured:
        parts.append(f"Not measured, for want of time: {len(run.not_measured)} cases; the JSON names them.")
    if run.steps:
        parts.append(steps(run))
    return "\n\n".join(part for part in parts if part)


def header(run: Run) -> str:
    """The machine, the versions, and who is absent."""
    lines = [f"spacebatch {run.spacebatch} on {run.device['name']}", run.software]
    lines += [f"absent: {name}, {reason}" for name, reason in run.absent.items()]
    return "\n".join(lines)


def shares(records: Iterable[Record]) -> str:
    """Per row of the goals: cases met and missed, the median and the lowest share, and how often no peer was faster."""
    records = list(records)
    lines = [f"{'row':<18}{'share of a copy':>16}{'met':>6}{'missed':>8}{'median':>9}{'lowest':>9}{'fastest':>10}"]
    for name, row in ROWS.items():
        mine = [r for r in records if r.case.row == name]
        found = sorted(r.share for r in mine if r.share is not None)
        if not mine:
            continue
        lead = [not_slower(r) for r in mine]
        told = [verdict for verdict in lead if verdict is not None]
        fastest = f"{sum(told)}/{len(told)}" if told else "-"
        if not found:
            lines.append(f"{name:<18}{'-':>16}{0:>6}{len(mine):>8}{'-':>9}{'-':>9}{fastest:>10}")
            continue
        middle, lowest = found[len(found) // 2], found[0]
        if row.share is None:
            goal, met, missed = "-", "-", "-"
        else:
            good = sum(share >= row.share for share in found)
            goal, met, missed = f">= {row.share:.0%}", str(good), str(len(mine) - good)
        lines.append(f"{name:<18}{goal:>16}{met:>6}{missed:>8}{middle:>9.1%}{lowest:>9.1%}{fastest:>10}")
    small = [r for r in records if r.host]
    if small:
        quick = sum(r.host["ours"] <= r.host["eager"] for r in small if {"ours", "eager"} <= {*r.host})
        inside = sum(r.graph["copy"] >= GRAPH_SHARE * r.graph["ours"] for r in small if {"ours", "copy"} <= {*r.graph})
        lines.append(f"small tensors: host's time at most eager's in {quick} of {len(small)} cases;")
        lines.append(f"  at least {GRAPH_SHARE:.0%} of a captured copy inside a CUDA graph in {inside} of {len(small)}")
    lines.append(f"fastest: no slower than the best peer on the case, within {NOISE:.0%}")
    return "\n".join(lines)


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


def geometric_mean(values: Sequence[float]) -> float:
    """The mean of ratios.

    >>> geometric_mean([0.5, 2.0])
    1.0
    """
    return math.exp(sum(map(math.log, values)) / len(values))


def means(records: Iterable[Record], device: str) -> str:
    """Geometric mean of each provider's seconds over ours, over the large cases, with the goal."""
    records = [r for r in records if r.case.row != "small"]
    lines = [f"{'provider':<14}{'cases':>6}{'mean ratio':>12}{'lowest':>9}{'highest':>9}   goal"]
    for name in PROVIDERS:
        found = [r.ratios[name] for r in records if name in r.ratios]
        if not found:
            continue
        mean, goal = geometric_mean(found), MEANS.get(device, {}).get(name)
        verdict = "" if goal is None else f">= {goal:.1f}: {'met' if mean >= goal else 'missed'}"
        lines.append(f"{name:<14}{len(found):>6}{mean:>11.2f}x{min(found):>8.2f}x{max(found):>8.2f}x   {verdict}")
    if len(lines) == 1:
        return ""
    return "\n".join([*lines, "ratio: the provider's seconds over ours, median of the rounds' ratios"])


def worst_cases(records: Iterable[Record], count: int) -> str:
    """The cases furthest below their goal: by share of the copy where there is a goal, else by the best peer."""
    scored = [(score, r) for r in records if (score := badness(r)) is not None]
    scored.sort(key=lambda pair: pair[0])
    lines = [f"the worst {min(count, len(scored))} cases, against their goals:"]
    for score, r in scored[:count]:
        best = best_peer(r)
        peer = f", {best[0]} takes {best[1]:.2f}x our time" if best else ""
        share = f"{r.share:.1%} of a copy" if r.share is not None else ""
        lines.append(f"  {score:5.2f}  {r.case.key} [{r.case.row}]: {share}{peer}; {r.kernel}")
    return "\n".join(lines) if scored else ""


def badness(record: Record) -> float | None:
    """What was reached over what is aimed at; below 1 a goal is missed. None where nothing was timed."""
    row = ROWS.get(record.case.row)
    parts = []
    if row and row.share is not None and record.share is not None:
        parts.append(record.share / row.share)
    best = best_peer(record)
    if best is not None:
        parts.append(best[1])
    return min(parts) if parts else None


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
    lines = [f"{'step':<14}{'state':<12}{'seconds':>8}  detail"]
    lines += [f"{s['name']:<14}{s['state']:<12}{s['seconds']:>8.1f}  {s['detail']}" for s in run.steps]
    return "\n".join(lines)


def table(records: Sequence[Record]) -> str:
    """Every case in a line: our time, GB/s, share of the copy, and each provider's ratio."""
    names = [name for name in PROVIDERS if name != "ours" and any(name in r.ratios for r in records)]
    width = max((len(r.case.key) for r in records), default=4) + 2
    columns = "".join(f"{name:>14}" for name in names)
    lines = [f"{'case':<{width}}{'us':>10}{'+-':>7}{'GB/s':>9}{'of copy':>9}{columns}"]
    for r in records:
        ours = r.times.get("ours")
        if ours is None:
            lines.append(f"{r.case.key:<{width}}  {'WRONG' if 'ours' in r.wrong else 'not timed'}")
            continue
        spread = (ours.upper - ours.lower) / 2 / ours.median
        ratios = "".join(f"{f'{r.ratios[name]:.2f}x' if name in r.ratios else '-':>14}" for name in names)
        share = "-" if r.share is None else f"{r.share:.1%}"
        speed = r.moved_bytes / ours.median / 1e9
        lines.append(f"{r.case.key:<{width}}{ours.median * 1e6:>10.1f}{spread:>7.0%}{speed:>9.1f}{share:>9}{ratios}")
    return "\n".join(lines)


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
        f"{len(rows)} cases in both: {geometric_mean([row[0] for row in rows]):.3f}x the speed (geometric mean), "
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


def positive(text: str) -> int:
    """An option's number, 1 or more."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a positive number is needed, got {text!r}")
    return int(text)
