"""What the kernels' memory traffic comes to, by the model that `test_traffic.py` checks by hand: bounds that they keep."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from spacebatch.perf.static import KernelCase
from spacebatch.perf.traffic import lost

WINDOWS = (("batch_order", "batch_major"), ("arrangement", "contiguous"))
KERNELS = {
    case.name: case
    for case in (
        KernelCase("aligned", (8, 64, 128, 128), 2),
        KernelCase("padded by 1", (8, 64, 126, 126), 2, 1),
        KernelCase("block 3", (8, 64, 192, 192), 3),
        KernelCase("odd planes", (8, 3, 33, 33), 2, "auto"),
        KernelCase("channels_last, padded", (8, 64, 126, 126), 2, 1, True),
        KernelCase("windows, channels_last", (8, 128, 56, 56), 8, 0, True, WINDOWS),
    )
}
# By case, direction, bytes and family: the least efficiency of load requests, of programs' loads and of store requests, and
# the least bytes of a load and of a store request. Four programs are looked at, the first and the last among them.
BOUNDS = {
    ("aligned", "space_to_batch", 4, "vectors"): (1.0, 1.0, 1.0, 512, 512),
    ("aligned", "batch_to_space", 1, "vectors"): (1.0, 1.0, 1.0, 512, 512),
    ("channels_last, padded", "space_to_batch", 2, "rows"): (1.0, 1.0, 1.0, 480, 512),
    ("windows, channels_last", "batch_to_space", 4, "rows"): (1.0, 1.0, 1.0, 512, 512),
    ("block 3", "space_to_batch", 4, "phases"): (0.33, 1.0, 1.0, 128, 512),
    ("padded by 1", "batch_to_space", 4, "granules"): (0.4, 0.95, 1.0, 120, 512),
    ("odd planes", "batch_to_space", 1, "granules"): (0.09, 0.8, 0.9, 25, 220),
}
BROKEN = [
    call for call in BOUNDS if call[0] in ("aligned", "channels_last, padded")
]  # whose plans lose their alignment
CHILD = """
import dataclasses, json, sys
from spacebatch.perf.static import KernelCase, report
from spacebatch.perf.traffic import Traffic, of_reports, sides, traffics

def options(pairs):
    return tuple(map(tuple, pairs))

cases, wanted, broken = json.load(sys.stdin)
named = {case[0]: KernelCase(case[0], tuple(case[1]), *case[2:5], options(case[5])) for case in cases}
found = traffics([(named[c], d, b, f) for c, d, b, f in wanted], programs=4)
plans = [next(p for p in named[c].plans(d, b) if p.family == f) for c, d, b, f in broken]
units = ("space_unit", "batch_unit")
plans = [dataclasses.replace(p, **{name: 1 for name in units if hasattr(p, name)}) for p in plans]
lost = sides([(p, p.rule) for p in plans], programs=4)
found += [Traffic(*call[:3], "sm_90", call[3], *side) for call, side in zip(broken, lost)]
reports = [report(named["aligned"], "space_to_batch", 4, target) for target in ("gfx942", "sm_80")]
found += of_reports(reports, named.values())
print(json.dumps([each and each.as_dict() for each in found]))
"""


@pytest.fixture(scope="module")
def kernels() -> dict[str, list[Any]]:
    """Traffic as the child gives it; a process of its own compiles, since this one interprets."""
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=json.dumps([list(KERNELS.values()), list(BOUNDS), BROKEN]),
        env={name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    ends = len(BOUNDS), len(BOUNDS) + len(BROKEN)
    return {"whole": found[: ends[0]], "broken": found[ends[0] : ends[1]], "reports": found[ends[1] :]}


def figures(found: dict[str, Any]) -> tuple[float, ...]:
    loads, stores = found["loads"], found["stores"]
    return (
        loads["request_efficiency"],
        loads["program_efficiency"],
        stores["request_efficiency"],
        loads["bytes_per_request"],
        stores["bytes_per_request"],
    )


def test_kernels_keep_their_bounds(kernels: dict[str, list[Any]]) -> None:
    for (call, bounds), found in zip(BOUNDS.items(), kernels["whole"], strict=True):
        assert (found["case"], found["direction"], found["element_bytes"], found["family"]) == call
        assert found["programs"] == 4
        assert all(value >= bound for value, bound in zip(figures(found), bounds, strict=True)), (found, bounds)


def test_lost_vectors_show(kernels: dict[str, list[Any]]) -> None:
    whole = dict(zip(BOUNDS, kernels["whole"], strict=True))
    for call, found in zip(BROKEN, kernels["broken"], strict=True):
        assert any(value < bound for value, bound in zip(figures(found), BOUNDS[call], strict=True)), found
        assert lost(whole[call], found)
        assert not lost(found, found)


def test_reports_get_their_traffic(kernels: dict[str, list[Any]]) -> None:
    amd, nvidia = kernels["reports"]
    assert amd is None
    assert (nvidia["case"], nvidia["target"], nvidia["family"]) == ("aligned", "sm_80", "vectors")
    assert figures(nvidia) == (1.0, 1.0, 1.0, 512, 512)
