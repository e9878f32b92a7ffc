"""`python -m spacebatch.perf tune`: the configurations of calls measured on the device at hand, the best kept in its table."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from spacebatch import tuning
from spacebatch.by_hand import by_hand, is_channels_last
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.loops import Direction
from spacebatch.timing import cache_bytes, clock_of, rotated, round_seconds
from spacebatch.tl_kernels.family import Config, Plan, candidates

from .cases import with_layout
from .checks import as_integers, poison_, same_bits
from .precompile import compile_all

Layout: TypeAlias = Literal["contiguous", "channels_last"]
TuneCall: TypeAlias = "tuple[Direction, BlockGeometry, torch.dtype, Layout]"

ROUNDS, WARMUP = 10, 2
BETTER = 0.01  # by less than this a configuration does not displace the rule's: two timings of one differ by as much


class Tuned(NamedTuple):
    """What was found for one bucket.

    Attributes:
        bucket: the tuning key, as in the table.
        config: the best configuration. seconds: its median time.
        rule: what the rule would have taken. rule_seconds: its median time in the same rounds.
        every: the median time of each configuration that was measured.
    """

    bucket: str
    config: Config
    seconds: float
    rule: Config
    rule_seconds: float
    every: dict[Config, float]

    @property
    def speedup(self) -> float:
        """The rule's time over the best one's."""
        return self.rule_seconds / self.seconds

    def as_dict(self) -> dict[str, Any]:
        """For JSON: configurations as "family/tile/warps"."""
        names = {config: "/".join(map(str, config)) for config in (*self.every, self.config, self.rule)}
        return {
            "bucket": self.bucket,
            "config": names[self.config],
            "seconds": self.seconds,
            "rule": names[self.rule],
            "rule_seconds": self.rule_seconds if self.rule in self.every else None,
            "every": {names[config]: seconds for config, seconds in self.every.items()},
        }


def tune(
    calls: Iterable[TuneCall] | None = None,
    *,
    device: torch.device | str | int | None = None,
    budget_seconds: float = 300.0,
    clock: Callable[[list[tuple[str, Callable[[], object]]]], list[tuple[str, float]]] | None = None,
) -> list[Tuned]:
    """Measure every configuration worth it for some calls, and keep the best where later calls find it.

    >>> import torch
    >>> from spacebatch import BlockGeometry
    >>> calls = [("space_to_batch", BlockGeometry((8, 64, 256, 256), 2), torch.float16, "channels_last")]
    >>> found = tune(calls) if torch.cuda.is_available() else []
    >>> [tuned.seconds <= tuned.rule_seconds for tuned in found] in ([], [True])
    True

    Calls of one bucket share their configuration, so the first of each bucket is measured and the others are not. Kernels
    are compiled in parallel processes first; then the candidates of a bucket run in turn, round by round, on inputs that
    are together larger than the cache, each result compared with PyTorch's own. What is found goes to the table of the
    device's name (`spacebatch.tuning.table`), which calls consult unless SPACEBATCH_AUTOTUNE is "off".

    Args:
        calls: (direction, geometry, dtype, layout) each, the layout "contiguous" or "channels_last"; by default a list
            of common ones, `default_calls()`.
        device: a CUDA or ROCm device; by default the current one.
        budget_seconds: no bucket is begun after so many seconds.
        clock: how a round of calls is timed; by default by the device's events.

    Returns:
        A `Tuned` for each bucket that was measured, in the order of the calls.

    Raises:
        ValueError, TypeError: calls or a budget that make no sense, before anything is measured.
        RuntimeError: no such device, or a configuration that gives a wrong result.
    """
    from spacebatch.tl_kernels import launch

    wanted = default_calls() if calls is None else [_checked(call) for call in calls]
    if not isinstance(budget_seconds, (int, float)) or isinstance(budget_seconds, bool) or budget_seconds <= 0:
        raise ValueError(f"tune: budget_seconds must be a positive number, got {budget_seconds!r}")
    end = time.monotonic() + budget_seconds
    where = _device(device, launch.INTERPRETED)
    buckets: dict[str, tuple[TuneCall, tuple[Plan, ...]]] = {}
    for call in wanted:
        plans = launch.plans_of(call[0], call[1], _empty(call, torch.device("meta")))
        if plans:
            buckets.setdefault(plans[0].bucket, (call, plans))
    if where.type == "cuda":
        compile_all(
            [
                ("kernel", plan, config)
                for _, plans in buckets.values()
                for plan in plans
                for config in candidates([plan])
            ],
            budget_seconds / 2,
        )
    table = tuning.table(torch.cuda.get_device_name(where) if where.type == "cuda" else "interpreter")
    clock = clock or clock_of(where)
    found = []
    for bucket, (call, plans) in buckets.items():
        if time.monotonic() >= end:
            break
        rule = plans[0].rule
        configs = list(dict.fromkeys([rule, *candidates(plans)]))
        seconds = _measured(call, configs, where, clock)
        best = min(seconds, key=seconds.__getitem__)
        if rule in seconds and seconds[rule] <= (1 + BETTER) * seconds[best]:
            best = rule
        table.add(bucket, best)
        found.append(Tuned(bucket, best, seconds[best], rule, seconds.get(rule, float("inf")), seconds))
    return found


def default_calls(quick: bool = False) -> list[TuneCall]:
    """Common calls, of 64 MiB each.

    >>> len(default_calls(quick=True)) < len(default_calls())
    True

    Args:
        quick: only elements of 2 and 4 bytes, and fewer geometries.
    """
    dtypes = (torch.float16, torch.float32) if quick else (torch.uint8, torch.float16, torch.float32, torch.float64)
    windows: dict[str, Any] = {"batch_order": "batch_major", "arrangement": "contiguous"}
    kinds: list[tuple[tuple[int, ...], Any, Any, dict[str, Any], Layout]] = [
        ((64, 256, 256), 2, 0, {}, "contiguous"),
        ((64, 256, 256), 2, 1, {}, "contiguous"),
        ((64, 256, 256), 4, 0, {}, "contiguous"),
        ((64, 254, 253), 3, "auto", {}, "contiguous"),
        ((64, 256, 256), 2, 0, {}, "channels_last"),
    ]
    if not quick:
        kinds += [
            ((64, 256, 256), 8, 0, {}, "contiguous"),
            ((64, 256, 256), 2, 1, {}, "channels_last"),
            ((96, 224, 224), 32, 0, windows, "contiguous"),
            ((96, 224, 224), 32, 0, windows, "channels_last"),
            ((64, 65536), 16, 0, {}, "contiguous"),
            ((32, 32, 64, 64), 2, 1, {}, "contiguous"),
        ]
    calls: list[TuneCall] = []
    for dtype in dtypes:
        for shape, block, paddings, options, layout in kinds:
            sample = dtype.itemsize
            for size in shape:
                sample *= size
            geometry = BlockGeometry((max(1, (64 << 20) // sample), *shape), block, paddings, **options)
            calls += [("space_to_batch", geometry, dtype, layout), ("batch_to_space", geometry, dtype, layout)]
    return calls


def _checked(call: Any) -> TuneCall:
    if not isinstance(call, Sequence) or len(call) != 4:
        raise TypeError(f"tune: a call is (direction, geometry, dtype, layout), got {call!r}")
    direction, geometry, dtype, layout = call
    if direction not in ("space_to_batch", "batch_to_space"):
        raise ValueError(f"tune: the direction must be space_to_batch or batch_to_space, got {direction!r}")
    if not isinstance(geometry, BlockGeometry):
        raise TypeError(f"tune: the geometry must be a BlockGeometry, got {type(geometry).__name__}")
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"tune: the dtype must be a torch.dtype, got {dtype!r}")
    if layout not in ("contiguous", "channels_last"):
        raise ValueError(f"tune: the layout must be contiguous or channels_last, got {layout!r}")
    if geometry.empty:
        raise ValueError(f"tune: there is nothing to measure in a tensor of shape {geometry.space_shape}")
    return direction, geometry, dtype, layout


def _device(device: torch.device | str | int | None, interpreted: bool) -> torch.device:
    if device is None and not torch.cuda.is_available():
        if interpreted:
            return torch.device("cpu")
        raise RuntimeError("tune: this PyTorch sees no CUDA or ROCm device")
    where = torch.device("cuda" if device is None else device)
    if where.type == "cuda":
        if not torch.cuda.is_available():
            raise RuntimeError(f"tune: this PyTorch sees no CUDA or ROCm device, and {device!r} was asked for")
        return torch.device("cuda", torch.cuda.current_device() if where.index is None else where.index)
    if where.type == "cpu" and interpreted:
        return where
    raise RuntimeError(f"tune: the kernels run on CUDA and ROCm devices, not on {where}")


def _shapes(call: TuneCall) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(the input's shape, the result's)."""
    shapes = call[1].space_shape, call[1].batch_shape
    return shapes if call[0] == "space_to_batch" else (shapes[1], shapes[0])


