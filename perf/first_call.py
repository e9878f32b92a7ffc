"""`python -m spacebatch.perf first-call`: what imports and first calls cost, each in a process of its own.

Of every kind of call: the first one by hand in PyTorch, then ours, with no code compiled before; and once more in a process
that finds on disk what another one compiled. Beside them imports: PyTorch and NumPy alone, and with this library up to its
first result. The folder of compiled code is a temporary one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from spacebatch.by_hand import steps

from .cases import Case
from .records import about, write_json
from .report import Table, aligned, positive

_PLAIN, _ONE = ((0, 0), (0, 0)), ((1, 1), (1, 1))
KINDS = {
    "images, block 2": Case("space_to_batch", (1, 3, 64, 64), (2, 2), _PLAIN),
    "back, block 2": Case("batch_to_space", (1, 3, 64, 64), (2, 2), _PLAIN),
    "padded by 1": Case("space_to_batch", (1, 3, 64, 64), (2, 2), _ONE),
    "bytes, block 3": Case("space_to_batch", (1, 3, 66, 66), (3, 3), _PLAIN, "uint8"),
    "channels last": Case("space_to_batch", (1, 16, 64, 64), (2, 2), _PLAIN, "float16", "channels_last"),
    "signals, block 4": Case("space_to_batch", (1, 3, 4096), (4,), ((0, 0),)),
}
# name: what is timed in a fresh process
IMPORTS = {
    "import numpy": "import numpy",
    "import spacebatch": "import spacebatch",
    "NumPy, up to a result": "import numpy, spacebatch; spacebatch.space_to_batch(numpy.zeros((1, 1, 4, 4), 'f'), 2)",
    "import torch": "import torch",
    "torch, up to a result": "import torch, spacebatch; spacebatch.space_to_batch(torch.zeros(1, 1, 4, 4), 2)",
}
_IMPORT = """
import json, time
start = time.perf_counter()
{code}
print(json.dumps([time.perf_counter() - start]))
"""
_CALLS = """
import json, time
import torch, spacebatch
pad, operation = torch.nn.functional.pad, spacebatch.{operation}
found = []
for function in ({hand}, {ours}, {ours}):
    x = torch.ones({shape}, dtype=torch.{dtype}){layout}
    start = time.perf_counter()
    function(x)
    found.append(time.perf_counter() - start)
print(json.dumps(found))
"""


def calls_of(case: Case) -> str:
    """A program that prints the seconds of the first call by hand, of our first and of our second one.

    >>> "lambda x: x.view((1, 3, 1024, 4)).permute((3, 0, 1, 2))" in calls_of(KINDS["signals, block 4"])
    True
    """
    last = case.layout == "channels_last"
    amounts, split, permutation, sizes, window = steps(case.direction, case.geometry, case.memory_dims)
    hand = f"pad(x, {amounts})" if amounts else "x"
    hand += f".view({split}).permute({permutation}).contiguous().view({sizes})"
    if window:
        hand += f"[{window}].contiguous()"
    if last:
        hand += f".permute({(0, len(sizes) - 1, *range(1, len(sizes) - 1))})"
    return _CALLS.format(
        operation=case.direction,
        hand=f"lambda x: {hand}",
        ours=f"lambda x: operation(x, {case.block}, {case.paddings})",
        shape=case.source_shape,
        dtype=case.dtype,
        layout=".to(memory_format=torch.channels_last)" if last else "",
    )


def seconds_of(program: str, folder: Path, **environment: str) -> list[float]:
    """What a program prints, run in a process of its own.

    Raises:
        RuntimeError: the process failed; with the end of what it said.
    """
    variables = {**os.environ, "SPACEBATCH_CACHE_DIR": str(folder), **environment}
    done = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"first-call: a process failed: {done.stderr[-500:]}")
    return [float(seconds) for seconds in json.loads(done.stdout)]


def measure_kind(case: Case, rounds: int) -> dict[str, float]:
    """Median milliseconds: by hand, ours with an empty folder, ours with what another process left there, and again."""
    program = calls_of(case)
    empty, warm = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            empty.append(seconds_of(program, Path(folder)))
        with tempfile.TemporaryDirectory() as folder:
            seconds_of(program, Path(folder), SPACEBATCH_COMPILE="wait")  # ends when the code is on disk
            warm.append(seconds_of(program, Path(folder)))
    columns = {
        "by hand": [run[0] for run in (*empty, *warm)],
        "empty": [run[1] for run in empty],
        "warm": [run[1] for run in warm],
        "again": [run[2] for run in warm],
    }
    return {name: 1e3 * statistics.median(found) for name, found in columns.items()}


def measure_import(code: str, rounds: int) -> float:
    """Median milliseconds of a statement in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        program = _IMPORT.format(code=code)
        seconds_of(program, Path(folder))  # brings the files into memory
        return 1e3 * statistics.median(seconds_of(program, Path(folder))[0] for _ in range(rounds))


def tables(data: Mapping[str, Any]) -> list[Table]:
    """The figures of a file: of imports, and of first calls.

    >>> tables({"imports": {"import torch": 1234.5}, "kinds": {"a": {"by hand": 1.0, "empty": 2.0, "warm": 3.0}}})[1]
    [('first call, ms', 'by hand', 'empty', 'warm'), ('a', '1.0', '2.0', '3.0')]
    """
    columns = list(next(iter(data["kinds"].values()), {}))
    return [
        [("up to the end of", "ms"), *((name, f"{ms:.1f}") for name, ms in data["imports"].items())],
        [("first call, ms", *columns)]
        + [(name, *(f"{ms[column]:.1f}" for column in columns)) for name, ms in data["kinds"].items()],
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("--rounds", type=positive, default=3, help="processes of each, of which the median is taken")
    parser.add_argument("--kinds", type=positive, default=len(KINDS), metavar="N", help="only the first N kinds")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")


def main(options: argparse.Namespace) -> int:
    """Measure and print."""
    device = torch.device("cpu")
    data: dict[str, Any] = {**about("first-call", device), "imports": {}, "kinds": {}}
    print(f"{data['hardware']}; {data['software']}", flush=True)
    for name, code in IMPORTS.items():
        data["imports"][name] = measure_import(code, options.rounds)
    for name, case in list(KINDS.items())[: options.kinds]:
        data["kinds"][name] = measure_kind(case, options.rounds)
    for table in tables(data):
        print(aligned(table), end="\n\n")
    print("empty: no code compiled before; warm: found on disk; again: the second call of that process")
    if options.json:
        write_json(data, options.json)
    return 0
