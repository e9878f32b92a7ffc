"""Lists of tensors of several sizes as one batch of blocks, and back: eager, with gradients, and in PyTorch's own operators.

On the CPU one call of compiled kernels moves the whole list, a piece for each image. Elsewhere, and until the kernels are compiled, each
image is a call of its own that writes to its slice of the batch: one launch for each image where there is no halo.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spacebatch.reference import blocks as arrays
from spacebatch.reference.block_grids import BlockGrids
from spacebatch.reference.blocks import Blocks, image_shapes, inner_of
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.image_lists import (
    backend_of,
    blocks_shape,
    check_alike,
    checked_list,
    grids_of,
    move_by_kernels,
)
from spacebatch.reference.llvm import openmp
from spacebatch.reference.memory_order import dense_strides, memory_order
from spacebatch.reference.prepared import Direction
from spacebatch.reference.words import Words

from . import aten_blocks, torch_private
from .checks import PadValue, check_tensor, torch_pad_value
from .eager import pad_bits, run
from .fused import eager as fused
from .fused.aten import Call, Tensors
from .fused.lists import OnWay, on_way
from .huge_pages import advised
from .routes import Route, route_of


class Cut(NamedTuple):
    """How images are cut: the grids, and the dims of an image that are cut."""

    grids: BlockGrids
    dims: tuple[int, ...]

    @property
    def overlaps(self) -> bool:
        """Whether blocks have a halo."""
        return self.grids.extents != self.grids.block

    @property
    def without_halo(self) -> Cut:
        return Cut(self.grids.without_halo, self.dims)


def is_tensor(x: object) -> bool:
    return isinstance(x, Tensor)


def beside(array: npt.NDArray[Any], data: Tensor) -> Tensor:
    """An array as a tensor on the device of another."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(data.device)


def to_blocks(images: Any, block: Any, halo: Any, pad_value: Any, layout: Any, words: Words | None = None) -> Blocks:
    """`spacebatch.to_blocks` of tensors."""
    op = "to_blocks"
    single = isinstance(images, Tensor)
    tensors = (images,) if single else checked_list(op, images, "torch.Tensor")
    check_tensors(op, tensors)
    shapes = [tuple(x.shape) for x in tensors]
    dims, grids = grids_of(op, shapes, block, halo, layout)
    way = on_way(op, words, tensors[0], shapes[0], dims)
    after = way is not None and way.arithmetic.pad == "after"
    number = torch_pad_value(pad_value, way.dtype if way and after else tensors[0].dtype, op)
    return Blocks(blocks_of(Cut(grids, dims), number, tensors, way), grids, dims, single)


def restored(grids: BlockGrids, dims: tuple[int, ...], y: Tensor, words: Words | None = None) -> list[Tensor]:
    """The images of blocks; see `Blocks.restore`."""
    check_tensor("restore", y)
    return images_of(Cut(grids, dims), y, on_way("restore", words, y, y.shape[1:], dims))


def check_tensors(op: str, tensors: Sequence[Any]) -> None:
    """Dense tensors of one dtype on one device."""
    for k, x in enumerate(tensors):
        if not isinstance(x, Tensor):
            raise TypeError(f"{op}: images[{k}] must be a torch.Tensor as images[0] is, got {type(x).__name__}")
        check_tensor(op, x)
    if len({x.dtype for x in tensors}) > 1:
        check_alike(op, "dtype", [x.dtype for x in tensors])
    if len({x.device for x in tensors}) > 1:
        check_alike(op, "device", [x.device for x in tensors])


def route_of_all(tensors: Sequence[Tensor]) -> Route:
    """The route that a list takes: PyTorch's own operators if one of its tensors needs them."""
    routes = {route_of(x) for x in tensors}
    if routes == {"eager"}:
        return "eager"
    return "autograd" if routes <= {"eager", "autograd"} and not torch_private.forward_ad_active() else "aten"


def blocks_of(cut: Cut, number: PadValue, images: Sequence[Tensor], way: OnWay | None = None) -> Tensor:
    """All blocks of images, by the route that the images need. With a gradient, what is computed is computed apart."""
    if way is not None:
        if route_of_all((*images, *way.tensors)) == "eager":
            return _filled_blocks(cut, number, images, way)
        if way.arithmetic.pad == "before":
            return way.computed(blocks_of(cut, number, images), 1)
        return blocks_of(cut, number, [way.computed(x) for x in images])
    route = route_of_all(images)
    if route == "aten":
        return aten_blocks.blocks_of(images, cut, number)
    if route == "eager":
        return _filled_blocks(cut, number, images)
    return _ToBlocks.apply(cut, number, *images)  # type: ignore[no-any-return, no-untyped-call]


def images_of(cut: Cut, y: Tensor, way: OnWay | None = None) -> list[Tensor]:
    """The images of blocks, likewise."""
    if way is not None:
        if route_of_all((y, *way.tensors)) == "eager":
            return _filled_images(cut, y, way)
        return images_of(cut, way.computed(y, 1))
    route = route_of_all((y,))
    if route == "aten":
        return aten_blocks.images_of(y, cut)
    if route == "eager":
        return _filled_images(cut, y)
    return list(_FromBlocks.apply(cut, y))  # type: ignore[no-untyped-call]


