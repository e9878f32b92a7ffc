"""The choices measured on one device, on disk beside the tuning tables of the kernels."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from typing import NamedTuple

FORMAT = 1


class Choice(NamedTuple):
    """What was measured for one geometry: the faster method, and seconds of either; None: it ran out of memory."""

    method: str
    native: float | None
    batch_space: float | None


class Choices:
    """Choices by geometry, read once and written whenever one is added.

    A table that is damaged, of another format or of another device counts as empty; a folder that cannot be written costs
    one warning, and the choices then live as long as the process.
    """

    def __init__(self, device: str) -> None:
        from spacebatch.tl_kernels.tuning import cache_folder

        self.device = device
        safe = "".join(c if c.isalnum() else "_" for c in device)
        self.path = cache_folder() / f"{safe}.convolutions.json"
        self.entries: dict[str, Choice] = {}
        self._warned = False
        self._read()

    def _read(self) -> None:
        try:
            data = json.loads(self.path.read_text(encoding="utf-8"))
            if data["format"] != FORMAT or data["device"] != self.device:
                raise ValueError(f"not a table of format {FORMAT} for {self.device}")
            for key, (method, native, batch_space) in data["entries"].items():
                if method not in ("native", "batch_space"):
                    raise ValueError(f"unknown method {method!r}")
                self.entries[str(key)] = Choice(method, _seconds(native), _seconds(batch_space))
        except FileNotFoundError:
            return
        except OSError as error:
            self._warn(f"cannot read {self.path}: {error}")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._warn(f"{self.path} is damaged ({type(error).__name__}: {error}); it is not used")

    def get(self, key: str) -> Choice | None:
        """The choice measured for a geometry, if any."""
        return self.entries.get(key)

    def add(self, key: str, choice: Choice) -> None:
        """Keep a choice, in memory in any case and on disk where possible; other processes' entries stay."""
        self._read()
        self.entries[key] = choice
        data = {"format": FORMAT, "device": self.device, "entries": dict(sorted(self.entries.items()))}
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
            warnings.warn(f"spacebatch: measured convolutions: {message}", stacklevel=2)


def _seconds(value: float | None) -> float | None:
    return None if value is None else float(value)
