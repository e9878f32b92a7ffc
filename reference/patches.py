"""Patches of images and videos as tokens, and back: `patchify` and `unpatchify` for NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .arguments import as_integer, shown
from .arithmetic import NO_OPERANDS
from .functions import check_array
from .fused_lists import OnWay, on_way
from .image_lists import backend_of, check_alike, checked_list, kernels_take
from .llvm.prepare import NUMBERS, address
from .normalization import normalized
from .patch_tokens import DIMS, Patches, TokenOrder, gaps_of, grids_of_images, offsets_of, table_of, token_order
from .threads import thread_limit
from .words import FactorWords, PatchWords, words_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

Array = npt.NDArray[Any]


def patchify(
    images: Array | Sequence[Array],
    patch_size: int | Sequence[int],
    *,
    merge: int = 1,
    temporal: int = 1,
    layout: str = "CHW",
    token: str = "CTHW",
    max_num_patches: int | None = None,
    **words: Unpack[PatchWords],
) -> Patches:
    """Tokens of NumPy arrays; see `spacebatch.patchify`.

    >>> patchify(np.arange(8).reshape(1, 2, 4), 2).tokens.tolist()
    [[0, 1, 4, 5], [2, 3, 6, 7]]
    """
    op = "patchify"
    order = token_order(op, patch_size, merge, temporal, layout, token)
    arrays = (images,) if isinstance(images, np.ndarray) else checked_list(op, images, "numpy.ndarray")
    for array in arrays:
        check_array(op, array)
    check_alike(op, "dtype", [x.dtype for x in arrays])
    check_dims(op, [x.ndim for x in arrays], layout)
    backend_of(op, "arrays", ("llvm", "numpy"))
    full = [_full(x, order, layout) for x in arrays]
    grid = grids_of_images(op, [x.shape for x in full], order)
    limit = checked_limit(op, grid, max_num_patches)
    offsets = offsets_of(grid, limit)
    channels = full[0].shape[order.places[1]]
    way = None
    if words:
        given = normalized(op, words, arrays[0].dtype.kind in "iu", channels)
        way = on_way(op, given, arrays[0], full[0].shape, order.cut_dims, order.places[1])
    inner = order.inner(channels)
    inside = [inner[DIMS.index(letter)] for letter in order.token]
    tokens = np.empty((int(offsets[-1]), *inside), arrays[0].dtype if way is None else way.dtype)
    _move(op, True, order, full, tokens, offsets, way)
    for first, past in () if limit is None else gaps_of(grid, offsets):
        tokens[first:past] = 0
    shape = (len(tokens),) if limit is None else (len(full), limit)
    seqlens = offsets_of(grid, None).astype(np.int32)
    mask = None if limit is None else np.arange(limit) < grid.prod(axis=1)[:, None]
    return Patches(tokens.reshape(*shape, int(np.prod(inside))), grid, seqlens, mask)


def unpatchify(
    tokens: Array,
    grid_thw: Any,
    patch_size: int | Sequence[int],
    *,
    merge: int = 1,
    temporal: int = 1,
    layout: str = "CHW",
    token: str = "CTHW",
    **words: Unpack[FactorWords],
) -> list[Array]:
    """Images of NumPy tokens; see `spacebatch.unpatchify`.

    >>> unpatchify(np.array([[0, 1, 4, 5], [2, 3, 6, 7]]), [[1, 1, 2]], 2)[0].tolist()
    [[[0, 1, 2, 3], [4, 5, 6, 7]]]
    """
    op = "unpatchify"
    order = token_order(op, patch_size, merge, temporal, layout, token)
    check_array(op, tokens)
    grid, inner, offsets = checked_tokens(op, tokens.shape, grid_thw, order, layout)
    backend_of(op, "arrays", ("llvm", "numpy"))
    split = tokens.reshape(-1, *(inner[DIMS.index(letter)] for letter in order.token))
    if "T" not in layout:  # a frame that was repeated
        split = split[(slice(None), *(slice(1) if letter == "T" else slice(None) for letter in order.token))]
        order = replace(order, temporal=1)
    shapes = image_shapes(grid, order, inner[1])
    way = (
        on_way(op, words_of(op, words, FactorWords), tokens, shapes[0], order.cut_dims, order.places[1])
        if words
        else None
    )
    images = [np.empty(shape, tokens.dtype if way is None else way.dtype) for shape in shapes]
    _move(op, False, order, images, split, offsets, way)
    return [_without(x, order, layout) for x in images]


def check_dims(op: str, ndims: Sequence[int], layout: str) -> None:
    """Images have as many dims as their layout names.

    >>> check_dims("patchify", [3, 2], "CHW")
    Traceback (most recent call last):
    ValueError: patchify: images[1] is 2-D, but layout 'CHW' names 3 dims
    """
    for k, ndim in enumerate(ndims):
        if ndim != len(layout):
            raise ValueError(f"{op}: images[{k}] is {ndim}-D, but layout {layout!r} names {len(layout)} dims")


def checked_limit(op: str, grid: npt.NDArray[np.int64], max_num_patches: Any) -> int | None:
    """To how many tokens each image is padded.

    >>> checked_limit("patchify", np.array([[1, 2, 3]]), 5)
    Traceback (most recent call last):
    ValueError: patchify: images[0] has 6 patches, more than max_num_patches=5
    """
    if max_num_patches is None:
        return None
    limit = as_integer(max_num_patches, f"{op}: max_num_patches")
    for k, count in enumerate(grid.prod(axis=1).tolist()):
        if count > limit:
            raise ValueError(f"{op}: images[{k}] has {count} patches, more than max_num_patches={shown(limit)}")
    return limit


def checked_tokens(
    op: str, shape: Sequence[int], grid_thw: Any, order: TokenOrder, layout: str
) -> tuple[npt.NDArray[np.int64], tuple[int, ...], npt.NDArray[np.int64]]:
    """The grids, the sizes inside a token, and the number of each image's first token.

    >>> checked_tokens("unpatchify", (6, 12), [[1, 2, 3]], token_order("unpatchify", 2, 1, 1, "CHW", "CTHW"), "CHW")[1]
    (1, 3, 2, 2)
    """
    found = grid_thw.tolist() if hasattr(grid_thw, "tolist") else grid_thw
    try:
        rows = [[as_integer(n, f"{op}: grid_thw[{k}]") for n in row] for k, row in enumerate(found)]
    except TypeError as error:
        if str(error).startswith(op):
            raise
        raise TypeError(f"{op}: grid_thw must hold three integers for each image, got {shown(grid_thw)}") from None
    if not rows or any(len(row) != 3 or min(row) < 0 for row in rows):
        raise ValueError(f"{op}: grid_thw must hold (time, height, width) for each image, got {shown(rows)}")
    grid = np.array(rows, np.int64)
    if (grid[:, 1:] % order.merge).any():
        raise ValueError(f"{op}: grid_thw {shown(rows)} is not divisible into groups of {order.merge} x {order.merge}")
    if "T" not in layout and (grid[:, 0] != 1).any():
        raise ValueError(f"{op}: grid_thw {shown(rows)} has several frames, but layout {layout!r} names no T")
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[0] != len(grid)):
        raise ValueError(
            f"{op}: tokens have shape {tuple(shape)}; (tokens, numbers) or ({len(grid)} images, tokens, numbers) is needed"
        )
    limit = None if len(shape) == 2 else shape[1]
    counts = grid.prod(axis=1)
    if (limit is None and int(counts.sum()) != shape[0]) or (limit is not None and int(counts.max()) > limit):
        raise ValueError(
            f"{op}: tokens have shape {tuple(shape)}, but grid_thw {shown(rows)} has {counts.tolist()} patches"
        )
    of_channel = order.temporal * order.patch[0] * order.patch[1]
    channels = shape[-1] // of_channel
    if shape[-1] % of_channel or ("C" not in layout and channels != 1):
        raise ValueError(
            f"{op}: tokens hold {shape[-1]} numbers, which are no patches of {order.temporal} x {order.patch} of {layout!r}"
        )
    return grid, order.inner(channels), offsets_of(grid, limit)


def image_shapes(grid: npt.NDArray[np.int64], order: TokenOrder, channels: int) -> list[tuple[int, ...]]:
    """The shapes of images in the full layout.

    >>> image_shapes(np.array([[1, 2, 3]]), token_order("unpatchify", 2, 1, 1, "HWC", "CTHW"), 3)
    [(1, 4, 6, 3)]
    """
    shapes = []
    for time, height, width in (grid * (order.temporal, *order.patch)).tolist():
        sizes = {"T": time, "C": channels, "H": height, "W": width}
        shapes.append(tuple([sizes[letter] for letter in order.layout]))
    return shapes


def _full(x: Array, order: TokenOrder, layout: str) -> Array:
    """An image in the full layout, its last frame repeated up to whole patches."""
    if "C" not in layout:
        x = np.expand_dims(x, order.layout.index("C") - ("T" not in layout))
    if "T" not in layout:
        return np.broadcast_to(x, (order.temporal, *x.shape))
    time = order.layout.index("T")
    missing = -x.shape[time] % order.temporal
    if not missing:
        return x
    last = np.take(x, [-1], axis=time)
    return np.concatenate([x, np.repeat(last, missing, axis=time)], axis=time)


def _without(x: Array, order: TokenOrder, layout: str) -> Array:
    """An image without the dims that its layout does not name."""
    return x[tuple([slice(None) if letter in layout else 0 for letter in order.layout])]


def _move(
    op: str,
    to_tokens: bool,
    order: TokenOrder,
    images: Sequence[Array],
    tokens: Array,
    offsets: npt.NDArray[np.int64],
    way: OnWay | None,
) -> None:
    """Fill tokens, of shape (tokens, …) in their order, from images in the full layout, or the other way round."""
    every = [*images, tokens]
    whole = not any(x.itemsize == 0 or stride % x.itemsize for x in every for stride in x.strides)
    if whole and tokens.dtype.kind in NUMBERS and images[0].dtype.kind in NUMBERS:
        strides = [[stride // x.itemsize for stride in x.strides] for x in every]
        inside = [1 + order.token.index(letter) for letter in DIMS]
        where = [tokens.shape[d] for d in inside], [strides[-1][d] for d in (0, *inside)]
        found = [x.shape for x in images], strides[:-1]
        size = images[0].itemsize if to_tokens else tokens.itemsize
        arithmetic, operands, held = (None, NO_OPERANDS, None) if way is None else way.addressed(None)
        table = table_of(op, to_tokens, order, found, where, offsets[:-1], size, arithmetic)
        addresses = [address(x) for x in images]
        if table is not None and table.move(addresses, address(tokens), thread_limit(), None, operands):
            return
        del held  # until now
    elif tokens.size:
        kernels_take(op, 0, 0)
    later = order.channels_later
    for x, first in zip(images, offsets, strict=False):
        if way is not None and to_tokens:
            x = way.computed(x)
        sizes, axes, permuted = order.split_of(x.shape)
        count = int(np.prod(permuted[:5]))
        near, far = x.reshape(sizes).transpose(axes), tokens[first : first + count].reshape(permuted)
        if to_tokens:
            far[...] = near
        else:
            near[...] = far if way is None else way.computed(far, later)
