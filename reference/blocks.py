"""Images of several sizes as one batch of blocks, and back: `to_blocks` for NumPy arrays, and `Blocks`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .arguments import Borders
from .block_grids import BlockGrids
from .functions import check_array
from .fused_lists import OnWay, on_way
from .image_copies import copy_to_blocks, copy_to_image
from .image_lists import backend_of, blocks_shape, check_alike, checked_list, grids_of, kernels_take, move_by_kernels
from .llvm.prepare import NUMBERS, address
from .memory_order import memory_order
from .pad_value import numpy_pad_value
from .threads import thread_limit
from .words import CutWords, RestoreWords, Words, words_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

Array = npt.NDArray[Any]
tensors: Any = None  # what does the same for tensors; `dispatch` puts it here


@dataclass(frozen=True, eq=False, repr=False)
class Blocks:
    """One batch of all blocks of images of several sizes, and what it takes to have the images back; made by `to_blocks`.

    >>> blocks = to_blocks([np.arange(6).reshape(1, 2, 3), np.arange(4).reshape(1, 2, 2)], 2)
    >>> blocks
    2 x 2 blocks of 2 images: data of shape (3, 1, 2, 2)
    >>> [image.tolist() for image in blocks.restore(10 * blocks.data)]
    [[[[0, 10, 20], [30, 40, 50]]], [[[0, 10], [20, 30]]]]

    Attributes:
        data: the blocks, of shape (blocks, …): an image's dims, with the sizes of a block and its halo for those that are cut.
        grids: sizes of the images, and grids, positions and masks of the blocks.
        dims: of an image, those that are cut.
        single: `to_blocks` was given one image and no list, and `restore` gives one.
    """

    data: Any
    grids: BlockGrids
    dims: tuple[int, ...]
    single: bool = False

    @property
    def cu_seqlens(self) -> Any:
        """`BlockGrids.cu_seqlens`, on the device of the blocks if these are a tensor.

        >>> to_blocks([np.zeros((1, 4, 4)), np.zeros((1, 2, 2))], 2).cu_seqlens
        array([0, 4, 5], dtype=int32)
        """
        return self._beside_data(self.grids.cu_seqlens)

    @property
    def positions(self) -> Any:
        """`BlockGrids.positions`, likewise: the image of each block, and its place in the grid.

        >>> to_blocks([np.zeros((1, 2)), np.zeros((1, 4))], 2).positions.tolist()
        [[0, 0], [1, 0], [1, 1]]
        """
        return self._beside_data(self.grids.positions)

    def valid_mask(self) -> Any:
        """True in the cells that are cells of an image: of the blocks' shape, with 1 for dims that are not cut.

        >>> to_blocks([np.ones((3, 3))], 2).valid_mask().tolist()
        [[[True, True]], [[True, False]]]
        """
        shape = [1] * len(self.data.shape)
        shape[0] = self.grids.count
        for d, extent in zip(self.dims, self.grids.extents, strict=True):
            shape[1 + d] = extent
        return self._beside_data(self.grids.valid_mask().reshape(shape))

    def restore(self, y: Any = None, **words: Unpack[RestoreWords]) -> Any:
        """The images of blocks, without halo and padding: the inverse of `to_blocks`.

        >>> blocks = to_blocks(np.arange(5.0)[None], 2, halo=1)
        >>> blocks.restore(np.repeat(blocks.data, 2, axis=1)).tolist()
        [[0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0, 3.0, 4.0]]

        Args:
            y: what became of the blocks, by default they themselves: as many, and of their sizes along the dims that were cut, with
                the halo or without it. Other dims may have other sizes. An array or a tensor, of any dtype.
            words: what is computed on the way, scale, bias, activation, dtype and channel_dim, as in `spacebatch.fused.batch_to_space`.

        Returns:
            A list of new arrays or tensors, one for each image; one alone where `to_blocks` was given one and no list.

        Raises:
            ValueError: y has another number of dims or of blocks, or other sizes. TypeError: it is no array and no tensor.
        """
        y = self.data if y is None else y
        given = words_of("restore", words, RestoreWords) if words else None
        if isinstance(y, np.ndarray):
            check_array("restore", y)
            images = _restored(grids_of_blocks(self, y.shape), self.dims, y, given)
        elif tensors is not None and tensors.is_tensor(y):
            images = tensors.restored(grids_of_blocks(self, tuple(y.shape)), self.dims, y, given)
        else:
            raise TypeError(f"restore: y must be a torch.Tensor or a numpy.ndarray, got {type(y).__name__}")
        return images[0] if self.single else images

    def _beside_data(self, array: Array) -> Any:
        return array if isinstance(self.data, np.ndarray) else tensors.beside(array, self.data)

    def __repr__(self) -> str:
        block = " x ".join(map(str, self.grids.block))
        halo = f" with a halo of {self.grids.halo}" if any(map(any, self.grids.halo)) else ""
        many = "1 image" if len(self.grids) == 1 else f"{len(self.grids)} images"
        return f"{block} blocks{halo} of {many}: data of shape {tuple(self.data.shape)}"


def grids_of_blocks(blocks: Blocks, shape: tuple[int, ...]) -> BlockGrids:
    """The grids of what became of blocks, with their halo or without it as its shape tells.

    >>> grids_of_blocks(to_blocks([np.zeros((1, 4))], 2, halo=1), (2, 7, 2)).extents
    (2,)
    """
    grids, ndim = blocks.grids, len(blocks.data.shape)
    if len(shape) != ndim:
        raise ValueError(f"restore: y is {len(shape)}-D, the blocks are {ndim}-D")
    if shape[0] != grids.count:
        raise ValueError(f"restore: y holds {shape[0]} blocks, the images have {grids.count}")
    sizes = tuple([shape[1 + d] for d in blocks.dims])
    if sizes in (grids.extents, grids.block):
        return grids if sizes == grids.extents else grids.without_halo
    halo = f", or {grids.extents} with the halo" if grids.extents != grids.block else ""
    raise ValueError(
        f"restore: y has sizes {sizes} along dims {tuple(1 + d for d in blocks.dims)}; a block has {grids.block}{halo}"
    )


def to_blocks(
    images: Array | Sequence[Array],
    block: int | Sequence[int],
    *,
    halo: Borders = 0,
    pad_value: Any = 0,
    layout: str | None = None,
    **words: Unpack[CutWords],
) -> Blocks:
    """Cut NumPy arrays of several sizes into one batch of blocks; see `spacebatch.to_blocks`.

    >>> to_blocks([np.arange(3)[None], np.arange(2)[None]], 2, pad_value=-1).data.tolist()
    [[[0, 1]], [[2, -1]], [[0, 1]]]

    Raises:
        ValueError, TypeError: bad arguments, before anything is computed.
    """
    op = "to_blocks"
    single = isinstance(images, np.ndarray)
    arrays = (images,) if single else checked_list(op, images, "numpy.ndarray")
    for array in arrays:
        check_array(op, array)
    dtype: np.dtype[Any] = arrays[0].dtype
    if len({x.dtype for x in arrays}) > 1:
        check_alike(op, "dtype", [x.dtype for x in arrays])
    shapes = [x.shape for x in arrays]
    dims, grids = grids_of(op, shapes, block, halo, layout)
    way = on_way(op, words_of(op, words, CutWords), arrays[0], shapes[0], dims) if words else None
    pad = numpy_pad_value(pad_value, dtype, op) if way is None else way.pad_value(op, pad_value, dtype, len(shapes[0]))
    backend_of(op, "arrays", ("llvm", "numpy"))
    order = memory_order(shapes[0], arrays[0].strides)
    result = new_array(blocks_shape(shapes[0], dims, grids), order, dtype if way is None else way.dtype)
    for k in _left(op, True, arrays, result, grids, dims, pad, way):
        first, last = grids.offsets[k : k + 2]
        cells = arrays[k] if way is None else way.computed(arrays[k])
        copy_to_blocks(cells, result[first:last], dims, grids.block, grids.before, pad)
    return Blocks(result, grids, dims, single)


def _restored(grids: BlockGrids, dims: tuple[int, ...], y: Array, words: Words | None) -> list[Array]:
    op = "restore"
    way = None if words is None else on_way(op, words, y, y.shape[1:], dims)
    backend_of(op, "arrays", ("llvm", "numpy"))
    order = [d - 1 for d in memory_order(y.shape, y.strides) if d]
    y = y[inner_of(grids, dims, y.ndim)]
    dtype = y.dtype if way is None else way.dtype
    images = [new_array((1, *shape), order, dtype)[0] for shape in image_shapes(grids, dims, y.shape[1:])]
    grids = grids.without_halo
    for k in _left(op, False, images, y, grids, dims, np.zeros((), dtype), way):
        first, last = grids.offsets[k : k + 2]
        cells = y[first:last] if way is None else way.computed(y[first:last], 1)
        copy_to_image(cells, images[k], dims, grids.block, grids.before)
    return images


def inner_of(grids: BlockGrids, dims: Sequence[int], ndim: int) -> tuple[slice, ...]:
    """Where in blocks of so many dims they themselves are, without their halo.

    >>> inner_of(BlockGrids([(4,)], 2, 1), (1,), 3)
    (slice(None, None, None), slice(None, None, None), slice(1, 3, None))
    """
    inner = [slice(None)] * ndim
    for d, before, size in zip(dims, grids.before, grids.block, strict=True):
        inner[1 + d] = slice(before, before + size)
    return tuple(inner)


def image_shapes(grids: BlockGrids, dims: Sequence[int], inner: Sequence[int]) -> list[tuple[int, ...]]:
    """The shapes of images whose blocks have these sizes.

    >>> image_shapes(BlockGrids([(5,), (3,)], 2), (1,), (7, 2))
    [(7, 5), (7, 3)]
    """
    start, stop = dims[0], dims[-1] + 1
    if tuple(dims) == tuple(range(start, stop)):
        return [(*inner[:start], *sizes, *inner[stop:]) for sizes in grids.sizes]
    shapes = []
    for sizes in grids.sizes:
        shape = list(inner)
        for d, size in zip(dims, sizes, strict=True):
            shape[d] = size
        shapes.append(tuple(shape))
    return shapes


def new_array(shape: tuple[int, ...], order: Sequence[int], dtype: Any) -> Array:
    """An array of blocks, not filled, whose other dims lie in memory in this order.

    >>> new_array((2, 3, 4, 5), (1, 2, 0), np.uint8).strides
    (60, 1, 15, 3)
    """
    if list(order) == list(range(len(order))):
        return np.empty(shape, dtype)
    outermost = (0, *(1 + d for d in order))
    inverse = sorted(range(len(shape)), key=outermost.__getitem__)
    return np.empty([shape[d] for d in outermost], dtype).transpose(inverse)


def _left(
    op: str,
    to_batch: bool,
    arrays: Sequence[Array],
    batch: Array,
    grids: BlockGrids,
    dims: Sequence[int],
    pad: Array,
    way: OnWay | None,
) -> Sequence[int]:
    """Which arrays compiled kernels did not move."""
    size = batch.itemsize
    if not batch.size:
        return ()
    sizes = np.array([*[x.itemsize for x in arrays], size])[:, None]
    strides = np.array([*[x.strides for x in arrays], batch.strides[1:]], np.int64)
    plain = batch.dtype.kind in NUMBERS and arrays[0].dtype.kind in NUMBERS
    if not plain or (strides % sizes).any() or batch.strides[0] % size:
        kernels_take(op, 0, 0)
        return range(len(arrays))
    strides //= sizes
    where = batch.shape, (batch.strides[0] // size, *strides[-1].tolist()), address(batch)
    images = [x.shape for x in arrays], [*map(tuple, strides[:-1].tolist())], [address(x) for x in arrays]
    given = op, to_batch, images, where, grids, dims, arrays[0].itemsize if to_batch else size
    bits = pad.tobytes() if to_batch and pad.ndim == 0 else b""
    if way is None:
        return move_by_kernels(*given, bits, thread_limit(), None)
    arithmetic, operands, held = way.addressed(pad if to_batch and pad.ndim else None)
    left = move_by_kernels(*given, bits, thread_limit(), None, arithmetic, operands)
    del held  # until now
    return left
