"""Compilation in parallel processes, ahead of a measurement that would spend most of its time on it.

The compilers keep what they made on disk, where the measuring process finds it. The processes are started as
`python -m spacebatch.perf.precompile JOBS`, not forked or spawned by multiprocessing, which would run a caller's script
again.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from .baselines import PROVIDERS

Job = tuple[Any, ...]  # (what, of what, …), see `compile_all`


def compile_all(jobs: Sequence[Job], seconds: float, processes: int | None = None) -> tuple[int, list[str]]:
    """Do all jobs in parallel, for so many seconds at most.

    >>> compile_all([], 1.0)
    (0, [])

    Args:
        jobs: ("kernel", plan, config) compiles one of our kernels; ("call", case) the one that a case takes;
            ("compile", case, "cuda") what torch.compile makes of it there.
        seconds: what is not done by then is left.
        processes: by default one per core, less one.

    Returns:
        (how many jobs were done, what went wrong in others).
    """
    if not jobs:
        return 0, []
    count = max(1, min(processes or (os.cpu_count() or 2) - 1, len(jobs)))
    end = time.monotonic() + seconds
    environment = {**os.environ, "TORCHINDUCTOR_COMPILE_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        workers = []
        for number in range(count):
            file = Path(folder, f"{number}.jobs")
            file.write_bytes(pickle.dumps(list(jobs[number::count])))
            command = [sys.executable, "-m", "spacebatch.perf.precompile", str(file)]
            workers.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        done, errors = 0, []
        for worker in workers:
            try:
                text, _ = worker.communicate(timeout=max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()
                text, _ = worker.communicate()
            lines = text.splitlines()
            done += lines.count("done")
            errors += [line.removeprefix("failed: ") for line in lines if line.startswith("failed: ")]
    return done, errors


def main(arguments: Sequence[str]) -> int:
    """Do the jobs of a file, and print a line for each."""
    jobs: list[Job] = pickle.loads(Path(arguments[0]).read_bytes())
    for job in jobs:
        try:
            _WORK[job[0]](*job[1:])
            print("done", flush=True)
        except Exception as error:  # one kernel that does not compile leaves the others
            text = f"{type(error).__name__}: {error}".replace("\n", " ")
            print(f"failed: {text[:300]}", flush=True)
    return 0


def _kernel(plan: Any, config: Any) -> None:
    from spacebatch.tl_kernels import launch

    launch.precompile(plan, config)


def _call(case: Any) -> None:
    from spacebatch import tuning
    from spacebatch.tl_kernels import launch

    plan = launch.plans_of(case.moves, case.geometry, case.source(torch.device("meta")))[0]
    found = tuning.table(torch.cuda.get_device_name()).get(plan.bucket)
    launch.precompile(plan, plan.rule if found is None or found.family != plan.family else found)


def _compiled(case: Any, kind: str) -> None:
    PROVIDERS["compile"].prepare(case)(case.source(torch.device(kind)))


_WORK: dict[str, Callable[..., None]] = {"kernel": _kernel, "call": _call, "compile": _compiled}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
