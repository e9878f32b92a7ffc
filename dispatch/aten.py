"""Both operators spelled in PyTorch's own operators, for every device, every transform and every graph.

`pad → roll → reshape → permute → clone → view`: one strided copy (where nothing is shifted, there is no roll), which Inductor fuses with the pad and with pointwise
neighbours into a single kernel, and which vmap, forward-mode AD, export and ONNX take apart without help from here.
All sizes may be symbols. Whether sizes divide is the only question asked of them, and none where padding is "auto".
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from spacebatch.reference import arguments
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.memory_order import memory_order

from . import compiled, torch_private

if TYPE_CHECKING:
    from .checks import PadValue

# What runtimes for ONNX take. Where blocked dims split in two would exceed it, they are moved one after the other.
ONNX_RANK = 6
# What convolutions of a compiled graph may be trained in; see `_no_view`.
_TRAINED = frozenset((torch.float16, torch.bfloat16, torch.float32, torch.float64))


class Split(NamedTuple):
    """The whole move as one copy: `batch.view(split.batch).copy_(padded.view(split.space).permute(split.permutation))`.

    Attributes:
        space: sizes of the padded space tensor with each blocked dim split in two.
        permutation: the dims of `space` in the order of `batch`.
        batch: sizes of the batch tensor with dim 0 split into phases and samples.
        starts: where each dim of the space tensor begins in `space`, and its length at the end.
    """

    space: list[int]
    permutation: list[int]
    batch: list[int]
    starts: list[int]


def split(geometry: BlockGeometry) -> Split:
    """How the padded space tensor and the batch tensor are split to correspond, dim by dim.

    >>> split(BlockGeometry((1, 3, 4, 6), 2))[:3]
    ([1, 3, 2, 2, 3, 2], [3, 5, 0, 1, 2, 4], [2, 2, 1, 3, 2, 3])
    """
    blocks = dict(zip(geometry.spatial_dims, geometry.block_shape, strict=True))
    contiguous = geometry.arrangement == "contiguous"
    space: list[int] = []
    starts: list[int] = []
    for d, size in enumerate(geometry.batch_shape):
        starts.append(len(space))
        if d in blocks:
            space += (blocks[d], size) if contiguous else (size, blocks[d])
        else:
            space.append(size if d else geometry.samples)
    phases = [starts[d] + (0 if contiguous else 1) for d in geometry.spatial_dims]
    permutation = [0, *phases] if geometry.batch_order == "batch_major" else [*phases, 0]
    permutation += [starts[d] + (1 if contiguous and d in blocks else 0) for d in range(1, len(starts))]
    return Split(space, permutation, [space[p] for p in permutation], [*starts, len(space)])


def space_to_batch(x: Tensor, geometry: BlockGeometry, pad_value: PadValue) -> Tensor:
    """`spacebatch.space_to_batch` of a tensor of the geometry's space shape; the pad value is in normal form."""
    if compiled.kernel_wanted():
        return torch.ops.spacebatch.space_to_batch(x, *operator_arguments(geometry, pad_value))  # type: ignore[no-any-return]
    if _too_many_dims(geometry):
        major = geometry.batch_order == "batch_major"  # the first dim is the outermost phase
        m = len(geometry.spatial_dims)
        for k in range(m) if major else reversed(range(m)):
            x = _one_dim(x, geometry, k, pad_value)
        return x
    order, steps, m = output_order(x), split(geometry), len(geometry.spatial_dims)
    groups = [steps.permutation[: m + 1], *([p] for p in steps.permutation[m + 1 :])]
    merged = [geometry.batch_shape[d] for d in order]
    if _recording() and 0 not in geometry.batch_shape:
        steps.space[0] = merged[order.index(0)] = -1  # what was recorded serves other batches
    y = (
        rolled(padded(x, geometry, pad_value), geometry, 1)
        .reshape(steps.space)
        .permute([p for d in order for p in groups[d]])
        .clone(memory_format=torch.contiguous_format)
        .view(merged)
    )
    return _no_view(_in_order(y, order))


