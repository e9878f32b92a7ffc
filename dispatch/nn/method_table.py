"""The choices measured on one device, on disk beside the tuning tables of the kernels."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..device_table import DeviceTable


class Choice(NamedTuple):
    """What was measured for one geometry: the fastest method, and seconds of each; None: it was none, or ran out of memory."""

    method: str
    native: float | None
    batch_space: float | None
    channels_last: float | None = None


class MethodTable(DeviceTable[Choice]):
    """The methods measured on one device, by geometry of the convolution."""

    plans: dict[Any, Any]  # what modules do with inputs that they have met

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self.plans = {}

    FORMAT, SUFFIX, NAME = 2, ".convolutions.json", "measured convolutions"

    def entry(self, values: list[Any]) -> Choice:
        """A choice."""
        method, *seconds = values
        if method not in ("native", "batch_space", "channels_last") or len(seconds) != 3:
            raise ValueError(f"unknown method {method!r}, or no times of three")
        return Choice(method, *map(_seconds, seconds))


def _seconds(value: float | None) -> float | None:
    return None if value is None else float(value)
