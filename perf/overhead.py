"""`python -m spacebatch.perf overhead`: what a call costs besides moving memory, on a tensor of 1 x 1 x 4 x 4.

Both operators, with padding and without, against the same thing by hand (`F.pad`, `view`, `permute`, `contiguous`, `view`,
and a slice where there are crops), without a gradient, with one recorded, and forward and backward. Every figure is the median of
rounds in which ours and the other take turns, so that a busy neighbour meets both.

Without a GPU a last pair of rows counts the Python of a call that ends in a Triton kernel, with the kernel replaced by nothing.

>>> rows = rows_of(torch.device("cpu"), calls=2, rounds=3)
>>> [(row.operation, row.padded, row.mode) for row in rows[:3]]
[('space_to_batch', False, 'no gradient'), ('space_to_batch', False, 'gradient'), ('space_to_batch', False, 'forward+backward')]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

import spacebatch

from .timing import hardware, software

MODES = ("no gradient", "gradient", "forward+backward")
SIZE = (1, 1, 4, 4)
BLOCK = 2


def _to_batch(x: Tensor) -> Tensor:
    return x.view(1, 1, 2, 2, 2, 2).permute(3, 5, 0, 1, 2, 4).contiguous().view(4, 1, 2, 2)


def _to_batch_padded(x: Tensor) -> Tensor:
    return pad(x, (1, 1, 1, 1)).view(1, 1, 3, 2, 3, 2).permute(3, 5, 0, 1, 2, 4).contiguous().view(4, 1, 3, 3)


def _to_space(y: Tensor) -> Tensor:
    return y.view(2, 2, 1, 1, 2, 2).permute(2, 3, 4, 0, 5, 1).contiguous().view(1, 1, 4, 4)


def _to_space_cropped(y: Tensor) -> Tensor:
    x = y.view(2, 2, 1, 1, 3, 3).permute(2, 3, 4, 0, 5, 1).contiguous().view(1, 1, 6, 6)
    return x[:, :, 1:5, 1:5].contiguous()


# (operation, padding or crop, by hand with all sizes written out, shape of the input, shape of the result)
CASES = (
    ("space_to_batch", 0, _to_batch, SIZE, (4, 1, 2, 2)),
    ("space_to_batch", 1, _to_batch_padded, SIZE, (4, 1, 3, 3)),
    ("batch_to_space", 0, _to_space, (4, 1, 2, 2), SIZE),
    ("batch_to_space", 1, _to_space_cropped, (4, 1, 3, 3), SIZE),
)


@dataclass(frozen=True)
class Row:
    """One line of the table; times in microseconds per call.

    Attributes:
        operation, padded, mode: of the call; `mode` is one of `MODES`, or "up to the launch".
        ours, hand: medians; `hand` is None where nothing comparable can be run.
        ratio: the median of ours / by hand, round by round.
    """

    operation: str
    padded: bool
    mode: str
    ours: float
    hand: float | None
    ratio: float | None


def rows_of(device: torch.device, *, calls: int = 400, rounds: int = 41) -> list[Row]:
    """Measure the table on a device.

    Args:
        device: where the tensor lies; on a GPU a round ends when the device has caught up, and few enough calls are
            queued that the host does not wait before.
        calls: per round, of ours and of the other.
        rounds: of each row.
    """
    rows = []
    for operation, padding, hand, source, result in CASES:
        function = getattr(spacebatch, operation)

        def ours(x: Tensor, function: Any = function, padding: int = padding) -> Tensor:
            return function(x, BLOCK, padding)  # type: ignore[no-any-return]

        for mode in MODES:
            x = torch.rand(source, device=device, requires_grad=mode != MODES[0])
            upstream = torch.rand(result, device=device)
            times = _turns(tuple(_in_mode(f, mode, x, upstream) for f in (ours, hand)), device, calls, rounds)
            ratio = statistics.median(a / b for a, b in zip(*times, strict=True))
            medians = [statistics.median(each) for each in times]
            rows.append(Row(operation, bool(padding), mode, medians[0], medians[1], ratio))
    return rows


def _in_mode(function: Callable[[Tensor], Tensor], mode: str, x: Tensor, upstream: Tensor) -> Callable[[], object]:
    if mode == "forward+backward":
        return lambda: torch.autograd.grad(function(x), x, upstream)
    return lambda: function(x)


def _turns(
    functions: tuple[Callable[[], object], ...], device: torch.device, calls: int, rounds: int
) -> list[list[float]]:
    """Microseconds per call of each function in each round; the first round warms up and is not counted."""
    times: list[list[float]] = [[] for _ in functions]
    order = list(range(len(functions)))
    shuffle = random.Random(0).shuffle
    collecting = gc.isenabled()
    gc.disable()
    try:
        for count in range(rounds + 1):
            shuffle(order)
            for k in order:
                function = functions[k]
                _wait(device)
                start = time.perf_counter()
                for _ in range(calls):
                    function()
                elapsed = time.perf_counter() - start
                _wait(device)
                if count:
                    times[k].append(elapsed / calls * 1e6)
    finally:
        if collecting:
            gc.enable()
    return times


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
    from spacebatch import triton_backend
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
        triton_backend._prepared.cache_clear()  # what was made ready launches nothing


def launch_rows(*, calls: int = 400, rounds: int = 41) -> list[Row]:
    """The Python up to the launch, on the CPU; Triton's own way from there to the driver is not in it.

    >>> [row.mode for row in launch_rows(calls=2, rounds=2)]  # doctest: +SKIP
    ['up to the launch', 'up to the launch']
    """
    device, rows = torch.device("cpu"), []
    with _kernels_replaced():
        from spacebatch.tl_kernels import launch

        for operation, shape in (("space_to_batch", SIZE), ("batch_to_space", (4, 1, 2, 2))):
            function, x = getattr(spacebatch, operation), torch.rand(shape)
            if spacebatch.explain(operation, x, BLOCK).backend != "triton":
                return []
            function(x, BLOCK)  # the backend's "can run" is asked once per kind of call, and is about the interpreter
            launch.INTERPRETED = False
            (times,) = _turns((lambda f=function, x=x: f(x, BLOCK),), device, calls, rounds)  # type: ignore[misc]
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--calls", type=int, default=400, help="calls per round")
    parser.add_argument("--rounds", type=int, default=41, help="rounds, of which the median is taken")
    parser.add_argument("--threads", type=int, help="PyTorch's threads; a tensor of 16 elements needs one")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")


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
    rows = rows_of(device, calls=options.calls, rounds=options.rounds)
    print(table(rows), flush=True)
    slower = [row for row in rows if row.ratio is not None and row.ratio > 1]
    note = "launched on the device"
    if device.type == "cpu":
        more, note = _try_launch_rows(options)
        rows += more
    print(note)
    if options.json:
        data = {
            "hardware": hardware(device),
            "software": software(),
            "note": note,
            "rows": [asdict(row) for row in rows],
        }
        options.json.write_text(json.dumps(data, indent=1) + "\n")
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
