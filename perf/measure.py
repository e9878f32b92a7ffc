"""One case: made, checked to the bit for every provider, and only then timed; and how much memory a call takes."""

from __future__ import annotations

import ctypes
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import spacebatch
from spacebatch.timing import Call, Clock, Timing, cache_bytes, copy_of, rotated, round_seconds

from .baselines import Provider
from .cases import Case, arguments_of
from .checks import expected, poison_, poison_free_memory, same_bits, same_values
from .records import Record

SMALL_BYTES = 1 << 20  # up to here, of input and result, the host's time is what counts
GRAPH_RUNS = 32
_MOST_INPUTS = 8
_LARGE_BYTES = 8 << 20  # from here on the system's allocator gives memory back, so that its high-water mark tells
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Bench:
    """How cases are measured.

    Attributes:
        device: where.
        clock: how a round of calls is timed.
        rounds: timed runs of each provider. warmup: runs before.
        host: whether to time the host and CUDA graphs for small cases, where there is a GPU.
        memory: whether to measure the memory that our call takes.
    """

    device: torch.device
    clock: Clock
    rounds: int = 15
    warmup: int = 3
    host: bool = True
    memory: bool = False

    def record(self, case: Case, providers: Sequence[Provider]) -> Record:
        """Check and time one case; nothing that a provider raises ends the run."""
        record = Record(case, case.moved_bytes)
        device = self.device
        source = case.source(device)
        wanted = expected(case, source)
        others = [case.source(device) for _ in range(self._inputs(source) - 1)]
        calls: dict[str, Call] = {}
        for provider in providers:
            reason = provider.offers(case)
            if reason is not None:
                record.refused[provider.name] = reason
                continue
            try:
                function = provider.prepare(case)
                first = provider.take(case, source)
                poison_free_memory(case.result_bytes, device)
                found = provider.give(case, function(first))
                right = same_values(found, wanted) if provider.peer else same_bits(found, wanted)
                del found
                if right and provider.name == "ours" and case.mode == "forward":
                    right = same_bits(_into_poison(case, source, wanted), wanted)
                if not right:
                    record.wrong.append(provider.name)
                    continue
                inputs = [first, *(provider.take(case, other) for other in others)]
            except Exception as error:  # reported, and the run goes on
                record.failed[provider.name] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
                continue
            call: Call = rotated(function, inputs)
            calls[provider.name] = call
            if provider.wait is not None:
                calls[provider.name] = OwnStream(call, provider.wait)
        del wanted
        if not calls:
            return record
        self._time(record, calls)
        if "ours" in calls:
            record.kernel = _kernel(case, source)
            if self.memory and case.result_bytes >= _LARGE_BYTES:
                record.extra_bytes = extra_bytes(calls["ours"], case.result_bytes, device)
        if self.host and case.moved_bytes <= 2 * SMALL_BYTES and device.type == "cuda":
            self._time_small(record, calls)
        return record

    def _inputs(self, source: Tensor) -> int:
        """How many inputs to rotate: together four times the cache, one where that is none."""
        cache = cache_bytes(self.device)
        if not cache or 0 in source.stride():
            return 1
        return max(1, min(_MOST_INPUTS, math.ceil(4 * cache / source.nbytes)))

    def _time(self, record: Record, calls: dict[str, Call]) -> None:
        copy = copy_of(record.moved_bytes, self.device)
        seconds = round_seconds({**calls, "copy": copy}, self.clock, rounds=self.rounds, warmup=self.warmup)
        record.copy = Timing.of(seconds.pop("copy"))
        record.times = {name: Timing.of(found) for name, found in seconds.items()}
        if "ours" in seconds:
            for name, found in seconds.items():
                if name != "ours":
                    pairs = zip(found, seconds["ours"], strict=True)
                    record.ratios[name] = statistics.median(theirs / ours for theirs, ours in pairs)

    def _time_small(self, record: Record, calls: dict[str, Call]) -> None:
        mine = {name: call for name, call in calls.items() if not isinstance(call, OwnStream)}
        for name, call in mine.items():
            record.host[name] = host_seconds(call, self.device)
        mine["copy"] = copy_of(record.moved_bytes, self.device)
        graphs = {}
        for name, call in mine.items():
            try:
                graphs[name] = captured(call, self.device, GRAPH_RUNS)
            except RuntimeError as error:
                record.failed[f"{name} in a graph"] = str(error).splitlines()[0][:300]
        for name, found in round_seconds(graphs, self.clock, rounds=self.rounds, warmup=2).items():
            record.graph[name] = statistics.median(found) / GRAPH_RUNS


def _into_poison(case: Case, source: Tensor, wanted: Tensor) -> Tensor:
    """Our result in memory that was poisoned before."""
    result: Tensor = getattr(spacebatch, case.direction)(
        source, **arguments_of(case.direction, case.geometry), out=poison_(torch.empty_like(wanted))
    )
    return result


def _kernel(case: Case, source: Tensor) -> str:
    """What `explain` says of our call."""
    told = spacebatch.explain(case.moves, source, **arguments_of(case.moves, case.geometry))
    return f"{told.backend}: {told.kernel}"


@dataclass(frozen=True)
class OwnStream:
    """A call that is queued where events of PyTorch's stream do not see it, as JAX and TensorFlow do (`TimesItself`).

    On a GPU it is timed by the wall clock, over a burst that hides the host's time: start, …, start, wait.

    Attributes:
        start: queues the work and returns its result. wait: returns when a result is there.
    """

    start: Call
    wait: Callable[[Any], object]

    def __call__(self) -> object:
        result = self.start()
        self.wait(result)
        return result

    def seconds(self, device: torch.device, runs: int = 10) -> float:
        """Seconds per run."""
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        for _ in range(runs):
            result = self.start()
        self.wait(result)
        return (time.perf_counter() - start) / runs


def host_seconds(call: Call, device: torch.device, *, runs: int = 100, now: Callable[[], float] | None = None) -> float:
    """Seconds until a call returns, whether or not the GPU has finished: the median of five stretches of `runs` calls."""
    now = now or time.perf_counter
    stretches = []
    for _ in range(5):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = now()
        for _ in range(runs):
            call()
        stretches.append((now() - start) / runs)
    return statistics.median(stretches)


def captured(call: Call, device: torch.device, runs: int = 32) -> Call:
    """A CUDA graph of so many runs of a call, captured; calling it replays them all."""
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        call()
    torch.cuda.synchronize(device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(runs):
            call()
    return graph.replay


def extra_bytes(call: Call, result_bytes: int, device: torch.device) -> int | None:
    """The most memory that was in use during a call, less that before it and less its result; None where unknown.

    >>> found = extra_bytes(lambda: torch.zeros(4 << 20, dtype=torch.uint8), 4 << 20, torch.device("cpu"))
    >>> found is None or found < 1 << 20
    True

    On a GPU PyTorch's allocator tells. On the CPU the kernel keeps the high-water mark of the process, which only Linux
    lets a process reset; the process should do nothing else meanwhile.
    """
    if device.type == "cuda":
        call()
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before - result_bytes
    if not _RESET.exists():
        return None
    call()
    _give_back()
    try:
        _RESET.write_text("5")  # the high-water mark falls to what is in use
        before = _kilobytes("VmHWM")
        call()
        return (_kilobytes("VmHWM") - before) * 1024 - result_bytes
    except (OSError, ValueError):
        return None


def _give_back() -> None:
    """Have the C library give its free memory back, so that a result's pages are counted where they come from it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _kilobytes(name: str) -> int:
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise ValueError(f"{_STATUS} has no {name}")
