"""Pictures: of a run, bandwidth by size, the ratio to the best peer and what is left to the copy's limit; of dilated convolutions."""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .baselines import PROVIDERS
from .cases import Case
from .plausible import believed
from .records import Record, Run
from .report import PEERS, best_peer
from .sizes import in_words, size_class
from .suites import ROWS

# those of NumPy arrays are dotted, in the colour of what does the same to tensors
ARRAYS = {"numpy": "ours", "einops-numpy": "einops"}
_COLOURS = {name: f"C{i}" for i, name in enumerate(name for name in PROVIDERS if name not in ARRAYS)}
COLOURS = _COLOURS | {name: _COLOURS[tensors] for name, tensors in ARRAYS.items()} | {"copy": "black"}
_MOST_BARS = 60


def draw(run: Run, folder: Path) -> list[Path]:
    """Draw whatever the run has figures for, into files named after the run's; names and returns them.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the run is a rehearsal, whose figures mean nothing.
    """
    if not run.measured:
        raise ValueError("plot: this run is a rehearsal; its figures mean nothing")
    stem = run.path.stem if run.path else run.kind
    files = []
    folder.mkdir(parents=True, exist_ok=True)
    for picture in (bandwidth, peers, limit):
        figure = _figure()
        if picture(figure, run):
            files.append(folder / f"{stem}-{picture.__name__}.png")
            figure.savefig(files[-1])
            print(f"plot {files[-1]}")
    return files


def _figure() -> Any:
    """An empty figure, drawn without a screen."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "spacebatch[perf]"') from error
    figure = Figure(layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    return figure


def bandwidth(figure: Any, run: Run) -> bool:
    """Bandwidth against size: each provider's median over the cases of a size, and the copy's; False without two sizes."""
    series: dict[str, dict[int, list[float]]] = {}
    cases = believed(run.cases)
    for record in cases:
        timed = {**record.times, **({"copy": record.copy} if record.copy else {})}
        for name, timing in timed.items():
            speeds = series.setdefault(name, {}).setdefault(size_class(record.moved_bytes), [])
            speeds.append(record.moved_bytes / timing.median / 1e9)
    if max((len(points) for points in series.values()), default=0) < 2:
        return False
    figure.set_size_inches(9, 7)
    axes = figure.add_subplot()
    for name, points in series.items():
        sizes = sorted(points)
        axes.plot(
            sizes,
            [statistics.median_low(points[size]) for size in sizes],
            marker="o",
            markersize=4,
            color=COLOURS[name],
            linewidth=2.5 if name in ("ours", "copy") else 1.2,
            linestyle="--" if name == "copy" else ":" if name in ARRAYS else "-",
            label="a copy of as many bytes" if name == "copy" else f"{name}: {PROVIDERS[name].about}",
        )
    dots = [(r.moved_bytes, r.moved_bytes / r.times["ours"].median / 1e9) for r in cases if "ours" in r.times]
    axes.scatter(
        *zip(*dots, strict=True), s=5, color=COLOURS["ours"], alpha=0.4, linewidths=0, label="ours, every case"
    )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ticks = sorted({size for points in series.values() for size in points})
    axes.set_xticks(ticks, [in_words(tick) for tick in ticks])
    axes.minorticks_off()
    low, high = axes.get_ylim()
    steps = [n * 10.0**e for e in range(-4, 6) for n in (1, 2, 5) if low <= n * 10.0**e <= high]
    axes.set_yticks(steps, [f"{step:g}" for step in steps])
    axes.set_xlabel("bytes that must move, read and written")
    axes.set_ylabel("GB/s, median of the cases of a size")
    axes.set_title(f"Bandwidth by size: {run.device['name']}", fontsize=10)
    axes.grid(True, which="major", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    return True


def peers(figure: Any, run: Run) -> bool:
    """A heat map: the best peer's time over ours, the worst case of each kind of access and dtype; False where no peer was timed."""
    found: dict[tuple[str, str], list[float]] = {}
    for record in believed(run.cases):
        best = best_peer(record)
        if best is not None:
            found.setdefault((_kind(record.case), record.case.dtype), []).append(best[1])
    if not found:
        return False
    kinds, dtypes = sorted({kind for kind, _ in found}), sorted({dtype for _, dtype in found})
    values = [[min(found.get((kind, dtype), [math.nan])) for dtype in dtypes] for kind in kinds]
    figure.set_size_inches(1.5 + 0.065 * max(map(len, kinds)) + max(0.9 * len(dtypes), 2.5), 1.7 + 0.28 * len(kinds))
    axes = figure.add_subplot()
    image = _heat_map(axes, values, "RdYlGn", 2)
    axes.set_xticks(range(len(dtypes)), dtypes, rotation=30, ha="right", fontsize=8)
    axes.set_yticks(range(len(kinds)), kinds, fontsize=7)
    most = max(map(len, found.values()))
    white = "; white: nothing that can be believed" if any(map(math.isnan, itertools.chain(*values))) else ""
    tile = f"the worst of up to {most} cases a tile" if most > 1 else "a case a tile"
    axes.set_title(
        f"The best peer's time over ours, {tile}\n(above 1 we are faster{white}): {run.device['name']}", fontsize=9
    )
    bar = figure.colorbar(image, ax=axes, shrink=0.6)
    bar.set_ticks([-2, -1, 0, 1, 2], labels=["1/4", "1/2", "1", "2", "4"])
    return True


