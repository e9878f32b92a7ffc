"""PyTorch's own operators as a backend: a pad or a crop where there is a border, cyclic shifts piece by piece, and one strided copy."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from spacebatch.reference.arithmetic import NO_OPERANDS, Arithmetic, Operands
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.memory_order import dense_strides, memory_order
from spacebatch.reference.prepared import Answer, Backend, Direction, Layout

from . import aten
from .arithmetic import along, computed, dtype_of

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


class TorchArithmetic:
    """A prepared call with arithmetic on the way: PyTorch's operators where the source is, or where the result is, and a copy."""

    def __init__(
        self, direction: Direction, geometry: BlockGeometry, source: Layout, result: Layout, arithmetic: Arithmetic
    ) -> None:
        self._arithmetic, self._geometry = arithmetic, geometry
        self._moved_first = arithmetic.residual is not None
        self._table = direction == "space_to_batch" and arithmetic.pad == "before" and geometry.padded
        self._border = direction == "space_to_batch" and self._moved_first and geometry.padded
        if self._table:  # the border is written first, and moved as if the image had none
            geometry = BlockGeometry(
                aten.padded_shape(geometry),
                geometry.block_shape,
                spatial_dims=geometry.spatial_dims,
                batch_order=geometry.batch_order,
                arrangement=geometry.arrangement,
                shifts=geometry.shifts,
            )
        self._copy = TorchCopy(direction, geometry, source if self._moved_first else result)

    def ready(self, wait: bool = False) -> bool:
        """Always."""
        return True

    def __call__(self, source: Tensor, result: Tensor, pad: bytes, operands: Operands = NO_OPERANDS) -> None:
        """Fill the result."""
        source, result = source.detach(), result.detach()
        scale, bias, residual, table = operands
        if not self._moved_first:
            value = computed(source, self._arithmetic, scale, bias)
            self._copy(self._with_border(value, table) if self._table else value, result, pad)
            return
        moved = torch.empty_strided(result.shape, result.stride(), dtype=source.dtype, device=source.device)
        self._copy(source, moved, b"")
        result.copy_(computed(moved, self._arithmetic, scale, bias, residual))
        if self._border:
            border = torch.from_numpy(~self._geometry.valid_mask()).to(result.device)
            number = int.from_bytes(pad or b"\0", "little", signed=len(pad) > 1)
            result.view(INTEGERS[result.itemsize]).masked_fill_(border, number)

    def _with_border(self, value: Tensor, table: Any) -> Tensor:
        """The padded tensor, where the border has an entry of the table for each channel."""
        geometry, ndim = self._geometry, value.dim()
        shape = aten.padded_shape(geometry)
        whole = torch.empty(shape, dtype=value.dtype, device=value.device)
        bits = None if value.dtype in KNOWN_DTYPES else INTEGERS[value.itemsize]
        if bits is not None:
            whole, value, table = whole.view(bits), value.view(bits), table.view(bits)
        whole.copy_(along(table, self._arithmetic.channel_dim, ndim).expand(shape))
        inner = whole
        for d, (before, _) in zip(geometry.spatial_dims, geometry.paddings, strict=True):
            inner = inner.narrow(d, before, geometry.space_shape[d])
        inner.copy_(value)
        return whole if bits is None else whole.view(dtype_of(self._arithmetic.result))

    def __str__(self) -> str:
        steps = ["arithmetic", str(self._copy)]
        return f"{self._arithmetic} in PyTorch's operators: {', then '.join(reversed(steps) if self._moved_first else steps)}"


def _prepare(
    direction: Direction,
    geometry: BlockGeometry,
    source: Layout,
    result: Layout,
    arithmetic: Arithmetic | None = None,
) -> Answer:
    if arithmetic is not None:
        return TorchArithmetic(direction, geometry, source, result, arithmetic)
    return TorchCopy(direction, geometry, source)


TORCH = Backend("torch", _prepare)
