"""`python -m spacebatch.perf atrous-split`: where the time of a dilated convolution goes on a CPU, natively and through the batch.

One thread; processor time, which other programs on the machine do not count in; the minimum of interleaved rounds. Beside the times
stands the kernel that oneDNN says it took, and what it computes in a second: sums that the definition asks for, natively those that
read the padding too, in batch space also those of the cells that pad the phases.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import spacebatch
from spacebatch.nn import functional
from spacebatch.nn.dilated import CONVOLUTIONS
from spacebatch.timing import hardware, software

from .dilated import put_between
from .report import markdown

MARKS = "<!-- split: begin -->", "<!-- split: end -->"
ROUNDS, TRAINING_ROUNDS = 3, 2


class Case(NamedTuple):
    """A dense convolution with three taps along every dim and "same" padding."""

    name: str
    shape: tuple[int, ...]
    after: int  # channels of the result
    rate: int
    dtype: torch.dtype = torch.float32


IMAGE, TOP, SOUND = (1, 256, 65, 65), (1, 2048, 33, 33), (1, 32, 16384)
CASES = (
    Case("ResNet, layer3", IMAGE, 256, 2),
    Case("ResNet, layer3, batch of 8", (8, 256, 33, 33), 256, 2),
    Case("ResNet, layer4", (1, 512, 65, 65), 512, 4),
    Case("DRN", (8, 128, 33, 33), 128, 4),
    Case("ASPP", TOP, 256, 6),
    Case("ASPP", TOP, 256, 12),
    Case("ASPP", TOP, 256, 18),
    Case("WaveNet, TCN", SOUND, 32, 2),
    Case("WaveNet, TCN", SOUND, 32, 16),
    Case("WaveNet, TCN", SOUND, 32, 512),
    Case("TCN, batch of 8", (8, 64, 4096), 64, 64),
    Case("TCN, wide", (1, 512, 4096), 512, 32),
    Case("ResNet, layer3", IMAGE, 256, 2, torch.bfloat16),
    Case("ASPP", TOP, 256, 18, torch.bfloat16),
    Case("TCN", (1, 128, 4096), 128, 64, torch.bfloat16),
)
HEAD = (
    *("convolution", "rate", "native, ms", "GFLOP/s", "kernel", "in, ms", "phases, ms", "GFLOP/s", "kernel", "out, ms"),
    *("moved: gain", "training", "not moved", "gain", "training"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("--only", metavar="WORD", help="convolutions with this in their name")
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help="put the table between the marks of this page")


def main(options: argparse.Namespace) -> int:
    """Measure and print."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = [_told(row(case)) for case in CASES if not options.only or options.only in case.name]
        peaks = ", ".join(
            f"{_peak(dtype):.0f} in {str(dtype)[6:]}" for dtype in dict.fromkeys(case.dtype for case in CASES)
        )
        facts = f"{hardware(torch.device('cpu'))}; {software()}"
    finally:
        torch.set_num_threads(threads)
    command = shlex.join(["python", "-m", "spacebatch.perf", *sys.argv[1:]])
    text = "\n".join(
        [
            f"Measured on {facts}, processor time. Reproduce with `{command}`. A product of two matrices of 1024 x 1024 "
            f"reaches {peaks} GFLOP/s there.",
            "",
            markdown([HEAD, *rows]),
            "",
        ]
    )
    print(text)
    if options.write_docs:
        put_between(MARKS, text, options.write_docs)
    return 0


def _told(found: tuple[object, ...]) -> tuple[object, ...]:
    print(*found, file=sys.stderr, flush=True)
    return found


