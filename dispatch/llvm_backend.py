"""Vector kernels of the CPU on tensors and arrays; LLVM is loaded when the first call needs it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from spacebatch.reference.cpu_path import copy_to_batch, copy_to_space
from spacebatch.reference.geometry import BlockGeometry

from . import torch_backend
from .backend import Backend, Direction, Into, PadValue

if TYPE_CHECKING:
    from spacebatch.reference.llvm.tensors import Call


@lru_cache(maxsize=1)
def missing() -> str | None:
    """None where LLVM can be loaded, else why not."""
    if importlib.util.find_spec("llvmlite") is None:
        return "llvmlite is not installed"
    try:
        from spacebatch.reference.llvm import engine
    except (ImportError, OSError) as error:
        return f"llvmlite cannot be loaded: {error}"
    return engine.missing()


def call_for(direction: Direction, geometry: BlockGeometry, source: Tensor, out: Tensor | None = None) -> Call | str:
    """What carries out such calls on the CPU, or the reason why nothing does."""
    if not source.is_cpu:
        return f"the tensor is on {source.device}, not on the CPU"
    reason = missing()
    if reason is not None:
        return reason
    from spacebatch.reference.llvm import tensors

    return tensors.call_of(direction, geometry, source.stride(), source.dtype, None if out is None else out.stride())


def into(direction: Direction, geometry: BlockGeometry, source: Tensor, out: Tensor) -> Into:
    """What fills an `out` on the CPU from such a source."""
    found = call_for(direction, geometry, source, out)
    if not isinstance(found, str):
        return found.into
    return lambda source, out, pad_value: torch_backend.run(direction, geometry, source, pad_value, out)


class ArrayCopies(NamedTuple):
    """What fills the result for a NumPy array: of (geometry, x, y, pad value), and of (geometry, y, x)."""

    to_batch: Callable[..., None]
    to_space: Callable[..., None]


@lru_cache(maxsize=1)
def array_copies() -> ArrayCopies:
    """The vector kernels where they can be loaded, and NumPy alone elsewhere."""
    if missing() is not None:
        return ArrayCopies(copy_to_batch, copy_to_space)
    from spacebatch.reference.llvm import arrays

    return ArrayCopies(arrays.to_batch, arrays.to_space)


def _can_run(direction: Direction, geometry: BlockGeometry, source: Tensor, out: Tensor | None) -> str | None:
    call = call_for(direction, geometry, source, out)
    return call if isinstance(call, str) else None


def _run(
    direction: Direction, geometry: BlockGeometry, source: Tensor, pad_value: PadValue, out: Tensor | None
) -> Tensor:
    call = call_for(direction, geometry, source, out)
    assert not isinstance(call, str)  # which `can_run` found out
    if out is None:
        return call(source, pad_value)
    call.into(source, out, pad_value)
    return out


LLVM = Backend("llvm", _can_run, _run)
