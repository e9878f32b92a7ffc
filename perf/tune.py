"""`python -m spacebatch.perf tune`: the configurations of calls measured on the device at hand, the best kept in its table."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spacebatch import tuning
from spacebatch.timing import Clock, clock_of, rotated, round_seconds
from spacebatch.tl_kernels.family import Config, candidates

from .baselines import PROVIDERS
from .cases import Case
from .measure import expected, in_a_line, poison_, same_bits
from .report import aligned
from .suites import WINDOWS, Kind, both, of_kind

Job = tuple[Any, ...]  # (what, of what, …), see `compile_all`
ROUNDS, WARMUP = 10, 2
BETTER = 0.01  # by less than this a configuration does not displace the rule's: two timings of one differ by as much
BYTES = 64 << 20  # of an input
COMMON = (
    Kind((64, 256, 256), 2),
    Kind((64, 256, 256), 2, 1),
    Kind((64, 256, 256), 4),
    Kind((64, 254, 253), 3, "auto"),
    Kind((64, 256, 256), 2, 0, "channels_last"),
)
RARER = (
    Kind((64, 256, 256), 8),
    Kind((64, 256, 256), 2, 1, "channels_last"),
    Kind((96, 224, 224), 32, 0, "contiguous", WINDOWS),
    Kind((96, 224, 224), 32, 0, "channels_last", WINDOWS),
    Kind((64, 65536), 16),
    Kind((32, 32, 64, 64), 2, 1),
)


class Tuned(NamedTuple):
    """What was found for one bucket.

    Attributes:
        bucket: the tuning key, as in the table.
        config: the best configuration. rule: what the rule would have taken.
        every: the median seconds of each configuration that was measured.
    """

    bucket: str
    config: Config
    rule: Config
    every: dict[Config, float]

    @property
    def seconds(self) -> float:
        """The best one's time."""
        return self.every[self.config]

    @property
    def rule_seconds(self) -> float:
        """The time of the rule's in the same rounds; infinite where the device has no room for it."""
        return self.every.get(self.rule, float("inf"))

    def as_dict(self) -> dict[str, Any]:
        """For JSON: configurations as "family/tile/warps"."""
        return {
            "bucket": self.bucket,
            "config": _in_words(self.config),
            "seconds": self.seconds,
            "rule": _in_words(self.rule),
            "rule_seconds": self.every.get(self.rule),
            "every": {_in_words(config): seconds for config, seconds in self.every.items()},
        }


def _in_words(config: Config) -> str:
    return "/".join(map(str, config))


def tune(
    cases: Sequence[Case], device: torch.device, *, budget_seconds: float = 300.0, clock: Clock | None = None
) -> list[Tuned]:
    """Measure every configuration worth it for some cases, and keep the best in the table of the device's name.

    Cases of one bucket share their configuration, so only the first of each bucket is measured. Kernels are compiled in
    parallel processes first; then the candidates of a bucket run in turn, round by round, on inputs that are together
    larger than the cache, each result checked first.

    Args:
        cases: whose calls are tuned. device: where.
        budget_seconds: no bucket is begun after so many seconds.
        clock: how a round of calls is timed; by default by the device's events.

    Raises:
        ValueError: a budget that is not positive.
        RuntimeError: a configuration gives a wrong result.
    """
    from spacebatch.tl_kernels import launch

    if not budget_seconds > 0:
        raise ValueError(f"tune: the budget must be a positive number of seconds, got {budget_seconds}")
    end = time.monotonic() + budget_seconds
    buckets: dict[str, tuple[Case, list[Config]]] = {}
    jobs = []
    for case in cases:
        plans = launch.plans_of(case.moves, case.geometry, case.source(torch.device("meta")))
        if plans and plans[0].bucket not in buckets:
            buckets[plans[0].bucket] = case, list(dict.fromkeys([plans[0].rule, *candidates(plans)]))
            jobs += [("kernel", plan, config) for plan in plans for config in candidates([plan])]
    if device.type == "cuda":
        compile_all(jobs, budget_seconds / 2)
    table = tuning.table(torch.cuda.get_device_name(device) if device.type == "cuda" else "interpreter")
    found = []
    for bucket, (case, configs) in buckets.items():
        if time.monotonic() >= end:
            break
        rule = configs[0]
        seconds = _measured(case, configs, device, clock or clock_of(device))
        best = min(seconds, key=seconds.__getitem__)
        if rule in seconds and seconds[rule] <= (1 + BETTER) * seconds[best]:
            best = rule
        table.add(bucket, best)
        found.append(Tuned(bucket, best, rule, seconds))
    return found


