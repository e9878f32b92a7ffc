"""Calls of the Triton kernels whose results are compared, bit by bit, with the definition's gather map.

Under Triton's interpreter they run on the CPU; on a machine with a GPU, there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from spacebatch import BlockGeometry
from spacebatch.tl_kernels import launch
from spacebatch.tl_kernels.family import Config

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def random_bits(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    """A tensor of random bytes of any dtype, NaNs of every payload among them; bools hold 0 and 1."""
    if 0 in shape:
        return torch.empty(shape, dtype=dtype)
    generator = np.random.default_rng(seed)
    if dtype is torch.bool:
        return torch.from_numpy(generator.integers(0, 2, shape).astype(np.bool_))
    data = generator.integers(0, 256, math.prod(shape) * dtype.itemsize, dtype=np.uint8)
    return torch.from_numpy(data).view(dtype).reshape(shape)


def as_bytes(x: torch.Tensor) -> np.ndarray[Any, Any]:
    """The elements' bytes, one more dim."""
    x = x.detach().cpu().contiguous()
    if x.numel() == 0:
        return np.empty((*x.shape, x.element_size()), np.uint8)
    return x.reshape(-1).view(torch.uint8).numpy().reshape(*x.shape, x.element_size())


def expected_batch(x: torch.Tensor, geometry: BlockGeometry, pad_value: Any) -> np.ndarray[Any, Any]:
    """Bytes of space_to_batch of x by the geometry's index map, which the tests of the geometry hold to the definition."""
    source = geometry.space_indices()
    pad = as_bytes(torch.tensor([pad_value], dtype=x.dtype))[0]
    if x.numel() == 0:
        return np.broadcast_to(pad, (*source.shape, pad.size))
    elements = as_bytes(x).reshape(-1, x.element_size())
    return np.where((source >= 0)[..., None], elements[np.maximum(source, 0)], pad)


def check_both_ways(
    x: torch.Tensor, geometry: BlockGeometry, pad_value: Any = 0, tile: int = 256, change: Any = None
) -> set[str]:
    """Every family of kernels that applies, on x and on its batch tensor, into poisoned outputs, equals the definition.

    Tiles are of `tile` words, so that small tensors take several programs; `change` maps each plan to the one that runs.
    Returns the families.
    """
    x = x.to(DEVICE)
    wanted = expected_batch(x, geometry, pad_value)
    ran = set()
    for direction, shape in (("space_to_batch", geometry.batch_shape), ("batch_to_space", geometry.space_shape)):
        source = x
        if direction == "batch_to_space":
            source = poisoned(geometry.batch_shape, x)
            launch.space_to_batch(geometry, x, source, pad_value)
        reason = launch.can_run(direction, geometry, source)  # type: ignore[arg-type]
        assert reason is None, reason
        result = poisoned(shape, x)
        if 0 in (x.numel(), result.numel()):
            launch.run(direction, geometry, source, result, pad_value)  # type: ignore[arg-type]
            np.testing.assert_array_equal(as_bytes(result), wanted if direction == "space_to_batch" else as_bytes(x))
            continue
        plans = launch.plans_of(direction, geometry, source, result)  # type: ignore[arg-type]
        for plan in plans:
            result = poisoned(shape, x)
            moved = change(plan) if change else plan
            pointers = launch.as_words(source, plan.words), launch.as_words(result, plan.words)
            pad = launch.pad_words(pad_value, x.dtype, plan.words)
            launch.start(moved, Config(plan.family, tile * plan.words, 4), pointers, pad)
            np.testing.assert_array_equal(
                as_bytes(result), wanted if direction == "space_to_batch" else as_bytes(x), err_msg=plan.family
            )
            ran.add(plan.family)
    return ran


def poisoned(shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
    """A tensor whose every byte is 0xA5 (True, for bools), in the memory order of `like`."""
    strides = dense_strides(shape, memory_order(like.shape, like.stride()))
    result = torch.empty_strided(shape, strides, dtype=like.dtype, device=like.device)
    if like.dtype is torch.bool:
        return result.fill_(True)
    storage = torch.empty(0, dtype=torch.uint8, device=result.device).set_(result.untyped_storage())
    storage.fill_(0xA5)
    return result
