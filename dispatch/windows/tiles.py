"""Tiles of dilated groups: both cuts in one call of the operator, over a view in which each dim is split in two.

An element at (rest * tile + t) * dilation + group lies, in a view of shape (rest, tile * dilation), at (rest, t * dilation + group).
There the group is a phase of an interleaved block, and so is the rest, of a block as large as its dim.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ..reference.data_layout import layout_dims
from ..reference.window_sizes import Cut, cut_dilated, image_sizes
from .images import order_of, permuted, to_batch, to_space, undone
from .plans import space_shape


class Tiles(NamedTuple):
    """Sizes of a call, one per spatial dim.

    Attributes:
        shape: of the images. dims: the spatial ones.
        dilation, rest, tile: how each is split, from the inside: group, tile, rest.
        paddings: what makes them divisible.
    """

    shape: tuple[int, ...]
    dims: tuple[int, ...]
    dilation: tuple[int, ...]
    rest: tuple[int, ...]
    tile: tuple[int, ...]
    paddings: tuple[tuple[int, int], ...]

    def partition(self, op: str, x: Any, pad_value: Any) -> Any:
        if any(after for _, after in self.paddings):
            x = to_batch(op, x, self._border("paddings"), pad_value=pad_value)
        order = order_of(op, x)
        split, flat, arguments = self._split(order)
        y = to_batch(op, permuted(x, order).reshape(split), {**arguments, "paddings": 0})
        return permuted(y.reshape(flat), undone(order))

    def merge(self, op: str, y: Any) -> Any:
        order = order_of(op, y)
        _, flat, arguments = self._split(order)
        ones = [size for p, d in enumerate(order) for size in ((1, flat[p]) if d in self.dims else (flat[p],))]
        x = to_space(op, permuted(y, order).reshape(ones), {**arguments, "crops": 0})
        padded = list(self.shape)
        for d, tile, rest, dilation in zip(self.dims, self.tile, self.rest, self.dilation, strict=True):
            padded[d] = tile * rest * dilation
        x = permuted(x.reshape([padded[d] for d in order]), undone(order))
        return to_space(op, x, self._border("crops")) if any(after for _, after in self.paddings) else x

    def _border(self, name: str) -> dict[str, Any]:
        return {"block_shape": (1,) * len(self.dims), name: self.paddings, "spatial_dims": self.dims}

    def _split(self, order: tuple[int, ...]) -> tuple[list[int], list[int], dict[str, Any]]:
        """(shape of the view, shape of the tiles, arguments of the operator), all in memory order."""
        view: list[int] = []
        flat: list[int] = []
        places = {}
        for d in order:
            if d in self.dims:
                k = self.dims.index(d)
                places[k] = len(view)
                view += (self.rest[k], self.tile[k] * self.dilation[k])
                flat.append(self.tile[k])
            else:
                view.append(self.shape[d])
                flat.append(self.shape[d])
        flat[0] *= math.prod(self.dilation) * math.prod(self.rest)
        ks = range(len(self.dims))
        dims = *[places[k] + 1 for k in ks], *[places[k] for k in ks]
        return (
            view,
            flat,
            {"block_shape": (*self.dilation, *self.rest), "spatial_dims": dims, "batch_order": "batch_major"},
        )


def tiles(op: str, shape: Any, dilation: Any, tile: Any, layout: Any) -> Tiles:
    dims = layout_dims(f"{op}: layout", layout, len(shape))
    return _tiles(op, tuple(shape), dims, tuple([shape[d] for d in dims]), dilation, tile)


def tiles_of_batch(op: str, shape: Any, dilation: Any, tile: Any, image_size: Any, layout: Any) -> Tiles:
    dims = layout_dims(f"{op}: layout", layout, len(shape))
    sizes = image_sizes(op, image_size, len(dims))
    found = _tiles(op, tuple(shape), dims, sizes, dilation, tile)
    blocks = tuple([d * r for d, r in zip(found.dilation, found.rest, strict=True)])
    return found._replace(shape=space_shape(op, shape, dims, sizes, Cut(found.tile, blocks, found.paddings, 0)))


def _tiles(op: str, shape: Any, dims: Any, sizes: Any, dilation: Any, tile: Any) -> Tiles:
    steps = cut_dilated(op, sizes, dilation).blocks
    cells = cut_dilated(op, sizes, tile, "tile").blocks
    rest = tuple([-(-size // (step * cell)) for size, step, cell in zip(sizes, steps, cells, strict=True)])
    paddings = tuple([(0, r * step * cell - s) for s, r, step, cell in zip(sizes, rest, steps, cells, strict=True)])
    return Tiles(shape, dims, steps, rest, cells, paddings)
