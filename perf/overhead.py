"""`python -m spacebatch.perf overhead`: what a call costs besides moving memory, on a tensor of 1 x 1 x 4 x 4.

Both operators, with padding and without, against the same thing by hand (`F.pad`, `view`, `permute`, `contiguous`, `view`,
and a slice where there are crops): without a gradient, with one recorded, forward and backward, and on NumPy arrays. Then with
sizes that the process has never seen, small images and signals, where both sides get the same ones. Every figure is the median
of rounds in which ours and the other take turns, so that other load slows both.

Without a GPU a last pair of rows counts the Python of a call that ends in a Triton kernel, with the kernel replaced by nothing.

>>> rows = rows_of(torch.device("cpu"), calls=2, rounds=3)
>>> [(row.operation, row.padded, row.mode) for row in rows[:3]]
[('space_to_batch', False, 'no gradient'), ('space_to_batch', False, 'gradient'), ('space_to_batch', False, 'forward+backward')]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

import spacebatch
from spacebatch.atomic_file import write_text_atomically
from spacebatch.by_hand import by_hand
from spacebatch.timing import hardware, round_seconds, software

from .baselines import array_function
from .cases import Case

MODES = ("no gradient", "gradient", "forward+backward")
SIZE = (1, 1, 4, 4)
BLOCK = 2
CASES = tuple(
    Case(direction, SIZE, (BLOCK, BLOCK), ((border, border),) * 2)
    for direction in ("space_to_batch", "batch_to_space")
    for border in (0, 1)
)


@dataclass(frozen=True)
class Row:
    """One line of the table; times in microseconds per call.

    Attributes:
        operation, padded, mode: of the call; `mode` is one of `MODES`, "NumPy", "new size, 4-D", "new size, 1-D" or
            "up to the launch".
        ours, hand: medians; `hand` is None where nothing comparable can be run.
        ratio: the median of ours / by hand, round by round.
    """

    operation: str
    padded: bool
    mode: str
    ours: float
    hand: float | None
    ratio: float | None

    @classmethod
    def of(cls, operation: str, padded: bool, mode: str, ours: Sequence[float], hand: Sequence[float]) -> Row:
        """The medians of rounds."""
        ratio = statistics.median(a / b for a, b in zip(ours, hand, strict=True))
        return cls(operation, padded, mode, statistics.median(ours), statistics.median(hand), ratio)


def rows_of(device: torch.device, *, calls: int = 400, rounds: int = 41) -> list[Row]:
    """The rows of calls whose sizes repeat, on a device.

    Args:
        device: where the tensor lies; on a GPU a round ends when the device has caught up, and few enough calls are
            queued that the host does not wait before.
        calls: per round, of ours and of the other.
        rounds: of each row.
    """
    rows = []
    for case in CASES:
        border = case.paddings[0][0]
        ours, hand = ours_of(case.direction, border), by_hand(case.direction, case.geometry)
        for mode in MODES:
            x = torch.rand(case.source_shape, device=device, requires_grad=mode != MODES[0])
            upstream = torch.rand(case.result_shape, device=device)
            times = turns([_in_mode(f, mode, x, upstream) for f in (ours, hand)], device, calls, rounds)
            rows.append(Row.of(case.direction, bool(border), mode, *times))
    return rows


def numpy_rows(*, calls: int = 400, rounds: int = 41) -> list[Row]:
    """The same calls without a gradient on NumPy arrays, against NumPy's functions by hand."""
    rows = []
    for case in CASES:
        border, moved = case.paddings[0][0], array_function(np, case)
        ours, x = ours_of(case.direction, border), np.random.default_rng(0).random(case.source_shape, np.float32)

        def hand(x: Any, moved: Callable[[Any], Any] = moved) -> Any:
            return np.ascontiguousarray(moved(x))

        times = turns([_in_mode(f, MODES[0], x, None) for f in (ours, hand)], torch.device("cpu"), calls, rounds)
        rows.append(Row.of(case.direction, bool(border), "NumPy", *times))
    return rows


