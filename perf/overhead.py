"""`python -m spacebatch.perf overhead`: what a call costs besides moving memory, on a tensor of 1 x 1 x 4 x 4.

Both operators, with padding and without, against the same thing by hand (`F.pad`, `view`, `permute`, `contiguous`, `view`,
and a slice where there are crops): without a gradient, with one recorded, forward and backward, and on NumPy arrays; then with
a new size at every call. Every figure is the median of rounds in which ours and the other take turns, so that other load slows
both.

Without a GPU a last pair of rows counts the Python of a call that ends in a Triton kernel, with the kernel replaced by nothing.

>>> rows = rows_of(torch.device("cpu"), calls=2, rounds=3)
>>> [(row.operation, row.padded, row.mode) for row in rows[:3]]
[('space_to_batch', False, 'no gradient'), ('space_to_batch', False, 'gradient'), ('space_to_batch', False, 'forward+backward')]
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

import spacebatch
from spacebatch.by_hand import by_hand
from spacebatch.timing import rotated, round_seconds

from .baselines import array_function
from .cases import Case
from .records import about, device_of, write_json
from .report import Table, aligned, positive

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
    """The rows of calls whose sizes repeat, on a device; on the CPU those on NumPy arrays too, against NumPy's functions.

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
        pairs = {}
        for mode in MODES:
            x = torch.rand(case.source_shape, device=device, requires_grad=mode != MODES[0])
            upstream = torch.rand(case.result_shape, device=device)
            pairs[mode] = [_in_mode(f, mode, x, upstream) for f in (ours, hand)]
        if device.type == "cpu":
            array = np.zeros(case.source_shape, np.float32)
            pairs["NumPy"] = [partial(f, array) for f in (ours, array_function(np, case, np.ascontiguousarray))]
        for mode, pair in pairs.items():
            rows.append(Row.of(case.direction, bool(border), mode, *turns(pair, device, calls, rounds)))
    return rows


def ours_of(operation: str, border: int) -> Callable[[Any], Any]:
    """This library's call as one writes it."""
    function: Callable[..., Any] = getattr(spacebatch, operation)
    return lambda x: function(x, BLOCK, border)


def _in_mode(function: Callable[[Any], Any], mode: str, x: Tensor, upstream: Tensor) -> Callable[[], object]:
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
            wait()
            start = time.perf_counter()
            for _ in range(calls):
                function()
            found.append((name, (time.perf_counter() - start) / calls * 1e6))
            wait()
        return found

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    times = round_seconds({str(k): f for k, f in enumerate(functions)}, clock, rounds=rounds + 1, warmup=0)
    return [found[1:] for found in times.values()]