class _ToBlocks(torch.autograd.Function):
    """The padding is a constant; a cell that several blocks read gets the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, cut: Cut, number: PadValue, *images: Tensor) -> Tensor:
        ctx.cut = cut
        return _filled_blocks(cut, number, images)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        cut: Cut = ctx.cut
        grads = aten_blocks.summed_images(grad, cut) if cut.overlaps else images_of(cut, grad)
        return (None, None, *grads)


class _FromBlocks(torch.autograd.Function):
    """What is dropped, halo and padding, gets zero."""

    @staticmethod
    def forward(ctx: Any, cut: Cut, y: Tensor) -> tuple[Tensor, ...]:
        ctx.cut = cut
        return tuple(_filled_images(cut, y))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        cut: Cut = ctx.cut
        inner = blocks_of(cut.without_halo, 0, grads)
        return None, aten_blocks.with_halo(inner, cut)


# Without a look for gradients


def _filled_blocks(cut: Cut, number: PadValue, images: Sequence[Tensor], way: OnWay | None = None) -> Tensor:
    grids, dims = cut
    first = images[0]
    if first.is_complex() or any(x.is_neg() for x in images):
        images = [x.resolve_conj().resolve_neg() for x in images]
    shape = blocks_shape(first.shape, dims, grids)
    order = range(first.dim()) if first.is_contiguous() else memory_order(first.shape, first.stride())
    dtype = first.dtype if way is None else way.dtype
    result = advised(first.new_empty_strided(shape, dense_strides(shape, (0, *(1 + d for d in order))), dtype=dtype))
    for k in _left("to_blocks", True, images, result, cut, number, way):
        start, stop = grids.offsets[k : k + 2]
        _fill(True, images[k], result[start:stop], cut, k, number, way)
    return result


def _filled_images(cut: Cut, y: Tensor, way: OnWay | None = None) -> list[Tensor]:
    if y.is_complex() or y.is_neg():
        y = y.resolve_conj().resolve_neg()
    inner = y[inner_of(*cut, y.dim())] if cut.overlaps else y
    shapes, dtype = image_shapes(*cut, inner.shape[1:]), y.dtype if way is None else way.dtype
    if y.is_contiguous():
        images = [y.new_empty(shape, dtype=dtype) for shape in shapes]
    else:
        order = [d - 1 for d in memory_order(y.shape, y.stride()) if d]
        images = [y.new_empty_strided(shape, dense_strides(shape, order), dtype=dtype) for shape in shapes]
    plain = cut.without_halo
    for k in _left("restore", False, images, inner, plain, 0, way):
        start, stop = cut.grids.offsets[k : k + 2]
        _fill(False, images[k], inner[start:stop], plain, k, 0, way)
    return images


def _left(
    op: str,
    to_batch: bool,
    images: Sequence[Tensor],
    batch: Tensor,
    cut: Cut,
    number: PadValue,
    way: OnWay | None,
) -> Sequence[int]:
    """Which images compiled kernels did not move."""
    backend_of(op, "tensors", ("llvm", "torch"))
    if not batch.numel():
        return ()
    if not batch.is_cpu:
        return range(len(images))
    found = [tuple(x.shape) for x in images], [x.stride() for x in images], [x.data_ptr() for x in images]
    where = batch.shape, batch.stride(), batch.data_ptr()
    threads, library = openmp.threads(), openmp.loaded()
    source = images[0] if to_batch else batch
    if way is None:
        pad = pad_bits(number, source.dtype)
        return move_by_kernels(op, to_batch, found, where, *cut, batch.itemsize, pad, threads, library)
    arithmetic, pad, operands, held = way.addressed(source, number, to_batch)
    left = move_by_kernels(
        op, to_batch, found, where, *cut, source.itemsize, pad, threads, library, arithmetic, operands
    )
    del held  # until now
    return left


def _fill(to_batch: bool, image: Tensor, blocks: Tensor, cut: Cut, k: int, number: PadValue, way: OnWay | None) -> None:
    """One image and its blocks, one of which is filled."""
    if not image.numel():
        return
    grids, dims = cut.grids, cut.dims
    if cut.overlaps:
        before = way is not None and way.arithmetic.pad == "before"
        cells = image if way is None or before else way.computed(image)
        found = aten_blocks.blocks_of_image(cells, k, cut, number)
        blocks.copy_(way.computed(found, 1) if way is not None and before else found)
        return
    counts = tuple(grids.grids[k].tolist())
    ends = zip(counts, grids.block, grids.sizes[k], strict=True)
    geometry = BlockGeometry(
        (1, *image.shape),
        counts,
        tuple([(0, count * block - size) for count, block, size in ends]),
        spatial_dims=tuple([1 + d for d in dims]),
        batch_order="batch_major",
        arrangement="contiguous",
    )
    source, result = (image[None], blocks) if to_batch else (blocks, image[None])
    direction: Direction = "space_to_batch" if to_batch else "batch_to_space"
    if way is None:
        run(direction, geometry, source, pad_bits(number, source.dtype), result)
    else:
        fused.run(Call(direction, geometry, way.in_batch(), number), Tensors(source, way.scale, way.bias), result)


arrays.tensors = sys.modules[__name__]
