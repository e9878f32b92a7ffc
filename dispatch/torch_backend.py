"""PyTorch's own operators as a backend: a pad or a crop where there is a border, cyclic shifts piece by piece, and one strided copy."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from spacebatch.reference.arithmetic import NO_OPERANDS, Arithmetic, Operands
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.memory_order import dense_strides, memory_order
from spacebatch.reference.prepared import Answer, Backend, Direction, Layout

from . import aten

INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes

# What all of PyTorch's operators know on every device; the others travel as integers of the same width.
KNOWN_DTYPES = frozenset(
    getattr(torch, name)
    for name in (
        "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64 complex64 complex128".split()  # noqa: SIM905
    )
)


class TorchCopy:
    """A prepared call: views of source and result whose dims correspond, and a copy between them."""

    def __init__(self, direction: Direction, geometry: BlockGeometry, source: Layout) -> None:
        self._to_batch = direction == "space_to_batch"
        self._geometry = geometry
        self._bits = None if source.dtype in KNOWN_DTYPES else INTEGERS[source.itemsize]
        self._dtype = self._bits or source.dtype
        self._split = aten.split(geometry)
        self._shape = aten.padded_shape(geometry)  # of the space tensor with its padding

    def ready(self, wait: bool = False) -> bool:
        """Always."""
        return True

    def __call__(self, source: Tensor, result: Tensor, pad: bytes, operands: Operands = NO_OPERANDS) -> None:
        """Fill the result."""
        source, result = source.detach(), result.detach()
        if self._bits is not None:
            source, result = source.view(self._bits), result.view(self._bits)
        geometry = self._geometry
        if not self._to_batch:
            self._to_space(source, result)
            return
        number = 0 if not pad else torch.tensor(list(pad), dtype=torch.uint8, device="cpu").view(self._dtype).item()
        if geometry.empty:
            result.fill_(number)
            return
        if geometry.shifted:
            whole = source.new_full(self._shape, number) if geometry.padded else source.new_empty(self._shape)
            for place, coordinate in self._pieces():
                whole[place].copy_(source[coordinate])
            source = whole
        elif geometry.padded:
            source = aten.padded(source, geometry, number)
        split = self._split
        result.view(split.batch).copy_(source.view(split.space).permute(split.permutation))

    def _to_space(self, source: Tensor, result: Tensor) -> None:
        geometry = self._geometry
        whole = result
        if geometry.padded or geometry.shifted:
            order = memory_order(geometry.batch_shape, source.stride())
            whole = source.new_empty_strided(self._shape, dense_strides(self._shape, order))
        split = self._split
        whole.view(split.space).permute(split.permutation).copy_(source.view(split.batch))
        if whole is not result:
            for place, coordinate in self._pieces():
                result[coordinate].copy_(whole[place])

    def _pieces(self) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
        """Where the pieces between which a cyclic shift cuts lie in the padded tensor, and where in space."""
        axes = self._geometry.axes
        for runs in itertools.product(*(axis.runs for axis in axes)):
            place = [slice(None)] * len(self._shape)
            coordinate = place.copy()
            for axis, (start, stop, first) in zip(axes, runs, strict=True):
                place[axis.dim], coordinate[axis.dim] = slice(start, stop), slice(first, first + stop - start)
            yield tuple(place), tuple(coordinate)

    def __str__(self) -> str:
        if self._geometry.empty:
            return "nothing to move"
        if self._geometry.shifted:
            return "shifted, then one strided copy" if self._to_batch else "one strided copy, then shifted"
        if not self._geometry.padded:
            return "one strided copy"
        return "padded, then one strided copy" if self._to_batch else "one strided copy, then cropped"


def _prepare(
    direction: Direction,
    geometry: BlockGeometry,
    source: Layout,
    result: Layout,
    arithmetic: Arithmetic | None = None,
) -> Answer:
    if arithmetic is not None:
        return "it computes nothing on the way"
    return TorchCopy(direction, geometry, source)


TORCH = Backend("torch", _prepare)
