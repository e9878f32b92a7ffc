"""The subcommands that are a few lines each: sweep, check, tune, report, plot, compare, list."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from . import options as choices
from . import report as reports
from .measurement import Bench
from .presets import PRESETS
from .providers import PROVIDERS, named, split
from .records import Run
from .steps import Deadline
from .sweep import measure, wrong
from .timing import clock_of


def _device(options: argparse.Namespace) -> torch.device:
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("this PyTorch sees no CUDA or ROCm device; leave --device out to run on the CPU")
    kind = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(kind, torch.cuda.current_device()) if kind == "cuda" else torch.device(kind)


def sweep(options: argparse.Namespace) -> int:
    """0, or 1 where a result was wrong."""
    device = _device(options)
    cells = choices.cells_from(options, device)
    wanted = named(choices.provider_names(options, device))
    here, absent = split(wanted, device)
    run = Run.begin("sweep", device, options.json)
    run.providers = {provider.name: provider.about for provider in wanted}
    run.absent = absent
    print(reports.header(run))
    print(f"{len(cells)} cells", flush=True)
    bench = Bench(device, clock_of(device), rounds=options.rounds, warmup=2, memory=device.type == "cpu")
    try:
        measure(cells, here, bench, run, Deadline(options.budget))
    except KeyboardInterrupt:
        print("interrupted; what was measured is kept", file=sys.stderr)
    print()
    print(reports.table(run.cells))
    print()
    print(reports.report(run))
    if options.plot is not None:
        plot_run(run, options.plot)
    return 1 if wrong(run) else 0


def check(options: argparse.Namespace) -> int:
    """Run cells once, with no clock: 0 if every result is right. For tools that watch a process, and as a quick test."""
    device = _device(options)
    cells = choices.cells_from(options, device)
    bench = Bench(device, lambda calls: [(name, 1.0) for name, _ in calls], rounds=1, warmup=0, host=False)
    run = Run.begin("check", device, measured=False)
    measure(cells, named(["ours"]), bench, run, Deadline(float("inf")))
    for key in wrong(run):
        print(f"WRONG {key}")
    for record in run.cells:
        for name, error in record.failed.items():
            print(f"failed {record.cell.key}: {name}: {error}")
    print(f"{len(run.cells)} cells, {len(wrong(run))} wrong")
    return 1 if wrong(run) else 0


def tune(options: argparse.Namespace) -> int:
    """0, or 2 where there is no GPU."""
    if not torch.cuda.is_available():
        print("tune: this PyTorch sees no CUDA or ROCm device", file=sys.stderr)
        return 2
    from .tune import main

    return main(options)


def report(options: argparse.Namespace) -> int:
    """The report of a file."""
    run = Run.load(options.file)
    if options.table:
        print(reports.table(run.cells), end="\n\n")
    print(reports.report(run, options.worst))
    return 0


def plot(options: argparse.Namespace) -> int:
    """Pictures of a file."""
    plot_run(Run.load(options.file), options.out or options.file.parent, options.format)
    return 0


def plot_run(run: Run, folder: Path, suffix: str = "png") -> None:
    """Draw, and say where."""
    from .plots import draw

    for path in draw(run, folder, f".{suffix}"):
        print(f"plot {path}")


def compare(options: argparse.Namespace) -> int:
    """0, or 1 where cells got slower by more than the threshold."""
    text, slower = reports.compare(Run.load(options.before), Run.load(options.after), options.threshold)
    print(text)
    return 1 if slower else 0


def listing(options: argparse.Namespace) -> int:
    """Who can be timed here, the presets, and the cells that the options would choose."""
    device = _device(options)
    print("providers:")
    for provider in PROVIDERS.values():
        reason = provider.missing(device)
        print(f"  {provider.name:<14}{provider.about}{f' (absent: {reason})' if reason else ''}")
    print("presets:")
    for name, preset in PRESETS.items():
        size = "x".join(map(str, preset.shape))
        print(f"  {name:<16}{size:<20}{preset.about}; blocks {', '.join(map(str, preset.blocks))}")
    cells = choices.cells_from(options, device)
    print(f"cells: {len(cells)}")
    for cell in cells:
        print(f"  {cell.key}{f'  [{cell.name}]' if cell.name else ''}")
    return 0


def add_to(commands: Any) -> None:
    """The subcommands with their options."""
    parser = commands.add_parser("sweep", help="time cells against peers, each checked to the bit first")
    choices.add_cell_options(parser)
    choices.add_provider_option(parser)
    parser.add_argument("--rounds", type=_positive, default=11, help="timed runs of each; default: %(default)s")
    parser.add_argument("--budget", type=float, default=float("inf"), metavar="SECONDS", help="begin no cell after it")
    parser.add_argument("--json", type=Path, metavar="OUT", help="written after every cell; see perf/records.py")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="draw pictures there")
    parser.set_defaults(main=sweep)
    parser = commands.add_parser("check", help="run cells once and compare the bits, with no clock")
    choices.add_cell_options(parser)
    parser.set_defaults(main=check)
    parser = commands.add_parser("list", help="providers, presets and cells")
    choices.add_cell_options(parser)
    parser.set_defaults(main=listing)
    parser = commands.add_parser("tune", help="measure tile sizes on this GPU and keep the best")
    parser.add_argument("--quick", action="store_true", help="fewer calls")
    parser.add_argument("--budget", type=float, default=300.0, metavar="SECONDS", help="default: %(default)s")
    parser.set_defaults(main=tune)
    parser = commands.add_parser("report", help="goals met and missed, from a file of measurements")
    parser.add_argument("file", type=Path)
    parser.add_argument("--worst", type=_positive, default=10, help="how many of the worst cells; default: %(default)s")
    parser.add_argument("--table", action="store_true", help="every cell as well")
    parser.set_defaults(main=report)
    parser = commands.add_parser("plot", help="pictures of a file of measurements")
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: beside the file")
    parser.add_argument("--format", choices=("png", "svg", "pdf"), default="png")
    parser.set_defaults(main=plot)
    parser = commands.add_parser("compare", help="two files of measurements, cell by cell")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--threshold", type=float, default=0.05, help="what counts as slower; default: %(default)s")
    parser.set_defaults(main=compare)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a positive number is needed, got {text!r}")
    return int(text)