def default_cases(quick: bool = False) -> list[Case]:
    """Common calls; `quick`: only elements of 2 and 4 bytes, and fewer geometries.

    >>> len(default_cases(quick=True)), len(default_cases())
    (20, 88)
    """
    dtypes = ("float16", "float32") if quick else ("uint8", "float16", "float32", "float64")
    kinds = COMMON if quick else (*COMMON, *RARER)
    return [case for dtype in dtypes for kind in kinds for case in both(of_kind(kind, dtype, BYTES))]


def is_right(case: Case, config: Config, source: Tensor, wanted: Tensor, result: Tensor) -> bool | None:
    """Whether a configuration, run into poisoned memory, gives the wanted bits; None where the device lacks room for it."""
    from triton.runtime.errors import TritonError

    from spacebatch.tl_kernels import launch

    poison_(result)
    try:
        launch.run(case.moves, case.geometry, source, result, config=config)
    except TritonError:  # more shared memory or registers than there are
        return None
    return same_bits(result, wanted)


def _measured(case: Case, configs: list[Config], device: torch.device, clock: Clock) -> dict[Config, float]:
    """Median seconds by configuration, without those that the device has no room for."""
    from spacebatch.tl_kernels import launch

    sources = case.sources(device)
    wanted = expected(case, sources[0])
    result = torch.empty_like(wanted)

    def runner(config: Config) -> Callable[[], object]:
        return rotated(lambda x: launch.run(case.moves, case.geometry, x, result, config=config), sources)

    runs = {}
    for config in configs:
        right = is_right(case, config, sources[0], wanted, result)
        if right is False:
            raise RuntimeError(f"tune: {config} gives a wrong result for {case.key}")
        if right:
            runs[str(config)] = config
    del wanted
    calls = {name: runner(config) for name, config in runs.items()}
    seconds = round_seconds(calls, clock, rounds=ROUNDS, warmup=WARMUP)
    return {runs[name]: statistics.median(found) for name, found in seconds.items()}


def compile_all(jobs: Sequence[Job], seconds: float) -> tuple[int, list[str]]:
    """Compile in parallel, by one process per core less one and for so many seconds at most, ahead of a measurement.

    The compilers keep what they made on disk, where this process finds it.

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
        for result in [pool.apply_async(compile_one, (job,)) for job in jobs]:
            try:
                errors.append(result.get(max(0.0, end - time.monotonic())))
            except multiprocessing.TimeoutError:
                continue
    return errors.count(None), [error for error in errors if error is not None]


def _begin() -> None:
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    torch.set_num_threads(1)


def compile_one(job: Job) -> str | None:
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("--quick", action="store_true", help="fewer calls")
    parser.add_argument("--budget", type=float, default=300.0, metavar="SECONDS", help="default: %(default)s")


def main(options: argparse.Namespace) -> int:
    """Measure, and print what was found."""
    if not torch.cuda.is_available():
        raise ValueError("this PyTorch sees no CUDA or ROCm device")
    device = torch.device("cuda", torch.cuda.current_device())
    rows = [("bucket", "best", "us", "rule us", "gain")]
    for found in tune(default_cases(options.quick), device, budget_seconds=options.budget):
        gain = f"{found.rule_seconds / found.seconds:.2f}x"
        times = f"{found.seconds * 1e6:.1f}", f"{found.rule_seconds * 1e6:.1f}"
        rows.append((found.bucket, _in_words(found.config), *times, gain))
    print(aligned(rows, 2))
    print(f"kept in {tuning.table(torch.cuda.get_device_name()).path}")
    return 0
