"""Executes compiled kernels without a GPU, from the root of the repository.

    python -m tests.ptx cases --seed 1 --count 200 --every    random calls against the definition
    python -m tests.ptx work --count 66                       the same with arithmetic on the way
    python -m tests.ptx large                                 some programs of tensors of 2**31 elements and more
    python -m tests.ptx figures                               sectors and instructions of typical calls
    python -m tests.ptx fused                                 the same of arithmetic on the way, beside plain calls
    python -m tests.ptx mutants                               kernels with one instruction broken: how many show
    python -m tests.ptx check                                 single checks

Each prints what it found; the exit status is 1 where something is wrong. Another Triton: its folder first on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # no real one beside the stand-in

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
        if number % 50 == 49:
            print(f"up to case {number}: {ran.total()} calls, {len(failures)} failures", flush=True)
    print("\n".join(f"{name:<28}{count:>6} calls, launched twice each" for name, count in sorted(ran.items())))
    return {"ran": ran, "failures": failures}


def work(device: StandIn, options: argparse.Namespace) -> dict[str, Any]:
    from tests.ptx.work import check_work
    from tests.work_calls import work_case

    ran: Counter[str] = Counter()
    failures: list[str] = []
    for number in range(options.first, options.first + options.count):
        families, wrong = check_work(device, work_case(options.seed, number))
        ran.update(families)
        failures += wrong
        print(*(f"WRONG {text}\n" for text in wrong), sep="", end="", flush=True)
    print("\n".join(f"{name:<28}{count:>6} calls, launched twice each" for name, count in sorted(ran.items())))
    return {"ran": ran, "failures": failures}


def large(device: StandIn, options: argparse.Namespace) -> dict[str, Any]:
    from tests.ptx.large import BY_NAME, check_large

    ran: Counter[str] = Counter()
    failures: list[str] = []
    for name in options.name or BY_NAME:
        families, wrong = check_large(device, BY_NAME[name])
        ran.update(families)
        failures += wrong
        print(f"{name:<36}{len(families)} calls", *wrong, sep="\n  WRONG ", flush=True)
    return {"ran": ran, "failures": failures}


def figures(device: StandIn, options: argparse.Namespace) -> dict[str, Any]:
    from tests.ptx.figures import figures, table

    rows = list(figures(device, options.bytes or (1, 2, 4), not options.taken, options.name))
    print(table(rows))
    return {"figures": [asdict(row) for row in rows], "failures": []}


def fused(device: StandIn, options: argparse.Namespace) -> dict[str, Any]:
    from tests.ptx.fused import fused, table

    rows = list(fused(device, options.name, options.work))
    print(table(rows))
    return {"command": "python -m tests.ptx fused", "figures": [asdict(row) for row in rows], "failures": []}


def check(device: StandIn, options: argparse.Namespace) -> dict[str, Any]:
    from tests.ptx.checks import CHECKS

    failures = []
    for name in options.name or CHECKS:
        try:
            CHECKS[name](device)
        except Exception as error:
            failures.append(f"{name}: {type(error).__name__}: {error}")
    print(*failures, sep="\n")
    return {"failures": failures}


def mutants(device: StandIn, options: argparse.Namespace) -> dict[str, Any]:
    from tests.ptx.mutants import mutants

    made: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for kind, place, shows in mutants(device, options.seed, options.count):
        made[kind] += 1
        seen[kind] += shows
        if not shows and options.unseen:
            print(f"not seen: {kind}: {place}")
    print("\n".join(f"{kind:<32}{seen[kind]:>4} of {made[kind]:>4} seen" for kind in sorted(made)))
    print(f"all: {seen.total()} of {made.total()}")
    return {"made": made, "seen": seen, "failures": []}


def main(words: list[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.ptx", description="Executes compiled kernels without a GPU.")
    parser.add_argument("--folder", type=Path, help="keeps compiled kernels for the next time")
    parser.add_argument("--json", type=Path, help="writes what was found to this file as well")
    parser.add_argument("--capability", default="9.0", help="to compile for, 8.0 or 10.0; default: 9.0")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("cases", help="random calls against the definition")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--first", type=int, default=0, help="the number of the first case")
    command.add_argument("--count", type=int, default=40)
    command.add_argument("--every", action="store_true", help="more configurations of every family")
    command.set_defaults(run=cases)
    command = commands.add_parser("work", help="random calls with arithmetic on the way")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--first", type=int, default=0, help="the number of the first case")
    command.add_argument("--count", type=int, default=22)
    command.set_defaults(run=work)
    command = commands.add_parser("large", help="some programs of tensors beyond 2**31 elements")
    command.add_argument("name", nargs="*", help="which; default: all")
    command.set_defaults(run=large)
    command = commands.add_parser("figures", help="sectors and instructions of typical shapes")
    command.add_argument("name", nargs="*", help="which; default: all")
    command.add_argument("--taken", action="store_true", help="only of the families that are taken")
    command.add_argument("--bytes", type=int, action="append", choices=[1, 2, 4], help="default: all; repeatable")
    command.set_defaults(run=figures)
    command = commands.add_parser("fused", help="what arithmetic on the way adds to typical calls")
    command.add_argument("name", nargs="*", help="which; default: all")
    command.add_argument("--work", action="append", help="which arithmetic; default: all; repeatable")
    command.set_defaults(run=fused)
    command = commands.add_parser("mutants", help="kernels with one instruction broken, and how many of them show")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--count", type=int, default=270)
    command.add_argument("--unseen", action="store_true", help="tells those that do not")
    command.set_defaults(run=mutants)
    command = commands.add_parser("check", help="single checks")
    command.add_argument("name", nargs="*", help="which; default: all")
    command.set_defaults(run=check)
    options = parser.parse_args(words)
    if reason := unavailable():
        print(f"compiled kernels cannot be executed here: {reason}")
        return 1
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as fresh:
        major, minor = map(int, options.capability.split("."))
        device = StandIn(options.folder or Path(fresh), (major, minor))
        found = options.run(device, options)
    import triton

    from spacebatch.perf.records import write_json

    print(f"Triton {triton.__version__}: {len(found['failures'])} failures, {time.monotonic() - began:.0f} s")
    if options.json:
        write_json({"triton": triton.__version__, **found}, options.json)
    return int(bool(found["failures"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
