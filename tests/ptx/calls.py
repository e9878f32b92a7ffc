"""Calls of the kernels on the stand-in, as `launch.prepare` prepares them, and what their results must be.

    device = StandIn(folder)
    geometry = BlockGeometry((1, 3, 5, 7), 2, "auto")
    check_call(device, "space_to_batch", geometry, torch.int64, pad=5)

`large.check_virtual` takes the same for tensors of any size. Both raise `KernelError` or `AssertionError`; `Call` is what
they are made of, for tests of one's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from spacebatch import BlockGeometry
from spacebatch.reference.arithmetic import NO_OPERANDS, Arithmetic, Operands
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
        arithmetic, operands: on the way.
    """

    def __init__(
        self,
        device: StandIn,
        direction: Direction,
        geometry: BlockGeometry,
        source: torch.Tensor,
        result: torch.Tensor,
        config: Config | None = None,
        arithmetic: Arithmetic | None = None,
        operands: Operands = NO_OPERANDS,
    ) -> None:
        from_, to = (Layout(x.stride(), x.element_size(), x.dtype, "cuda") for x in (source, result))
        call = launch.prepare(direction, geometry, from_, to, _Chosen(config) if config else None, arithmetic)
        assert not isinstance(call, str), call
        self._call, self.device, self.direction, self.geometry = call, device, direction, geometry
        self.source, self.result, self._operands = source, result, operands
        self.plans = call.plans(source.data_ptr() % 16 == 0, result.data_ptr() % 16 == 0)
        self.config = config or self.plans[0].rule

    def wanted(self, pad: bytes) -> Array:
        """The elements of the result as opaque bytes, by the geometry's index maps."""
        elements = bits.raw(self.source).ravel()
        if self.direction == "batch_to_space":
            return elements[self.geometry.batch_indices()]
        elements = np.append(elements, np.frombuffer(pad, elements.dtype))
        return elements[self.geometry.space_indices()]  # -1, the padding, is the last

    def run(self, pad: bytes = b"", traffic: tuple[Traffic, Traffic] | None = None) -> None:
        """All programs, on real tensors.

        Raises:
            KernelError: of the kernel; or bytes of the result were left unwritten.
        """
        written = RealBuffer("result", self.result, True)
        read = [("scale", self._operands.scale), ("bias", self._operands.bias)]
        read += [("residual", self._operands.residual), ("table of pads", self._operands.pad)]
        others = [RealBuffer(name, x, False) for name, x in read if isinstance(x, torch.Tensor)]
        with self.device.running(Memory(RealBuffer("source", self.source, False), written, traffic, others)):
            self._call(self.source, self.result, pad, self._operands)
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


def check_call(
    device: StandIn,
    direction: Direction,
    geometry: BlockGeometry,
    dtype: torch.dtype,
    pad: Any = 0,
    config: Config | None = None,
) -> None:
    """A call on dense tensors, launched in both ways, gives every byte of its result.

    Raises:
        KernelError, AssertionError: it does not.
    """
    from_, to = shapes(direction, geometry)
    source, result = bits.random_tensor(from_, dtype), torch.empty(to, dtype=dtype)
    check_result(Call(device, direction, geometry, source, result, config), pad_bytes(pad, dtype))


def check_result(call: Call, pad: bytes) -> None:
    """A call on real tensors, launched in both ways, gives every byte of its result.

    Raises:
        KernelError, AssertionError: it does not.
    """
    wanted = call.wanted(pad)
    for way in ("the first launch", "a ready launch"):
        bits.poisoned(call.result)
        call.run(pad)
        found = bits.raw(call.result)
        wrong = np.argwhere(found != wanted)
        assert not len(wrong), f"{way}: {len(wrong)} of {found.size} elements differ, the first at {wrong[0].tolist()}"
