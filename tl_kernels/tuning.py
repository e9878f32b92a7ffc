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
import zlib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from .plan import Plan


class Config(NamedTuple):
    """What is tuned: bytes of a program's tile, and its warps."""

    tile_bytes: int
    warps: int


SPACE = tuple(Config(tile, warps) for tile in (2048, 4096, 8192, 16384, 32768) for warps in (1, 2, 4, 8))
MODES = ("off", "cached", "on")


def mode() -> str:
    """The tuning mode that the environment asks for."""
    value = os.environ.get("SPACEBATCH_AUTOTUNE", "cached")
    if value not in MODES:
        raise ValueError(f"SPACEBATCH_AUTOTUNE must be one of {MODES}, got {value!r}")
    return value


def bucket(plan: Plan) -> str:
    """The tuning key of a plan: kind of access, and magnitudes of the row and of the whole.

    Two shapes in one bucket share their configuration, so it holds nothing that changes from one image size to the next.
    """
    access = "/".join(str(d.kind + (4 if d.masked else 0)) for d in plan.dims)
    units = f"{plan.words}x{plan.space_unit}x{plan.batch_unit}"
    sizes = f"{plan.length.bit_length()}x{min((plan.rows * plan.length).bit_length(), 28)}"
    dense = f"{int(plan.space_step == 1)}{int(plan.batch_step == 1)}{int(plan.inner.masked)}"
    return f"rows {plan.direction} {plan.mode} {dense} {units} {sizes} {access}"


def bucket_number(key: str) -> int:
    """The key as a number below 2**31, which Triton's autotuner can take as an argument."""
    return zlib.crc32(key.encode()) >> 1


def rule(plan: Plan) -> Config:
    """Where nothing was measured: 8 KiB and 4 warps, less where that would leave most of a GPU idle.

    Scalar accesses keep a register or two per element, so a thread gets at most 16 elements with narrow stores and 32
    with wide ones: more made the compiler spill.
    """
    total = plan.rows * plan.length * plan.words
    wide = (plan.batch_unit if plan.direction == "space_to_batch" else plan.space_unit) * plan.words >= 16
    tile = min(8192, 128 * plan.words * (32 if wide else 16))
    while tile > 1024 and total // tile < 512:
        tile //= 2
    return Config(tile, 4 if tile >= 4096 or not wide else 2 if tile >= 2048 else 1)


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


FORMAT = 1


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
        self._warned = False
        self._read()

    def _read(self) -> None:
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        except OSError as error:
            self._warn(f"cannot read {self.path}: {error}")
            return
        try:
            data = json.loads(text)
            if data["format"] != FORMAT or data["device"] != self.device:
                self._warn(f"{self.path} is not a table of format {FORMAT} for {self.device}; it is not used")
                return
            for key, (tile, warps) in data["entries"].items():
                config = Config(int(tile), int(warps))
                if config in SPACE:
                    self.entries[str(key)] = config
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._warn(f"{self.path} is damaged ({type(error).__name__}: {error}); it is not used")

    def get(self, key: str) -> Config | None:
        """The configuration measured for a bucket, if any."""
        return self.entries.get(key)

    def add(self, key: str, config: Config) -> None:
        """Keep a configuration, in memory in any case and on disk where possible; other processes' entries stay."""
        self._read()
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


@cache
def table(device: str) -> Table:
    """The table of a device, by its name."""
    return Table(device)
