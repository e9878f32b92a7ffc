"""From the arguments of a function to what it has to know of the image: checked, and the same for the next call.

Each takes the name of the function, the shape of its input, and its other arguments.
"""

from __future__ import annotations

import math
from typing import Any

from ..reference.arguments import BatchOrder, shown
from ..reference.data_layout import layout_dims
from ..reference.geometry import BlockGeometry
from ..reference.window_sizes import Cut, cut_dilated, cut_grid, cut_windows, image_sizes
from .partition import Grid, Partition, Windows, no_whole_images


def windows(op: str, shape: Any, size: Any, shift: Any, layout: Any, covered: Any) -> Partition:
    return Windows(shape, size, shift=shift, layout=layout, covered=covered, op=op)


def windows_of_batch(
    op: str, shape: Any, size: Any, image_size: Any, shift: Any, layout: Any, covered: Any
) -> Partition:
    dims = layout_dims(f"{op}: layout", layout, len(shape))
    sizes = image_sizes(op, image_size, len(dims))
    space = space_shape(op, shape, dims, sizes, cut_windows(op, sizes, size, shift, covered))
    return Windows(space, size, shift=shift, layout=layout, covered=covered, op=op)


def grids(op: str, shape: Any, size: Any, layout: Any) -> Partition:
    return Grid(shape, size, layout=layout, op=op)


def grids_of_batch(op: str, shape: Any, size: Any, image_size: Any, layout: Any) -> Partition:
    dims = layout_dims(f"{op}: layout", layout, len(shape))
    sizes = image_sizes(op, image_size, len(dims))
    return Grid(space_shape(op, shape, dims, sizes, cut_grid(op, sizes, size)), size, layout=layout, op=op)


def dilated(
    op: str, shape: Any, dilation: Any, dims: Any, order: BatchOrder = "batch_major", name: str = "dilation"
) -> Partition:
    """Args: dims: the spatial dims or a layout. order: of the batch. name: of the dilation, for messages."""
    dims = dims if isinstance(dims, tuple) else layout_dims(f"{op}: layout", dims, len(shape))
    cut = cut_dilated(op, tuple([shape[d] for d in dims]), dilation, name)
    return Partition(BlockGeometry(shape, cut.blocks, cut.paddings, spatial_dims=dims, batch_order=order, op=op))


def dilated_of_batch(
    op: str,
    shape: Any,
    dilation: Any,
    image_size: Any,
    dims: Any,
    order: BatchOrder = "batch_major",
    name: str = "dilation",
    size_name: str = "image_size",
) -> Partition:
    dims = dims if isinstance(dims, tuple) else layout_dims(f"{op}: layout", dims, len(shape))
    sizes = image_sizes(op, image_size, len(dims), size_name)
    space = space_shape(op, shape, dims, sizes, cut_dilated(op, sizes, dilation, name))
    return dilated(op, space, dilation, dims, order, name)


def space_shape(op: str, shape: Any, dims: tuple[int, ...], sizes: tuple[int, ...], cut: Cut) -> tuple[int, ...]:
    """The shape of the images that became samples of this shape, if there are such images."""
    space = list(shape)
    for k, d in enumerate(dims):
        if shape[d] != cut.cells[k]:
            raise ValueError(
                f"{op}: dim {d} has size {shape[d]}, but an image of {shown(sizes)} makes {cut.cells[k]} of it"
            )
        space[d] = sizes[k]
    count = math.prod(cut.blocks)
    if shape[0] % count:
        raise ValueError(no_whole_images(op, shape[0], count, sizes))
    space[0] //= count
    return tuple(space)
