"""Single checks by name, each for a fault of its own: `python -m tests.ptx check NAME`."""

from __future__ import annotations

from collections.abc import Callable

import torch

from spacebatch import BlockGeometry
from tests import bits

from .calls import Call, check_call, check_result, pad_bytes, shapes
from .cases import DIRECTIONS
from .driver import StandIn


def pads_of_every_width(device: StandIn) -> None:
    """One prepared call takes pad values that need 32 bits, exactly 32, and more, one after the other."""
    geometry = BlockGeometry((1, 1, 4, 6), 2, 1)
    source, result = bits.random_tensor((1, 1, 4, 6), torch.int64), torch.empty(geometry.batch_shape, dtype=torch.int64)
    call = Call(device, "space_to_batch", geometry, source, result)
    for pad in (-(2**31), 2**40 + 5, 2**31 - 1, 2**31, -(2**31) - 1, 0, -(2**63)):
        check_result(call, pad_bytes(pad, torch.int64))


def an_address_less_aligned_than_promised(device: StandIn) -> None:
    """A prepared call does not run a kernel compiled for aligned addresses where they are not."""
    geometry = BlockGeometry((1, 1, 8, 32), 2)
    storage, result = bits.random_tensor((257,), torch.float32), torch.empty(geometry.batch_shape)
    call = Call(device, "space_to_batch", geometry, storage[:256].view(shapes("space_to_batch", geometry)[0]), result)
    check_result(call, pad_bytes(0, torch.float32))
    call.source = storage[1:].view(call.source.shape)
    check_result(call, pad_bytes(0, torch.float32))


def sizes_of_one(device: StandIn) -> None:
    """One element, and one element in a border."""
    for dtype in (torch.uint8, torch.float16, torch.complex128):
        for geometry in (BlockGeometry((1, 1, 1, 1), 1), BlockGeometry((1, 1, 1, 1), (2, 3), ((1, 0), (0, 2)))):
            for direction in DIRECTIONS:
                check_call(device, direction, geometry, dtype, 1)


CHECKS: dict[str, Callable[[StandIn], None]] = {
    "pads": pads_of_every_width,
    "alignment": an_address_less_aligned_than_promised,
    "ones": sizes_of_one,
}
