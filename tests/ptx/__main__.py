"""Executes compiled kernels without a GPU, from the root of the repository.

    python -m tests.ptx cases --seed 1 --count 200 --every    random calls against the definition
    python -m tests.ptx large                                 some programs of tensors beyond 2**31 elements

Each prints what it found; the exit status is 1 where something is wrong. `--json FILE` keeps it as well.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)

from tests.ptx.driver import StandIn, unavailable


def cases(device: StandIn, options: argparse.Namespace) -> dict[str, Any]:
    from tests.ptx.cases import check_case, random_case

    ran: Counter[str] = Counter()
    failures: list[str] = []
    for number in range(options.first, options.first + options.count):
        families, wrong = check_case(device, random_case(options.seed, number), options.every)
        ran.update(families)
        failures += wrong
        print(*(f"WRONG {text}\n" for text in wrong), sep="", end="", flush=True)
    print("\n".join(f"{name:<28}{count:>6} calls, launched twice each" for name, count in sorted(ran.items())))
    return {"ran": ran, "failures": failures}


def main(words: list[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.ptx", description="Executes compiled kernels without a GPU.")
    parser.add_argument("--folder", type=Path, help="keeps compiled kernels for the next time")
    parser.add_argument("--json", type=Path, help="writes what was found to this file as well")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("cases", help="random calls against the definition")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--first", type=int, default=0, help="the number of the first case")
    command.add_argument("--count", type=int, default=40)
    command.add_argument("--every", action="store_true", help="more configurations of every family")
    command.set_defaults(run=cases)
    options = parser.parse_args(words)
    if reason := unavailable():
        print(f"compiled kernels cannot be executed here: {reason}")
        return 1
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as fresh:
        device = StandIn(options.folder or Path(fresh))
        found = options.run(device, options)
    import triton

    print(f"Triton {triton.__version__}: {len(found['failures'])} failures, {time.monotonic() - began:.0f} s")
    if options.json:
        options.json.write_text(json.dumps({"triton": triton.__version__, **found}))
    return int(bool(found["failures"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
