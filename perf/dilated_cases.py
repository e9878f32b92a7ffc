"""The cases of `python -m spacebatch.perf atrous`: dilated convolutions, in the order of what is learnt from them, and how one is measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from spacebatch.nn import functional
from spacebatch.timing import interleaved

from .measure import extra_bytes

RATES = (2, 4, 8, 16, 32)
FEW_RATES = (2, 8, 32)
STEPS = ("inference", "training")
CASE_SECONDS = 2.0  # of timing per case, as far as it takes three rounds at least
TOLERANCE = {"float32": 1e-4, "bfloat16": 3e-2, "float16": 5e-3}  # of sums of up to 1600 products, in any order
# Sizes that all the rates divide; a GPU is given enough to fill it.
SHAPES = {
    "cpu": {1: (4, 64, 4096), 2: (2, 64, 64, 64), 3: (1, 16, 32, 32, 32)},
    "cuda": {1: (16, 256, 16384), 2: (8, 256, 128, 128), 3: (2, 64, 32, 64, 64)},
}


@dataclass(frozen=True)
class Case:
    """One convolution of as many channels as it reads, padded to keep its size.

    Attributes:
        shape: (N, C, *spatial). kernel, rate: along every spatial dim.
        groups: "dense" (1), "grouped" (4) or "depthwise" (C).
        dtype: by its name in torch. layout: "contiguous" or "channels_last".
        step: "inference", or "training": forward and backward to input, weight and bias.
        deterministic: under `torch.use_deterministic_algorithms`.
    """

    shape: tuple[int, ...]
    kernel: int
    rate: int
    groups: str = "dense"
    dtype: str = "float32"
    layout: str = "contiguous"
    step: str = "inference"
    deterministic: bool = False

    @property
    def row(self) -> str:
        """Everything but the rate: a line of the map."""
        shape = "x".join(map(str, self.shape))
        kind = f"{len(self.shape) - 2}d k{self.kernel}"
        return ", ".join(
            [kind, self.groups, self.dtype, self.layout, shape, self.step, *(["deterministic"] * self.deterministic)]
        )

    @property
    def key(self) -> str:
        """The case in words.

        >>> default_cases("cpu")[0].key
        '2d k3 rate 2, dense, float32, contiguous, 2x64x64x64, inference'
        """
        kind, _, rest = self.row.partition(",")
        return f"{kind} rate {self.rate},{rest}"

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Case:
        """What `asdict` made of a case, back from JSON."""
        return cls(**{**data, "shape": tuple(data["shape"])})

    @property
    def group_count(self) -> int:
        """Of the convolution."""
        channels = self.shape[1]
        return {"dense": 1, "grouped": min(4, channels), "depthwise": channels}[self.groups]

    def tensors(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """(input, weight, bias), random, the same at every call."""
        generator = torch.Generator().manual_seed(0)
        dims, channels = len(self.shape) - 2, self.shape[1]
        weight = (channels, channels // self.group_count, *(self.kernel,) * dims)
        found = []
        for shape in (self.shape, weight, (channels,)):
            tensor = torch.randn(shape, generator=generator).to(device, getattr(torch, self.dtype))
            if self.layout == "channels_last" and len(shape) > 3:
                tensor = tensor.to(memory_format=torch.channels_last if dims == 2 else torch.channels_last_3d)
            found.append(tensor.requires_grad_(self.step == "training"))
        return found[0], found[1], found[2]


def default_cases(device: str) -> list[Case]:
    """One factor varied at a time, from dense 3x3 convolutions in float32 on, the most informative first."""
    shapes = SHAPES[device]
    base = Case(shapes[2], 3, 2)
    uneven = (*shapes[2][:2], *(size + 1 for size in shapes[2][2:]))  # no rate divides it
    plans: list[tuple[tuple[int, ...], dict[str, Any]]] = [
        (RATES, {}),
        (RATES, {"groups": "depthwise"}),
        (RATES, {"shape": shapes[1]}),
        (RATES, {"shape": shapes[1], "groups": "depthwise"}),
        (RATES, {"shape": uneven}),
        (RATES, {"kernel": 5}),
        (RATES, {"groups": "grouped"}),
        (FEW_RATES, {"shape": shapes[3]}),
        (FEW_RATES, {"shape": shapes[3], "groups": "depthwise"}),
        (FEW_RATES, {"layout": "channels_last"}),
        (FEW_RATES, {"dtype": "bfloat16"}),
        (FEW_RATES, {"dtype": "bfloat16", "groups": "depthwise"}),
        (FEW_RATES, {"deterministic": True}),
        (FEW_RATES, {"layout": "channels_last", "groups": "depthwise"}),
        (FEW_RATES, {"dtype": "float16"}),
        (FEW_RATES, {"dtype": "float16", "groups": "depthwise"}),
    ]
    return [
        replace(base, rate=rate, step=step, **changes) for rates, changes in plans for rate in rates for step in STEPS
    ]


def tiny_cases() -> list[Case]:
    """A few cases that take no time, to try the tool itself."""
    shapes = ((1, 4, 16), (1, 4, 9, 8), (1, 4, 4, 5, 4))
    base = [Case(shape, 3, rate, step=step) for shape in shapes for rate in (2, 4) for step in STEPS]
    return [*base, replace(base[4], groups="depthwise", dtype="bfloat16"), replace(base[4], deterministic=True)]


def measure_case(case: Case, device: torch.device) -> dict[str, Any]:
    """Check one case and time it: both methods interleaved, then the peak memory of each."""
    record: dict[str, Any] = {"cell": asdict(case)}
    with _deterministic(case.deterministic):
        try:
            inputs = case.tensors(device)
            convolution = getattr(functional, f"atrous_conv{len(case.shape) - 2}d")
            padding = case.rate * (case.kernel // 2)
            calls = {
                method: _call(convolution, inputs, (1, padding, case.rate, case.group_count), method)
                for method in ("native", "batch_space")
            }
            first = time.perf_counter()
            results = {name: call() for name, call in calls.items()}
            first = time.perf_counter() - first
            record["difference"] = found = _difference(results["native"], results["batch_space"])
            del results
            if found > TOLERANCE[case.dtype]:
                return {**record, "wrong": f"differs by {found:.1e} of the largest value"}
            rounds = int(min(max(CASE_SECONDS / first, 3), 15))
            for name, timing in interleaved(calls, device, rounds=rounds, warmup=1).items():
                record[name] = asdict(timing)
            for name, call in calls.items():
                record[f"{name}_bytes"] = extra_bytes(call, 0, device)
        except RuntimeError as error:  # a type or a mode that this device has no kernel for, or too little memory
            return {"cell": asdict(case), "failed": str(error).splitlines()[0]}
    return record


def _call(
    convolution: Callable[..., Tensor], inputs: tuple[Tensor, ...], arguments: tuple[int, ...], method: str
) -> Callable[[], list[Tensor]]:
    if not inputs[0].requires_grad:
        return lambda: [convolution(*inputs, *arguments, method=method)]
    seed = torch.ones_like(inputs[0].detach())

    def step() -> list[Tensor]:
        y = convolution(*inputs, *arguments, method=method)
        return [y.detach(), *torch.autograd.grad(y, inputs, seed)]

    return step


def _difference(expected: list[Tensor], found: list[Tensor]) -> float:
    worst = 0.0
    for a, b in zip(expected, found, strict=True):
        scale = max(a.double().abs().max().item(), 1e-30)
        worst = max(worst, (a.double() - b.double()).abs().max().item() / scale)
    return worst


@contextmanager
def _deterministic(on: bool) -> Iterator[None]:
    before, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(on)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warns)
