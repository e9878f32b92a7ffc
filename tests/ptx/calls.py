"""Calls of the kernels on the stand-in, as `launch.prepare` prepares them, and what their results must be.

    device = StandIn(folder)
    geometry = BlockGeometry((1, 3, 5, 7), 2, "auto")
    check_call(device, "space_to_batch", geometry, torch.int64, pad=5)              # every byte, on real tensors
    check_virtual(device, "space_to_batch", BlockGeometry((8, 512, 1024, 1024), 1), torch.float32)   # some programs

Both raise `KernelError` or `AssertionError`. `Call` is what they are made of, for tests of one's own.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from spacebatch import BlockGeometry
from spacebatch.reference.memory_order import dense_strides
from spacebatch.reference.prepared import Direction, Layout
from spacebatch.tl_kernels import launch
from spacebatch.tl_kernels.family import Config, Plan
from tests import bits

from .arithmetic import Array
from .driver import StandIn
from .memory import Memory, RealBuffer, VirtualBuffer
from .traffic import Traffic


class _Chosen:
    """A tuning that knows one configuration."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def version(self) -> int:
        return 0

    def choose(
        self, plans: Sequence[Plan], device: int, measure: Callable[[], Config] | None
    ) -> tuple[Config | None, bool]:
        return self._config, True


class Call:
    """A call on two tensors, prepared once; its first `run` goes through Triton, later ones through the launch made ready.

    Args:
        config: the family and tile to take; the rule's where it is None.
    """

    def __init__(
        self,
        device: StandIn,
        direction: Direction,
        geometry: BlockGeometry,
        source: torch.Tensor,
        result: torch.Tensor,
        config: Config | None = None,
    ) -> None:
        from_, to = (Layout(x.stride(), x.element_size(), x.dtype, "cuda") for x in (source, result))
        call = launch.prepare(direction, geometry, from_, to, _Chosen(config) if config else None)
        assert not isinstance(call, str), call
        self._call, self.device, self.source, self.result, self.config = call, device, source, result, config
        self.plans = call.plans(source.data_ptr() % 16 == 0, result.data_ptr() % 16 == 0)

    def run(self, pad: bytes = b"", traffic: tuple[Traffic, Traffic] | None = None) -> None:
        """All programs, on real tensors.

        Raises:
            KernelError: of the kernel; or bytes of the result were left unwritten.
        """
        written = RealBuffer("result", self.result, True)
        with self.device.running(Memory(RealBuffer("source", self.source, False), written, traffic)):
            self._call(self.source, self.result, pad)
        assert self.device.launched is not None, "nothing was launched"
        assert not written.unwritten, f"{written.unwritten} bytes of the result were not written"

    def run_virtually(self, chosen: Callable[[int], Array], pad: bytes = b"") -> VirtualBuffer:
        """The chosen programs, on tensors whose memory is never touched; what they stored."""
        written = VirtualBuffer("result", self.result, True)
        with self.device.running(Memory(VirtualBuffer("source", self.source, False), written), chosen):
            self._call(self.source, self.result, pad)
        assert self.device.launched is not None, "nothing was launched"
        return written


def shapes(direction: Direction, geometry: BlockGeometry) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of the source and of the result."""
    both = geometry.space_shape, geometry.batch_shape
    return both if direction == "space_to_batch" else both[::-1]


def pad_bytes(pad: Any, dtype: torch.dtype) -> bytes:
    """The bits of a pad value."""
    return bits.raw(torch.tensor([pad], dtype=dtype)).tobytes()


def expected(direction: Direction, geometry: BlockGeometry, source: torch.Tensor, pad: bytes) -> Array:
    """The elements of the result as opaque bytes, by the geometry's index maps."""
    elements = bits.raw(source).ravel()
    if direction == "batch_to_space":
        return elements[geometry.batch_indices()]
    return np.append(elements, np.frombuffer(pad, elements.dtype))[geometry.space_indices()]  # -1, padding, is the last


def check_call(
    device: StandIn,
    direction: Direction,
    geometry: BlockGeometry,
    dtype: torch.dtype,
    pad: Any = 0,
    config: Config | None = None,
    seed: int = 0,
) -> None:
    """A call on dense tensors, launched in both ways, gives every byte of its result.

    Raises:
        KernelError, AssertionError: it does not.
    """
    from_, to = shapes(direction, geometry)
    source, result = bits.random_tensor(from_, dtype, seed), torch.empty(to, dtype=dtype)
    check_result(Call(device, direction, geometry, source, result, config), direction, geometry, pad_bytes(pad, dtype))