def row(case: Case) -> tuple[object, ...]:
    """One line of the table."""
    dims, rate, sizes = len(case.shape) - 2, case.rate, case.shape[2:]
    convolve = CONVOLUTIONS[dims]
    x = torch.randn(case.shape).to(case.dtype)
    weight = torch.randn(case.after, case.shape[1], *(3,) * dims).to(case.dtype)
    blocks, pads = (rate,) * dims, tuple((0, -size % rate) for size in sizes)
    other = "columns" if dims == 1 else "channels_last"
    method: Any = "batch_space" if dims == 1 else "channels_last"

    def native(x: Tensor, weight: Tensor) -> Tensor:
        return convolve(x, weight, None, 1, rate, rate)

    def moved(x: Tensor, weight: Tensor) -> Tensor:
        y = convolve(spacebatch.space_to_batch(x, blocks, pads), weight, None, 1, 1)
        return spacebatch.batch_to_space(y, blocks, pads)

    def unmoved(x: Tensor, weight: Tensor) -> Tensor:
        call = functional.atrous_conv1d if dims == 1 else functional.atrous_conv2d
        return call(x, weight, None, 1, rate, rate, method=method)

    ways: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"native": native, "moved": moved, "unmoved": unmoved}
    with torch.no_grad():
        cells = spacebatch.space_to_batch(x, blocks, pads)
        result = convolve(cells, weight, None, 1, 1)
        calls: dict[str, Callable[[], object]] = {
            "native": lambda: native(x, weight),
            "in": lambda: spacebatch.space_to_batch(x, blocks, pads),
            "phases": lambda: convolve(cells, weight, None, 1, 1),
            "out": lambda: spacebatch.batch_to_space(result, blocks, pads),
            "unmoved": lambda: unmoved(x, weight),
        }
        took = milliseconds(calls, ROUNDS)
        kernels = [kernel(calls[name]) for name in ("native", "phases")]
    inputs = [t.requires_grad_() for t in (x, weight)]
    steps = milliseconds({name: _step(way, inputs) for name, way in ways.items()}, TRAINING_ROUNDS)
    flop = 2 * 3**dims * case.after * math.prod(case.shape)
    rates = [flop * n / x.numel() / took[name] / 1e6 for name, n in (("native", x.numel()), ("phases", cells.numel()))]
    through = took["in"] + took["phases"] + took["out"]
    fits = dims == 2 or rate >= 8
    return (
        *(f"{case.name}, {'x'.join(map(str, case.shape))}, {str(case.dtype)[6:]}", rate),
        *(f"{took['native']:.1f}", f"{rates[0]:.0f}", kernels[0], f"{took['in']:.1f}", f"{took['phases']:.1f}"),
        *(f"{rates[1]:.0f}", kernels[1], f"{took['out']:.1f}", f"{took['native'] / through:.2f}"),
        f"{steps['native'] / steps['moved']:.2f}",
        *((other, f"{took['native'] / took['unmoved']:.2f}") if fits else ("", "")),
        f"{steps['native'] / steps['unmoved']:.2f}" if fits else "",
    )


def _step(way: Callable[[Tensor, Tensor], Tensor], inputs: list[Tensor]) -> Callable[[], object]:
    def step() -> object:
        y = way(*inputs)
        return torch.autograd.grad(y, inputs, torch.ones_like(y))

    return step


def milliseconds(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The least processor time of each call, the calls in turns."""
    for call in calls.values():
        call()
    found: dict[str, float] = dict.fromkeys(calls, math.inf)
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.process_time()
            call()
            found[name] = min(found[name], (time.process_time() - start) * 1e3)
    return found


def _peak(dtype: torch.dtype) -> float:
    a = torch.randn(1024, 1024).to(dtype)
    return 2 * 1024**3 / milliseconds({"product": lambda: a @ a}, 9)["product"] / 1e6


def kernel(call: Callable[[], object]) -> str:
    """What oneDNN says of the convolution in a call: the implementation."""
    with tempfile.TemporaryFile("w+") as file:
        sys.stdout.flush()
        kept = os.dup(1)
        os.dup2(file.fileno(), 1)
        try:
            with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):  # type: ignore[no-untyped-call]
                call()
        finally:
            os.dup2(kept, 1)
            os.close(kept)
        file.seek(0)
        found = re.search(r",exec,cpu,convolution,([^,]+),", file.read())
    return found[1] if found else "not oneDNN"
