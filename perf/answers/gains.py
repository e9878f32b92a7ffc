"""Where it helps and where it hurts: single convolutions over channels, rate and size, as `perf atrous` measures them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from ..dilated import STEPS, Case, measure_case
from ..tiled import processor_clock
from .scenes import small

BASE = Case((2, 64, 64, 64), 3, 2)
RATES = (2, 8, 24)
# what is varied from 64 channels, 64x64, dense, 3x3
VARIED: dict[str, dict[str, Any]] = {
    "2-D, dense, 64 channels, 64x64": {},
    "2-D, dense, 8 channels, 64x64": {"shape": (2, 8, 64, 64)},
    "2-D, dense, 256 channels, 64x64": {"shape": (1, 256, 64, 64)},
    "2-D, dense, 64 channels, 33x33": {"shape": (2, 64, 33, 33)},
    "2-D, depthwise, 64 channels, 64x64": {"groups": "depthwise"},
    "1-D, dense, 64 channels, 4096": {"shape": (2, 64, 4096)},
    "3-D, dense, 16 channels, 24x24x24": {"shape": (1, 16, 24, 24, 24)},
}


def measure(quick: bool) -> dict[str, Any]:
    """The native time over that in batch space, and whether the results are equal, of every case."""
    rows = []
    for name, changes in list(VARIED.items())[:: 3 if quick else 1]:
        for step in STEPS:
            row: dict[str, Any] = {"convolution": name, "step": step, "gain": {}, "difference": 0.0}
            for rate in RATES[:1] if quick else RATES:
                case = replace(BASE, rate=rate, step=step, **changes)
                if quick:
                    case = replace(case, shape=(1, 4, *(8,) * (len(case.shape) - 2)))
                record = measure_case(case, torch.device("cpu"), 0 if quick else 0.7, processor_clock)
                if "native" not in record:
                    raise RuntimeError(f"answers: {case.key}: {record.get('wrong') or record.get('failed')}")
                row["gain"][str(rate)] = record["native"]["median"] / record["batch_space"]["median"]
                row["difference"] = max(row["difference"], record["difference"])
            rows.append(row)
    return {"rows": rows}


def told(found: dict[str, Any]) -> list[Any]:
    """How many gain, and a table."""
    rates = list(found["rows"][0]["gain"])
    gains = [gain for row in found["rows"] for gain in row["gain"].values()]
    table: list[Any] = [("convolution", "what", *(f"rate {rate}" for rate in rates), "results differ by")]
    for row in found["rows"]:
        table.append(
            (
                row["convolution"],
                row["step"],
                *(f"{row['gain'][rate]:.2f}" for rate in rates),
                small(row["difference"]),
            )
        )
    won = sum(gain > 1 for gain in gains)
    sentence = f"The native time over that in batch space: above 1 batch space is faster, here in {won} of {len(gains)} cases, from {min(gains):.2f} to {max(gains):.2f}."
    return [sentence, table]