def check_result(call: Call, direction: Direction, geometry: BlockGeometry, pad: bytes) -> None:
    """A call on real tensors, launched in both ways, gives every byte of its result.

    Raises:
        KernelError, AssertionError: it does not.
    """
    wanted = expected(direction, geometry, call.source, pad)
    for way in ("the first launch", "a ready launch"):
        bits.poisoned(call.result)
        call.run(pad)
        found = bits.raw(call.result)
        wrong = np.argwhere(found != wanted)
        assert not len(wrong), f"{way}: {len(wrong)} of {found.size} elements differ, the first at {wrong[0].tolist()}"


def virtual_tensor(shape: tuple[int, ...], dtype: torch.dtype, order: Sequence[int] | None = None) -> torch.Tensor:
    """A dense tensor of any size, of which no byte may be touched."""
    size = math.prod(shape) * dtype.itemsize
    reserve_nothing = 0x4000  # MAP_NORESERVE, which Python names from 3.13 on
    memory = mmap.mmap(-1, size + 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | reserve_nothing)
    flat = torch.frombuffer(memory, dtype=torch.uint8)[:size].view(dtype)
    return flat.as_strided(shape, dense_strides(shape, order or tuple(range(len(shape)))))


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
    source, result = (virtual_tensor(shape, dtype, order) for shape in shapes(direction, geometry))
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
    source, result = (virtual_tensor(shape, dtype, order) for shape in shapes(direction, geometry))
    call, bits_of_pad = Call(device, direction, geometry, source, result, config), pad_bytes(pad, dtype)
    for _ in ("the first launch", "a ready launch"):
        places, data, programs = call.run_virtually(some_programs, bits_of_pad).written()
        wanted = virtual_bytes(direction, geometry, call, places, bits_of_pad)
        wrong = np.flatnonzero(data != wanted)
        assert not len(wrong), f"{len(wrong)} of {len(data)} bytes differ, the first at byte {places[wrong[0]]}"
        assert device.launched is not None
        ran = len(some_programs(device.launched.programs))
        # programs own equal parts of the result, but for their last ones
        idle = ran - len(np.unique(programs))
        assert idle <= ran // 4, f"{idle} of {ran} programs stored nothing"


def virtual_bytes(direction: Direction, geometry: BlockGeometry, call: Call, places: Array, pad: bytes) -> Array:
    """The bytes at places of a virtual result, by the formula of the operators."""
    source, result, width = call.source, call.result, call.source.element_size()
    element = places // width
    index = [np.zeros_like(element)] * result.dim()
    for d in sorted(range(result.dim()), key=result.stride, reverse=True):
        if result.shape[d] > 1:
            index[d], element = np.divmod(element, result.stride(d))
    samples, phases = geometry.space_shape[0], math.prod(geometry.block_shape)
    blocked = list(zip(geometry.spatial_dims, geometry.block_shape, geometry.paddings, strict=True))
    interleaved, block_major = geometry.arrangement == "interleaved", geometry.batch_order == "block_major"
    inside, there = np.ones(places.shape, bool), list(index)
    if direction == "space_to_batch":
        phase, there[0] = np.divmod(index[0], samples) if block_major else np.divmod(index[0], phases)[::-1]
        for d, block, (before, _) in reversed(blocked):
            phase, p = np.divmod(phase, block)
            there[d] = (index[d] * block + p if interleaved else p * geometry.batch_shape[d] + index[d]) - before
            inside &= (there[d] >= 0) & (there[d] < geometry.space_shape[d])
    else:
        phase = np.zeros_like(element)
        for d, block, (before, _) in blocked:
            at = index[d] + before
            there[d], p = np.divmod(at, block) if interleaved else np.divmod(at, geometry.batch_shape[d])[::-1]
            phase = phase * block + p
        there[0] = phase * samples + index[0] if block_major else index[0] * phases + phase
    offset = sum(np.where(inside, at, 0) * stride for at, stride in zip(there, source.stride(), strict=True))
    content = VirtualBuffer.content(np.asarray(offset) * width + places % width)
    return np.where(inside, content, np.frombuffer(pad, np.uint8)[places % width])
