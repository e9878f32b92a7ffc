"""PyTorch's own operators: strided copies on the CPU, the aten spelling anywhere else."""

from __future__ import annotations

import torch
from torch import Tensor

from spacebatch.reference.geometry import BlockGeometry

from . import aten, strided_copy
from .backend import Backend, Direction, PadValue, empty_result

# dtypes that an operator lacks travel as integers of the same width
AS_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _can_run(direction: Direction, geometry: BlockGeometry, source: Tensor, out: Tensor | None) -> str | None:
    return None


def run(
    direction: Direction, geometry: BlockGeometry, source: Tensor, pad_value: PadValue, out: Tensor | None
) -> Tensor:
    if source.is_cpu and not geometry.empty:
        return _strided(direction, geometry, source, pad_value, out)
    if direction == "space_to_batch":
        result = aten.space_to_batch(source, geometry, pad_value)
    else:
        result = aten.batch_to_space(source, geometry)
    if out is not None:
        return out.copy_(result)
    # The spelling ends in a view of its own copy; autograd would not let its users write to that in place.
    return result if result._base is None else result.data


def _strided(
    direction: Direction, geometry: BlockGeometry, source: Tensor, pad_value: PadValue, out: Tensor | None
) -> Tensor:
    to_batch = direction == "space_to_batch"
    if source.dtype in strided_copy.DTYPES:
        if to_batch:
            return strided_copy.space_to_batch(geometry, source, pad_value, out)
        return strided_copy.batch_to_space(geometry, source, out)
    result = empty_result(source, geometry.batch_shape if to_batch else geometry.space_shape) if out is None else out
    read, write, pad_value = as_bits(geometry, source, result, pad_value if to_batch else 0)
    if to_batch:
        strided_copy.space_to_batch(geometry, read, pad_value, write)
    else:
        strided_copy.batch_to_space(geometry, read, write)
    return result


def as_bits(
    geometry: BlockGeometry, source: Tensor, result: Tensor, pad_value: PadValue
) -> tuple[Tensor, Tensor, PadValue]:
    """Both tensors as integers of the same width, and the pad value's bits."""
    bits = AS_BITS[source.element_size()]
    if geometry.padded:
        pad_value = int(torch.tensor(pad_value, dtype=source.dtype, device="cpu").view(bits).item())
    return source.detach().view(bits), result.detach().view(bits), pad_value


TORCH = Backend("torch", _can_run, run)
