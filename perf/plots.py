"""Pictures of a run: bandwidth by size, the ratio to the best peer, and what is left to the copy's limit."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from .baselines import PROVIDERS
from .records import Record, Run
from .report import best_peer
from .suites import ROWS

COLOURS = {name: f"C{i}" for i, name in enumerate(PROVIDERS)} | {"copy": "black"}
_MOST_BARS = 60


def draw(run: Run, folder: Path, suffix: str = ".png") -> list[Path]:
    """Draw whatever the run has figures for.

    Args:
        run: what was measured.
        folder: where the pictures go, each named after the run's file.
        suffix: the format: ".png", ".svg" or ".pdf".

    Returns:
        The files.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the run is a rehearsal, whose figures mean nothing.
    """
    if not run.measured:
        raise ValueError("plot: this run is a rehearsal; its figures mean nothing")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "spacebatch[perf]"') from error
    stem = run.path.stem if run.path else run.kind
    files = []
    pictures: tuple[tuple[str, Callable[[Any, Run], bool]], ...] = (
        ("bandwidth", bandwidth),
        ("peers", peers),
        ("limit", limit),
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures:
        figure = Figure(layout="constrained", dpi=120)
        FigureCanvasAgg(figure)
        if picture(figure, run):
            files.append(folder / f"{stem}-{name}{suffix}")
            figure.savefig(files[-1])
    return files


def bandwidth(figure: Any, run: Run) -> bool:
    """Bandwidth against size: each provider's median over the cases of a size, and the copy's; False without two sizes."""
    series: dict[str, dict[int, list[float]]] = {}
    for record in run.cases:
        size = 1 << round(math.log2(record.moved_bytes))
        timed = {**record.times, **({"copy": record.copy} if record.copy else {})}
        for name, timing in timed.items():
            series.setdefault(name, {}).setdefault(size, []).append(record.moved_bytes / timing.median / 1e9)
    if max((len(points) for points in series.values()), default=0) < 2:
        return False
    figure.set_size_inches(9, 5.5)
    axes = figure.add_subplot()
    for name, points in series.items():
        sizes = sorted(points)
        values = [sorted(points[size]) for size in sizes]
        axes.plot(
            sizes,
            [found[len(found) // 2] for found in values],
            marker="o",
            markersize=4,
            color=COLOURS[name],
            linewidth=2.5 if name in ("ours", "copy") else 1.2,
            linestyle="--" if name == "copy" else "-",
            label=name,
        )
        if name == "ours":
            axes.fill_between(
                sizes, [f[0] for f in values], [f[-1] for f in values], color=COLOURS[name], alpha=0.15, linewidth=0
            )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ticks = sorted({size for points in series.values() for size in points})
    axes.set_xticks(
        ticks[:: max(1, len(ticks) // 10)], [_bytes(t) for t in ticks[:: max(1, len(ticks) // 10)]], rotation=30
    )
    axes.minorticks_off()
    low, high = axes.get_ylim()
    steps = [n * 10.0**e for e in range(-4, 6) for n in (1, 2, 5) if low <= n * 10.0**e <= high]
    axes.set_yticks(steps, [f"{step:g}" for step in steps])
    axes.set_xlabel("bytes that must move, read and written")
    axes.set_ylabel("GB/s, median over the cases of a size (ours: with lowest and highest)")
    axes.set_title(f"Bandwidth by size: {run.device['name']}", fontsize=10)
    axes.grid(True, which="major", alpha=0.3)
    axes.legend()
    return True


def peers(figure: Any, run: Run) -> bool:
    """A heat map: the best peer's time over ours, by kind of access and dtype; False where no peer was timed."""
    found: dict[tuple[str, str], list[float]] = {}
    for record in run.cases:
        best = best_peer(record)
        if best is not None:
            found.setdefault((_kind(record), record.case.dtype), []).append(best[1])
    if not found:
        return False
    kinds, dtypes = _unique(kind for kind, _ in found), _unique(dtype for _, dtype in found)
    values = [[_median(found.get((kind, dtype), [])) for dtype in dtypes] for kind in kinds]
    figure.set_size_inches(1.5 + 0.065 * max(map(len, kinds)) + max(0.9 * len(dtypes), 2.5), 1.5 + 0.28 * len(kinds))
    axes = figure.add_subplot()
    logs = [[math.log2(v) if v else math.nan for v in line] for line in values]
    image = axes.imshow(logs, cmap="RdYlGn", vmin=-2, vmax=2, aspect="auto")
    for i, line in enumerate(values):
        for j, value in enumerate(line):
            if value:
                axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7)
    axes.set_xticks(range(len(dtypes)), dtypes, rotation=30, ha="right", fontsize=8)
    axes.set_yticks(range(len(kinds)), kinds, fontsize=7)
    axes.set_title(f"Best peer's time over ours (above 1: we are faster)\n{run.device['name']}", fontsize=9)
    bar = figure.colorbar(image, ax=axes, shrink=0.6)
    bar.set_ticks([-2, -1, 0, 1, 2], labels=["1/4", "1/2", "1", "2", "4"])
    return True


