"""`python -m spacebatch.perf`: measure and inspect on the machine at hand.

static   compile every kernel ahead of time, without a GPU, and print what its machine code is made of
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; the exit status."""
    from . import static

    parser = argparse.ArgumentParser(prog="python -m spacebatch.perf", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    inspect = commands.add_parser("static", help="machine code of every kernel, compiled without a GPU")
    inspect.add_argument("--target", action="append", choices=list(static.TARGETS), help="default: sm_90; repeatable")
    inspect.add_argument(
        "--bytes", action="append", type=int, choices=[1, 2, 4, 8, 16], help="default: all; repeatable"
    )
    inspect.add_argument("--json", type=Path, help="write the reports to this file as well")
    options = parser.parse_args(arguments)
    rows = list(static.reports(options.target or ["sm_90"], options.bytes or [1, 2, 4, 8, 16]))
    print(static.table(rows))
    if options.json:
        import triton

        data = {"triton": triton.__version__, "reports": [row.as_dict() for row in rows]}
        options.json.write_text(json.dumps(data, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
