"""`python -m spacebatch.perf sweep`: cases one after the other, checked, timed, and on disk as they come.

A deadline or an interruption keeps what there is. `check` runs the same cases once with no clock; `list` names them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from spacebatch.exit_status import INTERRUPTED, said
from spacebatch.timing import clock_of

from . import plots, report
from .baselines import DEFAULTS, PROVIDERS, Provider, named, split
from .cases import DIRECTIONS, LAYOUTS, Case
from .fused_cases import fused_suite
from .measure import Bench
from .records import Run, device_of
from .suites import PRESETS, both, cases_of, cpu_suite, gpu_suite, make


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `sweep`."""
    add_case_options(parser)
    parser.add_argument(
        "--provider", type=_one_of("provider", PROVIDERS), help=f"comma-separated: {', '.join(PROVIDERS)}"
    )
    parser.add_argument("--rounds", type=report.positive, default=11, help="timed runs of each; default: %(default)s")
    parser.add_argument("--budget", type=float, default=float("inf"), metavar="SECONDS", help="begin no case after it")
    parser.add_argument("--json", type=Path, metavar="OUT", help="written after every case; see perf/records.py")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="draw pictures there")


def main(options: argparse.Namespace) -> int:
    """0, 1 where a result was wrong, or 130 where it was interrupted."""
    device = device_of(options.device)
    cases = cases_from(options, device)
    wanted = named(["ours", *(options.provider or DEFAULTS[device.type])])
    here, absent = split(wanted, device)
    run = Run.begin("sweep", device, options.json)
    run.providers = {provider.name: provider.about for provider in wanted}
    run.absent = absent
    print(report.header(run))
    bench = Bench(device, clock_of(device), rounds=options.rounds, warmup=2, memory=device.type == "cpu")
    interrupted = False
    try:
        print(f"{len(cases)} cases", flush=True)
        measure(cases, here, bench, run, Deadline(options.budget))
    except KeyboardInterrupt:
        interrupted = True
        kept = f"kept in {options.json}" if options.json else "printed"
        said(f"sweep: interrupted after {len(run.cases)} of {len(cases)} cases, which are {kept}")
    print()
    print(report.table(run.cases))
    print()
    print(report.report(run))
    if options.plot is not None:
        plots.draw(run, options.plot)
    return INTERRUPTED if interrupted else 1 if wrong(run) else 0


def check(options: argparse.Namespace) -> int:
    """Run cases once, with no clock: 0 if every result is right. For tools that watch a process, and as a quick test."""
    device = device_of(options.device)
    cases = cases_from(options, device)
    run = Run.begin("check", device, measured=False)
    measure(cases, named(["ours"]), Bench(device, None), run, Deadline(float("inf")))
    for key in wrong(run):
        print(f"WRONG {key}")
    for record in run.cases:
        for name, error in record.failed.items():
            print(f"failed {record.case.key}: {name}: {error}")
    print(f"{len(run.cases)} cases, {len(wrong(run))} wrong")
    return 1 if wrong(run) else 0


def listing(options: argparse.Namespace) -> int:
    """Who can be timed here, the presets, and the cases that the options would choose."""
    device = device_of(options.device)
    print("providers:")
    for provider in PROVIDERS.values():
        reason = provider.missing(device)
        print(f"  {provider.name:<14}{provider.about}{f' (absent: {reason})' if reason else ''}")
    print("presets:")
    for name, preset in PRESETS.items():
        size = "x".join(map(str, preset.shape))
        print(f"  {name:<16}{size:<20}{preset.about}; blocks {', '.join(map(str, preset.blocks))}")
    print(f"  {'fused':<36}operators with arithmetic on the way, of several types and sizes")
    cases = cases_from(options, device)
    print(f"cases: {len(cases)}")
    for case in cases:
        print(f"  {case.key}{f'  [{case.name}]' if case.name else ''}")
    return 0


class Deadline:
    """Until when something may run.

    >>> Deadline(10.0, now=lambda: 3.0).left()
    10.0
    """

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self.end = now() + seconds

    def left(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.end - self._now())

    def within(self, seconds: float) -> Deadline:
        """The earlier of this deadline and one in so many seconds."""
        return Deadline(min(seconds, self.left()), self._now)


def measure(cases: Sequence[Case], providers: Sequence[Provider], bench: Bench, run: Run, deadline: Deadline) -> int:
    """Measure cases, in order of value, into a run; returns how many.

    After the deadline no case is begun; the keys of the rest go to `run.not_measured`. An interruption by the user is
    passed on once the file is written.
    """
    reached: set[str] = set()
    progress = sys.stderr if sys.stderr.isatty() else None
    try:
        for case in cases:
            if deadline.left() <= 0:
                break
            if progress:
                print(f"\r\x1b[K{len(reached) + 1}/{len(cases)} {case.key[:100]}", end="", file=progress, flush=True)
            try:
                run.add(bench.record(case, providers))
            except torch.OutOfMemoryError as error:
                if bench.device.type == "cuda":
                    torch.cuda.empty_cache()
                run.not_measured.append(f"{case.key}: {str(error).splitlines()[0]}")
            reached.add(case.key)
    finally:
        if progress:
            print("\r\x1b[K", end="", file=progress, flush=True)
        measured = {record.case.key for record in run.cases}
        left = [case.key for case in cases if case.key not in reached]
        run.not_measured = [text for text in dict.fromkeys([*run.not_measured, *left]) if text not in measured]
        run.save()
    return len(reached)


