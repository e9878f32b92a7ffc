"""Both operators spelled in PyTorch's own operators, for every device and every transform.

`pad → reshape → permute → clone → view`: one strided copy, which Inductor fuses with the pad and with pointwise
neighbours into a single kernel, and which vmap, forward-mode AD, export and ONNX take apart without help from here.
All sizes may be symbolic; nothing but their divisibility is guarded on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from spacebatch.reference.arguments import Pair
from spacebatch.reference.memory_order import memory_order


def space_to_batch(
    x: Tensor,
    blocks: Sequence[int],
    paddings: Sequence[Pair],
    dims: Sequence[int],
    sizes: Sequence[int],
    pad_value: bool | int | float | complex,
    batch_major: bool,
    contiguous: bool,
) -> Tensor:
    """`spacebatch.space_to_batch` on arguments in normal form; `sizes` are the blocked dims' sizes in the result."""
    ndim = x.dim()
    order = output_order(x)
    if any(before != 0 or after != 0 for before, after in paddings):
        x = _pad(x, paddings, dims, pad_value)
    split = [1 if d not in dims else 2 for d in range(ndim)]
    where = [sum(split[:d]) for d in range(ndim)]  # of each dim, after every blocked dim was split in two
    shape: list[int] = []
    for d in range(ndim):
        if d in dims:
            k = list(dims).index(d)
            shape += (blocks[k], sizes[k]) if contiguous else (sizes[k], blocks[k])
        else:
            shape.append(x.shape[d])
    phase_dims = [where[d] + (0 if contiguous else 1) for d in dims]
    kept_dims = [where[d] + (1 if contiguous and d in dims else 0) for d in range(ndim)]
    permutation: list[int] = []
    for d in order:
        if d == 0:
            permutation += [0, *phase_dims] if batch_major else [*phase_dims, 0]
        else:
            permutation.append(kept_dims[d])
    split_x = x.reshape(shape).permute(permutation).clone(memory_format=torch.contiguous_format)
    result = [x.shape[0] * math.prod(blocks), *x.shape[1:]]
    for d, size in zip(dims, sizes, strict=True):
        result[d] = size
    return _from_memory_order(split_x.view([result[d] for d in order]), order)


def batch_to_space(
    y: Tensor,
    blocks: Sequence[int],
    crops: Sequence[Pair],
    dims: Sequence[int],
    sizes: Sequence[int],
    batch_major: bool,
    contiguous: bool,
) -> Tensor:
    """`spacebatch.batch_to_space` on arguments in normal form; `sizes` are the blocked dims' sizes in the result."""
    m = len(dims)
    order = output_order(y)
    samples = y.shape[0] // math.prod(blocks)
    split_batch = [samples, *blocks] if batch_major else [*blocks, samples]
    y_split = y.reshape([*split_batch, *y.shape[1:]])
    sample_dim, first_phase = (0, 1) if batch_major else (m, 0)
    permutation: list[int] = []
    for d in order:
        position = m + d
        if d in dims:
            phase = first_phase + list(dims).index(d)
            permutation += [phase, position] if contiguous else [position, phase]
        else:
            permutation.append(sample_dim if d == 0 else position)
    cropped = any(before != 0 or after != 0 for before, after in crops)
    y_split = y_split.permute(permutation)
    full = [samples, *y.shape[1:]]
    for k, d in enumerate(dims):
        full[d] = y.shape[d] * blocks[k]
    if not cropped:
        return _from_memory_order(
            y_split.clone(memory_format=torch.contiguous_format).view([full[d] for d in order]), order
        )
    x = _from_memory_order(y_split.reshape([full[d] for d in order]), order)
    for k, d in enumerate(dims):
        x = x.narrow(d, crops[k][0], sizes[k])
    dense = x.permute(order).clone(memory_format=torch.contiguous_format)
    return _from_memory_order(dense, order)


def output_order(x: Tensor) -> tuple[int, ...]:
    """The memory order of x, which results keep; contiguous tensors are recognised without a look at their strides."""
    if x.is_contiguous():
        return tuple(range(x.dim()))
    return memory_order(x.shape, x.stride())


def _from_memory_order(x: Tensor, order: Sequence[int]) -> Tensor:
    if list(order) == list(range(len(order))):
        return x
    return x.permute(sorted(range(len(order)), key=order.__getitem__))


def _pad(x: Tensor, paddings: Sequence[Pair], dims: Sequence[int], value: bool | int | float | complex) -> Tensor:
    """`x` with borders of `value`; PyTorch's own pad counts dims from the last."""
    amounts: list[int] = []
    for d in reversed(range(min(dims), x.dim())):
        amounts += paddings[list(dims).index(d)] if d in dims else (0, 0)
    if isinstance(value, complex) or 0 in x.shape:
        padded_shape = list(x.shape)
        for d, (before, after) in zip(dims, paddings, strict=True):
            padded_shape[d] += before + after
        padded = x.new_full(padded_shape, value)  # pad refuses empty dims and complex values
        inner = padded
        for d, (before, _) in zip(dims, paddings, strict=True):
            inner = inner.narrow(d, before, x.shape[d])
        inner.copy_(x)
        return padded
    return torch.constant_pad_nd(x, amounts, value)
