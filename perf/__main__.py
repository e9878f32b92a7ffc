"""`python -m spacebatch.perf`: measure and inspect on the machine at hand.

gpu        everything that needs a real GPU, in less than ten minutes
sweep      time cells against peers, on the CPU or a GPU; `check` only compares bits, `list` only names
tune       measure tile sizes on this GPU and keep the best
overhead   the host's time per call
atrous     where a dilated convolution is faster in batch space
report     goals met and missed, from a file of measurements; `plot` draws it, `compare` two of them
static     compile every kernel ahead of time, without a GPU, and print what its machine code is made of
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

# Each has `add_arguments(parser)` and `main(options) -> int`, and is imported for its own command alone.
MODULES = {
    "gpu": "everything that needs a real GPU",
    "overhead": "the host's time per call",
    "atrous": "where a dilated convolution is faster in batch space",
    "static": "machine code of every kernel, compiled without a GPU",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="python -m spacebatch.perf", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    named = arguments[0] if arguments else ""
    if named in MODULES:
        module = import_module(f".{named}", __package__)
        chosen = commands.add_parser(named, help=MODULES[named])
        module.add_arguments(chosen)
        chosen.set_defaults(main=module.main)
    else:
        from .commands import add_to

        for name, text in MODULES.items():
            commands.add_parser(name, help=text)
        add_to(commands)
    options = parser.parse_args(arguments)
    try:
        return int(options.main(options))
    except (ValueError, TypeError, ImportError, FileNotFoundError) as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