def wrong(run: Run) -> list[str]:
    """The keys of the cases that this library got wrong or failed at."""
    return [
        record.case.key for record in run.cases if {"ours", "out", "numpy"} & {*record.wrong} or "ours" in record.failed
    ]


def add_case_options(parser: argparse.ArgumentParser) -> None:
    """The options that choose cases."""
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: the GPU if there is one")
    parser.add_argument("--preset", type=_list, help=f"comma-separated, or all: {', '.join(PRESETS)}; or fused")
    parser.add_argument("--shape", type=_shape, action="append", help="as 8x64x128x128, (N, C, *spatial); repeatable")
    parser.add_argument("--block", type=_block, action="append", help="as 2 or 2,4; repeatable (default: 2)")
    parser.add_argument("--pad", type=_pad, action="append", help="as 1, 0:1,2:2 or auto; repeatable (default: 0)")
    parser.add_argument("--dtype", type=_dtypes, help="PyTorch's names, comma-separated")
    parser.add_argument("--layout", type=_one_of("layout", LAYOUTS), help=f"comma-separated: {', '.join(LAYOUTS)}")
    parser.add_argument("--direction", type=_one_of("direction", DIRECTIONS), help="comma-separated")
    parser.add_argument("--mode", type=_one_of("mode", ("forward", "backward")), help="default: forward")
    parser.add_argument("--arrangement", type=_one_of("arrangement", ("interleaved", "contiguous")))
    parser.add_argument("--batch-order", type=_one_of("batch order", ("block_major", "batch_major")))
    parser.add_argument("--quick", action="store_true", help="few and small cases: does it work at all?")
    parser.add_argument("--case", type=Path, help="a file that holds one case as JSON")


def cases_from(options: argparse.Namespace, device: torch.device) -> list[Case]:
    """The cases that the options ask for: of presets, of the product of what was chosen, or the device's default suite.

    Raises:
        ValueError, TypeError: sizes that do not fit together, named.
    """
    if options.case is not None:
        return [Case.from_dict(json.loads(options.case.read_text(encoding="utf-8")))]
    dtypes = options.dtype or ["float32" if device.type == "cpu" else "float16"]
    cases: list[Case] = []
    if options.preset is not None:
        names = list(PRESETS) if options.preset == ["all"] else options.preset
        cases = [case for name in names if name != "fused" for dtype in dtypes for case in cases_of(name, dtype)]
        cases += fused_suite() if "fused" in names else []
    elif options.shape is not None:
        for shape, block, pad, dtype, layout, arrangement, batch_order in itertools.product(
            options.shape,
            options.block or [2],
            options.pad or [0],
            dtypes,
            options.layout or ["contiguous"],
            options.arrangement or ["interleaved"],
            options.batch_order or ["block_major"],
        ):
            made = make(shape, block, pad, dtype, layout, arrangement=arrangement, batch_order=batch_order)
            cases += both(made)
    elif options.block is not None or options.pad is not None:
        raise ValueError("sweep: --block and --pad need a --shape")
    elif device.type == "cpu":
        cases = cpu_suite(options.quick)
    else:
        cases = gpu_suite()
        if options.quick:
            cases = list({case.tiny().key: case.tiny() for case in cases[::4]}.values())
    for name in ("dtype", "layout", "direction", "arrangement", "batch_order"):
        wanted = getattr(options, name)
        if wanted is not None:
            cases = [case for case in cases if getattr(case, name) in wanted]
    if options.mode is not None:  # more modes than the list has are made; integers have no gradient
        floating = [case for case in cases if case.torch_dtype.is_floating_point or case.torch_dtype.is_complex]
        modes = {"forward": cases, "backward": floating}
        found = [replace(case, mode=mode) for mode in options.mode for case in modes[mode]]
        cases = list({case.key: case for case in found}.values())
    if not cases:
        raise ValueError("sweep: no case is left of those that the options name")
    return cases


def _list(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _dtypes(text: str) -> list[str]:
    return [report.dtype_name(word) for word in _list(text)]


def _one_of(what: str, allowed: Any) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        words = _list(text)
        for word in words:
            if word not in allowed:
                raise argparse.ArgumentTypeError(f"no {what} is called {word!r}; there are {', '.join(allowed)}")
        return words

    return parse


def _shape(text: str) -> tuple[int, ...]:
    return _integers(text, "x")


def _block(text: str) -> int | tuple[int, ...]:
    found = _integers(text, ",")
    return found[0] if len(found) == 1 else found


def _pad(text: str) -> Any:
    if text == "auto":
        return text
    pairs = [_integers(part, ":") for part in text.split(",")]
    if any(len(pair) > 2 for pair in pairs):
        raise argparse.ArgumentTypeError(f"{text!r}: a padding is one number, or before:after")
    if len(pairs) == 1 and len(pairs[0]) == 1:
        return pairs[0][0]
    return tuple(pair if len(pair) == 2 else pair * 2 for pair in pairs)


def _integers(text: str, between: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(between))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not made of integers and {between!r}") from None
