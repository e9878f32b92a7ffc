"""Which cells of a window may see each other: those that are neighbours in the image, and not only behind its edge."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from .geometry import BlockGeometry


def window_mask(
    geometry: BlockGeometry, *, fill: float | None = None, padding: bool = False
) -> npt.NDArray[np.bool_] | npt.NDArray[np.float32]:
    """For every window, which of its cells may see each other.

    >>> from spacebatch import BlockGeometry
    >>> shifted = BlockGeometry.windows((1, 1, 4), 2, shift=1)  # [1, 2] and [3, 0]
    >>> window_mask(shifted).astype(int).tolist()
    [[[1, 1], [1, 1]], [[1, 0], [0, 1]]]
    """
    regions = region_numbers(geometry, np.arange, padding)
    visible = regions[:, :, None] == regions[:, None, :]
    if fill is None:
        return visible  # type: ignore[no-any-return]
    return np.where(visible, np.float32(0), np.float32(fill))


def region_numbers(geometry: BlockGeometry, arange: Callable[[int], Any], padding: bool) -> Any:
    """For every window and cell a number, the same for the cells of a window that may see each other.

    Cells that the shift carried around the edge are a region of their own, along each dim; so is padding, if asked for.

    Args:
        geometry: of the windows.
        arange: NumPy's, or PyTorch's on a device.
        padding: whether padded cells are apart from the others.

    Returns:
        Integers of shape (windows, cells), windows as in `batch_shape`, cells in row-major order.
    """
    dims, m = geometry.spatial_dims, len(geometry.spatial_dims)
    cells = sorted(dims)  # in the order of the dims, windows in that of the blocks
    numbers: Any = 0
    outside: Any = False
    for k, (d, block, (before, _), shift) in enumerate(
        zip(dims, geometry.block_shape, geometry.paddings, geometry.shifts, strict=True)
    ):
        count = geometry.batch_shape[d]
        total = block * count
        shift = shift % total if total else 0  # as it was given where sizes are symbols
        shape = [1] * (2 * m)
        shape[k], shape[m + cells.index(d)] = block, count
        phase, i = arange(block)[:, None], arange(count)
        place = phase * count + i if geometry.arrangement == "contiguous" else i * block + phase
        numbers = numbers * 2 + (place < shift).reshape(shape)
        if padding:
            inside = (place - shift) % total - before
            outside = outside | ((inside < 0) | (inside >= geometry.space_shape[d])).reshape(shape)
    if padding:
        numbers = numbers * ~outside - 1 * outside
    return numbers.reshape(geometry.phases, -1)
