"""Blocks moved into the channels: `space_to_depth` and `depth_to_space`, in the orders of TensorFlow, ONNX and PyTorch.

Any order of dims that has the batch first, then some others, and then the rest as they were, is a call of the operator: a dim
that goes to the front is a block as large as itself. So one call moves from height, block, width, block, channels to height,
width, block, block, channels, and there is no second copy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

from ..reference.arguments import check_choice
from ..reference.data_layout import ANY_RANK, layout_dims
from ..reference.window_sizes import block_sizes
from .images import order_of, permuted, plan_of, to_batch, to_space, undone

ArrayT = TypeVar("ArrayT")  # a NumPy array or a tensor
Order: TypeAlias = Literal["DCR", "CRD"]
ORDERS = ("DCR", "CRD")


def space_to_depth(
    x: ArrayT, block_size: int | Sequence[int], *, order: Order = "DCR", layout: str = ANY_RANK
) -> ArrayT:
    """Move blocks of the spatial dims into the channels.

    >>> import numpy as np
    >>> x = np.arange(8).reshape(1, 2, 2, 2)
    >>> space_to_depth(x, 2)[0, :, 0, 0].tolist(), space_to_depth(x, 2, order="CRD")[0, :, 0, 0].tolist()
    ([0, 4, 1, 5, 2, 6, 3, 7], [0, 1, 2, 3, 4, 5, 6, 7])

    Args:
        x: array or tensor of images or volumes, with channels.
        block_size: elements of a block, an int or one per spatial dim; each must divide its size.
        order: "DCR", the position in the block outside, the channel inside: TensorFlow's and ONNX's; "CRD", the other way
            round: PyTorch's `pixel_unshuffle`.
        layout: the letters of the dims: "NCHW", "NHWC" …; "NC..." and "N...C" are of any number of spatial dims.

    Returns:
        (N, C * b * b, H / b, W / b) for "NCHW", (N, H / b, W / b, b * b * C) for "NHWC". It lies in memory as x does.

    Raises:
        ValueError: sizes that are not divisible, a layout without C or of other dims. TypeError: arguments of a wrong type.

    Source: tf.nn.space_to_depth, ONNX's SpaceToDepth, torch.nn.functional.pixel_unshuffle.
    """
    op = "space_to_depth"
    plan = plan_of(op, _depth_of_space, x, block_size, order, layout, order_of(op, x))
    return plan.to_depth(op, x)  # type: ignore[no-any-return]


def depth_to_space(
    y: ArrayT, block_size: int | Sequence[int], *, order: Order = "DCR", layout: str = ANY_RANK
) -> ArrayT:
    """Move channels into blocks of the spatial dims: the inverse of `space_to_depth`.

    >>> import numpy as np
    >>> depth_to_space(np.arange(4).reshape(1, 4, 1, 1), 2).tolist()
    [[[[0, 1], [2, 3]]]]

    Args:
        y: array or tensor whose channels are a multiple of the positions of a block.
        block_size: elements of a block, an int or one per spatial dim.
        order: "DCR", TensorFlow's and ONNX's default; "CRD", ONNX's other mode and PyTorch's `pixel_shuffle`.
        layout: as in `space_to_depth`.

    Returns:
        (N, C / (b * b), H * b, W * b) for "NCHW", (N, H * b, W * b, C / (b * b)) for "NHWC". It lies in memory as y does.

    Raises:
        ValueError: channels that are not divisible, a layout without C or of other dims. TypeError: arguments of a wrong type.

    Source: tf.nn.depth_to_space, ONNX's DepthToSpace, torch.nn.functional.pixel_shuffle.
    """
    op = "depth_to_space"
    plan = plan_of(op, _space_of_depth, y, block_size, order, layout, order_of(op, y))
    return plan.to_space(op, y)  # type: ignore[no-any-return]


class Depth(NamedTuple):
    """A call, all shapes with their dims in memory order.

    Attributes:
        order: the dims in memory order.
        space, split: the shape of the image, and of its view in which each spatial dim is split in two.
        arguments: of the operator, between that view and its batch tensor.
        batch, depth: the shape of that, and of the result.
    """

    order: tuple[int, ...]
    space: tuple[int, ...]
    split: tuple[int, ...]
    arguments: dict[str, Any]
    batch: tuple[int, ...]
    depth: tuple[int, ...]

    def to_depth(self, op: str, x: Any) -> Any:
        y = to_batch(op, permuted(x, self.order).reshape(self.split), self.arguments)
        return permuted(y.reshape(self.depth), undone(self.order))

    def to_space(self, op: str, y: Any) -> Any:
        x = to_space(op, permuted(y, self.order).reshape(self.batch), self.arguments)
        return permuted(x.reshape(self.space), undone(self.order))


def _depth_of_space(op: str, shape: Any, block_size: Any, order: Any, layout: Any, lies: tuple[int, ...]) -> Depth:
    dims, channel, blocks = _checked(op, shape, block_size, order, layout)
    for d, block in zip(dims, blocks, strict=True):
        if shape[d] % block:
            raise ValueError(f"{op}: dim {d} of size {shape[d]} is not divisible by its block of {block}")
    return _plan(tuple(shape), dims, channel, blocks, order, lies)


def _space_of_depth(op: str, shape: Any, block_size: Any, order: Any, layout: Any, lies: tuple[int, ...]) -> Depth:
    dims, channel, blocks = _checked(op, shape, block_size, order, layout)
    count = math.prod(blocks)
    if shape[channel] % count:
        raise ValueError(
            f"{op}: the {shape[channel]} channels of dim {channel} are no multiple of the {count} positions of a block"
        )
    space = list(shape)
    space[channel] //= count
    for d, block in zip(dims, blocks, strict=True):
        space[d] *= block
    return _plan(tuple(space), dims, channel, blocks, order, lies)


def _checked(
    op: str, shape: Any, block_size: Any, order: Any, layout: Any
) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
    check_choice(op, "order", order, ORDERS)
    dims = layout_dims(f"{op}: layout", layout, len(shape))
    rest = [d for d in range(1, len(shape)) if d not in dims]
    if not rest:
        raise ValueError(f"{op}: layout {layout!r} has no channels C to move blocks to")
    return dims, rest[0], block_sizes(op, block_size, len(dims))


def _plan(shape: Any, dims: Any, channel: int, blocks: Any, order: str, lies: tuple[int, ...]) -> Depth:
    split: list[int] = []
    places: dict[int, int] = {}  # of a dim's part in `split`, the coarse one of a spatial dim
    for d in lies:
        places[d] = len(split)
        if d in dims:
            block = blocks[dims.index(d)]
            split += (shape[d] // block, block)
        else:
            split.append(shape[d])
    inner = [places[d] + 1 for d in dims]
    wanted: list[int] = []
    for d in lies:
        wanted += ([*inner, places[d]] if order == "DCR" else [places[d], *inner]) if d == channel else [places[d]]
    # what follows the batch up to the last descent goes to the front
    front = max([1, *[k for k in range(1, len(wanted)) if wanted[k] < wanted[k - 1]]])
    moved = tuple(wanted[1:front]) or (wanted[1],)
    sizes = tuple([max(split[p], 1) for p in moved])
    batch = [min(size, 1) if p in moved else size for p, size in enumerate(split)]
    batch[0] *= math.prod(sizes)
    depth = list(shape)
    for d, block in zip(dims, blocks, strict=True):
        depth[d] //= block
    depth[channel] *= math.prod(blocks)
    arguments = {"block_shape": sizes, "spatial_dims": moved, "batch_order": "batch_major"}
    return Depth(
        lies, tuple([shape[d] for d in lies]), tuple(split), arguments, tuple(batch), tuple([depth[d] for d in lies])
    )
