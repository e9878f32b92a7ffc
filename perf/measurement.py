"""One cell: made, checked to the bit for every provider, and only then timed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import spacebatch

from .cells import Cell
from .checks import expected, poison_, poison_free_memory, same_bits, same_values
from .memory import extra_bytes
from .providers import Provider
from .records import Record
from .timing import Call, Clock, OwnStream, Timing, cache_bytes, captured, copy_of, host_seconds, rotated, round_seconds

SMALL_BYTES = 1 << 20  # up to here, of input and result, the host's time is what counts
GRAPH_RUNS = 32
_MOST_INPUTS = 8
_LARGE_BYTES = 8 << 20  # from here on the system's allocator gives memory back, so that its high-water mark tells


@dataclass(frozen=True)
class Bench:
    """How cells are measured.

    Attributes:
        device: where.
        clock: how a round of calls is timed.
        rounds: timed runs of each provider. warmup: runs before.
        host: whether to time the host and CUDA graphs for small cells, where there is a GPU.
        memory: whether to measure the memory that our call takes.
    """

    device: torch.device
    clock: Clock
    rounds: int = 15
    warmup: int = 3
    host: bool = True
    memory: bool = False

    def record(self, cell: Cell, providers: Sequence[Provider]) -> Record:
        """Check and time one cell; nothing that a provider raises ends the run."""
        record = Record(cell, cell.moved_bytes)
        device = self.device
        source = cell.source(device)
        wanted = expected(cell, source)
        others = [cell.source(device) for _ in range(self._inputs(source) - 1)]
        calls: dict[str, Call] = {}
        for provider in providers:
            reason = provider.offers(cell)
            if reason is not None:
                record.refused[provider.name] = reason
                continue
            try:
                function = provider.prepare(cell)
                first = provider.take(cell, source)
                poison_free_memory(cell.result_bytes, device)
                found = provider.give(cell, function(first))
                right = same_values(found, wanted) if provider.peer else same_bits(found, wanted)
                del found
                if right and provider.name == "ours" and cell.mode == "forward":
                    right = same_bits(_into_poison(cell, source, wanted), wanted)
                if not right:
                    record.wrong.append(provider.name)
                    continue
                inputs = [first, *(provider.take(cell, other) for other in others)]
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
            record.kernel = _kernel(cell, source)
            if self.memory and cell.result_bytes >= _LARGE_BYTES:
                record.extra_bytes = extra_bytes(calls["ours"], cell.result_bytes, device)
        if self.host and cell.moved_bytes <= 2 * SMALL_BYTES and device.type == "cuda":
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


def _into_poison(cell: Cell, source: Tensor, wanted: Tensor) -> Tensor:
    """Our result in memory that was poisoned before."""
    out = poison_(torch.empty_like(wanted))
    g = cell.geometry
    if cell.direction == "space_to_batch":
        return spacebatch.space_to_batch(source, **g.arguments, out=out)
    return spacebatch.batch_to_space(source, **g.inverse, out=out)


def _kernel(cell: Cell, source: Tensor) -> str:
    """What `explain` says of our call."""
    g = cell.geometry
    arguments: Any = g.arguments if cell.moves == "space_to_batch" else g.inverse
    block = arguments.pop("block_shape")
    border = arguments.pop("paddings" if cell.moves == "space_to_batch" else "crops")
    told = spacebatch.explain(cell.moves, source, block, border, **arguments)
    return f"{told.backend}: {told.kernel}"
