"""How calls are timed: medians of interleaved runs, so that a change of the clock rate or other load slows all of them alike.

>>> import torch
>>> a, b = torch.zeros(1000), torch.ones(1000)
>>> found = interleaved({"copy": lambda: a.copy_(b), "add": lambda: a.add_(b)}, a.device, rounds=5)
>>> found["copy"].runs, found["add"].lower <= found["add"].median <= found["add"].upper
(5, True)
"""

from __future__ import annotations

import gc
import itertools
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

import torch
from torch import Tensor

T = TypeVar("T")
Call: TypeAlias = "Callable[[], object]"
Clock: TypeAlias = "Callable[[list[tuple[str, Call]]], list[tuple[str, float]]]"  # runs each once; (name, seconds)


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
    calls: Mapping[str, Call],
    device: torch.device,
    *,
    rounds: int = 15,
    warmup: int = 3,
    clock: Clock | None = None,
    more: Callable[[dict[str, Timing]], bool] | None = None,
) -> dict[str, Timing]:
    """Time the calls against each other: every round runs each of them once, in a random order.

    Args:
        calls: what to run, by name. Results are dropped outside of the timed stretch.
        device: where they run. On a GPU, events bracket each call; before it a buffer larger than the cache is
            zeroed, which empties the cache and keeps the GPU busy until the call is queued, so that the host's time
            does not count. On the CPU it is the wall clock.
        rounds: timed runs of each call.
        warmup: runs of each call before, not timed: kernels get compiled and memory pools filled.
        clock: how a round is timed, if not by the device's own clock.
        more: asked after the rounds, with what all of them came to, whether there are to be as many again.

    Returns:
        A `Timing` for each name.
    """
    clock = clock or clock_of(device)
    seconds = round_seconds(calls, clock, rounds=rounds, warmup=warmup)
    while True:
        times = {name: Timing.of(found) for name, found in seconds.items()}
        if more is None or not more(times):
            return times
        for name, found in round_seconds(calls, clock, rounds=rounds, warmup=0).items():
            seconds[name] += found


def round_seconds(calls: Mapping[str, Call], clock: Clock, *, rounds: int, warmup: int) -> dict[str, list[float]]:
    """The seconds of each call in each round, for ratios taken round by round; kernels are compiled in the warm-up.

    >>> def ticking(calls): return [(name, len(name) * 1.0) for name, _ in calls]
    >>> round_seconds({"a": int, "bb": int}, ticking, rounds=2, warmup=0)
    {'a': [1.0, 1.0], 'bb': [2.0, 2.0]}
    """
    order = list(calls)
    shuffle = random.Random(0).shuffle
    with compiled_first():
        for _ in range(warmup):
            for name in order:
                calls[name]()
    seconds: dict[str, list[float]] = {name: [] for name in order}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(rounds):
            shuffle(order)
            for name, elapsed in clock([(name, calls[name]) for name in order]):
                seconds[name].append(elapsed)
    finally:
        if collecting:
            gc.enable()
    return {name: seconds[name] for name in calls}


@contextmanager
def compiled_first() -> Iterator[None]:
    """Have first calls wait for their kernel, so that no figure is that of the copy which serves until it is compiled.

    A mode that the environment names stays.
    """
    name = "SPACEBATCH_COMPILE"
    if os.environ.get(name):
        yield
        return
    os.environ[name] = "wait"
    try:
        yield
    finally:
        os.environ.pop(name, None)


def clock_of(device: torch.device) -> Clock:
    """The clock of a device: events on a GPU, the wall clock elsewhere."""
    return _gpu_clock(device) if device.type == "cuda" else _wall_clock


BURST_SECONDS = 2e-4  # of a call on the CPU that takes less, so many are timed at once
AGAIN_SECONDS = 2e-3  # a call that took less is timed again: its first run may have waited for what ran before
MOST_IN_BURST = 50


def _wall_clock(calls: list[tuple[str, Call]]) -> list[tuple[str, float]]:
    """One run of each call; short ones are run again in a burst, where the clock and what ran before matter less."""
    elapsed = []
    for name, call in calls:
        seconds = _seconds(call)
        if seconds < AGAIN_SECONDS:
            seconds = _seconds(call)
        runs = min(int(BURST_SECONDS / max(seconds, 1e-9)), MOST_IN_BURST)
        if runs > 1:
            start = time.perf_counter()
            for _ in range(runs):
                call()
            seconds = (time.perf_counter() - start) / runs
        elapsed.append((name, seconds))
    return elapsed


def _seconds(call: Call) -> float:
    start = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - start
    del result
    return seconds


@runtime_checkable
class TimesItself(Protocol):
    """A call that PyTorch's events do not see, since another package queues it; it tells its own seconds per run."""

    def seconds(self, device: torch.device) -> float: ...


def _gpu_clock(device: torch.device) -> Clock:
    flush = torch.empty(max(4 * cache_bytes(device), 512 << 20), dtype=torch.uint8, device=device)

    def clock(calls: list[tuple[str, Call]]) -> list[tuple[str, float]]:
        elapsed: list[tuple[str, float]] = []
        events = []
        with torch.cuda.device(device):
            for name, call in calls:
                if isinstance(call, TimesItself):
                    elapsed.append((name, call.seconds(device)))
                    continue
                start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
                flush.zero_()
                start.record()
                result = call()
                stop.record()
                del result
                events.append((name, start, stop))
            torch.cuda.synchronize(device)
        return [*elapsed, *((name, start.elapsed_time(stop) / 1e3) for name, start, stop in events)]

    return clock


def cache_bytes(device: torch.device) -> int:
    """The size of a GPU's last cache; 0 where there is no GPU, or PyTorch does not tell."""
    if device.type != "cuda":
        return 0
    return int(getattr(torch.cuda.get_device_properties(device), "L2_cache_size", 0))


def rotated(function: Callable[[T], object], inputs: Sequence[T]) -> Call:
    """A call that takes the next of the inputs each time, so that its own is not in the cache any more.

    >>> call = rotated(abs, [-1, -2])
    >>> call(), call(), call()
    (1, 2, 1)
    """
    following = itertools.cycle(inputs)
    return lambda: function(next(following))


def copy_of(moved_bytes: int, device: torch.device) -> Call:
    """A call that moves `moved_bytes` by `copy_`, half of them read and half written: the yardstick.

    It writes to memory that is there already, where operators allocate their results.
    """
    # words of 8 bytes: PyTorch counts elements, not bytes, when it decides how many threads a copy on the CPU is worth
    source = random_bytes(max(moved_bytes // 16, 1) * 8, device).view(torch.int64)
    target = source.clone()
    return lambda: target.copy_(source)


def random_bytes(count: int, device: torch.device) -> Tensor:
    """A uint8 tensor of random bytes; from 1 MB on they repeat on the CPU, with a prime period.

    >>> random_bytes(3, torch.device("cpu")).shape
    torch.Size([3])
    """
    if device.type == "cuda":
        return torch.empty(count, dtype=torch.uint8, device=device).random_()
    if device.type == "meta":
        return torch.empty(count, dtype=torch.uint8, device=device)
    period = 1_000_003
    generator = torch.Generator().manual_seed(0)
    some = torch.randint(0, 256, (min(count, period),), dtype=torch.uint8, generator=generator)
    return some if count <= period else some.repeat(-(-count // period))[:count].to(device)


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
