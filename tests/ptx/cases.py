"""Random calls, each of a regime that the kernels treat apart; the same seed and number give the same case."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

from spacebatch import BlockGeometry
from spacebatch.reference.prepared import Direction
from spacebatch.tl_kernels.family import Config, candidates

from .calls import Call, check_result, pad_bytes, shapes
from .driver import StandIn

T = TypeVar("T")
DIRECTIONS: tuple[Direction, ...] = ("space_to_batch", "batch_to_space")
DTYPES = {
    1: (torch.uint8, torch.int8, torch.bool, torch.float8_e4m3fn),
    2: (torch.float16, torch.bfloat16, torch.int16),
    4: (torch.float32, torch.int32),
    8: (torch.float64, torch.int64, torch.complex64),
    16: (torch.complex128,),
}
MOST_ELEMENTS = 4000


class Regime(NamedTuple):
    """What the sizes of a case are drawn from.

    Attributes:
        blocks, counts: of a blocked dim, and how many of them it holds. last_blocks, last_counts: of the last one.
        whole: the last dim's count and borders are counted in granules of 16 bytes.
        channels_last: how often. modes: how the source lies, anywhere or, dense and "aligned", at a multiple of 16 bytes; where
            that is the only one, the result is aligned as well.
        width: bytes of an element, where they do not go round. shifted: how often there is a cyclic shift.
    """

    blocks: Sequence[int] = (1, 2, 2, 3, 4, 5, 7)
    counts: Sequence[int] = (1, 1, 2, 3, 5)
    last_blocks: Sequence[int] = (1, 2, 3, 4, 5, 6, 8)
    last_counts: Sequence[int] = (1, 2, 3, 4, 7)
    whole: bool = False
    dims: Sequence[int] = (1, 2, 2, 3)
    channels: Sequence[int] = (1, 2, 3, 4, 5)
    channels_last: float = 0.2
    contiguous: float = 0.25
    modes: Sequence[str] = ("dense", "dense", "sliced", "stepped", "expanded", "rows of 16")
    width: int | None = None
    shifted: float = 0.35


REGIMES = {
    "any": Regime(),
    "powers of two": Regime(
        last_blocks=(2, 4, 8, 16),
        last_counts=(1, 2, 3),
        whole=True,
        channels_last=0,
        contiguous=0,
        modes=("aligned", "aligned", "dense"),
        shifted=1,
    ),
    "channels": Regime(channels=(1, 2, 3, 6, 8, 12, 16, 40), channels_last=0.9),
    "odd rows": Regime(counts=(8, 16), last_blocks=(2, 3, 4, 5), last_counts=(3, 5, 9), channels_last=0, contiguous=0),
    "windows": Regime(contiguous=1),
    "whole granules": Regime(last_blocks=(1, 2, 3, 4), last_counts=(1, 2, 3), whole=True, channels_last=0.1),
    "tiny": Regime(counts=(1, 1, 2), last_counts=(1, 1, 2, 3)),
    "long rows": Regime(blocks=(1, 2), counts=(1, 2), last_counts=(64, 100, 129, 300), dims=(1, 2), channels=(1, 2)),
    "single bytes": Regime(
        counts=(2, 3, 5),
        last_blocks=(2, 4),
        last_counts=(5, 9, 17, 40),
        dims=(1, 2, 2),
        channels=(8, 16),
        channels_last=0,
        contiguous=0,
        modes=("aligned",),
        width=1,
        shifted=0.1,  # which few of their families take
    ),
}


class Case(NamedTuple):
    """A geometry, and how both tensors lie in memory."""

    name: str
    geometry: BlockGeometry
    dtype: torch.dtype
    order: tuple[int, ...]
    source: tuple[str, int]  # a mode, and elements ahead of the first one
    result: tuple[str, int]
    pad: Any

    def calls(self, device: StandIn, every: bool) -> Iterator[Call]:
        """Both directions: by the rule, then each family that applies, with configurations that may be measured.

        Args:
            every: with more of them.
        """
        random = np.random.default_rng(self.geometry.space_shape)
        for direction in DIRECTIONS:
            from_, to = shapes(direction, self.geometry)
            source = placed(from_, self.dtype, self.order, *self.source, random)
            result = placed(to, self.dtype, self.order, *self.result, random)
            first = Call(device, direction, self.geometry, source, result)
            yield first
            for plan in first.plans:
                measured = candidates([plan])
                configs = [
                    Config(plan.family, 256 * plan.words, 4),
                    *(_one(random, measured) for _ in range(2)),
                    plan.rule,
                ]
                for config in dict.fromkeys(configs) if every else [configs[int(random.integers(2))]]:
                    yield Call(device, direction, self.geometry, source, result, config)


def check_case(device: StandIn, case: Case, every: bool = False) -> tuple[list[str], list[str]]:
    """All launches of a case: the families that ran, and what went wrong."""
    ran, wrong = [], []
    for call in case.calls(device, every):
        ran.append(f"{call.config.family} {call.direction}")
        try:
            check_result(call, pad_bytes(case.pad, case.dtype))
        except Exception as error:
            wrong.append(f"{case}, {call.direction}, {call.config}: {type(error).__name__}: {error}")
    return ran, wrong


def random_case(seed: int, number: int) -> Case:
    """The regime and the size of elements go round with the number, all else is drawn."""
    random = np.random.default_rng([seed, number])
    name = list(REGIMES)[number % len(REGIMES)]
    regime = REGIMES[name]
    width = regime.width or list(DTYPES)[number % len(DTYPES)]
    dtype = _one(random, DTYPES[width])
    while True:
        lead = [_one(random, (1, 1, 2, 3)), _one(random, regime.channels)][: 1 if random.random() < 0.1 else 2]
        count = _one(random, regime.dims)
        sizes, blocks, paddings = zip(*(_dim(random, regime, k == count - 1, width) for k in range(count)), strict=True)
        shape = [*lead, *sizes]
        padded = [size + sum(borders) for size, borders in zip(sizes, paddings, strict=True)]
        if math.prod(lead) * math.prod(padded) <= MOST_ELEMENTS:
            break
    dims = list(range(len(lead), len(shape)))
    aligned = regime.modes == ("aligned",)
    if not regime.whole and not aligned and random.random() < 0.2:  # the blocked dims somewhere else, in some order
        place = [0, *(1 + random.permutation(len(shape) - 1)).tolist()]
        shape, dims = [shape[place.index(d)] for d in range(len(shape))], [place[d] for d in dims]
    order = (0, *range(2, len(shape)), 1) if random.random() < regime.channels_last else tuple(range(len(shape)))
    batch_order = _one(random, ("block_major", "batch_major"))
    arrangement = "contiguous" if random.random() < regime.contiguous else "interleaved"
    offsets = (0, 0, 0, max(16 // width, 1), 1, 3)
    mode = _one(random, regime.modes)
    source = mode, 0 if mode == "aligned" else _one(random, offsets)
    result = _one(random, ("dense",) * 8 + ("sliced", "stepped")), _one(random, (0,) * 12 + offsets)
    result = ("dense", 0) if aligned else result
    pad = _pad(random, dtype)
    shifts = (
        [_one(random, (0, 1, -(b // 2), 16 // width, -5)) for b in blocks] if random.random() < regime.shifted else 0
    )
    geometry = BlockGeometry(
        shape,
        blocks,
        paddings,
        spatial_dims=dims,
        batch_order=batch_order,
        arrangement=arrangement,
        shifts=shifts,
    )
    return Case(f"{seed}/{number} {name}", geometry, dtype, order, source, result, pad)


def _dim(random: np.random.Generator, regime: Regime, last: bool, width: int) -> tuple[int, int, tuple[int, int]]:
    """Size, block and borders of a blocked dim."""
    unit = max(16 // width, 1) if regime.whole and last else 1
    block = _one(random, regime.last_blocks if last else regime.blocks)
    padded = block * unit * _one(random, regime.last_counts if last else regime.counts)
    before, after = _one(random, ((0, 0), (0, 0), (1, 1), (1, 0), (0, 1), (2, 3), (block, 0), (0, block + 1)))
    before = min(before, (padded - 1) // unit)
    after = min(after, (padded - 1) // unit - before)
    return padded - (before + after) * unit, block, (before * unit, after * unit)


def placed(
    shape: Sequence[int], dtype: torch.dtype, order: Sequence[int], mode: str, offset: int, random: np.random.Generator
) -> torch.Tensor:
    """A tensor of random bits somewhere in a larger storage; the dims of `order` lie from the outermost to the innermost."""
    strides, start, size = [0] * len(shape), offset, 1
    chosen = int(random.integers(len(shape)))
    for d in reversed(order):
        if mode == "expanded" and d == chosen:
            continue
        step = 2 if mode == "stepped" and d == chosen else 1
        before, after = random.integers(0, 4, 2).tolist() if mode == "sliced" else (0, 0)
        if mode == "rows of 16" and d == order[-1]:
            after = -shape[d] % 16
        strides[d] = size * step
        start += before * size
        size *= before + shape[d] * step + after
    high = 2 if dtype is torch.bool else 256
    storage = torch.from_numpy(random.integers(0, high, (size + offset) * dtype.itemsize, dtype=np.uint8))
    # NumPy aligns its memory to 16 bytes at least
    return storage.view(dtype).as_strided(tuple(shape), strides, start)


def _one(random: np.random.Generator, choices: Sequence[T]) -> T:
    return choices[int(random.integers(len(choices)))]


def _pad(random: np.random.Generator, dtype: torch.dtype) -> Any:
    """Nought, a value whose bits show, an end of the range, a special float."""
    if dtype is torch.bool:
        return _one(random, (False, True))
    if dtype.is_complex:
        return _one(random, (0, 1 - 2j, complex(float("nan"), -0.0), complex(0.0, 3.5)))
    if dtype.is_floating_point:
        return _one(random, (0, 1.5, -0.0, float("nan"), -2.0))
    limits = torch.iinfo(dtype)
    return _one(random, (0, 1, limits.min, limits.max, 7))
