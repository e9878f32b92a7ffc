"""The cases of `python -m spacebatch.perf atrous`: dilated convolutions, in the order of what is learnt from them.

>>> default_cases("cpu")[0].key
'2d k3 rate 2, dense, float32, contiguous, 2x64x64x64, inference'
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

RATES = (2, 4, 8, 16, 32)
FEW_RATES = (2, 8, 32)
STEPS = ("inference", "training")
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
        """The case in words."""
        kind, _, rest = self.row.partition(",")
        return f"{kind} rate {self.rate},{rest}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Case:
        """Back from JSON."""
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
    plans: list[tuple[Case, tuple[int, ...]]] = [
        (base, RATES),
        (replace(base, groups="depthwise"), RATES),
        (replace(base, shape=shapes[1]), RATES),
        (replace(base, shape=shapes[1], groups="depthwise"), RATES),
        (replace(base, shape=(*shapes[2][:2], *(size + 1 for size in shapes[2][2:]))), RATES),  # nothing divides it
        (replace(base, kernel=5), RATES),
        (replace(base, groups="grouped"), RATES),
        (replace(base, shape=shapes[3]), FEW_RATES),
        (replace(base, shape=shapes[3], groups="depthwise"), FEW_RATES),
        (replace(base, layout="channels_last"), FEW_RATES),
        (replace(base, dtype="bfloat16"), FEW_RATES),
        (replace(base, dtype="bfloat16", groups="depthwise"), FEW_RATES),
        (replace(base, deterministic=True), FEW_RATES),
        (replace(base, layout="channels_last", groups="depthwise"), FEW_RATES),
        (replace(base, dtype="float16"), FEW_RATES),
        (replace(base, dtype="float16", groups="depthwise"), FEW_RATES),
    ]
    return [replace(case, rate=rate, step=step) for case, rates in plans for rate in rates for step in STEPS]


def tiny_cases() -> list[Case]:
    """A few cases that take no time, to try the tool itself."""
    shapes = ((1, 4, 16), (1, 4, 9, 8), (1, 4, 4, 5, 4))
    base = [Case(shape, 3, rate, step=step) for shape in shapes for rate in (2, 4) for step in STEPS]
    return [*base, replace(base[4], groups="depthwise", dtype="bfloat16"), replace(base[4], deterministic=True)]
