"""The CPU path of the reference on tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from spacebatch.reference.cpu_path import copy_to_batch, copy_to_space
from spacebatch.reference.geometry import BlockGeometry

from .backend import Backend, Direction, PadValue, empty_result
from .torch_backend import AS_BITS, as_bits

_DTYPES = frozenset(
    getattr(torch, name)
    for name in (
        [
            "bool",
            "uint8",
            "int8",
            "uint16",
            "int16",
            "uint32",
            "int32",
            "uint64",
            "int64",
            "float16",
            "float32",
            "float64",
            "complex64",
            "complex128",
        ]
    )
)


def _can_run(direction: Direction, geometry: BlockGeometry, source: Tensor, out: Tensor | None) -> str | None:
    if source.device.type != "cpu":
        return f"the tensor is on {source.device}, not on the CPU"
    if source.dtype not in _DTYPES and source.element_size() not in AS_BITS:
        return f"no NumPy integer has the {source.element_size()} bytes of {source.dtype}"
    return None


def _run(
    direction: Direction, geometry: BlockGeometry, source: Tensor, pad_value: PadValue, out: Tensor | None
) -> Tensor:
    to_batch = direction == "space_to_batch"
    result = empty_result(source, geometry.batch_shape if to_batch else geometry.space_shape) if out is None else out
    read, write = source.detach(), result.detach()
    if source.dtype not in _DTYPES:
        read, write, pad_value = as_bits(geometry, source, result, pad_value if to_batch else 0)
    if to_batch:
        copy_to_batch(geometry, read.numpy(), write.numpy(), pad_value, torch.get_num_threads())
    else:
        copy_to_space(geometry, read.numpy(), write.numpy(), torch.get_num_threads())
    return result


NUMPY = Backend("numpy", _can_run, _run)
