"""Tile sizes: a rule to start from, Triton's autotuner to do better, and a table per device on disk to remember.

`SPACEBATCH_AUTOTUNE` = "cached" (default): what the table holds, else the rule; no call ever waits for a measurement.
"on": a bucket that the table lacks is measured at its first call, except while a CUDA graph is captured, and stored.
"off": the rule alone. A bucket takes in all shapes with the same kind of access and about the same sizes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from typing import Any

from .device_table import DeviceTable
from .family import Config, Plan

FAMILIES = ("rows", "vectors", "phases", "granules")
TILES = (1024, 2048, 4096, 8192, 16384, 32768)
WARPS = (1, 2, 4, 8)
MOST_BYTES_PER_THREAD = 128  # more takes registers that are not there
MODES = ("off", "cached", "on")


def mode() -> str:
    """The tuning mode that the environment asks for."""
    value = os.environ.get("SPACEBATCH_AUTOTUNE", "cached")
    if value not in MODES:
        raise ValueError(f"SPACEBATCH_AUTOTUNE must be one of {MODES}, got {value!r}")
    return value


def candidates(plans: Sequence[Plan]) -> tuple[Config, ...]:
    """All configurations worth measuring for a call, over every family that applies to it."""
    return tuple(
        Config(plan.family, tile, warps)
        for plan in plans
        for tile in TILES
        for warps in WARPS
        if 16 <= tile // (32 * warps) <= MOST_BYTES_PER_THREAD
    )


class Table(DeviceTable[Config]):
    """The configurations measured on one device, by bucket; those of families or sizes that there are no more are dropped."""

    FORMAT, SUFFIX, NAME = 2, ".json", "tuning table"

    def entry(self, values: list[Any]) -> Config | None:
        """A configuration, if it is one of today's."""
        family, tile, warps = values
        config = Config(str(family), int(tile), int(warps))
        usable = config.family in FAMILIES and config.tile_bytes in TILES and config.warps in WARPS
        return config if usable else None

    def add(self, key: str, entry: Config) -> None:
        """Keep a configuration; launches made ready before are chosen anew."""
        global generation
        generation += 1
        super().add(key, entry)


generation = 0  # counts what was added to tables, so that launches made ready before are not taken after


@cache
def table(device: str) -> Table:
    """The table of a device, by its name."""
    return Table(device)
