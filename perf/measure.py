"""One case: made, checked to the bit for every provider, and only then timed; and how much memory a call takes."""

from __future__ import annotations

import ctypes
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

import spacebatch
from spacebatch.by_hand import by_hand, is_channels_last
from spacebatch.reference import definition
from spacebatch.timing import Call, Clock, Timing, copy_of, rotated, round_seconds

from . import fused
from .baselines import Provider
from .cases import Case
from .fused_cases import FusedCase
from .records import Record

DEFINITION_ELEMENTS = 1024  # up to here the definition is evaluated element by element
SMALL_BYTES = 1 << 20  # up to here, of input and result, the host's time is what counts
GRAPH_RUNS = 32
_LARGE_BYTES = 8 << 20  # from here on the system's allocator gives memory back, so that its high-water mark tells
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_RESET = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Bench:
    """How cases are measured.

    Attributes:
        device: where.
        clock: how a round of calls is timed; None where results are only checked.
        rounds: timed runs of each provider. warmup: runs before.
        memory: whether to measure the memory that our call takes.
    """

    device: torch.device
    clock: Clock | None
    rounds: int = 15
    warmup: int = 3
    memory: bool = False

    def record(self, case: Case, providers: Sequence[Provider]) -> Record:
        """Check and time one case; nothing that a provider raises ends the run."""
        record = Record(case, case.moved_bytes)
        device = self.device
        sources = case.sources(device)
        source = sources[0]
        wanted = expected(case, source)
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
                right = agrees(case, found, wanted, provider.peer)
                del found
                mine = provider.name == "ours" and case.mode == "forward" and not isinstance(case, FusedCase)
                if right and mine:  # once more, into poison
                    memory = poison_(torch.empty_like(wanted))
                    right = same_bits(getattr(spacebatch, case.direction)(source, **case.arguments, out=memory), wanted)
                if not right:
                    record.wrong.append(provider.name)
                    continue
                inputs = [first, *(provider.take(case, other) for other in sources[1:])]
            except Exception as error:  # reported, and the run goes on
                record.failed[provider.name] = in_a_line(error)
                continue
            call: Call = rotated(function, inputs)
            calls[provider.name] = call if provider.wait is None else OwnStream(call, provider.wait)
        del wanted
        if not calls or self.clock is None:
            return record
        self._time(record, calls, self.clock, {provider.name: provider.against for provider in providers})
        if "ours" in calls:
            if isinstance(case, FusedCase):
                record.kernel = fused.kernel(case, source)
            else:
                told = spacebatch.explain(case.moves, source, **case.arguments)
                record.kernel = f"{told.backend}: {told.kernel}"
            if self.memory and case.mode != "training" and case.result_bytes >= _LARGE_BYTES:
                record.extra_bytes = extra_bytes(calls["ours"], case.result_bytes, device)
        if case.moved_bytes <= 2 * SMALL_BYTES and device.type == "cuda":
            self._time_small(record, calls, self.clock)
        return record

    def _time(self, record: Record, calls: dict[str, Call], clock: Clock, against: dict[str, str]) -> None:
        copy = copy_of(record.moved_bytes, self.device)
        seconds = round_seconds({**calls, "copy": copy}, clock, rounds=self.rounds, warmup=self.warmup)
        record.copy = Timing.of(seconds.pop("copy"))
        record.times = {name: Timing.of(found) for name, found in seconds.items()}
        for name, found in seconds.items():
            ours = seconds.get(against[name])
            if ours is not None and name != against[name]:
                record.ratios[name] = statistics.median(a / b for a, b in zip(found, ours, strict=True))

    def _time_small(self, record: Record, calls: dict[str, Call], clock: Clock) -> None:
        mine = {name: call for name, call in calls.items() if not isinstance(call, OwnStream)}
        for name, call in mine.items():
            record.host[name] = host_seconds(call, self.device)
        mine["copy"] = copy_of(record.moved_bytes, self.device)
        graphs = {}
        for name, call in mine.items():
            try:
                graphs[name] = captured(call, self.device)
            except RuntimeError as error:
                record.failed[f"{name} in a graph"] = str(error).splitlines()[0][:300]
        for name, found in round_seconds(graphs, clock, rounds=self.rounds, warmup=2).items():
            record.graph[name] = statistics.median(found) / GRAPH_RUNS


