"""`python -m spacebatch.perf`: measure and inspect on the machine at hand."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

# name: (module, its functions that add options and that run, text). A module is imported for its own command alone.
COMMANDS = {
    "gpu": ("gpu", "add_arguments", "main", "everything that needs a real GPU, in less than ten minutes"),
    "sweep": ("sweep", "add_arguments", "main", "time cases against peers, each checked to the bit first"),
    "check": ("sweep", "add_case_options", "check", "run cases once and compare the bits, with no clock"),
    "list": ("sweep", "add_case_options", "listing", "providers, presets and cases"),
    "tune": ("tune", "add_arguments", "main", "measure tile sizes on this GPU and keep the best"),
    "overhead": ("overhead", "add_arguments", "main", "the host's time per call"),
    "first-call": ("first_call", "add_arguments", "main", "what imports and first calls cost"),
    "blocks": ("blocks", "add_arguments", "main", "lists of images of several sizes, to blocks and to tokens"),
    "arithmetic": ("arithmetic", "add_arguments", "main", "arithmetic on the way, on the CPU"),
    "atrous": ("dilated", "add_arguments", "main", "where a dilated convolution is faster in batch space"),
    "atrous-split": ("dilated_split", "add_arguments", "main", "where the time of a dilated convolution goes on a CPU"),
    "tiled": ("tiled", "add_arguments", "main", "tiled inference against MONAI's: time and memory"),
    "report": ("report", "add_arguments", "main", "goals met and missed, from a file of measurements"),
    "page": ("page", "add_arguments", "main", "a file of measurements as a table for a page"),
    "plot": ("plots", "add_arguments", "main", "pictures of a file of measurements"),
    "compare": ("report", "add_compare_arguments", "compare_main", "two files of measurements, case by case"),
    "static": ("static", "add_arguments", "main", "machine code of every kernel, compiled without a GPU"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser("python -m spacebatch.perf", description="Measure on the machine at hand.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (file, options_of, run, text) in COMMANDS.items():
        chosen = commands.add_parser(name, help=text)
        if arguments[:1] == [name]:
            module = import_module(f".{file}", __package__)
            getattr(module, options_of)(chosen)
            chosen.set_defaults(run=getattr(module, run))
    options = parser.parse_args(arguments)
    try:
        if options.command == "first-call":  # which measures what happens by default
            return int(options.run(options))
        from spacebatch.timing import compiled_first

        with compiled_first():
            return int(options.run(options))
    except (ValueError, TypeError, ImportError, FileNotFoundError) as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
