"""The map of `python -m spacebatch.perf atrous` as a table, as pictures, and in the documentation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from .dilated_cases import Case

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def rows_of(data: dict[str, Any]) -> dict[str, dict[int, dict[str, Any]]]:
    """Line of the map → rate → record, of the cases that were measured right."""
    rows: dict[str, dict[int, dict[str, Any]]] = {}
    for record in data["cells"]:
        if "native" in record:
            case = Case.from_dict(record["cell"])
            rows.setdefault(case.row, {})[case.rate] = record
    return rows


def gain(record: dict[str, Any]) -> float:
    """How many times as fast batch space is as the native convolution."""
    return float(record["native"]["median"] / record["batch_space"]["median"])


def memory_ratio(record: dict[str, Any]) -> float | None:
    """Peak memory in batch space over the native one's, beside the inputs; None where it is not known."""
    native, ours = record.get("native_bytes"), record.get("batch_space_bytes")
    return ours / native if native and ours and native > 0 else None


def markdown(data: dict[str, Any]) -> str:
    """Tables for the documentation: networks, the map, the training run; with the machine and the command."""
    rows = rows_of(data)
    rates = sorted({rate for line in rows.values() for rate in line})
    lines = [] if data["measured"] else ["A rehearsal with tiny sizes: THESE FIGURES MEAN NOTHING.", ""]
    lines += [
        f"Measured on {data['device']}; {data['software']}. Reproduce with `{data['command']}`.",
        "",
    ]
    if data["networks"]:
        lines += ["| network | what | before, ms | after, ms | gain |", "|---|---|---|---|---|"]
        lines += [
            f"| {n['name']} | {n['step']} | {n['before'] * 1e3:.1f} | {n['after'] * 1e3:.1f} | {n['before'] / n['after']:.2f}x |"
            for n in data["networks"]
        ]
        lines.append("")
    if rows:
        won = sum(gain(record) > 1 for line in rows.values() for record in line.values())
        total = sum(map(len, rows.values()))
        lines += [
            f"Batch space was faster in {won} of {total} cases. Native time over batch space's time, by rate:",
            "",
        ]
        lines += ["| convolution | " + " | ".join(map(str, rates)) + " | memory |", "|---|" + "---|" * (len(rates) + 1)]
        for name, line in rows.items():
            cases = [f"{gain(line[rate]):.2f}" if rate in line else "" for rate in rates]
            ratios = [ratio for record in line.values() if (ratio := memory_ratio(record)) is not None]
            spread = f"{min(ratios):.1f}-{max(ratios):.1f}x" if ratios else ""
            lines.append(f"| {name} | {' | '.join(cases)} | {spread} |")
        lines.append("")
    if training := data.get("training"):
        native, ours = training["seconds"]["native"], training["seconds"]["batch_space"]
        lines += [
            f"{training['steps']} training steps of {training['network']}: the losses differ by at most "
            f"{training['difference']:.1e} of their value; {native:.1f} s natively, {ours:.1f} s in batch space.",
            "",
        ]
    if data["not_measured"]:
        lines += [f"Not measured, for lack of time: {len(data['not_measured'])} cases.", ""]
    return "\n".join(lines)


def write_docs(data: dict[str, Any], page: Path) -> None:
    """Put the tables between the marks of a page.

    Raises:
        ValueError: the page has no marks, or the figures are of a rehearsal.
    """
    if not data["measured"]:
        raise ValueError("--write-docs: this run is a rehearsal; its figures mean nothing")
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"--write-docs: {page} has no line {BEGIN} followed by a line {END}")
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    page.write_text(f"{before}{BEGIN}\n{markdown(data)}{after}", encoding="utf-8")


def draw_map(data: dict[str, Any], picture: Path) -> None:
    """The map as two heat maps, time and memory: blue where batch space wins, red where it loses."""
    rows = rows_of(data)
    if not rows:
        raise ValueError("--plot: no case was measured")
    rates = sorted({rate for line in rows.values() for rate in line})
    figure = _figure((13, 1.5 + 0.24 * len(rows)))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, title, value in (
        (panels[0], "native time / batch space's", gain),
        (panels[1], "native memory / batch space's", lambda record: 1 / r if (r := memory_ratio(record)) else math.nan),
    ):
        grid = [[value(line[rate]) if rate in line else math.nan for rate in rates] for line in rows.values()]
        shades = [[math.log2(x) if x > 0 else math.nan for x in line] for line in grid]
        axes.imshow(shades, cmap="RdBu", vmin=-3, vmax=3, aspect="auto")
        axes.set_title(title, fontsize=10)
        axes.set_xticks(range(len(rates)), [str(rate) for rate in rates])
        axes.set_xlabel("rate")
        for y, line in enumerate(grid):
            for x, number in enumerate(line):
                if not math.isnan(number):
                    pale = abs(math.log2(number)) < 1.8
                    axes.text(
                        x, y, f"{number:.2f}", ha="center", va="center", fontsize=7, color="black" if pale else "white"
                    )
    panels[0].set_yticks(range(len(rows)), list(rows), fontsize=7)
    figure.suptitle(f"Dilated convolutions on {data['device']}; above 1, batch space wins", fontsize=11)
    figure.savefig(picture)


def draw_training(training: dict[str, Any], picture: Path) -> None:
    """Both loss curves in one picture, and their difference below."""
    figure = _figure((8, 5))
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


def _figure(size: tuple[float, float]) -> Any:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "spacebatch[job]"') from error
    figure = Figure(figsize=size, layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    return figure