def _empty(call: TuneCall, device: torch.device, of_result: bool = False) -> Tensor:
    shape = _shapes(call)[of_result]
    if call[3] == "contiguous":
        return torch.empty(shape, dtype=call[2], device=device)
    rank = len(shape)
    dense = torch.empty((shape[0], *shape[2:], shape[1]), dtype=call[2], device=device)
    return dense.permute(0, rank - 1, *range(1, rank - 1))


def _measured(call: TuneCall, configs: list[Config], device: torch.device, clock: Any) -> dict[Config, float]:
    """Median seconds by configuration, without those that the device has no room for."""
    from triton.runtime.errors import TritonError

    from spacebatch.tl_kernels import launch

    direction, geometry, dtype, layout = call
    source = with_layout(_shapes(call)[0], dtype, layout, device)
    result = _empty(call, device, of_result=True)
    wanted = by_hand(direction, geometry, is_channels_last(source))(as_integers(source)).view(dtype)
    others = -(-4 * cache_bytes(device) // source.nbytes) - 1
    sources = [source, *(with_layout(source.shape, dtype, layout, device) for _ in range(max(0, min(others, 7))))]

    def runner(config: Config) -> Callable[[], object]:
        return rotated(lambda x: launch.run(direction, geometry, x, result, config=config), sources)

    runs = {}
    for config in configs:
        poison_(result)
        try:
            launch.run(direction, geometry, source, result, config=config)
        except TritonError:  # more shared memory or registers than there are
            continue
        if not same_bits(result, wanted):
            raise RuntimeError(f"tune: {config} gives a wrong result for {direction} of {geometry}, {dtype}, {layout}")
        runs[str(config)] = config
    del wanted
    seconds = round_seconds(
        {name: runner(config) for name, config in runs.items()}, clock, rounds=ROUNDS, warmup=WARMUP
    )
    return {runs[name]: statistics.median(found) for name, found in seconds.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("--quick", action="store_true", help="fewer calls")
    parser.add_argument("--budget", type=float, default=300.0, metavar="SECONDS", help="default: %(default)s")


def main(options: argparse.Namespace) -> int:
    """Measure, and print what was found."""
    if not torch.cuda.is_available():
        raise ValueError("this PyTorch sees no CUDA or ROCm device")
    found = tune(default_calls(options.quick), budget_seconds=options.budget)
    print(f"{'bucket':<72}{'best':<24}{'us':>9}{'rule us':>9}{'gain':>7}")
    for tuned in found:
        config = "/".join(map(str, tuned.config))
        print(
            f"{tuned.bucket:<72}{config:<24}{tuned.seconds * 1e6:>9.1f}{tuned.rule_seconds * 1e6:>9.1f}{tuned.speedup:>6.2f}x"
        )
    print(f"kept in {tuning.table(torch.cuda.get_device_name()).path}")
    return 0
