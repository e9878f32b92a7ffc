"""Compilation in parallel processes, ahead of a measurement that would spend most of its time on it.

The compilers keep what they made on disk, where the measuring process finds it.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from .baselines import PROVIDERS
from .measure import in_a_line

Job = tuple[Any, ...]  # (what, of what, …), see `compile_all`


def compile_all(jobs: Sequence[Job], seconds: float) -> tuple[int, list[str]]:
    """Do all jobs in parallel, one process per core less one, for so many seconds at most.

    >>> compile_all([], 1.0)
    (0, [])

    Args:
        jobs: ("kernel", plan, config) compiles one of our kernels; ("call", case) the one that a case takes;
            ("compile", case, "cuda") what torch.compile makes of it there.
        seconds: what is not done by then is left.

    Returns:
        (how many jobs were done, what went wrong in others).
    """
    if not jobs:
        return 0, []
    end = time.monotonic() + seconds
    errors: list[str | None] = []
    processes = max(1, min((os.cpu_count() or 2) - 1, len(jobs)))
    # a forked process could not use CUDA; leaving the block ends those that are still at work
    with multiprocessing.get_context("spawn").Pool(processes, _begin) as pool:
        for result in [pool.apply_async(do, (job,)) for job in jobs]:
            try:
                errors.append(result.get(max(0.0, end - time.monotonic())))
            except multiprocessing.TimeoutError:
                continue
    return errors.count(None), [error for error in errors if error is not None]


def _begin() -> None:
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    torch.set_num_threads(1)


def do(job: Job) -> str | None:
    """Do one job: None, or what went wrong, for one kernel that does not compile leaves the others."""
    try:
        what, *of_what = job
        _WORK[what](*of_what)
    except Exception as error:
        return in_a_line(error)
    return None


def _kernel(plan: Any, config: Any) -> None:
    from spacebatch.tl_kernels import launch

    launch.precompile(plan, config)


def _call(case: Any) -> None:
    from spacebatch import tuning
    from spacebatch.tl_kernels import launch

    plans = launch.plans_of(case.moves, case.geometry, case.source(torch.device("meta")))
    config = tuning.table(torch.cuda.get_device_name()).get(plans[0].bucket) or plans[0].rule
    for plan in plans:
        if plan.family == config.family:
            launch.precompile(plan, config)


def _compiled(case: Any, kind: str) -> None:
    PROVIDERS["compile"].prepare(case)(case.source(torch.device(kind)))


_WORK: dict[str, Callable[..., None]] = {"kernel": _kernel, "call": _call, "compile": _compiled}
