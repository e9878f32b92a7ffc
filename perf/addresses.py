"""The addresses that kernels really read and write: their own addressing, run by Triton's interpreter.

The interpreter has to be chosen before the kernels are defined, so it runs in a process of its own, which gets launch
plans and gives back, for each program, the pointers and masks of its loads and stores in the order of the code. Nothing is
read or written there: the tensors are a few bytes, whatever the call's sizes are.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from spacebatch.tl_kernels.family import Config, Plan


class Recorded(NamedTuple):
    """A load or store of one program: its pointers as bytes from the tensor's start, and which of them are meant."""

    store: bool
    offsets: np.ndarray[Any, Any]
    mask: np.ndarray[Any, Any]


class Launch(NamedTuple):
    """A plan, its configuration, and the programs to look at."""

    plan: Plan
    config: Config
    programs: tuple[int, ...]


def record(launches: Sequence[Launch]) -> list[list[list[Recorded]]]:
    """What each program of each launch reads and writes.

    Raises:
        RuntimeError: the interpreter failed; the message is what it said.
    """
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "spacebatch.perf.addresses"]
    done = subprocess.run(
        command, input=pickle.dumps([tuple(launch) for launch in launches]), env=environment, capture_output=True
    )
    if done.returncode:
        raise RuntimeError(f"addresses: the interpreter failed: {done.stderr.decode(errors='replace')[-2000:]}")
    return [[[Recorded(*access) for access in program] for program in launch] for launch in pickle.loads(done.stdout)]


class _Few:
    """A plan that launches a few programs only."""

    def __init__(self, plan: Plan, count: int) -> None:
        self._plan, self._count = plan, count

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plan, name)

    def programs(self, tile: int) -> int:
        return self._count


class _Recorder:
    """Stands before the interpreter's memory: notes what is asked for, and loads nothing but the value of the masked."""

    def __init__(self, memory: Any) -> None:
        self._memory = memory
        self.noted: list[tuple[bool, Any, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._memory, name)

    def load(self, pointers: Any, mask: Any, other: Any, dtype: Any) -> Any:
        self.noted.append((False, pointers.copy(), mask.copy()))
        return np.broadcast_to(other, pointers.shape).astype(dtype)

    def store(self, pointers: Any, value: Any, mask: Any) -> None:
        self.noted.append((True, pointers.copy(), mask.copy()))


@contextmanager
def _recording(programs: Sequence[int], total: int) -> Iterator[list[list[tuple[bool, Any, Any]]]]:
    """While it lasts the interpreter's program i is `programs[i]` of `total`; one list of accesses for each is given."""
    from triton.runtime import interpreter

    builder, memory = interpreter.interpreter_builder, interpreter._interpreter
    recorder = _Recorder(memory)
    found: list[list[tuple[bool, Any, Any]]] = []
    set_index, set_dim = builder.set_grid_idx, builder.set_grid_dim

    def begin(x: int, y: int, z: int) -> None:
        recorder.noted = []
        found.append(recorder.noted)
        set_index(programs[x], y, z)

    try:
        interpreter._interpreter = recorder
        builder.set_grid_idx, builder.set_grid_dim = begin, lambda *_: set_dim(total, 1, 1)
        yield found
    finally:
        interpreter._interpreter = memory
        del builder.set_grid_idx, builder.set_grid_dim


def _interpret(plan: Plan, config: Config, programs: Sequence[int]) -> list[list[tuple[bool, Any, Any]]]:
    import torch

    from spacebatch.tl_kernels import launch

    word = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[plan.words]
    source, result = (torch.empty(64, dtype=word) for _ in range(2))
    bases = {False: source.data_ptr(), True: result.data_ptr()}
    few: Any = _Few(plan, len(programs))
    with _recording(programs, plan.programs(config.tile_bytes // plan.words)) as found:
        launch.start(few, config, (source, result), (0, 0))
    return [
        [(store, pointers.astype(np.int64) - bases[store], mask.astype(bool)) for store, pointers, mask in program]
        for program in found
    ]


def _serve() -> None:
    found = [_interpret(*launch) for launch in pickle.load(sys.stdin.buffer)]
    sys.stdout.buffer.write(pickle.dumps(found))


if __name__ == "__main__":
    _serve()
