"""The README's table of speed, and the tables of the pages, say what the files of measurements hold."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from spacebatch.perf.page import page_of
from spacebatch.perf.plausible import believed
from spacebatch.perf.records import Record, Run
from spacebatch.perf.report import not_slower
from tests.docs.pages import ROOT, sections

RESULTS = ROOT / "perf/results"


def read(name: str) -> Any:
    """A file of measurements."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def cells(name: str) -> list[Record]:
    """The records of a sweep whose times can be believed."""
    return believed(Run.load(RESULTS / f"{name}.json").cases)


def ratios(records: Iterable[Record], peer: str) -> list[float]:
    """A peer's seconds over ours, where it has something for the case."""
    return [record.ratios[peer] for record in records if peer in record.ratios]


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
    moved, fused, dilated = cells("cpu"), cells("fused-cpu"), read("atrous-cpu")["cells"]
    kinds: dict[str, list[Record]] = {"shift": [], "interleaved": [], "contiguous": []}
    for record in cells("windows-cpu"):
        kinds["shift" if any(record.case.shifts) else record.case.arrangement].append(record)
    lists = {case["case"]: case["ratio"] for case in read("blocks-cpu")["cases"]}
    tokens = [ratio for name, ratio in lists.items() if name.startswith(("Qwen", "SigLIP"))]
    blocks = [ratio for name, ratio in lists.items() if "blocks" in name]
    space = [cell["native"]["median"] / cell["batch_space"]["median"] for cell in dilated if "wrong" not in cell]
    gains = [
        [run["gain"] for run in network["runs"] if run["replaced"]]
        for network in read("networks-converted")["networks"]
    ]
    taken = [median(found) for found in gains if found]
    return {
        f"the operators, 8 KiB to 128 MiB, {len(moved)} cases": f"{mean(ratios(moved, 'eager'))}; "
        f"{sum(not_slower(record) is not False for record in moved)} no slower",
        "the same": "; ".join(mean(ratios(moved, peer)) for peer in ("tensorflow", "einops", "einops-numpy")),
        "windows with": mean(ratios(kinds["shift"], "eager")),
        "grids;": "; ".join(mean(ratios(kinds[kind], "eager")) for kind in ("interleaved", "contiguous")),
        f"arithmetic fused on the way, {len(fused)} cases": "; ".join(
            mean(ratios(fused, peer)) for peer in ("eager", "compile")
        ),
        "lists of": f"{span(blocks)}; {span(tokens)}",
        "overlapping": span(row["ratio"] for row in read("tiled-cpu")["rows"]),
        f"dilated convolutions in batch space, {len(space)} cases": f"{span(space)}; faster in {sum(ratio > 1 for ratio in space)}",
        "`convert`": f"{len(taken)} networks {span(taken)}, {len(gains) - len(taken)} left alone",
    }


TABLES = [
    pytest.param(page, name, id=f"{page.stem}-{name}")
    for page in sorted((ROOT / "docs").rglob("*.md"))
    for name in re.findall(r"^<!-- (.+): begin -->$", page.read_text(encoding="utf-8"), re.MULTILINE)
    if (RESULTS / f"{name}.json").exists()
]


@pytest.mark.parametrize(("page", "name"), TABLES)
def test_tables_of_pages(page: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Word for word what `page --write-docs` puts there."""
    monkeypatch.chdir(ROOT)
    text = page.read_text(encoding="utf-8").split(f"<!-- {name}: begin -->\n")[1].split(f"<!-- {name}: end -->")[0]
    assert text == page_of(Path(f"perf/results/{name}.json"))


def test_there_are_such_tables() -> None:
    assert {"cpu", "windows-cpu", "overhead-cpu", "blocks-cpu", "tiled-cpu", "fused-cpu"} <= {
        p.values[1] for p in TABLES
    }


def test_the_table() -> None:
    table = sections((ROOT / "README.md").read_text(encoding="utf-8"))["Speed"]
    told = re.findall(r"^\| (.+?) \| .+ \| (.+) \|$", table, re.MULTILINE)[1:]
    wanted = rows()
    assert len(told) == len(wanted)
    for (what, figures), (begin, expected) in zip(told, wanted.items(), strict=True):
        assert what.startswith(begin)
        assert figures.startswith(expected), what
