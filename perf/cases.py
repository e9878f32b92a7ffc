"""What is measured: one call each, with the row of the goals that it counts for.

A case names sizes, block, dtype and layout; its inputs are made of random bits when they are wanted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from spacebatch.reference.arguments import Arrangement, BatchOrder, Pair
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.prepared import Direction
from spacebatch.timing import cache_bytes, random_bytes

Mode: TypeAlias = Literal["forward", "backward", "training"]
Layout: TypeAlias = Literal["contiguous", "channels_last", "sliced", "transposed", "expanded", "channel_slice"]

DIRECTIONS: tuple[Direction, ...] = ("space_to_batch", "batch_to_space")
MOST_SOURCES = 8

LAYOUTS: dict[Layout, str] = {
    "contiguous": "the dims in their own order",
    "channels_last": "the channels innermost",
    "sliced": "a stretch of wider rows",
    "transposed": "the last two dims swapped in memory",
    "expanded": "one sample, repeated without memory of its own",
    "channel_slice": "channels_last, half of the channels of a wider tensor",
}


@dataclass(frozen=True)
class Case:
    """One call to measure.

    >>> case = Case("space_to_batch", (1, 2, 5, 6), (2, 3), ((0, 1), (0, 0)), "float16")
    >>> case.key
    'space_to_batch float16 1x2x5x6 b2,3 p0:1,0:0'
    >>> case.source(torch.device("cpu")).shape, case.moved_bytes
    (torch.Size([1, 2, 5, 6]), 264)

    Attributes:
        direction: the operator.
        shape: of the space tensor, (N, C, *spatial).
        block, paddings: one int, one pair, per blocked dim; of `batch_to_space` the paddings are the crops.
        dtype: PyTorch's name of it.
        layout: one of LAYOUTS, how the input lies in memory.
        batch_order, arrangement: as in the call.
        mode: "backward" times the gradient alone; "training", a call with its gradient, is of fused operators.
        row: the row of the goals; see `suites.ROWS`.
        name: what the sizes stand for, a network's name say; no part of the key.
        shifts: one per blocked dim; none stand for zeros.
    """

    direction: Direction
    shape: tuple[int, ...]
    block: tuple[int, ...]
    paddings: tuple[Pair, ...]
    dtype: str = "float32"
    layout: Layout = "contiguous"
    batch_order: BatchOrder = "block_major"
    arrangement: Arrangement = "interleaved"
    mode: Mode = "forward"
    row: str = ""
    name: str = ""
    shifts: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """What two measurements of the same call have in common."""
        words = [self.direction, self.dtype, "x".join(map(str, self.shape)), f"b{','.join(map(str, self.block))}"]
        if any(map(any, self.paddings)):
            words.append("p" + ",".join(f"{before}:{after}" for before, after in self.paddings))
        if any(self.shifts):
            words.append(f"s{','.join(map(str, self.shifts))}")
        for value, default in (
            (self.layout, "contiguous"),
            (self.arrangement, "interleaved"),
            (self.batch_order, "block_major"),
            (self.mode, "forward"),
        ):
            if value != default:
                words.append(value)
        return " ".join(words)

    @property
    def torch_dtype(self) -> torch.dtype:
        return dtype_of(self.dtype)

    @property
    def geometry(self) -> BlockGeometry:
        """The geometry of the call."""
        return BlockGeometry(
            self.shape,
            self.block,
            self.paddings,
            batch_order=self.batch_order,
            arrangement=self.arrangement,
            shifts=self.shifts or 0,
        )

    @property
    def arguments(self) -> Any:
        """The keyword arguments of the call that `moves` names."""
        return self.geometry.arguments if self.moves == "space_to_batch" else self.geometry.inverse

    @property
    def memory_geometry(self) -> BlockGeometry:
        """The geometry of the same call on dense arrays in memory order: (N, *spatial, C) for channels_last."""
        if self.layout != "channels_last":
            return self.geometry
        rank, m = len(self.shape), len(self.block)
        return BlockGeometry(
            [self.shape[d] for d in self.memory_dims],
            self.block,
            self.paddings,
            spatial_dims=tuple(range(rank - 1 - m, rank - 1)),
            batch_order=self.batch_order,
            arrangement=self.arrangement,
            shifts=self.shifts or 0,
        )

    @property
    def memory_dims(self) -> tuple[int, ...]:
        """The dims from outermost to innermost, for the two dense layouts."""
        rank = len(self.shape)
        return (0, *range(2, rank), 1) if self.layout == "channels_last" else tuple(range(rank))

    @property
    def moves(self) -> Direction:
        """Which way the elements go when the case is timed: backward, the other way."""
        if self.mode == "forward":
            return self.direction
        return "batch_to_space" if self.direction == "space_to_batch" else "space_to_batch"

    @property
    def source_shape(self) -> tuple[int, ...]:
        """Of what is read: the operator's input, or the gradient of its output."""
        return self.geometry.space_shape if self.moves == "space_to_batch" else self.geometry.batch_shape

    @property
    def result_shape(self) -> tuple[int, ...]:
        return self.geometry.batch_shape if self.moves == "space_to_batch" else self.geometry.space_shape

    @property
    def moved_bytes(self) -> int:
        """Bytes that must move: every element in memory that is asked for read once, and every result written once."""
        space = math.prod(self.shape)
        read = space // self.source_shape[0] if self.layout == "expanded" else space
        return (read + math.prod(self.result_shape)) * self.torch_dtype.itemsize

    @property
    def result_bytes(self) -> int:
        return math.prod(self.result_shape) * self.torch_dtype.itemsize

    def source(self, device: torch.device) -> Tensor:
        """An input of random bits, in the case's layout."""
        return with_layout(self.source_shape, self.torch_dtype, self.layout, device)

    def sources(self, device: torch.device) -> list[Tensor]:
        """Inputs to rotate: together four times a GPU's cache, but at most MOST_SOURCES; one where there is no such cache."""
        first = self.source(device)
        count = 1 if self.layout == "expanded" else -(-4 * cache_bytes(device) // max(first.nbytes, 1))
        return [first, *(self.source(device) for _ in range(1, min(count, MOST_SOURCES)))]

    def tiny(self) -> Case:
        """The same call on sizes as small as its kinds of access allow, for a rehearsal."""
        channels = 16 if self.layout in ("channels_last", "channel_slice") and self.shape[1] % 16 == 0 else 3
        lead = len(self.shape) - len(self.block)
        shape = [min(size, limit) for size, limit in zip(self.shape[:lead], (2, channels, 3), strict=False)]
        for size, block in zip(self.shape[lead:], self.block, strict=True):
            step = math.lcm(block, 8)  # what was aligned stays so
            shape.append(size - max(0, (size - 16) // step) * step)
        return replace(self, shape=tuple(shape))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Case:
        """What `dataclasses.asdict` made of a case, back from JSON.

        >>> from dataclasses import asdict
        >>> case = Case("batch_to_space", (1, 4), (2,), ((0, 0),))
        >>> Case.from_dict(asdict(case)) == case
        True
        """
        data = {**data, "shape": tuple(data["shape"]), "block": tuple(data["block"])}
        data["shifts"] = tuple(data.get("shifts", ()))
        return cls(**{**data, "paddings": tuple((int(before), int(after)) for before, after in data["paddings"])})


def dtype_of(name: str) -> torch.dtype:
    """The dtype of PyTorch's name for it.

    Raises:
        ValueError: there is none.
    """
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"PyTorch has no dtype called {name!r}; it has float32, uint8, bfloat16, complex64 and others")
    return dtype


def with_layout(shape: tuple[int, ...], dtype: torch.dtype, layout: Layout, device: torch.device) -> Tensor:
    """A tensor of random bits in one of LAYOUTS.

    >>> with_layout((2, 3, 4, 4), torch.int16, "channels_last", torch.device("cpu")).stride()
    (48, 1, 12, 3)
    >>> with_layout((2, 3, 4), torch.int16, "expanded", torch.device("cpu")).stride()
    (0, 4, 1)
    """
    if layout in ("channels_last", "channel_slice"):
        if len(shape) < 3:
            raise ValueError(f"case: {layout} needs at least 3 dims, got shape {shape}")
        channels = shape[1] * (2 if layout == "channel_slice" else 1)
        x = _dense((shape[0], *shape[2:], channels), dtype, device).permute(0, -1, *range(1, len(shape) - 1))
        return x[:, : shape[1]]
    if layout == "sliced":
        beside = max(16 // dtype.itemsize, 1)  # 16 bytes, which keeps what was aligned aligned
        return _dense((*shape[:-1], shape[-1] + 2 * beside), dtype, device)[..., beside:-beside]
    if layout == "transposed":
        return _dense((*shape[:-2], shape[-1], shape[-2]), dtype, device).transpose(-1, -2)
    if layout == "expanded":
        return _dense((1, *shape[1:]), dtype, device).expand(shape)
    return _dense(shape, dtype, device)


def _dense(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    if dtype is torch.bool:
        return (random_bytes(math.prod(shape), device) > 127).reshape(shape)
    return random_bytes(math.prod(shape) * dtype.itemsize, device).view(dtype).reshape(shape)
