"""Both operators spelled in PyTorch's own operators, for every device and every transform.

`pad → reshape → permute → clone → view`: one strided copy, which Inductor fuses with the pad and with pointwise
neighbours into a single kernel, and which vmap, forward-mode AD, export and ONNX take apart without help from here.
All sizes may be symbolic; nothing but their divisibility is guarded on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from spacebatch.reference.arguments import Pair
from spacebatch.reference.memory_order import memory_order


class Steps(NamedTuple):
    """The spelling of one call, worked out: what each operator in it is given. None skips an operator."""

    pad: tuple[int, ...] | None  # amounts for PyTorch's pad, which counts dims from the last
    narrow: tuple[
        tuple[int, int, int], ...
    ]  # (dim, start, length) in space: the crops, or where x stands in its padding
    split: list[int]  # every blocked dim, or the batch, in two
    permutation: list[int]
    merged: list[int]  # the result's sizes in memory order
    order: list[int] | None  # from memory order to the result's own, None where they are the same
    padded: list[int]  # sizes of the padded input


def space_to_batch_steps(
    shape: Sequence[int],
    blocks: Sequence[int],
    paddings: Sequence[Pair],
    dims: Sequence[int],
    sizes: Sequence[int],
    batch_major: bool,
    contiguous: bool,
    order: Sequence[int],
) -> Steps:
    """The steps of `space_to_batch` on arguments in normal form.

    Args:
        shape: of the input; sizes may be symbols.
        blocks, paddings, dims: of the blocked dims. sizes: theirs in the result.
        order: the input's memory order, which the result keeps.
    """
    dims = list(dims)
    split: list[int] = []
    where: list[int] = []  # of each dim, after every blocked dim was split in two
    result = [shape[0] * math.prod(blocks), *shape[1:]]
    padded = list(shape)
    amounts: list[int] = []
    for d, size in enumerate(shape):
        where.append(len(split))
        if d in dims:
            k = dims.index(d)
            split += (blocks[k], sizes[k]) if contiguous else (sizes[k], blocks[k])
            result[d] = sizes[k]
            padded[d] = size + paddings[k][0] + paddings[k][1]
            amounts = [*paddings[k], *amounts]
        else:
            split.append(size)
            amounts = [0, 0, *amounts] if amounts else amounts
    phases = [where[d] + (0 if contiguous else 1) for d in dims]
    permutation: list[int] = []
    for d in order:
        if d == 0:
            permutation += [0, *phases] if batch_major else [*phases, 0]
        else:
            permutation.append(where[d] + (1 if contiguous and d in dims else 0))
    pad = tuple(amounts) if any(before != 0 or after != 0 for before, after in paddings) else None
    inside = tuple((d, paddings[k][0], shape[d]) for k, d in enumerate(dims))
    return Steps(pad, inside, split, permutation, [result[d] for d in order], _undo(order), padded)


def batch_to_space_steps(
    shape: Sequence[int],
    blocks: Sequence[int],
    crops: Sequence[Pair],
    dims: Sequence[int],
    sizes: Sequence[int],
    batch_major: bool,
    contiguous: bool,
    order: Sequence[int],
) -> Steps:
    """The steps of `batch_to_space` on arguments in normal form, as `space_to_batch_steps`."""
    dims, m = list(dims), len(dims)
    samples = shape[0] // math.prod(blocks)
    split = [samples, *blocks, *shape[1:]] if batch_major else [*blocks, samples, *shape[1:]]
    sample, first_phase = (0, 1) if batch_major else (m, 0)
    padded = [samples, *shape[1:]]
    for k, d in enumerate(dims):
        padded[d] = shape[d] * blocks[k]
    permutation: list[int] = []
    for d in order:
        if d in dims:
            phase = first_phase + dims.index(d)
            permutation += [phase, m + d] if contiguous else [m + d, phase]
        else:
            permutation.append(sample if d == 0 else m + d)
    cropped = any(before != 0 or after != 0 for before, after in crops)
    inside = tuple((d, crops[k][0], sizes[k]) for k, d in enumerate(dims)) if cropped else ()
    return Steps(None, inside, split, permutation, [padded[d] for d in order], _undo(order), padded)


def space_to_batch(x: Tensor, steps: Steps, pad_value: bool | int | float | complex) -> Tensor:
    """`spacebatch.space_to_batch` by its steps."""
    if steps.pad is not None:
        if isinstance(pad_value, complex) or 0 in x.shape:
            padded = x.new_full(steps.padded, pad_value)  # pad refuses empty dims and complex values
            inner = padded
            for dim, start, length in steps.narrow:
                inner = inner.narrow(dim, start, length)
            inner.copy_(x)
            x = padded
        else:
            x = torch.constant_pad_nd(x, steps.pad, pad_value)
    y = (
        x.reshape(steps.split)
        .permute(steps.permutation)
        .clone(memory_format=torch.contiguous_format)
        .view(steps.merged)
    )
    return y if steps.order is None else y.permute(steps.order)


def batch_to_space(y: Tensor, steps: Steps) -> Tensor:
    """`spacebatch.batch_to_space` by its steps."""
    split = y.reshape(steps.split).permute(steps.permutation)
    if not steps.narrow:
        x = split.clone(memory_format=torch.contiguous_format).view(steps.merged)
        return x if steps.order is None else x.permute(steps.order)
    x = split.reshape(steps.merged)
    x = x if steps.order is None else x.permute(steps.order)
    for dim, start, length in steps.narrow:
        x = x.narrow(dim, start, length)
    if steps.order is None:
        return x.clone(memory_format=torch.contiguous_format)
    inverse = sorted(range(len(steps.order)), key=steps.order.__getitem__)
    return x.permute(inverse).clone(memory_format=torch.contiguous_format).permute(steps.order)


def output_order(x: Tensor) -> tuple[int, ...]:
    """The memory order of x, which results keep; contiguous tensors are recognised without a look at their strides."""
    if x.is_contiguous():
        return tuple(range(x.dim()))
    return memory_order(x.shape, x.stride())


def _undo(order: Sequence[int]) -> list[int] | None:
    if list(order) == list(range(len(order))):
        return None
    return sorted(range(len(order)), key=order.__getitem__)


def call(direction, geometry, x, number):
    from . import traced

    args = geometry.block_shape, geometry.paddings, geometry.spatial_dims
    if direction == "space_to_batch":
        return traced.space_to_batch(x, *args, number, geometry.batch_order, geometry.arrangement)
    return traced.batch_to_space(x, *args, geometry.batch_order, geometry.arrangement)


def split_views(geometry):
    g = geometry
    steps = space_to_batch_steps(
        g.space_shape,
        g.block_shape,
        g.paddings,
        g.spatial_dims,
        [a.blocks for a in g.axes],
        g.batch_order == "batch_major",
        g.arrangement == "contiguous",
        range(len(g.space_shape)),
    )
    split = steps.split
    batch = [split[d] for d in steps.permutation]
    return split, steps.permutation, batch
