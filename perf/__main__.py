"""`python -m spacebatch.perf`: measure and inspect on the machine at hand."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import import_module
from typing import NoReturn

from spacebatch import __version__
from spacebatch.exit_status import said, status_of

from . import load

NAME = "python -m spacebatch.perf"

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
    "atrous": ("dilated", "add_arguments", "main", "where a dilated convolution is faster in batch space"),
    "atrous-split": ("dilated_split", "add_arguments", "main", "where the time of a dilated convolution goes on a CPU"),
    "tiled": ("tiled", "add_arguments", "main", "tiled inference against MONAI's: time and memory"),
    "answers": ("answers.command", "add_arguments", "main", "ten questions asked before use, each with an experiment"),
    "report": ("report", "add_arguments", "main", "goals met and missed, from a file of measurements"),
    "page": ("page", "add_arguments", "main", "a file of measurements as a table for a page"),
    "plot": ("plots", "add_arguments", "main", "pictures of a file of measurements"),
    "compare": ("report", "add_compare_arguments", "compare_main", "two files of measurements, case by case"),
    "static": ("static", "add_arguments", "main", "machine code of every kernel, compiled without a GPU"),
}
# whatever else runs meanwhile does not matter to these
UNTIMED = ("check", "list", "report", "page", "plot", "compare", "static")


class Parser(argparse.ArgumentParser):
    """A mistake is told in one line; the options are there for who asks for them."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; --help names the options\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; the exit status.

    0: done, and nothing wrong was found. 1: something wrong was. 2: a mistake in the arguments, or something is missing here.
    130: interrupted. 141: nobody reads what is printed any more.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    return status_of(next((word for word in arguments if word in COMMANDS), NAME), lambda: _run(arguments))


def _run(arguments: list[str]) -> int:
    parser = Parser(NAME, description="Measure on the machine at hand.")
    parser.add_argument("--version", action="version", version=f"spacebatch {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (file, options_of, run, text) in COMMANDS.items():
        chosen = commands.add_parser(name, help=text)
        if arguments[:1] == [name]:
            module = import_module(f".{file}", __package__)
            getattr(module, options_of)(chosen)
            chosen.set_defaults(run=getattr(module, run))
    options = parser.parse_args(arguments)
    try:
        from spacebatch.timing import compiled_first

        first = (
            nullcontext() if options.command == "first-call" else compiled_first()
        )  # it measures what is so by default
        with first, nullcontext() if options.command in UNTIMED else load.watched(options.command):
            return int(options.run(options))
    except (ValueError, TypeError, ImportError, FileNotFoundError) as error:
        said(f"{options.command}: {error}")
        return 2


if __name__ == "__main__":
    sys.exit(main())
