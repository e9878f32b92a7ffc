"""Training time: networks trained side by side from the same weights on the same images, natively and in batch space."""

from __future__ import annotations

import copy
import statistics
from typing import Any

from torch import nn

import spacebatch

from .scenes import batches, network, ratio, small, train

SAME = 20  # steps over which losses are compared: rounding grows from step to step, between any two ways of computing
SHARE = 0.4  # of the first loss, which is to be reached
# network: (channels, rates, dims, depthwise, images, size, radii)
NETWORKS: dict[str, tuple[Any, ...]] = {
    "2-D, 16 channels, 48x48": (16, (2, 4, 8, 4), 2, False, 8, 48, (5, 11)),
    "2-D, depthwise, 32 channels, 48x48": (32, (2, 4, 8, 4), 2, True, 8, 48, (5, 11)),
    "3-D, 16 channels, 24x24x24": (16, (2, 4, 2), 3, False, 2, 24, (4, 7)),
}


def measure(quick: bool) -> dict[str, Any]:
    """Each network natively, all in batch space, and as `convert` decides."""
    rows = []
    for name in list(NETWORKS)[:: 2 if quick else 1]:
        channels, rates, dims, depthwise, images, size, radii = NETWORKS[name]
        if quick:
            channels, size, images = 4, 12, 2
        native = network(channels, rates, dims, depthwise).train()
        data = batches(3 if quick else 80 if dims == 2 else 40, images, size, dims=dims, radii=radii)
        ways: dict[str, nn.Module] = {"native": native}
        ways["batch space"] = spacebatch.convert(copy.deepcopy(native), data[0][0], method="batch_space")
        if not quick:
            ways["as convert decides"] = spacebatch.convert(copy.deepcopy(native), data[0][0], budget=4)
        replaced = {
            way: sum(hasattr(part, "method") and part.method != "native" for part in net.modules())
            for way, net in ways.items()
        }
        if not replaced.get("as convert decides", 1):  # it is the native network
            del ways["as convert decides"]
        train({way: copy.deepcopy(net) for way, net in ways.items()}, data[:2])  # kernels are compiled
        found = train(ways, data)
        base = found["native"]
        target = SHARE * base.losses[0]
        for way, count in replaced.items():
            run = found.get(way, base)
            steps = run.steps_until(target, over=2 if quick else 10)
            rows.append(
                {
                    "network": name,
                    "way": way,
                    "replaced": count,
                    "convolutions": len(rates),
                    "ms": 1e3 * statistics.median(run.seconds),
                    "gain": ratio(base.seconds, run.seconds),
                    "steps": steps,
                    "seconds": None if steps is None else sum(run.seconds[:steps]),
                    "last_loss": statistics.fmean(run.losses[-10:]),
                    "difference": max(
                        abs(a - b) / a for a, b in zip(base.losses[:SAME], run.losses[:SAME], strict=True)
                    ),
                }
            )
    return {"share": SHARE, "compared": SAME, "rows": rows}


def told(found: dict[str, Any]) -> list[Any]:
    """A table."""
    head = (
        *(
            "network",
            "computed",
            "replaced",
            "ms a step",
            "gain",
            f"steps until {found['share']:.0%} of the first loss",
        ),
        *("seconds until then", "loss at the end", f"losses differ in {found['compared']} steps by"),
    )
    table: list[Any] = [head]
    for row in found["rows"]:
        reached = ("never", "") if row["steps"] is None else (row["steps"], f"{row['seconds']:.2f}")
        replaced = f"{row['replaced']} of {row['convolutions']}"
        times = f"{row['ms']:.1f}", f"{row['gain']:.2f}x"
        table.append(
            (
                row["network"],
                row["way"],
                replaced,
                *times,
                *reached,
                f"{row['last_loss']:.3f}",
                small(row["difference"]),
            )
        )
    gains = {row["network"]: row["gain"] for row in found["rows"] if row["way"] == "batch space"}
    faster = "; ".join(name for name, gain in gains.items() if gain > 1) or "none"
    slower = "; ".join(name for name, gain in gains.items() if gain <= 1) or "none"
    return [f"All in batch space, these get faster: {faster}. These do not: {slower}.", table]
