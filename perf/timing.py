"""How calls are timed: medians of interleaved runs, so that a drift of the clock or a busy neighbour meets all alike.

>>> import torch
>>> a, b = torch.zeros(1000), torch.ones(1000)
>>> found = interleaved({"copy": lambda: a.copy_(b), "add": lambda: a.add_(b)}, a.device, rounds=5)
>>> found["copy"].runs, found["add"].lower <= found["add"].median <= found["add"].upper
(5, True)
"""

from __future__ import annotations

import gc
import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch

Call = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """What `runs` runs of one call took, in seconds.

    Attributes:
        median: the figure to report.
        lower, upper: the quartiles; half of the runs lie between them.
        runs: how many there were.
    """

    median: float
    lower: float
    upper: float
    runs: int

    @classmethod
    def of(cls, seconds: list[float]) -> Timing:
        """The summary of a list of times."""
        lower, median, upper = (
            statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else seconds * 3
        )
        return cls(median, lower, upper, len(seconds))


def interleaved(
    calls: Mapping[str, Call], device: torch.device, *, rounds: int = 15, warmup: int = 3
) -> dict[str, Timing]:
    """Time the calls against each other: every round runs each of them once, in a random order.

    Args:
        calls: what to run, by name. Results are dropped outside of the timed stretch.
        device: where they run. On a GPU, events bracket each call; before it a buffer larger than the cache is
            zeroed, which empties the cache and keeps the GPU busy until the call is queued, so that the host's time
            does not count. On the CPU it is the wall clock.
        rounds: timed runs of each call.
        warmup: runs of each call before, not timed: kernels get compiled and memory pools filled.

    Returns:
        A `Timing` for each name.
    """
    order = list(calls)
    shuffle = random.Random(0).shuffle
    for _ in range(warmup):
        for name in order:
            calls[name]()
    time_round = _gpu_round(device) if device.type == "cuda" else _cpu_round
    seconds: dict[str, list[float]] = {name: [] for name in order}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(rounds):
            shuffle(order)
            for name, elapsed in time_round([(name, calls[name]) for name in order]):
                seconds[name].append(elapsed)
    finally:
        if collecting:
            gc.enable()
    return {name: Timing.of(seconds[name]) for name in calls}


def _cpu_round(calls: list[tuple[str, Call]]) -> list[tuple[str, float]]:
    elapsed = []
    for name, call in calls:
        start = time.perf_counter()
        result = call()
        elapsed.append((name, time.perf_counter() - start))
        del result
    return elapsed


def _gpu_round(device: torch.device) -> Callable[[list[tuple[str, Call]]], list[tuple[str, float]]]:
    cache = getattr(torch.cuda.get_device_properties(device), "L2_cache_size", 0)
    flush = torch.empty(max(2 * cache, 256 << 20), dtype=torch.uint8, device=device)

    def time_round(calls: list[tuple[str, Call]]) -> list[tuple[str, float]]:
        elapsed = []
        with torch.cuda.device(device):
            for name, call in calls:
                start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
                flush.zero_()
                start.record()
                result = call()
                stop.record()
                torch.cuda.synchronize(device)
                elapsed.append((name, start.elapsed_time(stop) / 1e3))
                del result
        return elapsed

    return time_round


def copy_of(moved_bytes: int, device: torch.device) -> Call:
    """A call that moves `moved_bytes` by `copy_`, half of them read and half written: the yardstick.

    It writes to memory that is there already, where operators allocate their results.
    """
    elements = max(moved_bytes // 8, 1)
    source = torch.ones(elements, dtype=torch.float32, device=device)
    target = torch.ones_like(source)
    return lambda: target.copy_(source)


def hardware(device: torch.device) -> str:
    """The device by name: the GPU with its memory, or the processor with the number of threads in use."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' if threads != 1 else ''}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def software() -> str:
    """The versions that matter to a figure."""
    versions = [f"Python {platform.python_version()}", f"torch {torch.__version__}"]
    for package in ("triton", "numpy"):
        try:
            versions.append(f"{package} {import_module(package).__version__}")
        except ImportError:
            versions.append(f"no {package}")
    return ", ".join([*versions, f"{platform.system()} {platform.machine()}"])