def limit(figure: Any, run: Run) -> bool:
    """A bar a case: its share of the copy's bandwidth, the lowest first, with goals, or else the fastest peer, as lines."""
    found = sorted((r for r in believed(run.cases) if r.share is not None), key=lambda r: r.share or 0.0)
    if not found:
        return False
    count, found = len(found), found[:_MOST_BARS]
    rows = sorted({r.case.row for r in found})
    figure.set_size_inches(10, 2.0 + 0.19 * len(found))
    axes = figure.add_subplot()
    for i, row in enumerate(rows):
        mine = [place for place, r in enumerate(found) if r.case.row == row]
        label = f"ours, {row}" if row else "ours"
        axes.barh(mine, [found[place].share or 0.0 for place in mine], color=f"C{i}", height=0.75, label=label)
    for colour, label, place_of in (
        ("black", "the goal", _goal),
        ("C3", "the fastest peer, where that is the goal", _peer),
    ):
        marks = [(mark, i) for i, record in enumerate(found) if (mark := place_of(record)) is not None]
        if marks:
            at, heights = zip(*marks, strict=True)
            low, high = [i - 0.45 for i in heights], [i + 0.45 for i in heights]
            axes.vlines(at, low, high, color=colour, linewidth=1.5, label=label)
    axes.axvline(1.0, color="grey", linestyle="--", linewidth=1, label="the copy")
    axes.set_yticks(range(len(found)), [_words(r.case) for r in found], fontsize=6)
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xlim(0, max(1.05, *(r.share * 1.02 for r in found if r.share)))
    axes.set_xlabel("share of a copy's bandwidth in the same run")
    which = f"the {len(found)} lowest of {count}" if count > len(found) else f"all {count}"
    axes.set_title(f"What is left to the limit, {which} cases: {run.device['name']}", fontsize=9)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    return True


def _goal(record: Record) -> float | None:
    return ROWS.get(record.case.row)


def _peer(record: Record) -> float | None:
    """The share of the copy that the fastest peer on tensors reaches, where no share is aimed at."""
    ratios = [ratio for name, ratio in record.ratios.items() if name in PEERS and PROVIDERS[name].against == "ours"]
    if _goal(record) is not None or record.share is None or not ratios:
        return None
    return record.share / min(ratios)


def draw_map(rows: Mapping[str, Mapping[int, Mapping[str, Any]]], device: str, picture: Path) -> None:
    """Dilated convolutions as two heat maps, time and memory: blue where batch space wins, red where it loses.

    Args:
        rows: kind of convolution → rate → {"gain", "memory"}: native over batch space; NaN where not known.
        device: its name. picture: the file.
    """
    if not rows:
        raise ValueError("--plot: no case was measured")
    rates = sorted({rate for line in rows.values() for rate in line})
    figure = _figure()
    figure.set_size_inches(13, 1.5 + 0.24 * len(rows))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, name, title in (
        (panels[0], "gain", "native time / batch space's"),
        (panels[1], "memory", "native memory / batch space's"),
    ):
        _heat_map(
            axes, [[line.get(rate, {}).get(name, math.nan) for rate in rates] for line in rows.values()], "RdBu", 3
        )
        axes.set_title(title, fontsize=10)
        axes.set_xticks(range(len(rates)), [str(rate) for rate in rates])
        axes.set_xlabel("rate")
    panels[0].set_yticks(range(len(rows)), list(rows), fontsize=7)
    figure.suptitle(f"Dilated convolutions on {device}; above 1, batch space wins", fontsize=11)
    figure.savefig(picture)


