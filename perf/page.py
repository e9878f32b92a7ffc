"""`python -m spacebatch.perf page`: a file of measurements as tables for a page."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from .dilated import put_between
from .plausible import believed
from .records import Record, Run
from .report import PEERS, best_peer, markdown, not_slower
from .sizes import in_words, size_class

# command → module, whose `tables` shows what the command measured; what is not here is a sweep
OTHERS = {"overhead": "overhead", "first-call": "first_call", "blocks": "blocks", "tiled": "tiled"}


def page_of(path: Path) -> str:
    """What a page shows of a file.

    Raises:
        ValueError: it is no file of measurements, or holds a rehearsal.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        module = OTHERS[data["command"]]
    except (ValueError, KeyError, TypeError):
        run = Run.load(path)
        if not run.measured:
            raise ValueError("this run is a rehearsal; its figures mean nothing") from None
        return page(run)
    head = f"Measured on {data['hardware']}; {data['software']}. All figures: `{path.as_posix()}`."
    tables = import_module(f".{module}", __package__).tables(data)
    return "\n\n".join([head, *map(markdown, tables)]) + "\n"


def page(run: Run) -> str:
    """The table of a sweep: each peer's seconds over ours, by the names or else the sizes of the cases, and every case in which a peer is faster."""
    kept = believed(run.cases)
    peers = [name for name in PEERS if any(name in r.ratios for r in kept)]
    groups: dict[str, list[Record]] = {}
    for record in kept:
        groups.setdefault(record.case.name or _size(record), []).append(record)
    rows: list[Sequence[object]] = [("what", "cells", *(f"{name} / ours" for name in peers), "a peer is faster")]
    for name, records in [*groups.items(), ("all", kept)]:
        means = [_mean([r.ratios[peer] for r in records if peer in r.ratios]) for peer in peers]
        rows.append((name, len(records), *means, sum(not_slower(r) is False for r in records)))
    file = f" All cells: `{run.path.as_posix()}`." if run.path else ""
    lines = [f"Measured on {run.device['name']}; {run.software}.{file}", "", markdown(rows)]
    if len(kept) < len(run.cases):
        lines += ["", f"Cells left out, since their times cannot be believed: {len(run.cases) - len(kept)}."]
    slower = [(r.case.key, best) for r in kept if not_slower(r) is False and (best := best_peer(r))]
    if slower:
        lines += ["", "Where a peer is faster, its time over ours:", ""]
        lines += [f"- {key}: {name} {ratio:.2f}" for key, (name, ratio) in slower]
    return "\n".join([*lines, ""])


def _size(record: Record) -> str:
    border = "with a border" if any(map(any, record.case.paddings)) else "no border"
    return f"{in_words(size_class(record.moved_bytes))}, {border}"


def _mean(ratios: Sequence[float]) -> str:
    """Geometric mean, lowest and highest."""
    if not ratios:
        return "-"
    return f"{statistics.geometric_mean(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("file", type=Path, help="of measurements, as `--json` wrote it")
    parser.add_argument(
        "--write-docs", type=Path, metavar="PAGE", help="put it between this page's marks named as the file"
    )


def main(options: argparse.Namespace) -> int:
    """Print the table, or put it on its page.

    Raises:
        ValueError: the page has no marks, or the run is a rehearsal.
    """
    text = page_of(options.file)
    if options.write_docs is None:
        print(text, end="")
    else:
        name = options.file.stem
        put_between((f"<!-- {name}: begin -->", f"<!-- {name}: end -->"), text, options.write_docs)
    return 0
