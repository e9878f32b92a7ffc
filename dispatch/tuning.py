"""What may be measured at a first call, and the configurations of the Triton kernels that were, kept on disk for each device.

`SPACEBATCH_AUTOTUNE` says, for the kernels and for `method="auto"` of convolutions alike:

"on"      what the device's table lacks is measured at its first call and kept, except while a CUDA graph is captured
"cached"  the table is read and nothing is measured: what it lacks goes by the rule, a convolution by the native method
"off"     the table is not read either

Where it is not set, kernels go by "cached", so that no call waits for a measurement; `method="auto"` goes by "on", for it
is chosen in order to measure. The kernels' rule is `Plan.rule`; a bucket takes in all calls with the same kind of access
and about the same sizes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal, TypeAlias, get_args

import torch

from spacebatch.tl_kernels.family import Config, Plan

from .device_table import DeviceTable

Mode: TypeAlias = Literal["off", "cached", "on"]
MODES: tuple[Mode, ...] = get_args(Mode)


_NAME = "SPACEBATCH_AUTOTUNE"
# `os.environ.get` raises and catches an error where nothing is set, and takes 0.7 us; what it looks into does not.
_data: Any = getattr(os.environ, "_data", None)
_key: Any = os.environ.encodekey(_NAME)


def setting() -> object:
    """What the environment holds for it, to be compared with what it held before."""
    return os.environ.get(_NAME) if _data is None else _data.get(_key)


def mode(unset: Mode = "cached") -> Mode:
    """The mode that the environment asks for; `unset` where it is not set, or empty."""
    value = os.environ.get(_NAME) if setting() else None
    if not value:
        return unset
    for known in MODES:
        if value == known:
            return known
    raise ValueError(f"SPACEBATCH_AUTOTUNE must be one of {MODES}, got {value!r}")


class Table(DeviceTable[Config]):
    """The configurations measured on one device, by bucket; those of families or sizes that there are no more are dropped."""

    FORMAT, SUFFIX, NAME = 2, ".json", "tuning table"

    def entry(self, values: list[Any]) -> Config | None:
        """A configuration, if it is one of today's."""
        family, tile, warps = values
        config = Config(str(family), int(tile), int(warps))
        return config if config.known else None

    def add(self, key: str, entry: Config) -> None:
        """Keep a configuration; launches made ready before are chosen anew."""
        global _added
        _added += 1
        super().add(key, entry)


_added = 0  # to tables


@cache
def table(device: str) -> Table:
    """The table of a device, by its name."""
    return Table(device)


def version() -> tuple[Mode, int]:
    """Another value whenever `choose` may answer otherwise."""
    return mode(), _added


def choose(
    plans: Sequence[Plan], device: int, measure: Callable[[], Config | None] | None
) -> tuple[Config | None, bool]:
    """The configuration of a call by the table, measured first where that is wanted and allowed; see `launch.Tuning`."""
    wanted = mode()
    if wanted == "off":
        return None, True
    known = table(torch.cuda.get_device_name(device))
    found = known.get(plans[0].bucket)
    if found is not None or wanted != "on" or measure is None:
        return found, True
    if torch.cuda.is_current_stream_capturing():
        return None, False
    found = measure()
    if found is not None:
        known.add(plans[0].bucket, found)
    return found, found is not None
