"""Lists of images of several sizes: what they must have in common, and where they are in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import prepared
from .arguments import check_int64
from .arithmetic import NO_OPERANDS, SOURCES, Arithmetic, Operands
from .block_grids import BlockGrids
from .image_layout import cut_dims
from .kept_geometries import key_of
from .llvm import openmp
from .llvm.block_pieces import block_pieces
from .llvm.operands import computation
from .llvm.pieces import Integers, Pieces
from .llvm.prepare import missing
from .llvm.spec import Computation

_WORDS = frozenset((1, 2, 4, 8, 16))


# Lists of few images are often met again: tiles of frames, or one image at a time. What is worked out for them takes 0.1 ms.
MOST_REMEMBERED = 64  # images of a list
MOST_LISTS = 256
_grids: dict[Any, tuple[tuple[int, ...], BlockGrids]] = {}
_pieces: dict[Any, list[tuple[Integers, Pieces]]] = {}


def checked_list(op: str, images: Any, what: str) -> tuple[Any, ...]:
    """A list or a tuple with at least one entry.

    >>> checked_list("to_blocks", [], "arrays")
    Traceback (most recent call last):
    ValueError: to_blocks: the list of images is empty
    """
    if not isinstance(images, (list, tuple)):
        raise TypeError(f"{op}: images must be a list of {what}, or one, got {type(images).__name__}")
    if not images:
        raise ValueError(f"{op}: the list of images is empty")
    return tuple(images)


def check_alike(op: str, what: str, found: Sequence[Any]) -> None:
    """All images have the same of something.

    >>> check_alike("to_blocks", "dtype", ["uint8", "uint8", "float32"])
    Traceback (most recent call last):
    ValueError: to_blocks: all images must have the same dtype: images[0] has uint8, images[2] has float32
    """
    first = found[0]
    for k, other in enumerate(found):
        if other != first:
            raise ValueError(
                f"{op}: all images must have the same {what}: images[0] has {first}, images[{k}] has {other}"
            )


def grids_of(
    op: str, shapes: Sequence[tuple[int, ...]], block: Any, halo: Any, layout: Any
) -> tuple[tuple[int, ...], BlockGrids]:
    """The dims that are cut, and the grids, of images of these shapes.

    >>> grids_of("to_blocks", [(3, 5, 4), (3, 2, 2)], 2, 0, None)[1].count
    7

    Raises:
        ValueError: numbers of dims or sizes along the other dims that differ, and as `BlockGrids` and `cut_dims` do.
    """
    key = None
    if len(shapes) <= MOST_REMEMBERED:
        with contextlib.suppress(ValueError):  # nothing to remember it by
            key = tuple(shapes), key_of(op, block, halo, layout)
            if key in _grids:
                return _grids[key]
    found = _new_grids(op, shapes, block, halo, layout)
    if key is not None:
        remember(_grids, key, found)
    return found


def _new_grids(
    op: str, shapes: Sequence[tuple[int, ...]], block: Any, halo: Any, layout: Any
) -> tuple[tuple[int, ...], BlockGrids]:
    ndims = [len(shape) for shape in shapes]
    if len({*ndims}) > 1:
        check_alike(op, "number of dims", ndims)
    dims = cut_dims(op, layout, ndims[0])
    for d in range(ndims[0]):
        if d not in dims and len({shape[d] for shape in shapes}) > 1:
            check_alike(op, f"size of dim {d}, which is not cut", [shape[d] for shape in shapes])
    start, stop = dims[0], dims[-1] + 1
    if dims == tuple(range(start, stop)):
        sizes = tuple([tuple(shape[start:stop]) for shape in shapes])
    else:
        sizes = tuple([tuple([shape[d] for d in dims]) for shape in shapes])
    grids = BlockGrids.of_images(sizes, block, halo, op)
    check_int64(op, blocks_shape(shapes[0], dims, grids), "blocks'")
    return dims, grids


def remember(kept: dict[Any, Any], key: Any, value: Any) -> None:
    """Keep what was worked out for a list of few images, and not for too many lists.

    >>> kept = dict.fromkeys(range(MOST_LISTS))
    >>> remember(kept, "another", 1)
    >>> kept
    {'another': 1}
    """
    if len(kept) >= MOST_LISTS:
        kept.clear()
    kept[key] = value


def blocks_shape(shape: Sequence[int], dims: Sequence[int], grids: BlockGrids) -> tuple[int, ...]:
    """The shape of all blocks of images, of which one has this shape.

    >>> blocks_shape((3, 5, 4), (1, 2), BlockGrids([(5, 4), (2, 2)], 2))
    (7, 3, 2, 2)
    """
    inner = list(shape)
    for d, extent in zip(dims, grids.extents, strict=True):
        inner[d] = extent
    return grids.count, *inner


def backend_of(op: str, what: str, others: Sequence[str]) -> str | None:
    """The backend that was demanded, if it moves lists of images.

    >>> backend_of("to_blocks", "arrays", ("numpy",)) is None
    True

    Raises:
        RuntimeError: it does not.
    """
    demanded = prepared.demanded
    if demanded is None or demanded in others:
        return demanded
    reason = missing() if demanded == "llvm" else f"it does not move lists of {what}"
    if reason is not None:
        raise RuntimeError(f"{op}: the backend {demanded!r} was asked for, but {reason}")
    return demanded


def move_by_kernels(
    op: str,
    to_batch: bool,
    images: tuple[Sequence[tuple[int, ...]], Sequence[tuple[int, ...]], Sequence[int]],
    batch: tuple[Sequence[int], Sequence[int], int],
    grids: BlockGrids,
    dims: Sequence[int],
    itemsize: int,
    pad: bytes,
    threads: int,
    library: openmp.OpenMP | None,
    arithmetic: Arithmetic | None = None,
    operands: Operands = NO_OPERANDS,
) -> Sequence[int]:
    """Move what compiled kernels can move now, one piece for each image.

    >>> x, y = np.arange(5, dtype=np.int32), np.zeros((3, 2), np.int32)
    >>> images, batch = ([x.shape], [(1,)], [x.ctypes.data]), (y.shape, (2, 1), y.ctypes.data)
    >>> left = move_by_kernels("to_blocks", True, images, batch, BlockGrids([(5,)], 2), (0,), 4, b"", 1, None)

    Args:
        to_batch: images are read and blocks are written, or the other way round.
        images: shapes, strides in elements, and addresses. batch: the same of the blocks.
        grids, dims: of the images. Blocks that are read have no halo.
        itemsize: bytes of an element of what is read. pad: of one element of padding, empty for zero bits.
        threads, library: that share the list.
        arithmetic: on the way, if there is some; its dims are those of the blocks.
        operands: addresses; of the residual that of the first block, or of each image.

    Returns:
        Numbers of the images that nothing was done with.

    Raises:
        RuntimeError: a kernel was demanded that cannot be had.
    """
    every = range(len(grids))
    if prepared.demanded not in (None, "llvm") or missing() is not None:
        return every
    shape, batch_strides, batch_address = batch
    few = len(grids) <= MOST_REMEMBERED
    computed = computation_of(op, arithmetic, to_batch)
    if isinstance(computed, str):
        return every
    channel = None
    if computed is not None and arithmetic is not None and (computed.scale or computed.bias or computed.pads):
        channel = None if arithmetic.channel_dim is None else arithmetic.channel_dim - 1
    cut = dims, grids.block, grids.before, itemsize, computed, channel
    key = (to_batch, *map(tuple, images[:2]), shape, batch_strides, *cut) if few else None
    parts = _pieces.get(key)
    if parts is None:
        strides = np.array(images[1], np.int64)
        if not kernels_take(op, itemsize, int(strides.min()), *batch_strides):
            return every
        parts = block_pieces(to_batch, np.array(images[0], np.int64), strides, shape, batch_strides, *cut)
        if few:
            remember(_pieces, key, parts)
    addresses = np.array(images[2], np.int64)
    steps = grids.offsets[:-1] * batch_strides[0]
    first = batch_address + steps * (itemsize if computed is None else computed.itemsizes[to_batch])
    left: list[int] = []
    if computed is not None:
        operands = of_pieces(computed, operands, steps if to_batch else None)
    residual: Any = operands.residual
    for chosen, pieces in parts:
        if residual is not None:
            operands = operands._replace(residual=residual[chosen])
        if run_pieces(op, pieces, addresses[chosen], first[chosen], pad, threads, library, operands):
            continue
        left += chosen.tolist()
    return left


def computation_of(op: str, arithmetic: Arithmetic | None, padded: bool) -> Computation | str | None:
    """What kernels compute on the way, or the reason why they do not.

    Raises:
        RuntimeError: they do not, and they were demanded.
    """
    found = None if arithmetic is None else computation(arithmetic, padded)
    if isinstance(found, str) and prepared.demanded == "llvm":
        raise RuntimeError(f"{op}: the backend 'llvm' was asked for, but {found}")
    return found


def of_pieces(computed: Computation, operands: Operands, steps: Integers | None) -> Operands:
    """Operands with the address of a residual for each piece.

    Args:
        steps: elements from the beginning of the result to that of each piece; None where pieces have results of their own.
    """
    residual: Any = operands.residual
    if residual is None:
        return operands
    assert computed.residual is not None
    if steps is not None:
        residual = residual + steps * SOURCES[computed.residual]
    return operands._replace(residual=np.atleast_1d(np.array(residual, np.int64)))


def kernels_take(op: str, itemsize: int, *strides: int) -> bool:
    """Whether there are kernels for elements of so many bytes (0: they are no plain numbers), and for these strides.

    >>> kernels_take("to_blocks", 4, 6, 1), kernels_take("to_blocks", 4, 6, -1)
    (True, False)

    Raises:
        RuntimeError: there are none, and they were demanded.
    """
    reason = "a stride is negative" if min(strides) < 0 else None
    if itemsize not in _WORDS:
        reason = f"no word has the {itemsize} bytes of an element" if itemsize else "the elements are no plain numbers"
    if reason is not None and prepared.demanded == "llvm":
        raise RuntimeError(f"{op}: the backend 'llvm' was asked for, but {reason}")
    return reason is None


def run_pieces(
    op: str,
    pieces: Pieces,
    space: Integers,
    batch: Integers,
    pad: bytes,
    threads: int,
    library: openmp.OpenMP | None,
    operands: Operands = NO_OPERANDS,
) -> bool:
    """Whether the pieces were moved; not while their kernel is being compiled.

    Raises:
        RuntimeError: the kernel was demanded and cannot be had.
    """
    if not pieces.ready(wait=prepared.waits()):
        if prepared.demanded == "llvm":
            raise RuntimeError(f"{op}: the backend 'llvm' was asked for, but {pieces.kernel.refused}")
        return False
    pieces(space, batch, pad, threads, library, operands)
    return True
