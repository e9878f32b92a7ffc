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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import spacebatch
from spacebatch.timing import hardware, software

from . import plots
from .dilated_cases import Case, default_cases, measure_case, tiny_cases
from .networks import DRN, TCN, DeepLab, WaveNet, compare_training
from .records import device_of, write_json
from .report import markdown

SCHEMA = 1
PARTS = ("networks", "training", "cells")
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
    """Measure, report, draw; 1 if a result was wrong."""
    if options.budget <= 0 or options.steps < 1:
        raise ValueError(f"--budget and --steps must be positive, got {options.budget} and {options.steps}")
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
        measure(data, options, device)
    print(tables(data))
    wrong = [record for record in data["cells"] if "wrong" in record]
    for record in wrong:
        print(f"WRONG {Case.from_dict(record['cell']).key}: {record['wrong']}")
    if not data["measured"] and (options.plot or options.plot_training):
        raise ValueError("this run is a rehearsal; its figures mean nothing and are not drawn")
    if options.plot:
        plots.draw_map(rows_of(data), data["device"], options.plot)
    if options.plot_training:
        if not data["training"]:
            raise ValueError("--plot-training: there was no training run")
        plots.draw_training(data["training"], options.plot_training)
    if options.write_docs:
        write_docs(data, options.write_docs)
    return 1 if wrong else 0


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
    """All parts until the budget is spent or Ctrl-C; what there is stands in `data`, and in the file."""
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
    except KeyboardInterrupt:
        print("interrupted; what was measured until then is kept")
    save()


def networks(device: torch.device, tiny: bool, end: float) -> Iterator[dict[str, Any]]:
    """Each network, natively and wholly in batch space: a training step and inference."""
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
            yield {
                "name": f"{name}, {width} channels, {'x'.join(map(str, shape))}",
                "step": report.measured,
                "before": whole.before,
                "after": whole.after,
                "rows": [row._asdict() for row in report.rows],
            }


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
        ValueError: the page has no marks, or the figures are of a rehearsal.
    """
    if not data["measured"]:
        raise ValueError("--write-docs: this run is a rehearsal; its figures mean nothing")
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"--write-docs: {page} has no line {BEGIN} followed by a line {END}")
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    page.write_text(f"{before}{BEGIN}\n{tables(data)}{after}", encoding="utf-8")