def draw_training(training: Mapping[str, Any], picture: Path) -> None:
    """Both loss curves of `networks.compare_training` in one picture, and their difference below."""
    figure = _figure()
    figure.set_size_inches(8, 5)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.semilogy(training["native"], color="C0", linewidth=4, alpha=0.4, label="native")
    above.semilogy(training["batch_space"], color="black", linewidth=1, linestyle="--", label="in batch space")
    above.set_ylabel("loss")
    above.legend()
    above.set_title(training["network"], fontsize=10)
    pairs = zip(training["native"], training["batch_space"], strict=True)
    below.semilogy([max(abs(a - b) / abs(a), 1e-17) for a, b in pairs], color="C3", linewidth=1)
    below.set_ylabel("relative\ndifference")
    below.set_xlabel("step")
    figure.savefig(picture)


def _heat_map(axes: Any, values: Sequence[Sequence[float]], colours: str, limit: float) -> Any:
    """Ratios as shades of their binary logarithm up to a limit, with the figures in the cells; NaN leaves one empty."""
    shades = [[math.log2(value) for value in line] for line in values]
    image = axes.imshow(shades, cmap=colours, vmin=-limit, vmax=limit, aspect="auto")
    for y, line in enumerate(values):
        for x, value in enumerate(line):
            if not math.isnan(value):
                colour = "black" if abs(shades[y][x]) < 0.6 * limit else "white"
                axes.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
    return image


def _kind(case: Case) -> str:
    """What a row of the heat map stands for.

    >>> _kind(Case("space_to_batch", (2, 3, 5, 7), (2, 4), ((1, 0), (0, 2)), layout="channels_last"))
    'to batch, 2-D, block 2 x 4, padded, channels last'
    """
    back = case.direction == "batch_to_space"
    words = ["to space" if back else "to batch", case.name or f"{len(case.block)}-D", _block(case)]
    if any(map(any, case.paddings)):
        words.append("cropped" if back else "padded")
    return ", ".join([*words, *_ways(case)])


def _words(case: Case) -> str:
    """A case in words.

    >>> _words(Case("space_to_batch", (2, 3, 5, 7), (2, 2), ((1, 0), (1, 0)), "uint8"))
    'space_to_batch of 2 x 3 x 5 x 7, uint8, block 2, padded by 1 and 0'
    """
    words = [f"{case.direction} of {' x '.join(map(str, case.shape))}", case.dtype, _block(case)]
    if any(map(any, case.paddings)):
        sides = [f"{before} and {after}" for before, after in case.paddings]
        sides = sides[:1] if len({*sides}) == 1 else sides
        words.append(f"{'cropped' if case.direction == 'batch_to_space' else 'padded'} by {' x '.join(sides)}")
    return ", ".join([*words, *_ways(case)])


def _block(case: Case) -> str:
    sizes = case.block[:1] if len({*case.block}) == 1 else case.block
    return f"block {' x '.join(map(str, sizes))}"


def _ways(case: Case) -> list[str]:
    """What is not as usual about a case."""
    words = [] if case.layout == "contiguous" else [case.layout.replace("_", " ")]
    windows = "windows" if case.batch_order == "batch_major" else "contiguous blocks"
    words += [windows] if case.arrangement == "contiguous" else ["grids"] if case.batch_order == "batch_major" else []
    return words + ["shifted"] * any(case.shifts) + ["backward"] * (case.mode == "backward")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `plot`."""
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: beside the file")


def main(options: argparse.Namespace) -> int:
    """Pictures of a file."""
    draw(Run.load(options.file), options.out or options.file.parent)
    return 0
