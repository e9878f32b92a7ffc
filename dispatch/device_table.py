"""What was measured on a device, kept on disk in the user's cache folder: one JSON file for each device and kind of entry."""

from __future__ import annotations

import json
import warnings
from typing import Any, Generic, TypeVar

from spacebatch.reference.cache_folder import cache_folder

from .atomic_file import write_text_atomically

Entry = TypeVar("Entry")


class DeviceTable(Generic[Entry]):
    """Entries by key, read once and written whenever one is added; a subclass says what they are.

    A table that is damaged, of another format or of another device counts as empty; a folder that cannot be written costs
    one warning, and the entries then live as long as the process.
    """

    FORMAT: int
    SUFFIX: str  # of the file's name, after the device's
    NAME: str  # in warnings

    def __init__(self, device: str) -> None:
        self.device = device
        safe = "".join(c if c.isalnum() else "_" for c in device)
        self.path = cache_folder() / f"{safe}{self.SUFFIX}"
        self.entries: dict[str, Entry] = {}
        self._warned = False
        self._read()

    def entry(self, values: list[Any]) -> Entry | None:
        """An entry of what JSON holds, or None for one that is of no use here.

        Raises:
            ValueError, TypeError: it is none.
        """
        raise NotImplementedError

    def _read(self) -> None:
        try:
            data = json.loads(self.path.read_text(encoding="utf-8"))
            if data["format"] != self.FORMAT or data["device"] != self.device:
                self._warn(f"{self.path} is not a table of format {self.FORMAT} for {self.device}; it is not used")
                return
            found = {str(key): self.entry(values) for key, values in data["entries"].items()}
            self.entries.update((key, entry) for key, entry in found.items() if entry is not None)
        except FileNotFoundError:
            return
        except OSError as error:
            self._warn(f"cannot read {self.path}: {error}")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._warn(f"{self.path} is damaged ({type(error).__name__}: {error}); it is not used")

    def get(self, key: str) -> Entry | None:
        """What was measured, if anything."""
        return self.entries.get(key)

    def add(self, key: str, entry: Entry) -> None:
        """Keep an entry, in memory in any case and on disk where possible; other processes' entries stay."""
        self._read()
        self.entries[key] = entry
        data = {"format": self.FORMAT, "device": self.device, "entries": dict(sorted(self.entries.items()))}
        try:
            write_text_atomically(self.path, json.dumps(data, indent=1))
        except OSError as error:
            self._warn(f"cannot write {self.path}: {error}")

    def _warn(self, message: str) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(f"spacebatch: {self.NAME}: {message}", stacklevel=2)
