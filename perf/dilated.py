"""`python -m spacebatch.perf atrous`: where dilated convolutions are faster through the batch, and where they are not.

Three parts, in this order until the budget is spent: whole networks before and after conversion, a training run whose loss
curves must coincide, and a map of single convolutions over rates, kernels, groups, dims, types, layouts and modes. Every
case is checked before it is timed. What was measured is on disk after every case, and stays there after Ctrl-C.

The file is one JSON object: schema 1; measured, false for a rehearsal; device, software, command; networks [{name, step,
before, after: seconds}]; training (see `networks.compare_training`); cells [{cell, native, batch_space: {median, lower, upper,
runs} in seconds, native_bytes, batch_space_bytes: of peak memory beside the inputs, null where unknown, difference: the
largest, relative to the largest value}, or {cell, failed: why}]; not_measured: keys of cases that were not reached.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import spacebatch
from spacebatch.atomic_file import write_text_atomically
from spacebatch.exit_status import INTERRUPTED, said
from spacebatch.nn import functional
from spacebatch.nn.conversion_report import Row
from spacebatch.timing import Clock, hardware, interleaved, software

from . import plots
from .measure import extra_bytes
from .networks import DRN, TCN, DeepLab, WaveNet, compare_training
from .records import device_of, write_json
from .report import markdown

SCHEMA = 1
PARTS = ("networks", "training", "cells")
RATES = (2, 4, 8, 16, 32)
FEW_RATES = (2, 8, 32)
STEPS = ("inference", "training")
CASE_SECONDS = 2.0  # of timing per case, as far as it takes three rounds at least
TOLERANCE = {"float32": 1e-4, "bfloat16": 3e-2, "float16": 5e-3}  # of sums of up to 1600 products, in any order
# Sizes that all the rates divide; a GPU is given enough to fill it.
SHAPES = {
    "cpu": {1: (4, 64, 4096), 2: (2, 64, 64, 64), 3: (1, 16, 32, 32, 32)},
    "cuda": {1: (16, 256, 16384), 2: (8, 256, 128, 128), 3: (2, 64, 32, 64, 64)},
}
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: the GPU if there is one")
    parser.add_argument("--budget", type=float, default=480.0, metavar="SECONDS", help="stop then (default: 480)")
    parser.add_argument("--only", action="append", choices=PARTS, help="default: all three; repeatable")
    parser.add_argument("--steps", type=int, default=300, help="of the training run (default: 300)")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes, to try the tool: the figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write what was measured to this file, case by case")
    parser.add_argument("--read", type=Path, metavar="JSON", help="measure nothing, report on this file")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the map")
    parser.add_argument("--plot-training", type=Path, metavar="PNG", help="draw the loss curves")
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help="put the tables between the marks of this page")


def main(options: argparse.Namespace) -> int:
    """Measure, report, draw; 1 if a result was wrong, 130 where it was interrupted."""
    if options.budget <= 0 or options.steps < 1:
        raise ValueError(f"--budget and --steps must be positive, got {options.budget} and {options.steps}")
    interrupted = False
    if options.read:
        data = read(options.read)
    else:
        device = device_of(options.device)
        data = {
            "schema": SCHEMA,
            "measured": not options.rehearse,
            "device": hardware(device),
            "software": software(),
            "command": shlex.join(["python", "-m", "spacebatch.perf", *sys.argv[1:]]),
            "networks": [],
            "training": None,
            "cells": [],
            "not_measured": [],
        }
        try:
            measure(data, options, device)
        except KeyboardInterrupt:
            interrupted = True
            said("atrous: interrupted; what was measured until then is kept")
    print(tables(data))
    wrong = [record for record in data["cells"] if "wrong" in record]
    for record in wrong:
        print(f"WRONG {Case.from_dict(record['cell']).key}: {record['wrong']}")
    if not data["measured"] and (options.plot or options.plot_training or options.write_docs):
        raise ValueError("this run is a rehearsal; its figures mean nothing and are neither drawn nor written")
    if options.plot:
        plots.draw_map(rows_of(data), data["device"], options.plot)
    if options.plot_training:
        if not data["training"]:
            raise ValueError("--plot-training: there was no training run")
        plots.draw_training(data["training"], options.plot_training)
    if options.write_docs:
        write_docs(data, options.write_docs)
    return INTERRUPTED if interrupted else 1 if wrong else 0


def read(path: Path) -> dict[str, Any]:
    """A file of measurements, or a ValueError."""
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if data["schema"] != SCHEMA:
            raise ValueError(f"it has schema {data['schema']}, this version reads {SCHEMA}")
        tables(data)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a file of this tool: {error}") from error
    return data


def measure(data: dict[str, Any], options: argparse.Namespace, device: torch.device) -> None:
    """All parts until the budget is spent; what there is stands in `data`, and in the file, after an interruption as well."""
    end = time.monotonic() + options.budget
    parts = options.only or PARTS
    cases = [] if "cells" not in parts else tiny_cases() if options.rehearse else default_cases(device.type)
    data["not_measured"] = [case.key for case in cases]

    def save() -> None:
        if options.json:
            write_json(data, options.json)

    try:
        if "networks" in parts:
            for record in networks(device, options.rehearse, end):
                data["networks"].append(record)
                save()
        if "training" in parts and time.monotonic() < end:
            data["training"] = compare_training(2 if options.rehearse else options.steps)
        for case in cases:
            save()
            if time.monotonic() >= end:
                break
            data["cells"].append(measure_case(case, device))
            data["not_measured"].remove(case.key)
    finally:
        save()


def networks(device: torch.device, tiny: bool, end: float) -> Iterator[dict[str, Any]]:
    """Each network, natively and wholly in batch space: a training step and inference."""
    torch.manual_seed(0)
    width, side = (4, 17) if tiny else (32, 129)
    length = 64 if tiny else 4096
    made: tuple[tuple[str, torch.nn.Module, tuple[int, ...]], ...] = (
        ("DeepLabv3", DeepLab(width), (2, 3, side, side)),
        ("DRN", DRN(width), (2, 3, side, side)),
        ("WaveNet", WaveNet(width), (2, 1, length)),
        ("TCN", TCN(width), (2, 1, length)),
    )
    for name, network, shape in made:
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
        for training in (True, False):
            if time.monotonic() >= end:
                return
            report = spacebatch.convert(network.to(device).train(training), x, method="batch_space", dry_run=True)
            whole = report.rows[-1]
            assert whole.before is not None
            assert whole.after is not None
            yield {
                "name": f"{name}, {width} channels, {'x'.join(map(str, shape))}",
                "step": report.measured,
                "before": whole.before.median,
                "after": whole.after.median,
                "rows": [_row(row) for row in report.rows],
            }


def _row(row: Row) -> dict[str, Any]:
    times = {name: None if (time := getattr(row, name)) is None else asdict(time) for name in ("before", "after")}
    return {**row._asdict(), **times}


@dataclass(frozen=True)
class Case:
    """One convolution of as many channels as it reads, padded to keep its size.

    Attributes:
        shape: (N, C, *spatial). kernel, rate: along every spatial dim.
        groups: "dense" (1), "grouped" (4) or "depthwise" (C).
        dtype: by its name in torch. layout: "contiguous" or "channels_last".
        step: "inference", or "training": forward and backward to input, weight and bias.
        deterministic: under `torch.use_deterministic_algorithms`.
    """

    shape: tuple[int, ...]
    kernel: int
    rate: int
    groups: str = "dense"
    dtype: str = "float32"
    layout: str = "contiguous"
    step: str = "inference"
    deterministic: bool = False

    @property
    def row(self) -> str:
        """Everything but the rate: a line of the map."""
        shape = "x".join(map(str, self.shape))
        kind = f"{len(self.shape) - 2}d k{self.kernel}"
        return ", ".join(
            [kind, self.groups, self.dtype, self.layout, shape, self.step, *(["deterministic"] * self.deterministic)]
        )

    @property
    def key(self) -> str:
        """The case in words.

        >>> default_cases("cpu")[0].key
        '2d k3 rate 2, dense, float32, contiguous, 2x64x64x64, inference'
        """
        kind, _, rest = self.row.partition(",")
        return f"{kind} rate {self.rate},{rest}"

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Case:
        """What `asdict` made of a case, back from JSON."""
        return cls(**{**data, "shape": tuple(data["shape"])})

    @property
    def group_count(self) -> int:
        """Of the convolution."""
        channels = self.shape[1]
        return {"dense": 1, "grouped": min(4, channels), "depthwise": channels}[self.groups]

    def tensors(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """(input, weight, bias), random, the same at every call."""
        generator = torch.Generator().manual_seed(0)
        dims, channels = len(self.shape) - 2, self.shape[1]
        weight = (channels, channels // self.group_count, *(self.kernel,) * dims)
        found = []
        for shape in (self.shape, weight, (channels,)):
            tensor = torch.randn(shape, generator=generator).to(device, getattr(torch, self.dtype))
            if self.layout == "channels_last" and len(shape) > 3:
                tensor = tensor.to(memory_format=torch.channels_last if dims == 2 else torch.channels_last_3d)
            found.append(tensor.requires_grad_(self.step == "training"))
        return found[0], found[1], found[2]


def default_cases(device: str) -> list[Case]:
    """One factor varied at a time, from dense 3x3 convolutions in float32 on, the most informative first."""
    shapes = SHAPES[device]
    base = Case(shapes[2], 3, 2)
    uneven = (*shapes[2][:2], *(size + 1 for size in shapes[2][2:]))  # no rate divides it
    plans: list[tuple[tuple[int, ...], dict[str, Any]]] = [
        (RATES, {}),
        (RATES, {"groups": "depthwise"}),
        (RATES, {"shape": shapes[1]}),
        (RATES, {"shape": shapes[1], "groups": "depthwise"}),
        (RATES, {"shape": uneven}),
        (RATES, {"kernel": 5}),
        (RATES, {"groups": "grouped"}),
        (FEW_RATES, {"shape": shapes[3]}),
        (FEW_RATES, {"shape": shapes[3], "groups": "depthwise"}),
        (FEW_RATES, {"layout": "channels_last"}),
        (FEW_RATES, {"dtype": "bfloat16"}),
        (FEW_RATES, {"dtype": "bfloat16", "groups": "depthwise"}),
        (FEW_RATES, {"deterministic": True}),
        (FEW_RATES, {"layout": "channels_last", "groups": "depthwise"}),
        (FEW_RATES, {"dtype": "float16"}),
        (FEW_RATES, {"dtype": "float16", "groups": "depthwise"}),
    ]
    return [
        replace(base, rate=rate, step=step, **changes) for rates, changes in plans for rate in rates for step in STEPS
    ]


def tiny_cases() -> list[Case]:
    """A few cases that take no time, to try the tool itself."""
    shapes = ((1, 4, 16), (1, 4, 9, 8), (1, 4, 4, 5, 4))
    base = [Case(shape, 3, rate, step=step) for shape in shapes for rate in (2, 4) for step in STEPS]
    return [*base, replace(base[4], groups="depthwise", dtype="bfloat16"), replace(base[4], deterministic=True)]


def measure_case(
    case: Case, device: torch.device, seconds: float | None = None, clock: Clock | None = None
) -> dict[str, Any]:
    """Check one case and time it, for about so many seconds by a clock: both methods interleaved, then the peak memory of each."""
    record: dict[str, Any] = {"cell": asdict(case)}
    with _deterministic(case.deterministic):
        try:
            inputs = case.tensors(device)
            convolution = getattr(functional, f"atrous_conv{len(case.shape) - 2}d")
            padding = case.rate * (case.kernel // 2)
            calls = {
                method: _call(convolution, inputs, (1, padding, case.rate, case.group_count), method)
                for method in ("native", "batch_space")
            }
            first = time.perf_counter()
            results = {name: call() for name, call in calls.items()}
            first = time.perf_counter() - first
            record["difference"] = found = _difference(results["native"], results["batch_space"])
            del results
            if found > TOLERANCE[case.dtype]:
                return {**record, "wrong": f"differs by {found:.1e} of the largest value"}
            rounds = int(min(max((CASE_SECONDS if seconds is None else seconds) / first, 3), 15))
            for name, timing in interleaved(calls, device, rounds=rounds, warmup=1, clock=clock).items():
                record[name] = asdict(timing)
            for name, call in calls.items():
                record[f"{name}_bytes"] = extra_bytes(call, 0, device)
        except RuntimeError as error:  # a type or a mode that this device has no kernel for, or too little memory
            return {"cell": asdict(case), "failed": str(error).splitlines()[0]}
    return record


def _call(
    convolution: Callable[..., Tensor], inputs: tuple[Tensor, ...], arguments: tuple[int, ...], method: str
) -> Callable[[], list[Tensor]]:
    if not inputs[0].requires_grad:
        return lambda: [convolution(*inputs, *arguments, method=method)]
    seed = torch.ones_like(inputs[0].detach())

    def step() -> list[Tensor]:
        y = convolution(*inputs, *arguments, method=method)
        return [y.detach(), *torch.autograd.grad(y, inputs, seed)]

    return step


def _difference(expected: list[Tensor], found: list[Tensor]) -> float:
    worst = 0.0
    for a, b in zip(expected, found, strict=True):
        scale = max(a.double().abs().max().item(), 1e-30)
        worst = max(worst, (a.double() - b.double()).abs().max().item() / scale)
    return worst


@contextmanager
def _deterministic(on: bool) -> Iterator[None]:
    before, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(on)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warns)


def rows_of(data: dict[str, Any]) -> dict[str, dict[int, dict[str, float]]]:
    """Line of the map → rate → {"gain", "memory"}, of the cases that were measured right.

    The gain is the native time over that in batch space; "memory", the same of peak memory beside the inputs, is left out
    where it is not known.
    """
    rows: dict[str, dict[int, dict[str, float]]] = {}
    for record in data["cells"]:
        if "native" in record:
            case = Case.from_dict(record["cell"])
            found = rows.setdefault(case.row, {})[case.rate] = {
                "gain": record["native"]["median"] / record["batch_space"]["median"]
            }
            native, ours = record.get("native_bytes"), record.get("batch_space_bytes")
            if native and ours and native > 0:
                found["memory"] = native / ours
    return rows


def tables(data: dict[str, Any]) -> str:
    """Tables for the documentation: networks, the map, the training run; with the machine and the command."""
    rows = rows_of(data)
    rates = sorted({rate for line in rows.values() for rate in line})
    lines = [] if data["measured"] else ["A rehearsal with tiny sizes: THESE FIGURES MEAN NOTHING.", ""]
    lines += [f"Measured on {data['device']}; {data['software']}. Reproduce with `{data['command']}`.", ""]
    if data["networks"]:
        table = [("network", "what", "before, ms", "after, ms", "gain")]
        for n in data["networks"]:
            before, after = n["before"], n["after"]
            table.append((n["name"], n["step"], f"{before * 1e3:.1f}", f"{after * 1e3:.1f}", f"{before / after:.2f}x"))
        lines += [markdown(table), ""]
    if rows:
        won = sum(found["gain"] > 1 for line in rows.values() for found in line.values())
        total = sum(map(len, rows.values()))
        lines += [
            f"Batch space was faster in {won} of {total} cases. Native time over batch space's time, by rate:",
            "",
        ]
        cells = [["convolution", *map(str, rates), "memory"]]
        for name, line in rows.items():
            gains = [f"{line[rate]['gain']:.2f}" if rate in line else "" for rate in rates]
            ratios = [1 / found["memory"] for found in line.values() if "memory" in found]
            spread = f"{min(ratios):.1f}-{max(ratios):.1f}x" if ratios else ""
            cells.append([name, *gains, spread])
        lines += [markdown(cells), ""]
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
        ValueError: the page has no marks.
    """
    put_between((BEGIN, END), tables(data), page)


def put_between(marks: tuple[str, str], lines: str, page: Path) -> None:
    """Exchange what stands between two marks of a page."""
    text, (begin, end) = page.read_text(encoding="utf-8"), marks
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"--write-docs: {page} has no line {begin} followed by a line {end}")
    before, after = text[: text.index(begin)], text[text.index(end) :]
    write_text_atomically(page, f"{before}{begin}\n{lines}{after}")