def in_a_line(error: Exception) -> str:
    """An error's kind and the first line of its message.

    >>> in_a_line(ValueError("no\\nmore"))
    'ValueError: no'
    """
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def expected(case: Case, source: Tensor) -> Tensor:
    """What a case gives for a source: by the definition where that is quick, else by PyTorch's operators by hand.

    >>> case = Case("space_to_batch", (1, 4), (2,), ((1, 1),), "int32")
    >>> expected(case, torch.tensor([[1, 2, 3, 4]], dtype=torch.int32)).tolist()
    [[0, 2, 4], [1, 3, 0]]

    Elements that are moved alone travel as integers of their width, so that a NaN keeps its bits. It lies in memory as the call's result does.
    """
    if isinstance(case, FusedCase):
        return cast(Tensor, fused.by_hand(case)(source))
    geometry, bits = case.geometry, as_integers(source)
    if max(source.numel(), geometry.space_shape[0]) <= DEFINITION_ELEMENTS and not bits.is_complex():
        found = getattr(definition, case.moves)(bits.cpu().numpy(), **case.arguments)
        result = torch.from_numpy(found).to(source.device).view(source.dtype)
        if is_channels_last(source):
            return result.contiguous(memory_format=torch.channels_last if result.dim() == 4 else torch.channels_last_3d)
        return result
    return by_hand(case.moves, geometry, is_channels_last(source))(bits).view(source.dtype)


def as_integers(x: Tensor) -> Tensor:
    """The elements as integers of their width; those of 16 bytes as they are."""
    if x.dtype is torch.bool:
        return x.view(torch.uint8)
    return x if x.element_size() == 16 else x.view(_INTEGERS[x.element_size()])


def agrees(case: Case, found: Tensor, wanted: Tensor, peer: bool = False) -> bool:
    """Whether a result is right: to the bit where elements are moved alone, a peer's to the value, and but for rounding where they are fused."""
    if isinstance(case, FusedCase):
        return fused.close(case, found, wanted)
    return same_values(found, wanted) if peer else same_bits(found, wanted)


def same_bits(found: Tensor, wanted: Tensor) -> bool:
    """The same shape, dtype and bits.

    >>> nan = torch.tensor([float("nan")])
    >>> same_bits(nan, nan.clone()), same_bits(torch.tensor([0.0]), torch.tensor([-0.0]))
    (True, False)
    """
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return False
    pair = [as_integers(torch.view_as_real(x) if x.element_size() == 16 else x) for x in (found, wanted)]
    return torch.equal(pair[0], pair[1])


def poison_(x: Tensor) -> Tensor:
    """Every byte of the memory that x lies in set to 0xA5, so that an element left unwritten shows."""
    memory = torch.empty(0, dtype=torch.uint8, device=x.device)
    memory.set_(x.untyped_storage()).fill_(1 if x.dtype is torch.bool else 0xA5)
    return x


def poison_free_memory(count: int, device: torch.device) -> None:
    """Fill memory of so many bytes and give it back to the allocator, which is likely to hand it to the next result."""
    torch.empty(count, dtype=torch.uint8, device=device).fill_(0xA5)


def same_values(found: Tensor, wanted: Tensor) -> bool:
    """The same shape, dtype and values, all NaNs alike: XLA's pad, for one, changes their bits.

    >>> nan = torch.tensor([float("nan")])
    >>> same_values(nan, -nan), same_values(nan, torch.ones(1))
    (True, False)
    """
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return False
    if same_bits(found, wanted):
        return True
    return bool(((found == wanted) | ((found != found) & (wanted != wanted))).all())


@dataclass(frozen=True)
class OwnStream:
    """A call that is queued where events of PyTorch's stream do not see it, as JAX and TensorFlow do (`TimesItself`).

    On a GPU it is timed by the wall clock, over a burst that hides the host's time.

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


def host_seconds(call: Call, device: torch.device) -> float:
    """Seconds until a call returns, whether or not the GPU has finished: the median of five stretches of 100 calls."""
    stretches = []
    for _ in range(5):
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        for _ in range(100):
            call()
        stretches.append((time.perf_counter() - start) / 100)
    return statistics.median(stretches)


def captured(call: Call, device: torch.device) -> Call:
    """A CUDA graph of GRAPH_RUNS runs of a call, captured; calling it replays them all."""
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        call()
    torch.cuda.synchronize(device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(GRAPH_RUNS):
            call()
    return graph.replay


def extra_bytes(call: Call, result_bytes: int, device: torch.device) -> int | None:
    """The most memory that was in use during a call, less that before it and less its result; None where unknown.

    >>> found = extra_bytes(lambda: torch.zeros(64 << 20, dtype=torch.uint8), 64 << 20, torch.device("cpu"))
    >>> found is None or found < 32 << 20  # other threads may allocate meanwhile
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
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(
            0
        )  # the C library gives its free memory back, so that a result's pages are counted where they come from it
    try:
        _RESET.write_text("5")  # the high-water mark falls to what is in use
    except OSError:  # not allowed here
        return None
    before = _most_bytes()
    call()
    return _most_bytes() - before - result_bytes


def _most_bytes() -> int:
    """The high-water mark of this process's memory."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(found[1]) * 1024 if found else 0