def ours_of(operation: str, border: int) -> Callable[[Any], Any]:
    """This library's call as one writes it."""
    function: Callable[..., Any] = getattr(spacebatch, operation)
    return lambda x: function(x, BLOCK, border)


def _in_mode(function: Callable[[Any], Any], mode: str, x: Any, upstream: Tensor | None) -> Callable[[], object]:
    if mode == "forward+backward":
        return lambda: torch.autograd.grad(function(x), x, upstream)
    return lambda: function(x)


def turns(
    functions: Sequence[Callable[[], object]], device: torch.device, calls: int, rounds: int
) -> list[list[float]]:
    """Microseconds per call of each function in each round; one round more warms up and is not counted."""

    def clock(named: list[tuple[str, Callable[[], object]]]) -> list[tuple[str, float]]:
        found = []
        for name, function in named:
            _wait(device)
            start = time.perf_counter()
            for _ in range(calls):
                function()
            found.append((name, (time.perf_counter() - start) / calls * 1e6))
            _wait(device)
        return found

    times = round_seconds({str(k): f for k, f in enumerate(functions)}, clock, rounds=rounds + 1, warmup=0)
    return [found[1:] for found in times.values()]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class _Nothing:
    """In place of a kernel, and of what compiling it gives: every launch does nothing."""

    def __init__(self, kernel: Any) -> None:
        self.params = [SimpleNamespace(name=name, is_constexpr=name.isupper()) for name in kernel.arg_names]

    def __getitem__(self, grid: object) -> Callable[..., _Nothing]:
        return lambda *arguments, **options: self


@contextmanager
def _kernels_replaced() -> Iterator[None]:
    """Have `use_backend("triton")` serve CPU tensors as if they lay on a GPU, and every kernel do nothing."""
    os.environ.setdefault(
        "TRITON_INTERPRET", "1"
    )  # without it no CPU tensor is taken; read when the kernels are defined
    from spacebatch.tl_kernels import launch

    kernels, device_of = dict(launch.KERNELS), (torch.cuda.current_device, torch.cuda.get_device_name)
    interpreted = launch.INTERPRETED
    launch.KERNELS.update({name: _Nothing(kernel) for name, kernel in kernels.items()})
    torch.cuda.current_device = lambda: -1
    torch.cuda.get_device_name = lambda device=None: "none"
    try:
        with spacebatch.use_backend("triton"):
            yield
    finally:
        launch.KERNELS.update(kernels)
        launch.INTERPRETED = interpreted
        torch.cuda.current_device, torch.cuda.get_device_name = device_of


def launch_rows(*, calls: int = 400, rounds: int = 41) -> list[Row]:
    """The Python up to the launch, on the CPU; Triton's own way from there to the driver is not in it.

    >>> [row.mode for row in launch_rows(calls=2, rounds=2)]  # doctest: +SKIP
    ['up to the launch', 'up to the launch']
    """
    device, rows = torch.device("cpu"), []
    with _kernels_replaced():
        from spacebatch.tl_kernels import launch

        for case in CASES[::2]:
            operation, x = case.direction, torch.rand(case.source_shape)
            function = getattr(spacebatch, operation)
            if spacebatch.explain(operation, x, BLOCK).backend != "triton":
                return []
            function(x, BLOCK)  # the backend's "can run" is asked once per kind of call, and is about the interpreter
            launch.INTERPRETED = False
            (times,) = turns([lambda f=function, x=x: f(x, BLOCK)], device, calls, rounds)  # type: ignore[misc]
            launch.INTERPRETED = True
            rows.append(Row(operation, False, "up to the launch", statistics.median(times), None, None))
    return rows


