"""The README's table of speed says what the files of measurements hold."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from statistics import median
from typing import Any

from spacebatch.perf.plausible import believed
from spacebatch.perf.records import Run
from tests.docs.pages import ROOT, sections

RESULTS = ROOT / "perf/results"


def read(name: str) -> Any:
    """A file of measurements."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def short(number: float) -> str:
    """0.91, 17.8: two digits behind the point near 1, else one."""
    return f"{number:.2f}" if number < 1.5 else f"{number:.1f}"


def span(ratios: Iterable[float]) -> str:
    """The lowest and the highest."""
    found = [*ratios]
    return f"{short(min(found))} - {short(max(found))}"


def mean(ratios: Iterable[float]) -> str:
    """The geometric mean, and the span in parentheses."""
    found = [*ratios]
    return f"{short(math.exp(sum(map(math.log, found)) / len(found)))} ({span(found)})"


def rows() -> dict[str, str]:
    """What each row of the table should say, by its first cell."""
    cells, cuts, dilated = read("cpu")["cells"], read("windows-cpu")["cells"], read("atrous-cpu")["cells"]
    over: dict[str, list[float]] = {
        peer: [cell["ratios"][peer] for cell in cells if peer in cell["ratios"]]
        for peer in ("eager", "tensorflow", "einops")
    }
    peers = [min(cell["ratios"][peer] for peer in over if peer in cell["ratios"]) for cell in cells]
    kinds: dict[str, list[float]] = {"shift": [], "interleaved": [], "contiguous": []}
    for cell in cuts:
        case = cell["cell"]
        kinds["shift" if any(case["shifts"]) else case["arrangement"]].append(cell["ratios"]["eager"])
    fused = [cell.ratios for cell in believed(Run.load(RESULTS / "fused-cpu.json").cases)]
    lists = {case["case"]: case["ratio"] for case in read("blocks-cpu")["cases"]}
    tokens = [ratio for name, ratio in lists.items() if name.startswith(("Qwen", "SigLIP"))]
    blocks = [ratio for name, ratio in lists.items() if "blocks" in name]
    space = [cell["native"]["median"] / cell["batch_space"]["median"] for cell in dilated]
    gains = [
        [run["gain"] for run in network["runs"] if run["replaced"]]
        for network in read("networks-converted")["networks"]
    ]
    taken = [median(found) for found in gains if found]
    return {
        "the operators": f"{mean(over['eager'])}; {sum(ratio >= 0.98 for ratio in peers)} cases",
        "the same": f"{mean(over['tensorflow'])}; {mean(over['einops'])}",
        "windows with": mean(kinds["shift"]),
        "grids;": f"{mean(kinds['interleaved'])}; {mean(kinds['contiguous'])}",
        "arithmetic": "; ".join(mean(ratios[peer] for ratios in fused) for peer in ("eager", "compile")),
        "lists of": f"{span(blocks)}; {span(tokens)}",
        "overlapping": span(row["ratio"] for row in read("tiled-cpu")["rows"]),
        "dilated": f"{span(space)}; faster in {sum(ratio > 1 for ratio in space)}",
        "`convert`": f"{len(taken)} networks {span(taken)}, {len(gains) - len(taken)} left alone",
    }


def test_the_table() -> None:
    table = sections((ROOT / "README.md").read_text(encoding="utf-8"))["Speed"]
    told = re.findall(r"^\| (.+?) \| .+ \| (.+) \|$", table, re.MULTILINE)[1:]
    wanted = rows()
    assert len(told) == len(wanted)
    for (what, figures), (begin, expected) in zip(told, wanted.items(), strict=True):
        assert what.startswith(begin)
        assert figures.startswith(expected), what
