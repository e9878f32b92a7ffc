"""The block geometry: the one place where arguments become sizes, phases and index maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .arguments import (
    Arrangement,
    BatchOrder,
    BlockShape,
    Borders,
    Pair,
    as_integer,
    as_sequence,
    batch_arguments,
    check_int64,
    normalize_blocks,
    normalize_borders,
    space_arguments,
)


class Axis(NamedTuple):
    """One blocked dim. The padded coordinate is u = before + (coordinate in space), split as u = outer * extent + inner.

    Interleaved, `outer` is the position i in the batch tensor and `inner` the phase p; contiguous, the other way round.
    """

    dim: int
    size: int  # elements in space
    block: int
    before: int
    after: int
    blocks: int  # elements in the batch tensor: (size + before + after) / block
    extent: int  # of the inner index: block if interleaved, blocks if contiguous


@dataclass(frozen=True, init=False, repr=False)
class BlockGeometry:
    """How the elements of a space tensor and of its batch tensor correspond: frozen, hashable, the same for both directions.

    `space_shape` is what `space_to_batch` reads and `batch_to_space` writes, `batch_shape` the other tensor; the
    paddings of the one are the crops of the other.

    >>> g = BlockGeometry((1, 3, 5, 5), 2, "auto")
    >>> g.batch_shape, g.paddings
    ((4, 3, 3, 3), ((0, 1), (0, 1)))
    >>> g.space_index((3, 0, 1, 1)), g.space_index((3, 0, 2, 2))
    ((0, 0, 3, 3), None)
    >>> g == BlockGeometry.from_batch(g.batch_shape, **g.inverse)
    True

    Args:
        shape: the space tensor's shape, (N, …), at least 2-D; dim 0 is the batch.
        block_shape: an int for every dim from 2 on (or for each of `spatial_dims`), or one positive int per blocked
            dim (by default the trailing ones).
        paddings: elements added around each blocked dim: an int, one int per dim, one (before, after) pair per dim, or
            "auto" to pad the end up to the next multiple of the block.
        spatial_dims: which dims are blocked, in the order of `block_shape`.
        batch_order: "block_major" (Caffe2, TensorFlow): phase * N + n; "batch_major": n * P + phase.
        arrangement: "interleaved": the coordinate is i * block + phase; "contiguous": phase * blocks + i (windows).

    Raises:
        ValueError: a value or a size that does not fit, named with its dim.
        TypeError: an argument that is not made of integers.
    """

    space_shape: tuple[int, ...]
    block_shape: tuple[int, ...]
    paddings: tuple[Pair, ...]
    spatial_dims: tuple[int, ...]
    batch_order: BatchOrder
    arrangement: Arrangement
    # Derived from the six above:
    batch_shape: tuple[int, ...] = field(compare=False)
    samples: int = field(compare=False)  # N
    phases: int = field(compare=False)  # P, the positions of a block
    axes: tuple[Axis, ...] = field(compare=False)
    padded: bool = field(compare=False)  # any padding at all
    empty: bool = field(compare=False)  # no element in space
    _hash: int = field(compare=False)
    _prepared: dict = field(compare=False)

    def __init__(
        self,
        shape: Sequence[int],
        block_shape: BlockShape,
        paddings: Borders | str = 0,
        *,
        spatial_dims: int | Sequence[int] | None = None,
        batch_order: BatchOrder = "block_major",
        arrangement: Arrangement = "interleaved",
        op: str = "space_to_batch",
    ) -> None:
        shape = _checked_shape(op, shape)
        blocks, dims, pairs, counts = space_arguments(
            op, shape, block_shape, paddings, spatial_dims, batch_order, arrangement
        )
        batch_shape = [math.prod(blocks) * shape[0], *shape[1:]]
        for d, count in zip(dims, counts, strict=True):
            batch_shape[d] = count
        self._set(op, shape, tuple(batch_shape), blocks, pairs, dims, batch_order, arrangement)

    @classmethod
    def from_batch(
        cls,
        shape: Sequence[int],
        block_shape: BlockShape,
        crops: Borders = 0,
        *,
        spatial_dims: int | Sequence[int] | None = None,
        batch_order: BatchOrder = "block_major",
        arrangement: Arrangement = "interleaved",
        op: str = "batch_to_space",
    ) -> BlockGeometry:
        """The geometry seen from a batch tensor of the given shape, as `batch_to_space` meets it.

        >>> BlockGeometry.from_batch((9, 3, 3, 3), 3, 2).space_shape
        (1, 3, 5, 5)

        Args:
            shape: the batch tensor's shape, (N * P, …).
            block_shape: as in `BlockGeometry`.
            crops: elements dropped around each blocked dim, written like `paddings` but never "auto".
            spatial_dims, batch_order, arrangement: as in `BlockGeometry`.

        Raises:
            ValueError, TypeError: as `BlockGeometry`; also a batch that P does not divide, and crops beyond the size.
        """
        shape = _checked_shape(op, shape)
        blocks, dims, pairs, sizes = batch_arguments(
            op, shape, block_shape, crops, spatial_dims, batch_order, arrangement
        )
        space_shape = [shape[0] // math.prod(blocks), *shape[1:]]
        for d, size in zip(dims, sizes, strict=True):
            space_shape[d] = size
        self = cls.__new__(cls)
        self._set(op, tuple(space_shape), shape, blocks, pairs, dims, batch_order, arrangement)
        return self

    def _set(
        self,
        op: str,
        space_shape: tuple[int, ...],
        batch_shape: tuple[int, ...],
        blocks: tuple[int, ...],
        paddings: tuple[Pair, ...],
        dims: tuple[int, ...],
        batch_order: BatchOrder,
        arrangement: Arrangement,
    ) -> None:
        check_int64(op, space_shape, "space")
        check_int64(op, (math.prod(blocks) * max(space_shape[0], 1), *batch_shape[1:]), "batch")
        put = self.__dict__.__setitem__  # frozen for everybody else
        put("space_shape", space_shape)
        put("batch_shape", batch_shape)
        put("block_shape", blocks)
        put("paddings", paddings)
        put("spatial_dims", dims)
        put("batch_order", batch_order)
        put("arrangement", arrangement)
        put("samples", space_shape[0])
        put("phases", math.prod(blocks))
        contiguous = arrangement == "contiguous"
        put(
            "axes",
            tuple(
                Axis(d, space_shape[d], b, before, after, batch_shape[d], batch_shape[d] if contiguous else b)
                for d, b, (before, after) in zip(dims, blocks, paddings, strict=True)
            ),
        )
        put("empty", 0 in space_shape)
        put("padded", any(before or after for before, after in paddings))
        put("_prepared", {})
        put("_hash", hash((space_shape, blocks, paddings, dims, batch_order, arrangement)))

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return (
            f"BlockGeometry({self.space_shape}, {self.block_shape}, {self.paddings}, spatial_dims={self.spatial_dims}, "
            f"batch_order={self.batch_order!r}, arrangement={self.arrangement!r})"
        )

    def space_index(self, batch_index: Sequence[int]) -> tuple[int, ...] | None:
        """Where the element at `batch_index` of the batch tensor comes from in space, or None where it is padding.

        >>> BlockGeometry((1, 6), (3,)).space_index((2, 1))
        (0, 5)
        """
        phases, sample = self._split_batch(batch_index[0])
        index = [sample, *batch_index[1:]]
        for axis, phase in zip(self.axes, phases, strict=True):
            i = batch_index[axis.dim]
            interleaved = self.arrangement == "interleaved"
            u = i * axis.block + phase if interleaved else phase * axis.blocks + i
            index[axis.dim] = u - axis.before
            if not 0 <= index[axis.dim] < axis.size:
                return None
        return tuple(index)

    def batch_index(self, space_index: Sequence[int]) -> tuple[int, ...]:
        """Where the element at `space_index` in space goes in the batch tensor.

        >>> BlockGeometry((1, 6), (3,)).batch_index((0, 5))
        (2, 1)
        """
        index = list(space_index)
        phase_index = 0
        for axis in self.axes:
            outer, inner = divmod(space_index[axis.dim] + axis.before, axis.extent)
            i, phase = (outer, inner) if self.arrangement == "interleaved" else (inner, outer)
            index[axis.dim] = i
            phase_index = phase_index * axis.block + phase
        n = space_index[0]
        index[0] = (
            phase_index * self.samples + n if self.batch_order == "block_major" else n * self.phases + phase_index
        )
        return tuple(index)

    def _split_batch(self, batch: int) -> tuple[tuple[int, ...], int]:
        if self.batch_order == "block_major":
            phase_index, sample = divmod(batch, self.samples)
        else:
            sample, phase_index = divmod(batch, self.phases)
        return tuple(int(p) for p in np.unravel_index(phase_index, self.block_shape)), sample

    def split_batch_stride(self, stride: int) -> tuple[int, tuple[int, ...]]:
        """A stride of the batch dim taken apart: that of a sample, and that of each axis' phase.

        >>> BlockGeometry((5, 3, 4, 6), (2, 3)).split_batch_stride(18)
        (18, (270, 90))

        Args:
            stride: of dim 0 of a batch tensor, in elements or bytes.

        Returns:
            (stride of the sample, stride of the phase of each blocked dim), in the same unit.
        """
        block_major = self.batch_order == "block_major"
        phase_strides = []
        step = stride * (self.samples if block_major else 1)
        for block in reversed(self.block_shape):
            phase_strides.append(step)
            step *= block
        return stride * (1 if block_major else self.phases), tuple(reversed(phase_strides))

    def space_indices(self) -> npt.NDArray[np.int64]:
        """For every element of the batch tensor, the flat index of its source in space; -1 in the padding.

        >>> BlockGeometry((1, 5), (2,), "auto").space_indices()
        array([[ 0,  2,  4],
               [ 1,  3, -1]])

        Returns:
            int64 array of shape `batch_shape`.
        """
        strides = _row_major_strides(self.space_shape)
        total, valid = self._batch_grid(self.space_shape, strides)
        return np.where(valid, total, -1)

    def batch_indices(self) -> npt.NDArray[np.int64]:
        """For every element in space, the flat index of its place in the batch tensor.

        >>> BlockGeometry((1, 5), (2,), "auto").batch_indices()
        array([[0, 3, 1, 4, 2]])

        Returns:
            int64 array of shape `space_shape`.
        """
        source = self.space_indices().reshape(-1)
        places = np.empty(math.prod(self.space_shape), dtype=np.int64)
        valid = source >= 0
        places[source[valid]] = np.flatnonzero(valid)
        return places.reshape(self.space_shape)

    def valid_mask(self) -> npt.NDArray[np.bool_]:
        """True where the batch tensor holds an element of space, False where it holds padding.

        >>> BlockGeometry((1, 5), (2,), "auto").valid_mask()
        array([[ True,  True,  True],
               [ True,  True, False]])

        Returns:
            read-only bool array of shape `batch_shape`; dims that are not blocked take no memory.
        """
        _, valid = self._batch_grid(self.space_shape, (0,) * len(self.space_shape))
        return np.broadcast_to(valid, self.batch_shape)

    def _batch_grid(
        self, space_shape: tuple[int, ...], strides: Sequence[int]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """(sum of coordinate * stride, inside?) at every place of the batch tensor, broadcast over what is constant."""
        ndim = len(space_shape)

        def along(dim: int, values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
            return values.reshape([-1 if d == dim else 1 for d in range(ndim)])

        batch = np.arange(self.batch_shape[0])
        if self.batch_order == "block_major":
            phase_index, sample = np.divmod(batch, max(self.samples, 1))
        else:
            sample, phase_index = np.divmod(batch, self.phases)
        total = along(0, sample * strides[0])
        valid = np.ones([self.batch_shape[0] if d == 0 else 1 for d in range(ndim)], dtype=bool)
        for d in range(1, ndim):
            if d not in self.spatial_dims and strides[d]:
                total = total + along(d, np.arange(space_shape[d]) * strides[d])
        remaining = self.phases
        for axis in self.axes:
            remaining //= axis.block
            phase = along(0, phase_index // remaining % axis.block)
            i = along(axis.dim, np.arange(axis.blocks))
            u = i * axis.block + phase if self.arrangement == "interleaved" else phase * axis.blocks + i
            coordinate = u - axis.before
            valid = valid & (coordinate >= 0) & (coordinate < axis.size)
            total = total + coordinate * strides[axis.dim]
        return total, valid

    @property
    def divisible(self) -> tuple[bool, ...]:
        """Whether each blocked dim is a whole number of blocks without padding.

        >>> BlockGeometry((1, 1, 4, 5), 2, "auto").divisible
        (True, False)
        """
        return tuple(axis.size % axis.block == 0 for axis in self.axes)

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments with which `space_to_batch` makes this geometry, "auto" worked out.

        >>> BlockGeometry((2, 3, 5), (2,), "auto").arguments["paddings"]
        ((0, 1),)
        """
        return {
            "block_shape": self.block_shape,
            "paddings": self.paddings,
            "spatial_dims": self.spatial_dims,
            "batch_order": self.batch_order,
            "arrangement": self.arrangement,
        }

    @property
    def inverse(self) -> dict[str, Any]:
        """Keyword arguments with which `batch_to_space` undoes `space_to_batch`, padding included.

        >>> from spacebatch import reference
        >>> x = np.arange(5).reshape(1, 5)
        >>> g = BlockGeometry(x.shape, (2,), "auto")
        >>> reference.batch_to_space(reference.space_to_batch(x, **g.arguments), **g.inverse)
        array([[0, 1, 2, 3, 4]])
        """
        arguments = self.arguments
        arguments["crops"] = arguments.pop("paddings")
        return arguments


