"""Random calls against the spelling: every combination of words may come up, in every direction, order and layout."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from spacebatch import fused
from spacebatch.reference.arithmetic import ACTIVATIONS, FLOATS, RESULTS, SOURCES
from tests.bits import using
from tests.cases import CASES, OPTIONS
from tests.fused.spelling import check, spelled


def laid_out(x: torch.Tensor, chance: random.Random) -> torch.Tensor:
    """The tensor in some order in memory."""
    order = chance.choice(("plain", "last", "turned", "strided"))
    if order == "last" and x.dim() > 2:
        return x.movedim(1, -1).contiguous().movedim(-1, 1)
    if order == "turned":
        return x.transpose(0, -1).contiguous().transpose(0, -1)
    if order == "strided":
        return torch.stack([x, x], -1)[..., 0]
    return x


def numbers(shape: Any, dtype: torch.dtype, chance: random.Random) -> torch.Tensor:
    """Numbers of a dtype, with all that a float can be."""
    generator = torch.Generator().manual_seed(chance.randrange(1 << 30))
    if not dtype.is_floating_point:
        bound = min(torch.iinfo(dtype).max, 1 << 30)
        return torch.randint(max(torch.iinfo(dtype).min, -bound), bound, tuple(shape), generator=generator).to(dtype)
    x = torch.randn(tuple(shape), generator=generator, dtype=torch.float64) * chance.choice((1, 4, 100))
    for special in (0.0, -0.0, float("nan"), float("inf"), 0.5, 2.5, 1e-40):
        x[torch.rand(x.shape, generator=generator) < 0.01] = special
    return x.to(dtype)


# Each kernel of the CPU takes a while to compile: few calls by what is chosen, many by PyTorch's and NumPy's operators.
@pytest.mark.parametrize(("seed", "draws", "backend"), [(0, 60, "torch"), (1, 60, "torch"), (2, 8, "chosen")])
def test_tensors(seed: int, draws: int, backend: str) -> None:
    with using(backend):
        random_tensors(seed, draws)


def random_tensors(seed: int, draws: int) -> None:
    """So many calls of either operator, checked one by one."""
    chance = random.Random(seed)
    for _ in range(draws):
        case, options = chance.choice(CASES), chance.choice(OPTIONS)
        direction = chance.choice(("space_to_batch", "batch_to_space"))
        geometry = case.geometry(**options)
        back = direction == "batch_to_space"
        shape = geometry.batch_shape if back else geometry.space_shape
        source, result = (getattr(torch, chance.choice(tuple(names))) for names in (SOURCES, RESULTS))
        x = laid_out(numbers(shape, source, chance), chance)
        others = [d for d in range(1, len(shape)) if d not in geometry.spatial_dims]
        channel = chance.choice(others) if others else None
        words: dict[str, Any] = {"activation": chance.choice(ACTIVATIONS), "dtype": result}
        for name in ("scale", "bias"):
            kind = chance.choice(("none", "number", "scalar", "channels"))
            if kind == "number":
                words[name] = chance.uniform(-1, 1)
            elif kind == "scalar":
                words[name] = torch.tensor(chance.uniform(-1, 1))
            elif kind == "channels" and channel is not None:
                words[name] = torch.randn(shape[channel], generator=torch.Generator().manual_seed(seed)).double()
                words["channel_dim"] = channel
        met: dict[str, Any] = {n: words.get(n) for n in ("scale", "bias")} | {"channel_dim": channel}
        order = {"spatial_dims": geometry.spatial_dims, "shifts": geometry.shifts, **options}
        number: float = 0
        if back:
            if chance.random() < 0.5:
                words["residual"] = met["residual"] = laid_out(
                    numbers(geometry.space_shape, getattr(torch, chance.choice(tuple(FLOATS))), chance), chance
                )
            y = fused.batch_to_space(x, geometry.block_shape, geometry.paddings, **order, **words)
        else:
            words["pad"] = met["pad"] = chance.choice(("before", "after"))
            number = met["pad_value"] = chance.choice((0, 3, 7))
            y = fused.space_to_batch(x, geometry.block_shape, geometry.paddings, pad_value=number, **order, **words)
        check(y, spelled(direction, geometry, x, **met), words["activation"], number)
        assert y.dtype is result


@pytest.mark.parametrize(("seed", "draws", "backend"), [(3, 40, "numpy"), (4, 4, "chosen")])
def test_arrays(seed: int, draws: int, backend: str) -> None:
    with using(backend):
        random_arrays(seed, draws)


def random_arrays(seed: int, draws: int) -> None:
    """So many calls on arrays, likewise."""
    chance = random.Random(seed)
    for _ in range(draws):
        case, options = chance.choice(CASES), chance.choice(OPTIONS)
        geometry = case.geometry(**options)
        names = [chance.choice(("float16", "float32", "float64", "uint8", "int8")) for _ in range(2)]
        x = numbers(geometry.space_shape, getattr(torch, chance.choice((names[0], "int32"))), chance)
        words: dict[str, Any] = {"activation": chance.choice(ACTIVATIONS), "scale": chance.choice((None, 0.5))}
        words |= {"bias": chance.choice((None, 0.25)), "pad": chance.choice(("before", "after"))}
        order = {"spatial_dims": geometry.spatial_dims, "shifts": geometry.shifts, "pad_value": 3, **options}
        cut = geometry.block_shape, geometry.paddings
        y = fused.space_to_batch(x.numpy(), *cut, **order, **words, dtype=np.dtype(names[1]))
        assert y.dtype == names[1]
        met = {name: words[name] for name in ("scale", "bias", "pad")} | {"pad_value": 3}
        check(torch.from_numpy(y), spelled("space_to_batch", geometry, x, **met), words["activation"], 3)