def limit(figure: Any, run: Run) -> bool:
    """A bar a case: its share of the copy's bandwidth, the lowest first, with the goals as lines."""
    found = sorted((r for r in run.cases if r.share is not None), key=lambda r: r.share or 0.0)
    if not found:
        return False
    count, found = len(found), found[:_MOST_BARS]
    rows = _unique(r.case.row for r in found)
    figure.set_size_inches(10, 1.6 + 0.19 * len(found))
    axes = figure.add_subplot()
    for i, record in enumerate(found):
        colour = f"C{rows.index(record.case.row)}"
        axes.barh(i, record.share, color=colour, height=0.75)
        goal = ROWS[record.case.row].share if record.case.row in ROWS else None
        if goal is not None:
            axes.plot([goal, goal], [i - 0.45, i + 0.45], color="black", linewidth=1.5)
    axes.axvline(1.0, color="grey", linestyle="--", linewidth=1)
    axes.set_yticks(range(len(found)), [r.case.key for r in found], fontsize=6)
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xlim(0, max(1.05, *(r.share * 1.02 for r in found if r.share)))
    axes.set_xlabel("share of a copy's bandwidth in the same run (black: the goal; dashed: the copy)")
    which = f"the {len(found)} lowest of {count}" if count > len(found) else f"all {count}"
    axes.set_title(f"What is left to the limit, {which} cases: {run.device['name']}", fontsize=9)
    for i, row in enumerate(rows):
        axes.barh(-10, 0, color=f"C{i}", label=row or "cases")
    axes.legend(loc="upper right", fontsize=8)
    return True


def _kind(record: Record) -> str:
    case = record.case
    words = ["to batch" if case.direction == "space_to_batch" else "to space", case.name or f"{len(case.block)}-D"]
    words.append(f"block {case.block[-1]}")
    if any(map(any, case.paddings)):
        words.append("padded")
    words += [word for word, usual in ((case.layout, "contiguous"), (case.arrangement, "interleaved")) if word != usual]
    if case.mode == "backward":
        words.append("backward")
    return ", ".join(words)


def _unique(items: Iterable[str]) -> list[str]:
    return sorted({*items})


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0


def _bytes(count: int) -> str:
    """A size in words.

    >>> _bytes(2048), _bytes(3 << 20)
    ('2 KiB', '3 MiB')
    """
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{count // unit} {name}"
    return f"{count} B"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `plot`."""
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: beside the file")
    parser.add_argument("--format", choices=("png", "svg", "pdf"), default="png")


def main(options: argparse.Namespace) -> int:
    """Pictures of a file."""
    for path in draw(Run.load(options.file), options.out or options.file.parent, f".{options.format}"):
        print(f"plot {path}")
    return 0
