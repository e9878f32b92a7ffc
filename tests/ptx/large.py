"""Tensors of 2**31 elements and more, which need no memory: addresses are at stake, so some programs of each call run."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from spacebatch import BlockGeometry
from spacebatch.reference.arguments import Arrangement
from spacebatch.reference.memory_order import dense_strides
from spacebatch.reference.prepared import Direction
from spacebatch.tl_kernels.family import Config

from .arithmetic import Array
from .calls import Call, pad_bytes, shapes
from .cases import DIRECTIONS
from .driver import StandIn
from .memory import VirtualBuffer


class Large(NamedTuple):
    """One geometry; both directions and all families of it are run."""

    name: str
    shape: tuple[int, ...]
    block: int
    paddings: Any
    dtype: torch.dtype
    windows: bool = False
    channels_last: bool = False
    shifts: int = 0


LARGE = (
    Large("2**31 words of 2", (8, 64, 2048, 2048), 2, 0, torch.float16),
    Large("just under 2**31 bytes", (1, 127, 4096, 4096), 2, 0, torch.uint8),
    Large("just under 2**31, padded past it", (1, 127, 4094, 4094), 3, ((1, 0), (8, 8)), torch.uint8),
    Large("block 3, odd", (3, 64, 4095, 4093), 3, "auto", torch.uint8),
    Large("single bytes, odd", (3, 5, 2**15 + 1, 2**16 + 1), 2, "auto", torch.uint8),
    Large("single bytes, block 4", (2**24, 3, 29, 31), 4, ((1, 2), (2, 3)), torch.uint8),
    Large("2**30 elements of 16 bytes", (4, 64, 2048, 2050), 2, 1, torch.complex128),
    Large("3-D", (2, 64, 256, 256, 258), 2, "auto", torch.float16),
    Large("channels_last", (16, 128, 1024, 1026), 2, 0, torch.float16, channels_last=True),
    Large("windows", (16, 129, 1029, 1029), 7, 0, torch.uint8, windows=True),
    Large("windows, shifted", (16, 129, 1029, 1029), 7, 0, torch.uint8, windows=True, shifts=-3),
    Large("odd, shifted", (3, 64, 4095, 4093), 3, "auto", torch.uint8, shifts=1001),
    Large("rows of more than 2**31, shifted", (1, 1, 4_500_000_001), 2, "auto", torch.float16, shifts=-(2**31) - 5),
    Large(
        "windows of more than 2**31, shifted", (1, 1, 9_000_000_000), 2, 0, torch.uint8, windows=True, shifts=-(2**32)
    ),
    Large("1-D, rate 512", (4, 1, 1 << 30), 512, 0, torch.uint8),
    Large("rows of more than 2**31", (1, 1, 9_000_000_000), 3, 0, torch.uint8),
    Large("rows of more than 2**31, padded", (1, 1, 4_500_000_001), 2, "auto", torch.float16),
    Large("windows of more than 2**31", (1, 1, 9_000_000_000), 2, 0, torch.uint8, windows=True),
    Large("windows of 2**33", (1, 1, 1 << 34), 2, 0, torch.uint8, windows=True),
    Large("nothing but a copy", (8, 512, 1024, 1024), 1, 0, torch.float32),
    Large("nothing but padding", (1, 1, 1 << 32), 1, ((16, 16),), torch.uint8),
)
BY_NAME = {large.name: large for large in LARGE}


def check_large(device: StandIn, large: Large) -> tuple[list[str], list[str]]:
    """All families in both directions: those that ran, and what went wrong."""
    arrangement: Arrangement = "contiguous" if large.windows else "interleaved"
    geometry = BlockGeometry(large.shape, large.block, large.paddings, arrangement=arrangement, shifts=large.shifts)
    order = (0, *range(2, len(large.shape)), 1) if large.channels_last else None
    ran, wrong = [], []
    for direction in DIRECTIONS:
        for config in family_configs(device, direction, geometry, large.dtype, order):
            ran.append(f"{config.family} {direction}")
            try:
                check_virtual(device, direction, geometry, large.dtype, 3, config, order)
            except Exception as error:
                cause = str(error.__cause__ or error).strip()
                wrong.append(f"{large.name}, {direction}, {config.family}: {type(error).__name__}: {cause[-300:]}")
    return ran, wrong


def virtual_tensors(
    direction: Direction, geometry: BlockGeometry, dtype: torch.dtype, order: Sequence[int] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Source and result of a call, dense and of any size, at addresses where nothing is.

    Args:
        order: of the dims in memory, the outermost first.
    """
    made = []
    for place, shape in enumerate(shapes(direction, geometry), start=1):
        size = math.prod(shape) * dtype.itemsize
        nothing = (ctypes.c_ubyte * size).from_address(place << 45)
        strides = dense_strides(shape, order or tuple(range(len(shape))))
        made.append(torch.frombuffer(nothing, dtype=torch.uint8).view(dtype).as_strided(shape, strides))
    return made[0], made[1]