def batch_to_space(y: Tensor, geometry: BlockGeometry) -> Tensor:
    """`spacebatch.batch_to_space` of a tensor of the geometry's batch shape."""
    if compiled.kernel_wanted():
        return torch.ops.spacebatch.batch_to_space(y, *operator_arguments(geometry))  # type: ignore[no-any-return]
    if _too_many_dims(geometry):
        major = geometry.batch_order == "batch_major"
        m = len(geometry.spatial_dims)
        for k in reversed(range(m)) if major else range(m):
            y = _one_dim(y, geometry, k, None)
        return y
    order, steps, shape = output_order(y), split(geometry), padded_shape(geometry)
    inverse = _undo(steps.permutation)
    groups = [inverse[start:end] for start, end in zip(steps.starts, steps.starts[1:], strict=False)]
    merged = [shape[d] for d in order]
    if _recording() and 0 not in geometry.batch_shape:
        steps.batch[steps.permutation.index(0)] = merged[order.index(0)] = -1
    whole = y.reshape(steps.batch).permute([p for d in order for p in groups[d]])
    if not _bordered(geometry) and not _shifted(geometry):
        return _no_view(_in_order(whole.clone(memory_format=torch.contiguous_format).view(merged), order))
    x = whole.reshape(merged)
    if _shifted(geometry):
        x = rolled(x, geometry, -1, order).contiguous()
        if not _bordered(geometry):
            return _no_view(_in_order(x, order))
    crops = {order.index(d): pair for d, pair in zip(geometry.spatial_dims, geometry.paddings, strict=True)}
    if torch.compiler.is_exporting() and not all(_known(side >= 0) for pair in crops.values() for side in pair):
        # a view would ask whether a crop of open size is zero; what pads by less than nothing does not
        amounts = [-side for k in reversed(range(min(crops), x.dim())) for side in crops.get(k, (0, 0))]
        return _in_order(torch.constant_pad_nd(x, amounts), order)
    for k, (before, _) in crops.items():
        x = x.narrow(k, before, geometry.space_shape[order[k]])
    return _in_order(x.clone(memory_format=torch.contiguous_format), order)


def operator_arguments(geometry: BlockGeometry, *pad_value: PadValue) -> tuple[object, ...]:
    """What `torch.ops.spacebatch.*` takes after the tensor; borders travel as a flat list."""
    borders = [side for pair in geometry.paddings for side in pair]
    words = geometry.batch_order, geometry.arrangement
    return geometry.block_shape, borders, geometry.spatial_dims, *pad_value, *words, geometry.shifts


def sizes(x: Tensor) -> Sequence[int]:
    """x.shape, as plain ints where `torch.jit.trace` makes tensors of them."""
    if not _recording():
        return x.shape
    with warnings.catch_warnings():  # that they are fixed: all but the batch are meant to be
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        return tuple(int(size) for size in x.shape)


def output_order(x: Tensor) -> tuple[int, ...]:
    """The memory order of x, which results keep; contiguous tensors are recognised without a look at their strides."""
    if x.is_contiguous():
        return tuple(range(x.dim()))
    return memory_order(sizes(x), x.stride())


def padded_shape(geometry: BlockGeometry) -> list[int]:
    """The space tensor's shape with its padding."""
    blocks = dict(zip(geometry.spatial_dims, geometry.block_shape, strict=True))
    return [geometry.samples, *(size * blocks.get(d, 1) for d, size in enumerate(geometry.batch_shape) if d)]


def _bordered(geometry: BlockGeometry) -> bool:
    """Whether there may be any padding. An amount that is a symbol is not asked: the graph would serve no other."""
    return not all(_zero(side) for pair in geometry.paddings for side in pair)


def _shifted(geometry: BlockGeometry) -> bool:
    """Whether there may be any cyclic shift."""
    return not all(_zero(shift) for shift in geometry.shifts)


def rolled(x: Tensor, geometry: BlockGeometry, sign: int, order: Sequence[int] | None = None) -> Tensor:
    """The padded space tensor shifted, or back by a sign of -1; x itself where there is no shift.

    Args:
        order: the dims of x, where they are in another order.
    """
    shifts = {d: s for d, s in zip(geometry.spatial_dims, geometry.shifts, strict=True) if not _zero(s)}
    if not shifts:
        return x
    return torch.roll(x, [sign * s for s in shifts.values()], [d if order is None else order.index(d) for d in shifts])


