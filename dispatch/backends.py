"""Who does the work: one loop asks the backends, unless one of them is demanded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from spacebatch.reference.geometry import BlockGeometry

from .backend import Backend, Direction, PadValue
from .llvm_backend import LLVM
from .numpy_backend import NUMPY
from .torch_backend import TORCH
from .triton_backend import TRITON

BACKENDS = {backend.name: backend for backend in (TRITON, LLVM, NUMPY, TORCH)}
_CUDA = (TRITON, TORCH)
_CPU = (LLVM, TORCH)  # PyTorch's strided copies are as fast as NumPy's or faster, 2 to 10 times up to some MB
_ANYWHERE = (TORCH,)


def candidates(source: Tensor) -> tuple[Backend, ...]:
    """The backends to ask for a tensor, best first; the aten spelling serves every one."""
    if source.is_cpu:
        return _CPU
    return _CUDA if source.is_cuda else _ANYWHERE


def _named(name: str, where: str) -> Backend:
    if not isinstance(name, str):
        raise TypeError(f"{where}: the backend must be a name, got {name!r} of type {type(name).__name__}")
    if name not in BACKENDS:
        raise ValueError(f"{where}: no backend is called {name!r}; there are {', '.join(sorted(BACKENDS))}")
    return BACKENDS[name]


forced: Backend | None = None  # what `use_backend` or the environment demands
if os.environ.get("SPACEBATCH_BACKEND"):
    forced = _named(os.environ["SPACEBATCH_BACKEND"], "SPACEBATCH_BACKEND")


@contextmanager
def use_backend(name: Literal["triton", "llvm", "numpy", "torch"]) -> Iterator[None]:
    """Have every eager call inside the block computed by the named backend, or fail with its reason.

    >>> import torch, spacebatch
    >>> with spacebatch.use_backend("torch"):
    ...     spacebatch.space_to_batch(torch.arange(4).view(1, 4), (2,))
    tensor([[0, 2],
            [1, 3]])

    The choice holds for the whole process while the block runs, gradients in autograd's own threads included.
    `SPACEBATCH_BACKEND` in the environment makes it from the start. Compiled graphs, functorch transforms and NumPy
    arrays have only one way and do not ask.

    Args:
        name: "triton" (GPU; on the CPU only under Triton's interpreter), "llvm" or "numpy" (CPU), or "torch" (anywhere).

    Raises:
        ValueError: no backend of that name. TypeError: no name.
    """
    global forced
    before, forced = forced, _named(name, "use_backend")
    try:
        yield
    finally:
        forced = before


def tell_autograd(out: Tensor) -> None:
    """Say that a tensor is written to: kernels do so past autograd, which may have kept it for a gradient."""
    if not out.is_inference():
        torch.autograd.graph.increment_version(out)


def run(
    direction: Direction, geometry: BlockGeometry, source: Tensor, pad_value: PadValue, out: Tensor | None = None
) -> Tensor:
    """Compute by the first backend that can, or by the forced one or not at all."""
    if out is not None:
        tell_autograd(out)
    if forced is not None:
        reason = forced.can_run(direction, geometry, source, out)
        if reason is not None:
            raise RuntimeError(f"{direction}: the backend {forced.name!r} was asked for, but {reason}")
        return forced.run(direction, geometry, source, pad_value, out)
    for backend in candidates(source):
        if backend is TORCH or backend.can_run(direction, geometry, source, out) is None:
            return backend.run(direction, geometry, source, pad_value, out)
    raise AssertionError("the aten spelling runs everywhere")
