"""Windows, grids and dilated groups of an image, by their size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..reference.data_layout import ANY_RANK
from ..reference.window_sizes import Covered
from . import plans, tiles
from .images import plan_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..reference.words import CutWords, JoinWords

ArrayT = TypeVar("ArrayT")  # a NumPy array or a tensor


def window_partition(
    x: ArrayT,
    window_size: int | Sequence[int],
    *,
    shift: int | Sequence[int] = 0,
    layout: str = ANY_RANK,
    covered: Covered = "shift",
    pad_value: Any = 0,
    out: ArrayT | None = None,
    **words: Unpack[CutWords],
) -> ArrayT:
    """Cut images into windows of neighbours, each a sample: Swin's `window_partition`, padded and shifted in the same pass.

    >>> import numpy as np
    >>> window_partition(np.arange(12).reshape(1, 3, 4, 1), 2, layout="NHWC")[..., 0].tolist()
    [[[0, 1], [4, 5]], [[2, 3], [6, 7]], [[8, 9], [0, 0]], [[10, 11], [0, 0]]]

    Args:
        x: array or tensor of images or volumes, any number of spatial dims.
        window_size: elements of a window, an int or one per spatial dim. The end of the image is padded up to a multiple.
        shift: by how much the windows are moved towards the end, cyclically: Swin's `shift_size`, as if the padded image were
            rolled by -shift. The mask that goes with it is `Windows(…).mask()`.
        layout: the letters of the dims: "NCHW", "NHWC", "NCDHW" …; "NC..." and "N...C" are of any number of spatial dims.
        covered: what happens along a dim that one window covers: "shift" as along the others; "stay", no shift, as in
            torchvision; "fit", no shift, and the window becomes as small as the image, as in Swin and timm.
        pad_value: what the padding holds.
        out: where to write, as in `spacebatch.space_to_batch`.
        words: what is computed on the way, scale, bias, activation, dtype …, as in `spacebatch.fused.space_to_batch`.

    Returns:
        (N * windows, ws, ws, C) for "NHWC", (N * windows, C, ws, ws) for "NCHW": the windows of an image one after the other.

    Raises:
        ValueError: sizes or a layout that do not fit. TypeError: arguments of a wrong type.

    Source: Swin's `window_partition`; timm's `window_partition_nchw` for "NCHW".
    """
    plan = plan_of("window_partition", plans.windows, x, window_size, shift, layout, covered)
    return plan._partition("window_partition", x, pad_value=pad_value, out=out, words=words)  # type: ignore[no-any-return]


def window_merge(
    y: ArrayT,
    window_size: int | Sequence[int],
    image_size: int | Sequence[int],
    *,
    shift: int | Sequence[int] = 0,
    layout: str = ANY_RANK,
    covered: Covered = "shift",
    out: ArrayT | None = None,
    **words: Unpack[JoinWords],
) -> ArrayT:
    """The images of which these are the windows: Swin's `window_reverse`, the roll back and the crop in the same pass.

    >>> import numpy as np
    >>> x = np.arange(12).reshape(1, 3, 4, 1)
    >>> y = window_partition(x, 2, shift=1, layout="NHWC")
    >>> bool((window_merge(y, 2, (3, 4), shift=1, layout="NHWC") == x).all())
    True

    Args:
        y: array or tensor of windows, as `window_partition` returns it.
        window_size, shift, layout, covered: as given to `window_partition`.
        image_size: elements of the image along each spatial dim, without padding.
        out: where to write, as in `spacebatch.batch_to_space`.
        words: what is computed on the way, as in `spacebatch.fused.batch_to_space`: a residual is of the images' shape.

    Returns:
        (N, H, W, C) for "NHWC", (N, C, H, W) for "NCHW".

    Raises:
        ValueError: windows that make no image of this size. TypeError: arguments of a wrong type.
    """
    plan = plan_of("window_merge", plans.windows_of_batch, y, window_size, image_size, shift, layout, covered)
    return plan._merge("window_merge", y, out=out, words=words)  # type: ignore[no-any-return]


def grid_partition(
    x: ArrayT,
    grid_size: int | Sequence[int],
    *,
    layout: str = ANY_RANK,
    pad_value: Any = 0,
    out: ArrayT | None = None,
    **words: Unpack[CutWords],
) -> ArrayT:
    """Cut images into grids, each a sample, whose cells are spread evenly over the image: MaxViT's `grid_partition`.

    >>> import numpy as np
    >>> grid_partition(np.arange(16).reshape(1, 4, 4, 1), 2, layout="NHWC")[..., 0].tolist()
    [[[0, 2], [8, 10]], [[1, 3], [9, 11]], [[4, 6], [12, 14]], [[5, 7], [13, 15]]]

    Args:
        x: array or tensor of images or volumes.
        grid_size: cells of a grid, an int or one per spatial dim. The end of the image is padded up to a multiple.
        layout, pad_value, out, words: as in `window_partition`.

    Returns:
        (N * grids, gs, gs, C) for "NHWC", (N * grids, C, gs, gs) for "NCHW".

    Raises:
        ValueError: sizes or a layout that do not fit. TypeError: arguments of a wrong type.

    Source: MaxViT's grid partition; timm's `grid_partition` and `grid_partition_nchw`.
    """
    plan = plan_of("grid_partition", plans.grids, x, grid_size, layout)
    return plan._partition("grid_partition", x, pad_value=pad_value, out=out, words=words)  # type: ignore[no-any-return]


def grid_merge(
    y: ArrayT,
    grid_size: int | Sequence[int],
    image_size: int | Sequence[int],
    *,
    layout: str = ANY_RANK,
    out: ArrayT | None = None,
    **words: Unpack[JoinWords],
) -> ArrayT:
    """The images of which these are the grids: timm's `grid_reverse`, cropped in the same pass.

    >>> import numpy as np
    >>> x = np.arange(20).reshape(1, 4, 5, 1)
    >>> bool((grid_merge(grid_partition(x, 2, layout="NHWC"), 2, (4, 5), layout="NHWC") == x).all())
    True

    Args:
        y: array or tensor of grids, as `grid_partition` returns it.
        grid_size, layout: as given to `grid_partition`.
        image_size, out, words: as in `window_merge`.

    Raises:
        ValueError: grids that make no image of this size. TypeError: arguments of a wrong type.
    """
    plan = plan_of("grid_merge", plans.grids_of_batch, y, grid_size, image_size, layout)
    return plan._merge("grid_merge", y, out=out, words=words)  # type: ignore[no-any-return]


def dilated_partition(
    x: ArrayT,
    dilation: int | Sequence[int],
    *,
    tile: int | Sequence[int] | None = None,
    layout: str = ANY_RANK,
    pad_value: Any = 0,
) -> ArrayT:
    """Cut images into groups of elements that lie a dilation apart, each a sample, and, if asked for, these into tiles.

    >>> import numpy as np
    >>> x = np.arange(8).reshape(1, 1, 8)
    >>> dilated_partition(x, 2)[:, 0].tolist(), dilated_partition(x, 2, tile=2)[:, 0].tolist()
    ([[0, 2, 4, 6], [1, 3, 5, 7]], [[0, 2], [4, 6], [1, 3], [5, 7]])

    Args:
        x: array or tensor of images or volumes.
        dilation: elements from one of a group to its next, an int or one per spatial dim.
        tile: elements of a tile, an int or one per spatial dim; None leaves groups whole.
        layout, pad_value: as in `window_partition`. The end is padded up to a multiple of dilation * tile; with a tile
            that takes a pass of its own.

    Returns:
        (N * groups, H / d, W / d, C) for "NHWC"; with tiles (N * groups * tiles, tile, tile, C).

    Raises:
        ValueError: sizes or a layout that do not fit. TypeError: arguments of a wrong type.

    Source: NATTEN's dilation, and its token permutation by tiles and dilation, of which this is a view.
    """
    op = "dilated_partition"
    if tile is None:
        plan = plan_of(op, plans.dilated, x, dilation, layout)
        return plan._partition(op, x, pad_value=pad_value)  # type: ignore[no-any-return]
    return plan_of(op, tiles.tiles, x, dilation, tile, layout).partition(op, x, pad_value)  # type: ignore[no-any-return]


def dilated_merge(
    y: ArrayT,
    dilation: int | Sequence[int],
    image_size: int | Sequence[int],
    *,
    tile: int | Sequence[int] | None = None,
    layout: str = ANY_RANK,
) -> ArrayT:
    """The images of which these are the groups, or tiles of groups: the inverse of `dilated_partition`.

    >>> import numpy as np
    >>> x = np.arange(7).reshape(1, 1, 7)
    >>> dilated_merge(dilated_partition(x, 2, tile=2), 2, 7, tile=2).tolist()
    [[[0, 1, 2, 3, 4, 5, 6]]]

    Args:
        y: array or tensor, as `dilated_partition` returns it.
        dilation, tile, layout: as given to `dilated_partition`.
        image_size: as in `window_merge`.

    Raises:
        ValueError: groups or tiles that make no image of this size. TypeError: arguments of a wrong type.
    """
    op = "dilated_merge"
    if tile is None:
        return plan_of(op, plans.dilated_of_batch, y, dilation, image_size, layout)._merge(op, y)  # type: ignore[no-any-return]
    return plan_of(op, tiles.tiles_of_batch, y, dilation, tile, image_size, layout).merge(op, y)  # type: ignore[no-any-return]
