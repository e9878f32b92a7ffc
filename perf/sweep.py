"""Cells one after the other: checked, timed, and on disk as they come; a deadline or an interruption keeps what there is."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch

from .cells import Cell
from .measurement import Bench
from .providers import Provider
from .records import Run
from .steps import Deadline


def measure(cells: Sequence[Cell], providers: Sequence[Provider], bench: Bench, run: Run, deadline: Deadline) -> int:
    """Measure cells until the deadline.

    Args:
        cells: in order of value.
        providers: who can run here, ourselves among them.
        bench: how. run: takes the records.
        deadline: after it no cell is begun; the keys of the rest go to `run.not_measured`.

    Returns:
        How many cells were measured. An interruption by the user is passed on once the file is written.
    """
    count = 0
    try:
        with _progress(cells) as bar:
            for cell in bar:
                if deadline.left() <= 0:
                    break
                try:
                    run.add(bench.record(cell, providers))
                except torch.OutOfMemoryError as error:
                    _free(bench.device)
                    run.not_measured.append(f"{cell.key}: {str(error).splitlines()[0]}")
                count += 1
    finally:
        measured = {record.cell.key for record in run.cells}
        named = {text.partition(": ")[0] for text in run.not_measured}
        run.not_measured += [cell.key for cell in cells if cell.key not in measured | named]
        run.not_measured = [text for text in run.not_measured if text not in measured]
        run.save()
    return count


def wrong(run: Run) -> list[str]:
    """The keys of the cells that this library got wrong or failed at."""
    return [
        record.cell.key for record in run.cells if {"ours", "out", "numpy"} & {*record.wrong} or "ours" in record.failed
    ]


def _free(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()


@contextmanager
def _progress(cells: Iterable[Cell]) -> Iterator[Iterable[Cell]]:
    """The cells with a bar that names the one at hand, where rich is installed and somebody is looking."""
    if not sys.stderr.isatty():
        yield cells
        return
    try:
        console: Any = import_module("rich.console")
        bars: Any = import_module("rich.progress")
    except ImportError:
        yield cells
        return
    with bars.Progress(console=console.Console(stderr=True), transient=True) as progress:
        cells = list(cells)
        task = progress.add_task("", total=len(cells))

        def shown() -> Iterator[Cell]:
            for cell in cells:
                progress.update(task, description=cell.key)
                yield cell
                progress.advance(task)

        yield shown()
