"""How images become tokens of patches: sizes, orders and offsets; what arrays and tensors have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import prepared
from .arguments import as_integer, as_sequence, is_scalar, shown
from .arithmetic import NO_OPERANDS, Arithmetic, Operands
from .image_layout import letters
from .image_lists import (
    MOST_REMEMBERED,
    check_alike,
    computation_of,
    kernels_take,
    of_pieces,
    remember,
    run_pieces,
)
from .llvm import openmp
from .llvm.patch_pieces import patch_pieces
from .llvm.pieces import Integers, Pieces
from .llvm.prepare import missing
from .llvm.spec import Computation

_pieces: dict[Any, tuple[Pieces, bool]] = {}
DIMS = "TCHW"  # frames, channels, height, width: the order that a layout is brought to


class Patches(NamedTuple):
    """The tokens of images or videos, image after image; made by `patchify`.

    Attributes:
        tokens: (tokens, numbers of a patch); where they were padded, (images, max_num_patches, numbers of a patch).
        grid_thw: how many patches each image has in time, height and width, (images, 3), int64.
        cu_seqlens: where each image's tokens start and the last one's end, not counting padding; (images + 1,), int32.
        mask: True for tokens, False for padding, (images, max_num_patches); None where nothing was padded.
    """

    tokens: Any
    grid_thw: Any
    cu_seqlens: Any
    mask: Any


@dataclass(frozen=True)
class TokenOrder:
    """What all tokens of a call have in common.

    Attributes:
        layout: of an image, with its "T" and "C" where it had none.
        token: the order inside a token, of the same four letters.
        patch: height and width of a patch. temporal: frames of one. merge: patches along each side of a group.
    """

    layout: str
    token: str
    patch: tuple[int, int]
    temporal: int
    merge: int

    def inner(self, channels: int) -> tuple[int, ...]:
        """How many frames, channels, rows and columns a token has.

        >>> token_order("patchify", 16, 1, 2, "CHW", "CTHW").inner(3)
        (2, 3, 16, 16)
        """
        return self.temporal, channels, *self.patch

    @property
    def places(self) -> tuple[int, ...]:
        """Where the four dims are in the layout.

        >>> token_order("patchify", 16, 1, 2, "HWC", "CTHW").places
        (0, 3, 1, 2)
        """
        return tuple([self.layout.index(letter) for letter in DIMS])

    @property
    def cut_dims(self) -> tuple[int, ...]:
        """The dims of the layout that are cut: all but the channels.

        >>> token_order("patchify", 16, 1, 2, "HWC", "CTHW").cut_dims
        (0, 1, 2)
        """
        return tuple([d for d, letter in enumerate(self.layout) if letter != "C"])

    @property
    def channels_later(self) -> int:
        """By how many dims the channels come later in split tokens, (time, height, width, group, group, …), than in the layout.

        >>> token_order("patchify", 16, 1, 2, "HWC", "CTHW").channels_later
        2
        """
        return 5 + self.token.index("C") - self.layout.index("C")

    def split_of(self, shape: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
        """An image with its dims split, and the order of these in its tokens, and their sizes in that order.

        >>> token_order("patchify", 2, 2, 1, "HWC", "HWC").split_of((1, 8, 4, 3))
        ([1, 1, 2, 2, 2, 1, 2, 2, 3], [0, 2, 5, 3, 6, 1, 4, 7, 8], [1, 2, 1, 2, 2, 1, 2, 2, 3])

        Args:
            shape: of an image in the layout.
        """
        parts = {"T": self.temporal, "H": self.patch[0], "W": self.patch[1]}
        sizes: list[int] = []
        where: dict[str, int] = {}
        for letter, size in zip(self.layout, shape, strict=True):
            if letter in "HW":
                where["grid" + letter], where["merge" + letter] = len(sizes), len(sizes) + 1
                sizes += size // (parts[letter] * self.merge), self.merge
            elif letter == "T":
                where["gridT"] = len(sizes)
                sizes.append(size // self.temporal)
            where[letter] = len(sizes)
            sizes.append(parts.get(letter, size))
        order = [where[name] for name in ("gridT", "gridH", "gridW", "mergeH", "mergeW", *self.token)]
        return sizes, order, [sizes[d] for d in order]


def token_order(op: str, patch_size: Any, merge: Any, temporal: Any, layout: Any, token: Any) -> TokenOrder:
    """The arguments of `patchify`, checked.

    >>> token_order("patchify", 14, 2, 2, "CHW", "CTHW").layout
    'TCHW'
    """
    sizes = (patch_size,) * 2 if is_scalar(patch_size) else as_sequence(patch_size, f"{op}: patch_size")
    if len(sizes) != 2:
        raise ValueError(f"{op}: patch_size must be an integer, or (height, width), got {shown(patch_size)}")
    named = (*(("patch_size", size) for size in sizes), ("merge", merge), ("temporal", temporal))
    numbers = [as_integer(value, f"{op}: {name}") for name, value in named]
    for (name, _), number in zip(named, numbers, strict=True):
        if number < 1:
            raise ValueError(f"{op}: {name} must be at least 1, got {shown(number)}")
    letters(op, layout)
    if not {"H", "W"} <= {*layout} <= {*DIMS}:
        raise ValueError(f"{op}: layout must name H and W, and may name C and T, got {layout!r}")
    letters(op, token, "token")
    if not {"H", "W"} <= {*token} <= {*DIMS} or ("C" in layout and "C" not in token):
        raise ValueError(f"{op}: token must name H, W, and C if the layout does, got {token!r}")
    if "T" not in token and numbers[3] > 1:
        raise ValueError(f"{op}: token {token!r} names no T, but a patch has {numbers[3]} frames")
    full = "".join([letter for letter in "TC" if letter not in layout]) + layout
    inside = "".join([letter for letter in "TC" if letter not in token]) + token
    return TokenOrder(full, inside, (numbers[0], numbers[1]), numbers[3], numbers[2])


def grids_of_images(op: str, shapes: Sequence[Sequence[int]], order: TokenOrder) -> npt.NDArray[np.int64]:
    """The patches of images in time, height and width, of shapes in the full layout.

    >>> grids_of_images("patchify", [(2, 3, 28, 56)], token_order("patchify", 14, 2, 2, "CHW", "CTHW")).tolist()
    [[1, 2, 4]]

    Raises:
        ValueError: channels that differ, sizes that are not divisible.
    """
    time, channels, height, width = order.places
    check_alike(op, "number of channels", [shape[channels] for shape in shapes])
    for k, shape in enumerate(shapes):
        for name, d, patch in (("height", height, order.patch[0]), ("width", width, order.patch[1])):
            if shape[d] % (patch * order.merge):
                groups = f" in groups of {order.merge}" if order.merge > 1 else ""
                raise ValueError(
                    f"{op}: images[{k}] has {name} {shape[d]}, which is not divisible into patches of {patch}{groups}"
                )
    found = np.array([[shape[time], shape[height], shape[width]] for shape in shapes], np.int64)
    return found // (order.temporal, *order.patch)


def offsets_of(grid: npt.NDArray[np.int64], padded: int | None) -> npt.NDArray[np.int64]:
    """The number of each image's first token, and one past the last one's end.

    >>> offsets_of(np.array([[1, 2, 2], [1, 1, 3]]), None).tolist(), offsets_of(np.array([[1, 2, 2], [1, 1, 3]]), 8).tolist()
    ([0, 4, 7], [0, 8, 16])
    """
    counts = grid.prod(axis=1) if padded is None else np.full(len(grid), padded)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])


def gaps_of(grid: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """The tokens that are padding: the first of each image that has some, and the one past its last.

    >>> gaps_of(np.array([[1, 2, 2], [1, 1, 3]]), np.array([0, 4, 8]))
    [(7, 8)]
    """
    ends = (offsets[:-1] + grid.prod(axis=1)).tolist()
    return [(end, stop) for end, stop in zip(ends, offsets[1:].tolist(), strict=True) if end < stop]


class Table(NamedTuple):
    """All that compiled kernels need to know of a call but addresses.

    Attributes:
        pieces: one for each image; None where there is nothing to move. turned: whether the images are on the batch's side of them.
        computed: what is computed on the way. to_tokens: whether images are read and tokens are written.
        steps, starts: from the first token to the first one of each image, in elements and in bytes.
    """

    op: str
    pieces: Pieces | None
    turned: bool
    computed: Computation | None
    to_tokens: bool
    steps: Integers
    starts: Integers

    def move(
        self,
        images: Sequence[int],
        tokens: int,
        threads: int,
        library: openmp.OpenMP | None,
        operands: Operands = NO_OPERANDS,
    ) -> bool:
        """Whether compiled kernels moved all images.

        Args:
            images, tokens: addresses, of each image and of the first token.
            threads, library: that share the list.
            operands: addresses; of the residual that of the first token, or of each image.

        Raises:
            RuntimeError: a kernel was demanded that cannot be had.
        """
        if self.pieces is None:
            return True
        sides = np.array(images, np.int64), tokens + self.starts
        space, batch = sides[::-1] if self.turned else sides
        if self.computed is not None:
            operands = of_pieces(self.computed, operands, self.steps if self.to_tokens else None)
        return run_pieces(self.op, self.pieces, space, batch, b"", threads, library, operands)


def table_of(
    op: str,
    to_tokens: bool,
    order: TokenOrder,
    images: tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]],
    tokens: tuple[Sequence[int], Sequence[int]],
    offsets: npt.NDArray[np.int64],
    itemsize: int,
    arithmetic: Arithmetic | None = None,
    kept: bool = False,
) -> Table | None:
    """How compiled kernels move all images, one piece each; None where they do not.

    >>> x, y, order = np.arange(4.0), np.zeros((2, 2)), token_order("patchify", (1, 2), 1, 1, "HW", "HW")
    >>> found = table_of("patchify", True, order, ([(1, 1, 1, 4)], [(4, 4, 4, 1)]), ((1, 1, 1, 2), (2, 2, 2, 2, 1)), np.zeros(1, int), 8)
    >>> done = found is not None and found.move([x.ctypes.data], y.ctypes.data, 1, None)

    Args:
        to_tokens: images are read and tokens are written, or the other way round.
        images: shapes, and strides in elements, in the full layout.
        tokens: the sizes inside a token in the order of `DIMS`, and the strides of a token and of these.
        offsets: the number of each image's first token.
        itemsize: bytes of an element of what is read.
        arithmetic: on the way, if there is some, of images whose channels are the channels.
        kept: whether the caller keeps what is found; else it is kept here.

    Raises:
        RuntimeError: a kernel was demanded that cannot be had.
    """
    if prepared.demanded not in (None, "llvm") or missing() is not None:
        return None
    places = list(order.places)
    inner, strides_of_tokens = tuple(tokens[0]), tuple(tokens[1])
    few = not kept and len(images[0]) <= MOST_REMEMBERED
    computed = computation_of(op, arithmetic, False)
    if isinstance(computed, str):
        return None
    steps = offsets * strides_of_tokens[0]
    starts = steps * (itemsize if computed is None else computed.itemsizes[to_tokens])
    sizes = inner, strides_of_tokens, order.merge, itemsize, computed
    key = (to_tokens, order.places, *(tuple(map(tuple, of)) for of in images), *sizes) if few else None
    found = _pieces.get(key) if few else None
    if found is None:
        shapes, strides = (np.array(of, np.int64)[:, places] for of in images)
        if not shapes.all() or not all(inner):
            return Table(op, None, False, computed, to_tokens, steps, starts)
        if not kernels_take(op, itemsize, int(strides.min()), *strides_of_tokens):
            return None
        found = patch_pieces(to_tokens, shapes, strides, *sizes)
        if few:
            remember(_pieces, key, found)
    return Table(op, *found, computed, to_tokens, steps, starts)
