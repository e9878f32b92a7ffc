"""The block geometry: the one place where arguments become sizes, phases and index maps."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, TypeVar

import numpy as np
import numpy.typing as npt

from . import index_maps
from .arguments import (
    Arrangement,
    BatchOrder,
    Blocking,
    BlockShape,
    Borders,
    Pair,
    Shifts,
    SpatialDims,
    checked_shape,
    normalize,
)
from .data_layout import ANY_RANK, layout_dims
from .geometry_sizes import from_batch_shape, from_space_shape
from .window_mask import window_mask
from .window_sizes import Covered, cut_grid, cut_windows

ArrayT = TypeVar("ArrayT")  # a NumPy array or a tensor


class SpaceArguments(TypedDict):
    """Keyword arguments of `space_to_batch`, in normal form."""

    block_shape: tuple[int, ...]
    paddings: tuple[Pair, ...]
    spatial_dims: tuple[int, ...]
    batch_order: BatchOrder
    arrangement: Arrangement
    shifts: tuple[int, ...]


class BatchArguments(TypedDict):
    """Keyword arguments of `batch_to_space`, in normal form."""

    block_shape: tuple[int, ...]
    crops: tuple[Pair, ...]
    spatial_dims: tuple[int, ...]
    batch_order: BatchOrder
    arrangement: Arrangement
    shifts: tuple[int, ...]


class Axis(NamedTuple):
    """One blocked dim. The padded coordinate is u = before + (coordinate in space), split as u = outer * extent + inner.

    With a shift, u = (before + coordinate + shift) mod (blocks * block). Interleaved, `outer` is the position i in the batch tensor and `inner` the phase p; contiguous, the other way round.
    """

    dim: int
    size: int  # elements in space
    block: int
    before: int
    after: int
    blocks: int  # elements in the batch tensor: (size + before + after) / block
    extent: int  # of the inner index: block if interleaved, blocks if contiguous
    shift: int = 0  # 0 or more, and less than blocks * block

    @property
    def runs(self) -> list[tuple[int, int, int]]:
        """(u of the first, u past the last, first coordinate) of runs of neighbours in space and in u: one, or two with a shift.

        >>> Axis(dim=1, size=5, block=2, before=0, after=1, blocks=3, extent=2, shift=2).runs
        [(2, 6, 0), (0, 1, 4)]
        """
        if not self.size:
            return []
        total, start = self.blocks * self.block, self.before + self.shift
        if start >= total:
            start -= total
        first = min(self.size, total - start)
        runs = [(start, start + first, 0)]
        if first < self.size:
            runs.append((0, self.size - first, first))
        return runs


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
        spatial_dims: which dims are blocked, in the order of `block_shape`; or a layout such as "NHWC" or "NC...", whose
            letters but N and C are.
        batch_order: "block_major" (Caffe2, TensorFlow): phase * N + n; "batch_major": n * P + phase.
        arrangement: "interleaved": the coordinate is i * block + phase; "contiguous": phase * blocks + i (windows).
        shifts: by how much `torch.roll` would move the padded space tensor: an int, or one per blocked dim. Kept from 0 on
            and below the padded size, unless that is a symbol.

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
    shifts: tuple[int, ...]
    # Derived from the seven above:
    batch_shape: tuple[int, ...] = field(compare=False)
    samples: int = field(compare=False)  # N
    phases: int = field(compare=False)  # P, the positions of a block
    if TYPE_CHECKING:
        _prepared: dict[Any, Any]  # whatever callers keep for a geometry; no part of its value

    def __init__(
        self,
        shape: Sequence[int],
        block_shape: BlockShape,
        paddings: Borders | str = 0,
        *,
        spatial_dims: SpatialDims = None,
        batch_order: BatchOrder = "block_major",
        arrangement: Arrangement = "interleaved",
        shifts: Shifts = 0,
        op: str = "space_to_batch",
    ) -> None:
        shape = checked_shape(op, shape)
        words = batch_order, arrangement
        blocking = normalize(op, "paddings", len(shape), block_shape, paddings, spatial_dims, *words, shifts)
        from_space_shape(self, blocking, shape, op)

    @classmethod
    def from_batch(
        cls,
        shape: Sequence[int],
        block_shape: BlockShape,
        crops: Borders = 0,
        *,
        spatial_dims: SpatialDims = None,
        batch_order: BatchOrder = "block_major",
        arrangement: Arrangement = "interleaved",
        shifts: Shifts = 0,
        op: str = "batch_to_space",
    ) -> BlockGeometry:
        """The geometry seen from a batch tensor of the given shape, as `batch_to_space` meets it.

        >>> BlockGeometry.from_batch((9, 3, 3, 3), 3, 2).space_shape
        (1, 3, 5, 5)

        Args:
            shape: the batch tensor's shape, (N * P, …).
            block_shape: as in `BlockGeometry`.
            crops: elements dropped around each blocked dim, written like `paddings` but never "auto".
            spatial_dims, batch_order, arrangement, shifts: as in `BlockGeometry`.

        Raises:
            ValueError, TypeError: as `BlockGeometry`; also a batch that P does not divide, and crops beyond the size.
        """
        shape = checked_shape(op, shape)
        words = batch_order, arrangement
        blocking = normalize(op, "crops", len(shape), block_shape, crops, spatial_dims, *words, shifts)
        return from_batch_shape(cls.__new__(cls), blocking, shape, op)

    @classmethod
    def windows(
        cls,
        shape: Sequence[int],
        size: int | Sequence[int],
        *,
        shift: int | Sequence[int] = 0,
        layout: str = ANY_RANK,
        covered: Covered = "shift",
        op: str = "windows",
    ) -> BlockGeometry:
        """The geometry that cuts windows by their size, as Swin's `window_partition`; the end is padded where they do not fit.

        >>> g = BlockGeometry.windows((2, 14, 20, 96), 7, layout="NHWC")
        >>> g.block_shape, g.paddings, g.batch_shape
        ((2, 3), ((0, 0), (0, 1)), (12, 7, 7, 96))

        Args:
            shape: the image tensor's shape.
            size: elements of a window, an int or one per spatial dim; it may be larger than the image.
            shift: by how much windows are moved towards the end, cyclically, as Swin's `shift_size`: `shifts=-shift`.
            layout: the letters of the dims, such as "NCHW" or "NHWC"; "..." stands for any number of spatial dims.
            covered: what happens along a dim that one window covers: "shift" as along the others; "stay", no shift, as in
                torchvision; "fit", no shift, and the window becomes as small as the image, as in Swin and timm.

        Raises:
            ValueError, TypeError: as `BlockGeometry`.
        """
        dims = layout_dims(f"{op}: layout", layout, len(shape := checked_shape(op, shape)))
        cut = cut_windows(op, tuple([shape[d] for d in dims]), size, shift, covered)
        order: Any = {"batch_order": "batch_major", "arrangement": "contiguous", "shifts": cut.shifts}
        return cls(shape, cut.blocks, cut.paddings, spatial_dims=dims, op=op, **order)

    @classmethod
    def grid(
        cls, shape: Sequence[int], size: int | Sequence[int], *, layout: str = ANY_RANK, op: str = "grid"
    ) -> BlockGeometry:
        """The geometry that cuts grids by their size, as MaxViT's `grid_partition`; the end is padded where they do not fit.

        >>> BlockGeometry.grid((2, 64, 14, 21), 7).batch_shape
        (12, 64, 7, 7)

        Args:
            shape: the image tensor's shape.
            size: cells of a grid, an int or one per spatial dim, spread over the whole image.
            layout: as in `windows`.

        Raises:
            ValueError, TypeError: as `BlockGeometry`.
        """
        dims = layout_dims(f"{op}: layout", layout, len(shape := checked_shape(op, shape)))
        cut = cut_grid(op, tuple([shape[d] for d in dims]), size)
        return cls(shape, cut.blocks, cut.paddings, spatial_dims=dims, batch_order="batch_major", op=op)

    # What needs numbers is worked out when it is asked for: sizes may be symbols.

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """The blocked dims, in the order of `block_shape`.

        >>> BlockGeometry((1, 5), (2,), "auto").axes
        (Axis(dim=1, size=5, block=2, before=0, after=1, blocks=3, extent=2, shift=0),)
        """
        contiguous = self.arrangement == "contiguous"
        space, batch = self.space_shape, self.batch_shape
        return tuple(
            Axis(d, space[d], b, before, after, batch[d], batch[d] if contiguous else b, shift)
            for d, b, (before, after), shift in zip(
                self.spatial_dims, self.block_shape, self.paddings, self.shifts, strict=True
            )
        )

    @cached_property
    def padded(self) -> bool:
        """Whether there is any padding.

        >>> BlockGeometry((1, 5), (2,), "auto").padded, BlockGeometry((1, 4), (2,), "auto").padded
        (True, False)
        """
        return any(before or after for before, after in self.paddings)

    @cached_property
    def shifted(self) -> bool:
        """Whether any dim is shifted.

        >>> BlockGeometry((1, 6), (2,), shifts=-1).shifted, BlockGeometry((1, 6), (2,), shifts=6).shifted
        (True, False)
        """
        return any(self.shifts)

    @cached_property
    def empty(self) -> bool:
        """Whether there is no element in space.

        >>> BlockGeometry((0, 4), (2,)).empty
        True
        """
        return 0 in self.space_shape

    @cached_property
    def _hash(self) -> int:
        order = self.batch_order, self.arrangement, self.shifts
        return hash((self.space_shape, self.block_shape, self.paddings, self.spatial_dims, order))

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:
        words = self.batch_order, self.arrangement
        return _again, (self.space_shape, self.block_shape, self.paddings, self.spatial_dims, *words, self.shifts)

    def __repr__(self) -> str:
        shifts = f", shifts={self.shifts}" if self.shifted else ""
        return (
            f"BlockGeometry({self.space_shape}, {self.block_shape}, {self.paddings}, spatial_dims={self.spatial_dims}, "
            f"batch_order={self.batch_order!r}, arrangement={self.arrangement!r}{shifts})"
        )

    def _one_dim(self, k: int, shape: Sequence[int], from_batch: bool) -> BlockGeometry:
        """The geometry that moves blocked dim `k` alone, of a 4-D tensor in which it is dim 2.

        >>> BlockGeometry((1, 3, 4, 6), (2, 3))._one_dim(1, (1, 12, 6, 1), from_batch=False).batch_shape
        (3, 12, 2, 1)

        Args:
            k: index into `block_shape`.
            shape: of the tensor; its batch tensor if `from_batch`.
        """
        block, made = self.block_shape[k], BlockGeometry.__new__(BlockGeometry)
        words = self.batch_order, self.arrangement
        blocking = Blocking((block,), (2,), (self.paddings[k],), block, *words, (self.shifts[k],))
        return (from_batch_shape if from_batch else from_space_shape)(made, blocking, tuple(shape), "one_dim")

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
            if axis.shift:
                u = (u - axis.shift) % (axis.blocks * axis.block)
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
            u = space_index[axis.dim] + axis.before
            if axis.shift:
                u = (u + axis.shift) % (axis.blocks * axis.block)
            outer, inner = divmod(u, axis.extent)
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
        return index_maps.space_indices(self)

    def batch_indices(self) -> npt.NDArray[np.int64]:
        """For every element in space, the flat index of its place in the batch tensor.

        >>> BlockGeometry((1, 5), (2,), "auto").batch_indices()
        array([[0, 3, 1, 4, 2]])

        Returns:
            int64 array of shape `space_shape`.
        """
        return index_maps.batch_indices(self)

    def valid_mask(self) -> npt.NDArray[np.bool_]:
        """True where the batch tensor holds an element of space, False where it holds padding.

        >>> BlockGeometry((1, 5), (2,), "auto").valid_mask()
        array([[ True,  True,  True],
               [ True,  True, False]])

        Returns:
            read-only bool array of shape `batch_shape`; dims that are not blocked take no memory.
        """
        return index_maps.valid_mask(self)

    def window_mask(
        self, *, fill: float | None = None, padding: bool = False
    ) -> npt.NDArray[np.bool_] | npt.NDArray[np.float32]:
        """Which cells of each window may see each other: not those that only a shift brought together, around the edge.

        >>> shifted = BlockGeometry.windows((1, 1, 4), 2, shift=1)  # [1, 2] and [3, 0]
        >>> shifted.window_mask().astype(int).tolist()
        [[[1, 1], [1, 1]], [[1, 0], [0, 1]]]
        >>> shifted.window_mask(fill=-100.0)[1].tolist()
        [[0.0, -100.0], [-100.0, 0.0]]

        Args:
            fill: makes the mask additive, float32: 0 where cells see each other, and this where they do not. Swin's is -100.
            padding: whether padded cells are hidden from the others; they still see each other, so that no row is empty.

        Returns:
            Array of shape (windows of a sample, cells, cells), True where cells may see each other.

        Source: Swin's attention mask for shifted windows.
        """
        return window_mask(self, fill=fill, padding=padding)

    @property
    def divisible(self) -> tuple[bool, ...]:
        """Whether each blocked dim is a whole number of blocks without padding.

        >>> BlockGeometry((1, 1, 4, 5), 2, "auto").divisible
        (True, False)
        """
        return tuple(axis.size % axis.block == 0 for axis in self.axes)

    @property
    def arguments(self) -> SpaceArguments:
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
            "shifts": self.shifts,
        }

    @property
    def inverse(self) -> BatchArguments:
        """Keyword arguments with which `batch_to_space` undoes `space_to_batch`, padding included.

        >>> from spacebatch import reference
        >>> x = np.arange(5).reshape(1, 5)
        >>> g = BlockGeometry(x.shape, (2,), "auto")
        >>> reference.batch_to_space(reference.space_to_batch(x, **g.arguments), **g.inverse)
        array([[0, 1, 2, 3, 4]])
        """
        return {
            "block_shape": self.block_shape,
            "crops": self.paddings,
            "spatial_dims": self.spatial_dims,
            "batch_order": self.batch_order,
            "arrangement": self.arrangement,
            "shifts": self.shifts,
        }

    def space_to_batch(self, x: ArrayT, *, pad_value: Any = 0, out: ArrayT | None = None) -> ArrayT:
        """`space_to_batch` of an array or a tensor of `space_shape`.

        >>> g = BlockGeometry((1, 5), (2,), "auto")
        >>> g.space_to_batch(np.arange(5)[None], pad_value=-1)
        array([[ 0,  2,  4],
               [ 1,  3, -1]])

        Args:
            x, pad_value, out: as in `spacebatch.space_to_batch`.

        Raises:
            ValueError: x has another shape.
        """
        _check_shape("space_to_batch", x, self.space_shape)
        return _package().space_to_batch(x, **self.arguments, pad_value=pad_value, out=out)  # type: ignore[no-any-return]

    def batch_to_space(self, y: ArrayT, *, out: ArrayT | None = None) -> ArrayT:
        """`batch_to_space` of an array or a tensor of `batch_shape`.

        >>> BlockGeometry((1, 5), (2,), "auto").batch_to_space(np.array([[0, 2, 4], [1, 3, -1]]))
        array([[0, 1, 2, 3, 4]])

        Args:
            y, out: as in `spacebatch.batch_to_space`.

        Raises:
            ValueError: y has another shape.
        """
        _check_shape("batch_to_space", y, self.batch_shape)
        return _package().batch_to_space(y, **self.inverse, out=out)  # type: ignore[no-any-return]


def _again(
    shape: Any,
    block_shape: Any,
    paddings: Any,
    spatial_dims: Any,
    batch_order: Any,
    arrangement: Any,
    shifts: Any = 0,
) -> BlockGeometry:
    """A geometry that was pickled or copied."""
    return BlockGeometry(
        shape,
        block_shape,
        paddings,
        spatial_dims=spatial_dims,
        batch_order=batch_order,
        arrangement=arrangement,
        shifts=shifts,
    )


def _check_shape(op: str, x: Any, shape: tuple[int, ...]) -> None:
    found = getattr(x, "shape", shape)  # anything else is refused by the function
    if tuple(found) != shape:
        raise ValueError(f"{op}: the input has shape {tuple(found)}, this geometry has {shape}")


def _package() -> Any:
    """The package, whose import has brought this module in."""
    return sys.modules[__name__.partition(".")[0]]