def some_programs(total: int) -> Array:
    """The first ones, the last ones, and some between them."""
    between = np.random.default_rng(total).integers(0, total, 24)
    return np.unique(np.clip([0, 1, total // 2, total - 2, total - 1, *between], 0, total - 1))


def family_configs(
    device: StandIn,
    direction: Direction,
    geometry: BlockGeometry,
    dtype: torch.dtype,
    order: Sequence[int] | None = None,
) -> list[Config]:
    """The rule's configuration of every family that applies to a call on dense, virtual tensors."""
    source, result = virtual_tensors(direction, geometry, dtype, order)
    return [plan.rule for plan in Call(device, direction, geometry, source, result).plans]


def check_virtual(
    device: StandIn,
    direction: Direction,
    geometry: BlockGeometry,
    dtype: torch.dtype,
    pad: Any = 0,
    config: Config | None = None,
    order: Sequence[int] | None = None,
) -> None:
    """Some programs of a call on dense tensors of any size store the right bytes in the right places.

    Args:
        order: of the dims in memory, the outermost first.

    Raises:
        KernelError, AssertionError: they do not.
    """
    source, result = virtual_tensors(direction, geometry, dtype, order)
    call, bits_of_pad = Call(device, direction, geometry, source, result, config), pad_bytes(pad, dtype)
    for _ in ("the first launch", "a ready launch"):
        places, data, programs = call.run_virtually(some_programs, bits_of_pad).written()
        wanted = wanted_bytes(call, places, bits_of_pad)
        wrong = np.flatnonzero(data != wanted)
        assert not len(wrong), f"{len(wrong)} of {len(data)} bytes differ, the first at byte {places[wrong[0]]}"
        assert device.launched is not None
        ran = len(some_programs(device.launched.programs))
        # programs own equal parts of the result, but for their last ones
        idle = ran - len(np.unique(programs))
        assert idle <= ran // 4, f"{idle} of {ran} programs stored nothing"


def wanted_bytes(call: Call, places: Array, pad: bytes) -> Array:
    """The bytes at places of a virtual result, by the formula of the operators."""
    geometry, source, result, width = call.geometry, call.source, call.result, call.source.element_size()
    element = places // width
    index = [np.zeros_like(element)] * result.dim()
    for d in sorted(range(result.dim()), key=result.stride, reverse=True):
        if result.shape[d] > 1:
            index[d], element = np.divmod(element, result.stride(d))
    samples, phases = geometry.space_shape[0], math.prod(geometry.block_shape)
    blocked = list(zip(geometry.spatial_dims, geometry.block_shape, geometry.paddings, geometry.shifts, strict=True))
    interleaved, block_major = geometry.arrangement == "interleaved", geometry.batch_order == "block_major"
    inside, there = np.ones(places.shape, bool), list(index)
    if call.direction == "space_to_batch":
        phase, there[0] = np.divmod(index[0], samples) if block_major else np.divmod(index[0], phases)[::-1]
        for d, block, (before, _), shift in reversed(blocked):
            phase, p = np.divmod(phase, block)
            u = index[d] * block + p if interleaved else p * geometry.batch_shape[d] + index[d]
            there[d] = (u - shift) % (block * geometry.batch_shape[d]) - before
            inside &= (there[d] >= 0) & (there[d] < geometry.space_shape[d])
    else:
        phase = np.zeros_like(element)
        for d, block, (before, _), shift in blocked:
            at = (index[d] + before + shift) % (block * geometry.batch_shape[d])
            there[d], p = np.divmod(at, block) if interleaved else np.divmod(at, geometry.batch_shape[d])[::-1]
            phase = phase * block + p
        there[0] = phase * samples + index[0] if block_major else index[0] * phases + phase
    offset = sum(np.where(inside, at, 0) * stride for at, stride in zip(there, source.stride(), strict=True))
    content = VirtualBuffer.content(np.asarray(offset) * width + places % width)
    return np.where(inside, content, np.frombuffer(pad, np.uint8)[places % width])
