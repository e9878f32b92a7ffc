"""Calls of the Triton kernels whose results are compared, bit by bit, with the definition's gather map.

Under Triton's interpreter they run on the CPU; on a machine with a GPU, there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from spacebatch import BlockGeometry
from spacebatch.reference.arithmetic import Arithmetic
from spacebatch.reference.memory_order import dense_strides, memory_order
from spacebatch.reference.prepared import Direction, Layout
from spacebatch.tl_kernels import launch
from spacebatch.tl_kernels.family import Config
from tests import bits
from tests.bits import random_tensor as random_bits
from tests.bits import raw as as_bytes

__all__ = ["DEVICE", "as_bytes", "call_of", "check_both_ways", "expected_batch", "layout_of", "random_bits"]

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def expected_batch(x: torch.Tensor, geometry: BlockGeometry, pad_value: Any) -> np.ndarray[Any, Any]:
    """Bytes of space_to_batch of x by the geometry's index map, which the tests of the geometry hold to the definition."""
    elements = np.append(as_bytes(x), as_bytes(torch.tensor(pad_value, dtype=x.dtype)))
    return elements[geometry.space_indices()]  # -1, the padding, is the last


def layout_of(x: torch.Tensor) -> Layout:
    """How a tensor lies in memory."""
    return Layout(x.stride(), x.element_size(), x.dtype, x.device.type)


def call_of(
    direction: Direction,
    geometry: BlockGeometry,
    source: torch.Tensor,
    result: torch.Tensor,
    arithmetic: Arithmetic | None = None,
) -> launch.PreparedCall:
    """A prepared call, which the rule chooses a configuration for."""
    call = launch.prepare(direction, geometry, layout_of(source), layout_of(result), None, arithmetic)
    assert not isinstance(call, str), call
    return call


def check_both_ways(
    x: torch.Tensor, geometry: BlockGeometry, pad_value: Any = 0, tile: int = 256, change: Any = None
) -> set[str]:
    """Every family of kernels that applies, on x and on its batch tensor, into poisoned outputs, equals the definition.

    Tiles are of `tile` words, so that small tensors take several programs; `change` maps each plan to the one that runs.
    Returns the families.
    """
    x = x.to(DEVICE)
    wanted = expected_batch(x, geometry, pad_value)
    pad = as_bytes(torch.tensor([pad_value], dtype=x.dtype)).tobytes()
    ran = set()
    for direction, shape in (("space_to_batch", geometry.batch_shape), ("batch_to_space", geometry.space_shape)):
        source = x
        if direction == "batch_to_space":
            source = poisoned(geometry.batch_shape, x)
            call_of("space_to_batch", geometry, x, source)(x, source, pad)
        result = poisoned(shape, x)
        for plan in launch.plans_of(direction, geometry, source, result):  # type: ignore[arg-type]
            result = poisoned(shape, x)
            moved = change(plan) if change else plan
            there = launch.pointers(source, result, plan.words)
            launch.start(moved, Config(plan.family, tile * plan.words, 4), there, launch.pad_words(pad, plan.words))
            np.testing.assert_array_equal(
                as_bytes(result), wanted if direction == "space_to_batch" else as_bytes(x), err_msg=plan.family
            )
            ran.add(plan.family)
    return ran


def poisoned(shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
    """A tensor whose every byte is 0xA5 (True, for bools), in the memory order of `like`."""
    strides = dense_strides(shape, memory_order(like.shape, like.stride()))
    return bits.poisoned(torch.empty_strided(shape, strides, dtype=like.dtype, device=like.device))