def image_to_batch(x: Tensor, border: int) -> Tensor:
    """By hand, for any even height and width."""
    if border:
        x = pad(x, (border,) * 4)
    N, C, H, W = x.shape
    y = x.view(N, C, H // 2, 2, W // 2, 2).permute(3, 5, 0, 1, 2, 4).contiguous()
    return y.view(4 * N, C, H // 2, W // 2)


def image_to_space(y: Tensor, border: int) -> Tensor:
    """By hand, for any height and width."""
    N, C, H, W = y.shape
    x = y.view(2, 2, N // 4, C, H, W).permute(2, 3, 4, 0, 5, 1).contiguous().view(N // 4, C, 2 * H, 2 * W)
    return x[:, :, border : 2 * H - border, border : 2 * W - border].contiguous() if border else x


def signal_to_batch(x: Tensor, border: int) -> Tensor:
    """By hand, for any even length."""
    if border:
        x = pad(x, (border, border))
    N, C, L = x.shape
    return x.view(N, C, L // 2, 2).permute(3, 0, 1, 2).contiguous().view(2 * N, C, L // 2)


def signal_to_space(y: Tensor, border: int) -> Tensor:
    """By hand, for any length."""
    N, C, L = y.shape
    x = y.view(2, N // 2, C, L).permute(1, 2, 3, 0).contiguous().view(N // 2, C, 2 * L)
    return x[:, :, border : 2 * L - border].contiguous() if border else x


NEW_SIZES = {
    "new size, 4-D": {"space_to_batch": image_to_batch, "batch_to_space": image_to_space},
    "new size, 1-D": {"space_to_batch": signal_to_batch, "batch_to_space": signal_to_space},
}


def _sizes(dims: int, count: int) -> list[tuple[int, ...]]:
    """So many different even sizes of small images or signals, in a random order."""
    edge = math.ceil(count ** (1 / dims))
    sizes = list(itertools.product(range(8, 8 + 2 * edge, 2), repeat=dims))[:count]
    random.Random(0).shuffle(sizes)
    return sizes


def new_size_rows(*, calls: int = 40, rounds: int = 15) -> list[Row]:
    """Sizes that the process has never seen, on the CPU with one thread and without a gradient.

    Small images (1, 3, H, W) and signals (1, 1, L) as in inference on pictures and recordings of any size; ours and what
    one writes by hand for any size get the same ones, one after the other, and no size comes twice.

    >>> len(new_size_rows(calls=2, rounds=2))
    8
    """
    rows, threads = [], torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for mode, by_hands in NEW_SIZES.items():
            dims = 2 if mode.endswith("4-D") else 1
            count = calls * (rounds + 1)  # the first round warms up
            fresh = iter(_sizes(dims, 4 * count))  # shared by the rows: no two of them see the same size
            for (operation, hand), border in itertools.product(by_hands.items(), (0, 1)):
                samples = 1 if operation == "space_to_batch" else 2**dims
                lead = (samples, 3) if dims == 2 else (samples, 1)
                inputs = [torch.rand((*lead, *size)) for size in itertools.islice(fresh, count)]
                pair = ours_of(operation, border), partial(hand, border=border)
                times = turns([rotated(f, inputs) for f in pair], torch.device("cpu"), calls, rounds)
                rows.append(Row.of(operation, bool(border), mode, *times))
    finally:
        torch.set_num_threads(threads)
    return rows


class _Nothing:
    """In place of a kernel, and of what compiling it gives: every launch does nothing."""

    def __init__(self, kernel: Any) -> None:
        self.params = [SimpleNamespace(name=name, is_constexpr=name.isupper()) for name in kernel.arg_names]

    def __getitem__(self, grid: object) -> Callable[..., _Nothing]:
        return lambda *arguments, **options: self


def launch_rows(*, calls: int = 400, rounds: int = 41) -> list[Row]:
    """The Python up to the launch of a Triton kernel, on the CPU; Triton's own way from there to the driver is not in it.

    `use_backend("triton")` serves CPU tensors as if they lay on a GPU, and every kernel does nothing.
    """
    os.environ.setdefault("TRITON_INTERPRET", "1")  # or no CPU tensor is taken; read when the kernels are defined
    from spacebatch.tl_kernels import launch

    nothing = {name: _Nothing(kernel) for name, kernel in launch.KERNELS.items()}
    device: dict[str, Any] = {
        "current_device": lambda: -1,
        "get_device_name": lambda device=None: "none",
        "is_current_stream_capturing": lambda: False,
    }
    rows = []
    with patch.dict(launch.KERNELS, nothing), patch.multiple(torch.cuda, **device), spacebatch.use_backend("triton"):
        for case in CASES[::2]:
            call = partial(getattr(spacebatch, case.direction), torch.rand(case.source_shape), BLOCK)
            call()  # the backend's "can run" is asked once per kind of call, and is about the interpreter
            with patch.object(launch, "INTERPRETED", False):
                (times,) = turns([call], torch.device("cpu"), calls, rounds)
            rows.append(Row(case.direction, False, "up to the launch", statistics.median(times), None, None))
    return rows


def table(rows: Sequence[Row]) -> str:
    """The rows as text.

    >>> print(table([Row("space_to_batch", True, "gradient", 5.0, 10.0, 0.5)]))
    operation       padding  mode      ours us  by hand us  ratio
    space_to_batch  yes      gradient     5.00       10.00   0.50
    """
    lines: list[Sequence[str]] = [("operation", "padding", "mode", "ours us", "by hand us", "ratio")]
    for row in rows:
        numbers = ("-" if value is None else f"{value:.2f}" for value in (row.ours, row.hand, row.ratio))
        lines.append((row.operation, "yes" if row.padded else "no", row.mode, *numbers))
    return aligned(lines, 3)


def tables(data: Mapping[str, Any]) -> list[Table]:
    """What a page shows of a file of these figures: ours / by hand, plain and then with a border.

    >>> rows = [Row("space_to_batch", border, "gradient", 5.0, 10.0, 0.5) for border in (False, True)]
    >>> tables({"rows": [asdict(row) for row in rows]})
    [[['us, ours / by hand', 'gradient'], ['`space_to_batch`, plain; padded', '5.0 / 10.0; 5.0 / 10.0']]]
    """
    compared = [row for row in (Row(**found) for found in data["rows"]) if row.hand is not None]
    modes = list(dict.fromkeys(row.mode for row in compared))
    lines = [["us, ours / by hand", *modes]]
    for operation, border in (("space_to_batch", "padded"), ("batch_to_space", "cropped")):
        mine = [row for row in compared if row.operation == operation]
        parts = ["; ".join(f"{r.ours:.1f} / {r.hand:.1f}" for r in mine if r.mode == mode) for mode in modes]
        if mine:
            lines.append([f"`{operation}`, plain; {border}", *parts])
    return [lines]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: the GPU if there is one")
    parser.add_argument("--calls", type=positive, default=400, help="calls per round, a tenth of it of new sizes")
    parser.add_argument("--rounds", type=positive, default=41, help="rounds, of which the median is taken")
    parser.add_argument("--threads", type=positive, help="PyTorch's threads; a tensor of 16 elements needs one")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")


def main(options: argparse.Namespace) -> int:
    """Measure, print, and say whether every row is at most the time by hand: 0, or 1 where one is not."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    device = device_of(options.device)
    if device.type == "cpu":
        os.environ.setdefault("TRITON_INTERPRET", "1")  # before anything brings Triton in
    facts = about("overhead", device)
    print(f"{facts['hardware']}; {facts['software']}; {SIZE} float32, block {BLOCK}, padding 0 or 1")
    rows, note = rows_of(device, calls=options.calls, rounds=options.rounds), "launched on the device"
    if device.type == "cpu":
        rows += new_size_rows(calls=-(-options.calls // 10), rounds=min(options.rounds, 15))
        more, note = _try_launch_rows(options)
        rows += more
    print(table(rows), note, sep="\n")
    if options.json:
        data = {**facts, "note": note, "rows": list(map(asdict, rows))}
        write_json(data, options.json)
    slower = sum(row.ratio is not None and row.ratio > 1 for row in rows)
    print(f"{slower or 'no'} of {len(rows)} rows take longer than by hand")
    return 1 if slower else 0


def _try_launch_rows(options: argparse.Namespace) -> tuple[list[Row], str]:
    if "triton" in sys.modules and os.environ.get("TRITON_INTERPRET") != "1":
        return [], "the Python up to a Triton launch: not measured, Triton came without its interpreter"
    try:
        rows = launch_rows(calls=options.calls, rounds=options.rounds)
    except ImportError as error:
        return [], f"the Python up to a Triton launch: not measured, {error}"
    return rows, "up to the launch: with the Triton kernel replaced by nothing, on the CPU; not a GPU figure"
