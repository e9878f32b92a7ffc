"""What a graph or a transform is given: the operators spelled for sizes that may be symbols.

The same checks as of an eager call, with no geometry made or cached.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from spacebatch.reference.arguments import Pair, batch_arguments, space_arguments
from spacebatch.reference.memory_order import memory_order
from spacebatch.reference.prepared import Direction

from . import aten, compiled, torch_private
from .checks import check_out
from .eager import PadValue

# What runtimes for ONNX take. Where blocked dims split in two would exceed it, they are moved one after the other.
ONNX_RANK = 6


def space_to_batch(
    x: Tensor,
    block_shape: Any,
    paddings: Any,
    spatial_dims: Any,
    pad_value: PadValue,
    batch_order: Any,
    arrangement: Any,
) -> Tensor:
    """`spacebatch.space_to_batch` as a graph holds it; the pad value is in normal form."""
    shape = _sizes(x)
    blocks, dims, pairs, sizes = space_arguments(
        "space_to_batch", shape, block_shape, paddings, spatial_dims, batch_order, arrangement
    )
    if compiled.kernel_wanted():
        arguments = blocks, _flat(pairs), dims, pad_value, batch_order, arrangement
        return torch.ops.spacebatch.space_to_batch(x, *arguments)  # type: ignore[no-any-return]
    batch_major = batch_order == "batch_major"
    if x.dim() + len(dims) > ONNX_RANK and len(dims) > 1 and torch_private.exporting_to_onnx():
        # the first dim is the outermost phase
        for k in range(len(dims)) if batch_major else reversed(range(len(dims))):
            after = [x.shape[0] * blocks[k], *x.shape[1:]]
            after[dims[k]] = sizes[k]
            one = (blocks[k],), (pairs[k],), (2,), pad_value, batch_order, arrangement
            x = space_to_batch(_folded(x, dims[k]), *one).reshape(after)
        return x
    order = _order(x, shape)
    contiguous = arrangement == "contiguous"
    steps = aten.space_to_batch_steps(shape, blocks, pairs, dims, sizes, batch_major, contiguous, order)
    if _recording():
        with _no_warnings():
            return aten.space_to_batch(x, _any_batch(steps, 0, order, shape), pad_value)
    return aten.space_to_batch(x, steps, pad_value)


def batch_to_space(
    y: Tensor, block_shape: Any, crops: Any, spatial_dims: Any, batch_order: Any, arrangement: Any
) -> Tensor:
    """`spacebatch.batch_to_space` as a graph holds it."""
    shape = _sizes(y)
    blocks, dims, pairs, sizes = batch_arguments(
        "batch_to_space", shape, block_shape, crops, spatial_dims, batch_order, arrangement
    )
    if compiled.kernel_wanted():
        arguments = blocks, _flat(pairs), dims, batch_order, arrangement
        return torch.ops.spacebatch.batch_to_space(y, *arguments)  # type: ignore[no-any-return]
    batch_major = batch_order == "batch_major"
    if y.dim() + len(dims) > ONNX_RANK and len(dims) > 1 and torch_private.exporting_to_onnx():
        for k in reversed(range(len(dims))) if batch_major else range(len(dims)):
            after = [y.shape[0] // blocks[k], *y.shape[1:]]
            after[dims[k]] = sizes[k]
            one = (blocks[k],), (pairs[k],), (2,), batch_order, arrangement
            y = batch_to_space(_folded(y, dims[k]), *one).reshape(after)
        return y
    order = _order(y, shape)
    contiguous = arrangement == "contiguous"
    steps = aten.batch_to_space_steps(shape, blocks, pairs, dims, sizes, batch_major, contiguous, order)
    if _recording():
        steps = _any_batch(steps, 0 if batch_major else len(dims), order, shape)
    return aten.batch_to_space(y, steps)


def into(op: Direction, source: Tensor, result: Tensor, out: Tensor) -> Tensor:
    """`result`, copied to `out`; addresses are unknown here, and need not be known: the result has memory of its own."""
    check_out(op, source, tuple(result.shape), out)
    return out.copy_(result)


def _flat(pairs: Sequence[Pair]) -> list[int]:
    return [side for pair in pairs for side in pair]


def _folded(x: Tensor, dim: int) -> Tensor:
    """x as (batch, what is before dim, dim, what is after it)."""
    return x.reshape(x.shape[0], math.prod(x.shape[1:dim]), x.shape[dim], math.prod(x.shape[dim + 1 :]))


def _recording() -> bool:
    """Whether `torch.jit.trace` records; compilers cannot ask, nor need they."""
    return not torch_private.is_compiling() and bool(torch_private.is_tracing())


@contextmanager
def _no_warnings() -> Iterator[None]:
    """None of those that sizes are fixed while recording: all but the batch are meant to be."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        yield


def _sizes(x: Tensor) -> Sequence[int]:
    """x.shape, as plain ints where `torch.jit.trace` makes tensors of them."""
    if not _recording():
        return x.shape
    with _no_warnings():
        return tuple(int(size) for size in x.shape)


def _order(x: Tensor, shape: Sequence[int]) -> tuple[int, ...]:
    return aten.output_order(x) if x.is_contiguous() else memory_order(shape, x.stride())


def _any_batch(steps: aten.Steps, samples: int, order: Sequence[int], shape: Sequence[int]) -> aten.Steps:
    """The steps with the batch worked out from the other sizes: what `torch.jit.trace` recorded serves other batches."""
    if 0 in shape:
        return steps
    split, merged = list(steps.split), list(steps.merged)
    split[samples] = merged[order.index(0)] = -1
    return steps._replace(split=split, merged=merged)