def _zero(number: int) -> bool:
    return _known(number == 0) if torch_private.is_compiling() or type(number) is not int else number == 0


def _negative(number: int) -> bool:
    """What an automatic padding of an open size is never, which its symbol does not show."""
    return _known(number < 0) if torch.compiler.is_exporting() else number < 0


def _known(answer: bool) -> bool:
    """Whether the answer is yes for every value that the symbols in it may take."""
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return statically_known_true(answer)


def _may_be_symbol(size: int) -> bool:
    return torch_private.is_compiling() or type(size) is not int


arguments.negative, arguments.may_be_symbol = _negative, _may_be_symbol


def padded(x: Tensor, geometry: BlockGeometry, pad_value: PadValue) -> Tensor:
    """x with the geometry's padding around it; x itself where there is none."""
    if not _bordered(geometry):
        return x
    before = {d: pair[0] for d, pair in zip(geometry.spatial_dims, geometry.paddings, strict=True)}
    shape = padded_shape(geometry)
    if isinstance(pad_value, complex) or 0 in geometry.space_shape:
        whole = x.new_full(shape, pad_value)  # pad refuses empty dims and complex values
        inner = whole
        for d, start in before.items():
            inner = inner.narrow(d, start, geometry.space_shape[d])
        inner.copy_(x)
        return whole
    amounts: list[int] = []
    for d in reversed(range(min(before), x.dim())):
        start = before.get(d, 0)
        # what is behind is worked out from the padded size, a multiple of the block that symbols show to be one
        amounts += (start, shape[d] - start - geometry.space_shape[d] if d in before else 0)
    return torch.constant_pad_nd(x, amounts, pad_value)


def _no_view(y: Tensor) -> Tensor:
    """y, and not as a view where a convolution's gradient may keep it.

    Compiling for the CPU, Inductor gives what a convolution keeps for its gradient channels-last strides. With symbolic
    sizes it cannot sort those of a view and fails. A choice that always falls on y is no view, and it fuses with the copy.
    """
    if not (torch_private.is_compiling() and y.is_cpu and y.dim() == 4 and y.dtype in _TRAINED):
        return y
    if torch.compiler.is_exporting() or not torch.is_grad_enabled():
        return y
    return torch.where(torch.ones((), dtype=torch.bool, device=y.device), y, y.detach())


def _in_order(y: Tensor, order: Sequence[int]) -> Tensor:
    """A tensor whose dims lie in memory order, with its dims in their own."""
    return y if list(order) == list(range(len(order))) else y.permute(_undo(order))


def _undo(permutation: Sequence[int]) -> list[int]:
    return sorted(range(len(permutation)), key=permutation.__getitem__)


def _too_many_dims(geometry: BlockGeometry) -> bool:
    m = len(geometry.spatial_dims)
    return m > 1 and len(geometry.space_shape) + m > ONNX_RANK and torch_private.exporting_to_onnx()


def _one_dim(x: Tensor, geometry: BlockGeometry, k: int, pad_value: PadValue | None) -> Tensor:
    """Blocked dim k moved alone, with all dims before it and all behind it folded into one each; None: to space."""
    d, shape = geometry.spatial_dims[k], x.shape
    folded = x.reshape(shape[0], math.prod(shape[1:d]), shape[d], math.prod(shape[d + 1 :]))
    one = geometry._one_dim(k, folded.shape, from_batch=pad_value is None)
    y = batch_to_space(folded, one) if pad_value is None else space_to_batch(folded, one, pad_value)
    size = (geometry.space_shape if pad_value is None else geometry.batch_shape)[d]
    return y.reshape(y.shape[0], *shape[1:d], size, *shape[d + 1 :])


def _recording() -> bool:
    """Whether `torch.jit.trace` records; compilers cannot ask, nor need they."""
    return not torch_private.is_compiling() and bool(torch_private.is_tracing())
