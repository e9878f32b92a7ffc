"""Memory: the most that PyTorch's allocator has given out at once, by its own record of every block; and that of the process."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

import spacebatch

from ..measure import extra_bytes
from .scenes import network

MIB = 1 << 20
# network: (channels, rates, dims, depthwise, shape, tile)
NETWORKS: dict[str, tuple[Any, ...]] = {
    "2-D, 32 channels, 256x256": (32, (2, 4, 8, 4), 2, False, (1, 1, 256, 256), 64),
    "2-D, 32 channels, 250x250": (32, (2, 4, 8, 4), 2, False, (1, 1, 250, 250), 64),
    "2-D, depthwise, 32 channels, 256x256": (32, (2, 4, 8, 4), 2, True, (1, 1, 256, 256), 64),
    "3-D, 8 channels, 48x48x48": (8, (2, 4, 2), 3, False, (1, 1, 48, 48, 48), 16),
}


def measure(quick: bool) -> dict[str, Any]:
    """Inference and a training step of each network, natively and in batch space, and inference by tiles."""
    rows = []
    for name in list(NETWORKS)[:: 3 if quick else 1]:
        channels, rates, dims, depthwise, shape, tile = NETWORKS[name]
        if quick:
            channels, shape, tile = 4, (1, 1, *(16,) * dims), 8
        native = network(channels, rates, dims, depthwise)
        ours = spacebatch.convert(copy.deepcopy(native), method="batch_space")
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        halo = 1 + sum(rates)
        calls: dict[tuple[str, str], Callable[[], Any]] = {
            ("inference", "native"): _inference(native, x),
            ("inference", "batch space"): _inference(ours, x),
            ("inference", f"native, tiles of {tile}, halo {halo}"): lambda n=native, x=x, t=tile, h=halo: (
                spacebatch.tiled(n.eval(), x, t, halo=h)
            ),  # type: ignore[misc]
            ("training step", "native"): _step(native, x),
            ("training step", "batch space"): _step(ours, x),
        }
        for (step, way), call in calls.items():
            rows.append(
                {
                    "network": name,
                    "step": step,
                    "way": way,
                    "bytes": peak(call),
                    "process": extra_bytes(call, 0, x.device),
                }
            )
    return {"rows": rows}


def _inference(net: nn.Module, x: torch.Tensor) -> Callable[[], Any]:
    def call() -> Any:
        with torch.no_grad():
            return net.eval()(x)

    return call


def _step(net: nn.Module, x: torch.Tensor) -> Callable[[], Any]:
    def call() -> None:
        net.train().zero_grad()
        net(x).sum().backward()

    return call


def peak(call: Callable[[], Any]) -> int:
    """The most bytes that PyTorch's allocator has given out at once during a call, beside what was there before.

    >>> peak(lambda: torch.zeros(1000).double())
    12000
    """
    call()  # kernels are compiled, plans are made
    with _quiet(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        result = call()
    del result
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


@contextmanager
def _quiet() -> Iterator[None]:
    """The profiler's library says on standard error that it starts and stops."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def told(found: dict[str, Any]) -> list[Any]:
    """A table."""
    table: list[Any] = [("network", "what", "computed", "PyTorch's allocator, MiB", "of native", "process, MiB")]
    native = {(row["network"], row["step"]): row["bytes"] for row in found["rows"] if row["way"] == "native"}
    for row in found["rows"]:
        share = row["bytes"] / native[row["network"], row["step"]]
        process = "" if row["process"] is None else f"{row['process'] / MIB:.0f}"
        table.append((row["network"], row["step"], row["way"], f"{row['bytes'] / MIB:.1f}", f"{share:.2f}x", process))
    return [table]