def required_paddings(
    input_shape: Sequence[int], block_shape: Sequence[int], base_paddings: Sequence[Sequence[int]] | None = None
) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """The paddings that make every size divisible by its block, and the crops that undo what was added for that.

    >>> required_paddings((5, 7), (2, 4), ((1, 0), (0, 0)))
    (((1, 0), (0, 1)), ((0, 0), (0, 1)))

    Args:
        input_shape: sizes of the blocked dims.
        block_shape: block sizes, one per size.
        base_paddings: (before, after) pairs that are wanted in any case; zero by default.

    Returns:
        (paddings, crops), one pair per size. The base paddings are in `paddings` and not in `crops`.

    Raises:
        ValueError: lengths that differ, a block below 1, a negative size or padding.
        TypeError: an entry that is no integer.

    Source: TensorFlow's `required_space_to_batch_paddings`.
    """
    op = "required_paddings"
    sizes = _checked_shape(op, input_shape, "input_shape")
    block_shape = as_sequence(block_shape, f"{op}: block_shape", "a sequence of integers")
    if len(sizes) != len(block_shape):
        raise ValueError(f"{op}: input_shape has {len(sizes)} entries and block_shape {len(block_shape)}")
    blocks, dims = normalize_blocks(op, len(sizes) + 1, block_shape)
    base = normalize_borders(op, "base_paddings", 0 if base_paddings is None else base_paddings, dims)
    assert base is not None
    paddings, crops = [], []
    for size, block, (before, after) in zip(sizes, blocks, base, strict=True):
        extra = -(size + before + after) % block
        paddings.append((before, after + extra))
        crops.append((0, extra))
    return tuple(paddings), tuple(crops)


def _checked_shape(op: str, shape: Sequence[int], name: str = "shape") -> tuple[int, ...]:
    entries = as_sequence(shape, f"{op}: {name}", "a sequence of integers")
    sizes = tuple(as_integer(size, f"{op}: {name}[{d}]") for d, size in enumerate(entries))
    for d, size in enumerate(sizes):
        if size < 0:
            raise ValueError(f"{op}: {name}[{d}] must not be negative, got {size}")
    return sizes


def _row_major_strides(shape: Sequence[int]) -> tuple[int, ...]:
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


from .keyed import keyed


@keyed(maxsize=1024)
def space_geometry(shape: Any, block: Any, paddings: Any, dims: Any, order: Any, arrangement: Any) -> BlockGeometry:
    return BlockGeometry(shape, block, paddings, spatial_dims=dims, batch_order=order, arrangement=arrangement)


@keyed(maxsize=1024)
def batch_geometry(shape: Any, block: Any, crops: Any, dims: Any, order: Any, arrangement: Any) -> BlockGeometry:
    make = BlockGeometry.from_batch
    return make(shape, block, crops, spatial_dims=dims, batch_order=order, arrangement=arrangement)
