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
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import spacebatch
from spacebatch.atomic_file import write_text_atomically
from spacebatch.nn import functional
from spacebatch.timing import hardware, interleaved, software

from . import dilated_report as reports
from .dilated_cases import Case, default_cases, tiny_cases
from .measure import extra_bytes
from .networks import DRN, TCN, DeepLab, WaveNet, compare_training

SCHEMA = 1
PARTS = ("networks", "training", "cells")
CASE_SECONDS = 2.0  # of timing per case, as far as it takes three rounds at least
TOLERANCE = {"float32": 1e-4, "bfloat16": 3e-2, "float16": 5e-3}  # of sums of up to 1600 products, in any order


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: the GPU if there is one"
    )
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
        device = _device(options.device)
        data = {
            "schema": SCHEMA,
            "measured": not options.rehearse,
            "device": hardware(device),
            "software": software(),
            "command": _command(options),
            "networks": [],
            "training": None,
            "cells": [],
            "not_measured": [],
        }
        measure(data, options, device)
    print(reports.markdown(data))
    wrong = [record for record in data["cells"] if "wrong" in record]
    for record in wrong:
        print(f"WRONG {Case.from_dict(record['cell']).key}: {record['wrong']}")
    if not data["measured"] and (options.plot or options.plot_training):
        raise ValueError("this run is a rehearsal; its figures mean nothing and are not drawn")
    if options.plot:
        reports.draw_map(data, options.plot)
    if options.plot_training:
        if not data["training"]:
            raise ValueError("--plot-training: there was no training run")
        reports.draw_training(data["training"], options.plot_training)
    if options.write_docs:
        reports.write_docs(data, options.write_docs)
    return 1 if wrong else 0


def read(path: Path) -> dict[str, Any]:
    """A file of measurements, or a ValueError."""
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if data["schema"] != SCHEMA:
            raise ValueError(f"it has schema {data['schema']}, this version reads {SCHEMA}")
        reports.markdown(data)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a file of this tool: {error}") from error
    return data


def measure(data: dict[str, Any], options: argparse.Namespace, device: torch.device) -> None:
    """All parts until the budget is spent or Ctrl-C; what there is stands in `data`, and in the file."""
    end = time.monotonic() + options.budget
    parts = options.only or PARTS
    cases: list[Case] = []
    if "cells" in parts:
        cases = tiny_cases() if options.rehearse else default_cases(device.type)
    data["not_measured"] = [case.key for case in cases]
    try:
        if "networks" in parts:
            for record in networks(device, options.rehearse, end):
                data["networks"].append(record)
                _write(data, options.json)
        if "training" in parts and time.monotonic() < end:
            data["training"] = compare_training(2 if options.rehearse else options.steps)
            _write(data, options.json)
        for case in cases:
            if time.monotonic() >= end:
                break
            data["cells"].append(measure_case(case, device))
            data["not_measured"].remove(case.key)
            _write(data, options.json)
    except KeyboardInterrupt:
        print("interrupted; what was measured until then is kept")
    _write(data, options.json)


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


def measure_case(case: Case, device: torch.device) -> dict[str, Any]:
    """Check one case and time it: both methods interleaved, then the peak memory of each."""
    record: dict[str, Any] = {"cell": case.as_dict()}
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
            rounds = int(min(max(CASE_SECONDS / first, 3), 15))
            for name, timing in interleaved(calls, device, rounds=rounds, warmup=1).items():
                record[name] = asdict(timing)
            for name, call in calls.items():
                record[f"{name}_bytes"] = extra_bytes(call, 0, device)
        except RuntimeError as error:  # a type or a mode that this device has no kernel for, or too little memory
            return {"cell": case.as_dict(), "failed": str(error).splitlines()[0]}
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


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device: this PyTorch sees no CUDA or ROCm device")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _command(options: argparse.Namespace) -> str:
    words = ["python -m spacebatch.perf atrous"]
    words += [f"--device {options.device}"] if options.device != "auto" else []
    words += [f"--budget {options.budget:g}", *(f"--only {part}" for part in options.only or ())]
    return " ".join([*words, *([f"--json {options.json}"] if options.json else [])])


def _write(data: dict[str, Any], path: Path | None) -> None:
    if path is not None:
        write_text_atomically(path, json.dumps(data, indent=1) + "\n")