def table(rows: list[Row]) -> str:
    """The rows as text.

    >>> print(table([Row("space_to_batch", True, "gradient", 5.0, 10.0, 0.5)]))
    operation         padding  mode                 ours us   by hand us   ratio
    space_to_batch    yes      gradient                5.00        10.00    0.50
    """
    lines = [f"{'operation':<18}{'padding':<9}{'mode':<19}{'ours us':>9}{'by hand us':>13}{'ratio':>8}"]
    for row in rows:
        hand, ratio = ("-" if value is None else f"{value:.2f}" for value in (row.hand, row.ratio))
        padding = "yes" if row.padded else "no"
        lines.append(f"{row.operation:<18}{padding:<9}{row.mode:<19}{row.ours:>9.2f}{hand:>13}{ratio:>8}")
    return "\n".join(lines)


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table for a page: ours / by hand, plain and then with a border.

    >>> print(markdown([Row("space_to_batch", border, "gradient", 5.0, 10.0, 0.5) for border in (False, True)]))
    | | gradient |
    |---|---|
    | `space_to_batch`, plain; padded | 5.0 / 10.0; 5.0 / 10.0 |
    """
    compared = [row for row in rows if row.hand is not None]
    modes = list(dict.fromkeys(row.mode for row in compared))
    lines = [f"| | {' | '.join(modes)} |", "|---" * (len(modes) + 1) + "|"]
    for operation, border in (("space_to_batch", "padded"), ("batch_to_space", "cropped")):
        mine = [row for row in compared if row.operation == operation]
        parts = ["; ".join(f"{r.ours:.1f} / {r.hand:.1f}" for r in mine if r.mode == mode) for mode in modes]
        if mine:
            lines.append(f"| `{operation}`, plain; {border} | {' | '.join(parts)} |")
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--calls", type=int, default=400, help="calls per round, a tenth of it of new sizes")
    parser.add_argument("--rounds", type=int, default=41, help="rounds, of which the median is taken")
    parser.add_argument("--threads", type=int, help="PyTorch's threads; a tensor of 16 elements needs one")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    parser.add_argument("--markdown", action="store_true", help="print them once more, as a table for a page")


def main(options: argparse.Namespace) -> int:
    """Measure, print, and say whether every row is at most the time by hand: 0, or 1 where one is not."""
    if options.calls < 1 or options.rounds < 1:
        raise ValueError(f"overhead: calls and rounds must be at least 1, got {options.calls} and {options.rounds}")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("overhead: this PyTorch sees no CUDA or ROCm device; leave --device out to run on the CPU")
    if device.type == "cpu":
        os.environ.setdefault("TRITON_INTERPRET", "1")  # before anything brings Triton in
    print(f"{hardware(device)}; {software()}; {SIZE} float32, block {BLOCK}, padding 0 or 1")
    rows, note = rows_of(device, calls=options.calls, rounds=options.rounds), "launched on the device"
    if device.type == "cpu":
        rows += numpy_rows(calls=options.calls, rounds=options.rounds)
        from .new_sizes import new_size_rows

        rows += new_size_rows(calls=-(-options.calls // 10), rounds=min(options.rounds, 15))
    print(table(rows), flush=True)
    slower = [row for row in rows if row.ratio is not None and row.ratio > 1]
    if device.type == "cpu":
        more, note = _try_launch_rows(options)
        rows += more
    print(note)
    if options.markdown:
        print(f"\n{markdown(rows)}\n")
    if options.json:
        data = {"hardware": hardware(device), "software": software(), "note": note, "rows": list(map(asdict, rows))}
        write_text_atomically(options.json, json.dumps(data, indent=1) + "\n")
    print(
        f"{len(slower)} of {len(rows)} rows take longer than by hand" if slower else "no row takes longer than by hand"
    )
    return 1 if slower else 0


def _try_launch_rows(options: argparse.Namespace) -> tuple[list[Row], str]:
    if "triton" in sys.modules and os.environ.get("TRITON_INTERPRET") != "1":
        return [], "the Python up to a Triton launch: not measured, Triton came without its interpreter"
    try:
        rows = launch_rows(calls=options.calls, rounds=options.rounds)
    except ImportError as error:
        return [], f"the Python up to a Triton launch: not measured, {error}"
    print(table(rows).partition("\n")[2])
    return rows, "up to the launch: with the Triton kernel replaced by nothing, on the CPU; not a GPU figure"
