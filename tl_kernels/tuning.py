"""Tile sizes: a rule to start from, Triton's autotuner to do better, and a table per device on disk to remember.

`SPACEBATCH_AUTOTUNE` = "cached" (default): what the table holds, else the rule; no call ever waits for a measurement.
"on": a bucket that the table lacks is measured at its first call, except while a CUDA graph is captured, and stored.
"off": the rule alone. A bucket takes in all shapes with the same kind of access and about the same sizes.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

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


def cache_folder() -> Path:
    """Where the tables stand: SPACEBATCH_CACHE_DIR, else the user's cache folder."""
    override = os.environ.get("SPACEBATCH_CACHE_DIR")
    if override:
        return Path(override)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", str(Path.home())))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")))
    return base / "spacebatch"


FORMAT = 2
SHIPPED = Path(__file__).parent / "tables"  # tables measured before a release


class Table:
    """The configurations measured on one device, read once and written whenever one is added.

    A table that is corrupt, of another format or of another device counts as empty; a folder that cannot be written
    costs one warning, and the configurations then live as long as the process.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        safe = "".join(c if c.isalnum() else "_" for c in device)
        self.path = cache_folder() / f"{safe}.json"
        self.entries: dict[str, Config] = {}
        self._shipped: dict[str, Config] = {}
        self._warned = False
        self._read(SHIPPED / self.path.name, self._shipped)
        self._read(self.path, self.entries)

    def _read(self, path: Path, entries: dict[str, Config]) -> None:
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        except OSError as error:
            self._warn(f"cannot read {path}: {error}")
            return
        try:
            data = json.loads(text)
            if data["format"] != FORMAT or data["device"] != self.device:
                self._warn(f"{path} is not a table of format {FORMAT} for {self.device}; it is not used")
                return
            for key, (family, tile, warps) in data["entries"].items():
                config = Config(str(family), int(tile), int(warps))
                if config.family in FAMILIES and config.tile_bytes in TILES and config.warps in WARPS:
                    entries[str(key)] = config
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._warn(f"{path} is damaged ({type(error).__name__}: {error}); it is not used")

    def get(self, key: str) -> Config | None:
        """The configuration measured for a bucket, here or before the package was released, if any."""
        return self.entries.get(key) or self._shipped.get(key)

    def add(self, key: str, config: Config) -> None:
        """Keep a configuration, in memory in any case and on disk where possible; other processes' entries stay."""
        global generation
        generation += 1
        self._read(self.path, self.entries)
        self.entries[key] = config
        data: dict[str, Any] = {"format": FORMAT, "device": self.device, "entries": dict(sorted(self.entries.items()))}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.path.parent, suffix=".tmp")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(data, file, indent=1)
            os.replace(name, self.path)
        except OSError as error:
            self._warn(f"cannot write {self.path}: {error}")

    def _warn(self, message: str) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(f"spacebatch: tuning table: {message}", stacklevel=2)


generation = 0  # counts what was added to tables, so that launches made ready before are not taken after


@cache
def table(device: str) -> Table:
    """The table of a device, by its name."""
    return Table(device)
