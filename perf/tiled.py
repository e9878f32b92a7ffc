"""`python -m spacebatch.perf tiled`: sliding windows against MONAI's `sliding_window_inference`, time and memory, on the CPU.

Both results are compared before anything is timed. The models are light: what is measured is the reading, blending and writing of
tiles, which a real network hides. Rounds are interleaved, and the ratio is the median of the rounds' ratios. Times are the process's
own CPU time, which other load on the machine changes least; with one thread it is the wall clock's of an idle machine.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import spacebatch
from spacebatch.timing import Call, round_seconds

from .measure import extra_bytes
from .records import about, write_json
from .report import Table, aligned, positive

MIB = 1 << 20


@dataclass(frozen=True)
class Case:
    """An image, its windows and a model by its name.

    Attributes:
        shape, tile, overlap, batch, blend: as `tiled` takes them.
        model: one of `MODELS`. labels: whether the largest channel is what is wanted, not all of them.
    """

    shape: tuple[int, ...]
    tile: int
    overlap: float
    batch: int
    blend: str
    model: str
    labels: bool = False

    @property
    def name(self) -> str:
        """In a line.

        >>> Case((1, 1, 8, 8), 4, 0.5, 2, "gaussian", "classes").name
        '1x1x8x8 by 4, overlap 0.5, gaussian, classes'
        """
        shape = "x".join(map(str, self.shape))
        return f"{shape} by {self.tile}, overlap {self.overlap}, {self.blend}, {self.model}{', labels' * self.labels}"


def _classes(x: Tensor) -> Tensor:
    """8 results per channel, and a largest one in every place."""
    factors = torch.tensor([1.0, -1.0, 0.5, 2.0, -2.0, 3.0, -0.5, -3.0]).view(1, 8, *(1,) * (x.ndim - 1))
    return (x[:, None] * factors).flatten(1, 2)


def _network() -> Callable[[Tensor], Tensor]:
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 3, padding=1)).eval()


MODELS: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
    "classes": lambda: _classes,
    "doubled": lambda: lambda x: x * 2,
    "two convolutions": _network,
}
CASES = tuple(
    Case(shape, tile, overlap, batch, blend, model, labels)
    for shape, tile, overlap, batch, model, labels in (
        ((1, 3, 640, 640), 128, 0.25, 4, "classes", False),
        ((1, 3, 640, 640), 128, 0.5, 4, "two convolutions", False),
        ((1, 1, 96, 96, 96), 48, 0.25, 2, "classes", False),
        ((1, 1, 192, 64, 64), 32, 0.5, 4, "classes", True),
        ((4, 4, 1 << 15), 4096, 0.5, 8, "doubled", False),
    )
    for blend in ("constant", "gaussian")
)
TINY = (
    Case((1, 1, 20, 20), 8, 0.5, 2, "gaussian", "classes"),
    Case((1, 1, 20, 20), 8, 0.5, 2, "constant", "classes", True),
)


def processor_clock(calls: list[tuple[str, Call]]) -> list[tuple[str, float]]:
    """One run of each call, in seconds of the process's own CPU time."""
    elapsed = []
    for name, call in calls:
        start = time.process_time()
        result = call()
        elapsed.append((name, time.process_time() - start))
        del result
    return elapsed


def mapped_apart() -> None:
    """Have the C library give every larger block back to the system when it is freed, so that a peak is what was in use at once.

    That costs page faults: what is timed goes before.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(-3, 1 << 16)  # M_MMAP_THRESHOLD


def calls_of(case: Case, theirs: Callable[..., Any] | None) -> tuple[dict[str, Call], int]:
    """What is measured, by name, and the bytes of its result; ours alone where MONAI is missing.

    Raises:
        RuntimeError: the results differ.
    """
    torch.manual_seed(0)
    x, model = torch.randn(case.shape), MODELS[case.model]()
    finish = (lambda y: y.argmax(1, keepdim=True).to(torch.uint8)) if case.labels else None
    options: dict[str, Any] = {"overlap": case.overlap, "blend": case.blend, "batch": case.batch, "finish": finish}
    calls: dict[str, Call] = {"ours": lambda: spacebatch.tiled(model, x, case.tile, **options)}
    expected: Any = calls["ours"]()
    if theirs is not None:

        def monai() -> Any:
            with torch.no_grad():
                y = theirs(x, (case.tile,) * (x.ndim - 2), case.batch, model, case.overlap, mode=case.blend)
                return y if finish is None else finish(y)

        calls["monai"] = monai
        found = monai()
        # labels may differ where two classes are nearly equal; blended values may be rounded otherwise
        same = (
            (found == expected).double().mean() > 0.9999 if case.labels else torch.allclose(found, expected, 1e-4, 1e-4)
        )
        if not same:
            raise RuntimeError(f"tiled: {case.name}: the results differ")
    return calls, expected.nbytes


def times(case: Case, rounds: int, theirs: Callable[..., Any] | None) -> dict[str, Any]:
    """Seconds of each, and the median ratio."""
    calls, result_bytes = calls_of(case, theirs)
    seconds = round_seconds(calls, processor_clock, rounds=rounds, warmup=1)
    row: dict[str, Any] = {"case": case.name, "result_bytes": result_bytes}
    row["seconds"] = {name: {"median": statistics.median(s), "least": min(s)} for name, s in seconds.items()}
    if "monai" in seconds:
        row["ratio"] = statistics.median(b / a for a, b in zip(seconds["ours"], seconds["monai"], strict=True))
    return row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("--rounds", type=positive, default=11, help="timed runs of each")
    parser.add_argument("--threads", type=positive, default=1, help="of PyTorch")
    parser.add_argument("--tiny", action="store_true", help="two small cases, to see that it runs")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")


def main(options: argparse.Namespace) -> int:
    """Measure and print."""
    torch.set_num_threads(options.threads)
    version, theirs = "MONAI is not installed", None
    try:
        theirs = import_module("monai.inferers").sliding_window_inference
        version = f"MONAI {import_module('monai').__version__}"
    except ImportError:
        pass
    data: dict[str, Any] = {**about("tiled", torch.device("cpu")), "rows": []}
    data["software"] += f", {version}"
    print(f"{data['hardware']}; {data['software']}", flush=True)
    cases = TINY if options.tiny else CASES
    for case in cases:
        data["rows"].append(times(case, options.rounds, theirs))
        print(case.name, flush=True)
    mapped_apart()
    for case, row in zip(cases, data["rows"], strict=True):
        calls, result_bytes = calls_of(case, theirs)
        row["extra_bytes"] = {
            name: extra_bytes(call, result_bytes, torch.device("cpu")) for name, call in calls.items()
        }
    for table in tables(data):
        print(aligned(table))
    if options.json:
        write_json(data, options.json)
    return 0


def tables(data: Mapping[str, Any]) -> list[Table]:
    """The figures of a file."""
    head = ("case", "ours, ms", "MONAI, ms", "MONAI / ours", "extra, MiB", "MONAI's", "result")
    return [[head, *map(line, data["rows"])]]


def line(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A row of the table."""

    def ms(name: str) -> str:
        return f"{1e3 * row['seconds'][name]['median']:.1f}" if name in row["seconds"] else ""

    def mib(count: int | None) -> str:
        return "" if count is None else f"{count / MIB:.1f}"

    ratio = f"{row['ratio']:.2f}" if "ratio" in row else ""
    extra = row["extra_bytes"]
    return (
        row["case"],
        ms("ours"),
        ms("monai"),
        ratio,
        mib(extra["ours"]),
        mib(extra.get("monai")),
        mib(row["result_bytes"]),
    )
