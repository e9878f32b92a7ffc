"""The grids of blocks that images of several sizes are cut into: how many, where each is, which of its cells are no image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from .arguments import Borders, Pair, as_integer, as_sequence, is_scalar, normalize_borders, shown

INT32_MAX = 2**31 - 1
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, init=False)
class BlockGrids:
    """The blocks of images of several sizes, image after image, row after row: all positions, and nothing of the images themselves.

    >>> grids = BlockGrids([(5, 4), (2, 2)], 3)
    >>> grids.grids.tolist(), grids.count, grids.cu_seqlens.tolist()
    ([[2, 2], [1, 1]], 5, [0, 4, 5])
    >>> grids.positions.tolist()
    [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1], [1, 0, 0]]

    Attributes:
        sizes: of each image along the dims that are cut.
        block: a block's sizes, without the halo. halo: cells read around a block, a (before, after) pair for each dim.

    Args:
        sizes: one sequence of integers for each image, of one length; sizes may be 0, and such an image has no block.
        block: a positive int, or one for each dim.
        halo: an int, one for each dim, or one (before, after) pair for each dim; never negative.
        op: what messages call the operation.

    Raises:
        ValueError: no images, lengths that differ, a size or a halo below 0, a block below 1.
        TypeError: an entry that is no integer.
    """

    sizes: tuple[tuple[int, ...], ...]
    block: tuple[int, ...]
    halo: tuple[Pair, ...]

    def __init__(
        self, sizes: Sequence[Sequence[int]], block: int | Sequence[int], halo: Borders = 0, *, op: str = "BlockGrids"
    ) -> None:
        found = tuple([_sizes(image, f"{op}: sizes[{k}]") for k, image in enumerate(sizes)])
        if not found or not found[0] or any(len(image) != len(found[0]) for image in found):
            raise ValueError(
                f"{op}: sizes must hold as many integers for each of one image or more, got {shown(found)}"
            )
        self._set(found, block, halo, op)

    @classmethod
    def of_images(cls, sizes: tuple[tuple[int, ...], ...], block: Any, halo: Any, op: str) -> BlockGrids:
        """The same of sizes that need no check.

        >>> BlockGrids.of_images(((4, 6),), 3, 0, "to_blocks").count
        4
        """
        made = cls.__new__(cls)
        made._set(sizes, block, halo, op)
        return made

    def _set(self, sizes: tuple[tuple[int, ...], ...], block: Any, halo: Any, op: str) -> None:
        dims = len(sizes[0])
        blocks = (block,) * dims if is_scalar(block) else as_sequence(block, f"{op}: block")
        if len(blocks) != dims:
            raise ValueError(f"{op}: block has {len(blocks)} entries, but {dims} dims are cut")
        for k, b in enumerate(blocks):
            if as_integer(b, f"{op}: block[{k}]") < 1:
                raise ValueError(f"{op}: block[{k}] must be at least 1, got {shown(b)}")
        pairs = normalize_borders(op, "halo", halo, range(dims))
        if pairs is None:
            raise ValueError(f"{op}: halo must be integers, got {shown(halo)}")
        own = self.__dict__  # frozen for everybody else
        own["sizes"], own["block"], own["halo"] = sizes, tuple([int(b) for b in blocks]), pairs

    @cached_property
    def extents(self) -> tuple[int, ...]:
        """A block's sizes with its halo.

        >>> BlockGrids([(8, 8)], 4, ((1, 2), (0, 0))).extents
        (7, 4)
        """
        return tuple([b + before + after for b, (before, after) in zip(self.block, self.halo, strict=True)])

    @cached_property
    def before(self) -> tuple[int, ...]:
        """Cells of halo before a block's first cell.

        >>> BlockGrids([(8, 8)], 4, ((1, 2), (0, 0))).before
        (1, 0)
        """
        return tuple([before for before, _ in self.halo])

    @cached_property
    def without_halo(self) -> BlockGrids:
        """The same blocks of the same images without a halo.

        >>> BlockGrids([(8, 8)], 4, 1).without_halo.extents
        (4, 4)
        """
        return BlockGrids.of_images(self.sizes, self.block, 0, "BlockGrids") if self.extents != self.block else self

    @cached_property
    def grids(self) -> Integers:
        """How many blocks each image has along each dim, of shape (images, dims)."""
        return -(-np.array(self.sizes, np.int64) // np.array(self.block, np.int64))

    @cached_property
    def offsets(self) -> Integers:
        """The number of an image's first block, of shape (images + 1,); the last one is the number of all blocks.

        >>> BlockGrids([(4, 4), (0, 9), (2, 2)], 2).offsets.tolist()
        [0, 4, 4, 5]
        """
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.grids.prod(axis=1))])

    @property
    def count(self) -> int:
        """The number of all blocks."""
        return int(self.offsets[-1])

    @property
    def cu_seqlens(self) -> npt.NDArray[np.int32]:
        """The same as `offsets` in int32, as attention of variable length takes it: the blocks of an image are a sequence.

        Raises:
            ValueError: there are more blocks than an int32 counts.
        """
        if self.count > INT32_MAX:
            raise ValueError(f"cu_seqlens: {self.count} blocks are more than an int32 counts")
        return self.offsets.astype(np.int32)

    @cached_property
    def positions(self) -> Integers:
        """Where each block is: the number of its image and its place in that image's grid, of shape (blocks, 1 + dims)."""
        counts = np.diff(self.offsets)
        image = np.repeat(np.arange(len(self.sizes)), counts)
        rest = np.arange(self.count) - np.repeat(self.offsets[:-1], counts)
        columns = []
        for k in reversed(range(len(self.block))):
            along = self.grids[image, k]
            columns.append(rest % along)
            rest = rest // along
        return np.stack([image, *columns[::-1]], axis=1)

    @property
    def starts(self) -> Integers:
        """The first cell of each block in its image, without the halo, of shape (blocks, dims).

        >>> BlockGrids([(5, 4)], (3, 2)).starts.tolist()
        [[0, 0], [0, 2], [3, 0], [3, 2]]
        """
        starts: Integers = self.positions[:, 1:] * np.array(self.block, np.int64)
        return starts

    def valid_mask(self) -> npt.NDArray[np.bool_]:
        """True in the cells of blocks that are cells of an image, halo included, False in what is padded.

        >>> BlockGrids([(3,)], 2, 1).valid_mask().tolist()
        [[False, True, True, True], [True, True, False, False]]

        Returns:
            bool array of shape (blocks, *extents).
        """
        mask = np.ones((self.count, *self.extents), bool)
        image = self.positions[:, 0]
        for k, (extent, (before, _)) in enumerate(zip(self.extents, self.halo, strict=True)):
            place = self.starts[:, k, None] - before + np.arange(extent)
            size = np.array(self.sizes)[image, k, None]
            inside = (place >= 0) & (place < size)
            mask &= inside.reshape(-1, *(extent if j == k else 1 for j in range(len(self.block))))
        return mask

    def __len__(self) -> int:
        """The number of images."""
        return len(self.sizes)


def _sizes(image: Any, what: str) -> tuple[int, ...]:
    """The sizes of one image, checked."""
    found = tuple([as_integer(n, what) for n in as_sequence(image, what, "a sequence of integers")])
    if min(found, default=0) < 0:
        raise ValueError(f"{what} must not be negative, got {shown(found)}")
    return found
