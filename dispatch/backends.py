"""The backends of tensors: which are asked on which device, and in which order."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from spacebatch.reference.arithmetic import Arithmetic
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.llvm_backend import LLVM
from spacebatch.reference.numpy_backend import NumpyCopies
from spacebatch.reference.prepared import DEVICES, Answer, Backend, Device, Direction, Layout

from . import openmp
from .torch_backend import INTEGERS, TORCH
from .triton_backend import TRITON


def _prepare_numpy(
    direction: Direction,
    geometry: BlockGeometry,
    source: Layout,
    result: Layout,
    arithmetic: Arithmetic | None = None,
) -> Answer:
    """NumPy on the memory of CPU tensors, whose elements travel as integers: NumPy lacks some of their dtypes."""
    if source.device != "cpu":
        return f"the tensor is on {source.device}, not on the CPU"
    if arithmetic is not None:
        return "it computes nothing on the way of tensors"
    integer = INTEGERS.get(source.itemsize)
    bits = source.dtype if integer is None else integer  # complex128 has no integer of its width
    dtype = torch.empty(0, dtype=bits, device="cpu").numpy().dtype

    def as_array(x: Tensor) -> npt.NDArray[Any]:
        return x.detach().view(bits).numpy()

    return NumpyCopies(direction, geometry, dtype, as_array, torch.get_num_threads)


NUMPY = Backend("numpy", _prepare_numpy)

openmp.hand_over()
DEVICES["cpu"] = Device((LLVM, TORCH), (NUMPY, TRITON))
DEVICES["cuda"] = Device((TRITON, TORCH), (LLVM, NUMPY))
DEVICES[""] = Device((TORCH,), (LLVM, NUMPY, TRITON))
