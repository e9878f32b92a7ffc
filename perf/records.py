"""What was measured, as JSON that is on disk after every case.

The file is one object:

    schema      2
    kind        "sweep" or "gpu"
    measured    false for a rehearsal, whose figures mean nothing
    spacebatch  the version. device: its name, type, memory and cache in bytes,
                the threads of the CPU and the cores there are. software: versions, by name.
    loads       the average of a minute at the "start" and the "end"; more than the cores is too much
    providers   name → what it is. absent: name → why it was not timed at all.
    steps       [{name, state: "done" | "incomplete" | "failed" | "skipped", seconds, detail}], of a run of `gpu`
    cells       [record], see `Record`, its case as "cell"; times in seconds, each {median, lower, upper, runs}
    not_measured  the keys of cases that were wanted and not reached
    tuned       what tuning found: [{bucket, config, seconds, rule, rule_seconds, every}]

The standard library reads and writes it in the few lines below; a package for schemata would be needed by every command.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from spacebatch.atomic_file import write_text_atomically
from spacebatch.timing import Timing, cache_bytes, hardware, software

from .cases import Case
from .fused_cases import FusedCase
from .load import average, cores

SCHEMA = 2


@dataclass
class Record:
    """What became of one case.

    Attributes:
        case: which.
        moved_bytes: that must move, read and written.
        copy: a copy of as many bytes in the same run, None where none was timed.
        times: name → timing, of the providers that gave the right result.
        ratios: name → the provider's seconds over ours (see `Provider.against`), the median of the ratios round by round.
        wrong: names of those whose result differed; they are not timed.
        failed: name → error. refused: name → why it has nothing for this case.
        kernel: what ran on our side, configuration included.
        host: name → seconds until a call returns. graph: name → seconds inside a CUDA graph, "copy" among them.
        extra_bytes: of memory that our call takes beside input and result.
    """

    case: Case
    moved_bytes: int
    copy: Timing | None = None
    times: dict[str, Timing] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    kernel: str = ""
    host: dict[str, float] = field(default_factory=dict)
    graph: dict[str, float] = field(default_factory=dict)
    extra_bytes: int | None = None

    @property
    def share(self) -> float | None:
        """Our bandwidth as a share of the copy's."""
        ours = self.times.get("ours")
        return self.copy.median / ours.median if self.copy and ours else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON; what is empty is left out."""
        data = {"key": self.case.key, "cell": asdict(self.case), **asdict(self)}
        del data["case"]
        return {name: value for name, value in data.items() if value not in (None, "", {}, [])}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Record:
        """The record that `as_dict` described."""
        rest = {name: value for name, value in data.items() if name not in ("key", "cell")}
        rest["times"] = {name: Timing(**timing) for name, timing in data.get("times", {}).items()}
        rest["copy"] = Timing(**data["copy"]) if "copy" in data else None
        kind = FusedCase if "activation" in data["cell"] else Case
        return cls(kind.from_dict(data["cell"]), **rest)


@dataclass
class Run:
    """All that one run measured; `save` may be called after every case."""

    kind: str
    measured: bool
    device: dict[str, Any]
    software: str
    spacebatch: str
    loads: dict[str, float | None] = field(default_factory=dict)
    providers: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    cases: list[Record] = field(default_factory=list)
    not_measured: list[str] = field(default_factory=list)
    tuned: list[dict[str, Any]] = field(default_factory=list)
    path: Path | None = None
    _saved: float = field(default=0.0, repr=False)

    @classmethod
    def begin(cls, kind: str, device: torch.device, path: Path | None = None, measured: bool = True) -> Run:
        """An empty run on a device."""
        import spacebatch

        loads = {"start": average()}
        return cls(kind, measured, device_facts(device), software(), spacebatch.__version__, loads, path=path)

    def add(self, record: Record) -> None:
        """Keep a record, in the place of an earlier one of the same case, and write the file every few seconds."""
        kept = {before.case.key: before for before in self.cases}
        self.cases = list((kept | {record.case.key: record}).values())
        if time.monotonic() - self._saved > 2:
            self.save()

    def save(self) -> None:
        """Write the file, whole or not at all."""
        if self.path is not None:
            self._saved = time.monotonic()
            self.loads["end"] = average()
            write_json(self.as_dict(), self.path)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; the schema stands at the top of this file."""
        data = {name: value for name, value in vars(self).items() if name not in ("cases", "path", "_saved")}
        return {"schema": SCHEMA, **data, "cells": [record.as_dict() for record in self.cases]}

    @classmethod
    def load(cls, path: Path) -> Run:
        """Read a file back.

        Raises:
            ValueError: not such a file, or one of another schema.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            schema = data.pop("schema")
            if schema != SCHEMA:
                raise ValueError(f"it has schema {schema}, this version reads {SCHEMA}")
            cases = [Record.from_dict(record) for record in data.pop("cells")]
            return cls(**data, cases=cases, path=path)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is not a file of measurements: {error}") from error


def write_json(data: dict[str, Any], path: Path) -> None:
    """Write a file of figures, whole or not at all."""
    write_text_atomically(path, json.dumps(data, indent=1) + "\n")


def about(command: str, device: torch.device) -> dict[str, Any]:
    """What stands at the head of a file of figures: what measured them, the machine, the versions, and the load before the first figure."""
    return {
        "command": command,
        "hardware": hardware(device),
        "software": software(),
        "cores": cores(),
        "load": average(),
    }


def device_of(name: str | None) -> torch.device:
    """The device of an option: "cpu", "cuda", or None for the GPU if there is one.

    Raises:
        ValueError: there is no GPU, and one was asked for.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("this PyTorch sees no CUDA or ROCm device; leave --device out to run on the CPU")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def device_facts(device: torch.device) -> dict[str, Any]:
    """What a figure's reader must know of the machine."""
    facts: dict[str, Any] = {"type": device.type, "name": hardware(device), "threads": torch.get_num_threads()}
    facts["cores"] = cores()
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {
            "memory": properties.total_memory,
            "cache": cache_bytes(device),
            "processors": properties.multi_processor_count,
        }
        version = Path("/proc/driver/nvidia/version")
        if version.exists():
            facts["driver"] = version.read_text(encoding="utf-8").splitlines()[0]
    return facts
