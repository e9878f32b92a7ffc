"""Who does the work: small records that answer "can you run this?" with None or a reason, and one loop that asks them."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor

from spacebatch.reference.cpu_path import copy_to_batch, copy_to_space
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.memory_order import dense_strides

from . import aten, strided_copy
from .huge_pages import advised

if TYPE_CHECKING:
    from .llvm.tensors import Call as LlvmCall

Direction: TypeAlias = Literal["space_to_batch", "batch_to_space"]
PadValue: TypeAlias = "bool | int | float | complex"
Into: TypeAlias = Callable[[Tensor, Tensor, PadValue], object]  # of source, result and pad value


class Run(Protocol):
    """What a backend is called as."""

    def __call__(
        self, direction: Direction, geometry: BlockGeometry, source: Tensor, pad_value: PadValue, out: Tensor | None
    ) -> Tensor: ...


@dataclass(frozen=True)
class Backend:
    """One way to compute both operators on plain, strided, resolved tensors.

    Attributes:
        name: what `use_backend` and `explain` call it.
        can_run: (direction, geometry, input, out or None) → None, or the reason why not.
        run: (direction, geometry, input, pad value, out or None) → result.
    """

    name: str
    can_run: Callable[[Direction, BlockGeometry, Tensor, Tensor | None], str | None]
    run: Run


def empty_result(source: Tensor, shape: tuple[int, ...]) -> Tensor:
    """An uninitialised tensor of `shape` in the memory order of `source`."""
    if source.is_contiguous():
        return advised(torch.empty(shape, dtype=source.dtype, device=source.device))
    strides = dense_strides(shape, aten.output_order(source))
    return advised(torch.empty_strided(shape, strides, dtype=source.dtype, device=source.device))


# ---- torch: the aten spelling, anywhere


def _torch_can_run(direction: Direction, geometry: BlockGeometry, source: Tensor, out: Tensor | None) -> str | None:
    return None


def aten_steps(direction: Direction, geometry: BlockGeometry, order: tuple[int, ...]) -> aten.Steps:
    """The steps of the aten spelling for a geometry and a memory order."""
    to_batch = direction == "space_to_batch"
    return (aten.space_to_batch_steps if to_batch else aten.batch_to_space_steps)(
        geometry.space_shape if to_batch else geometry.batch_shape,
        geometry.block_shape,
        geometry.paddings,
        geometry.spatial_dims,
        [axis.blocks if to_batch else axis.size for axis in geometry.axes],
        geometry.batch_order == "batch_major",
        geometry.arrangement == "contiguous",
        order,
    )


_cached_steps = lru_cache(maxsize=4096)(aten_steps)


def run_aten(direction: Direction, geometry: BlockGeometry, source: Tensor, pad_value: PadValue) -> Tensor:
    """The aten spelling of a geometry, as a graph or a transform takes it apart."""
    steps = aten_steps(direction, geometry, aten.output_order(source))
    if direction == "space_to_batch":
        return aten.space_to_batch(source, steps, pad_value)
    return aten.batch_to_space(source, steps)


def _torch_run(
    direction: Direction, geometry: BlockGeometry, source: Tensor, pad_value: PadValue, out: Tensor | None
) -> Tensor:
    if source.is_cpu and not geometry.empty:
        return _strided(direction, geometry, source, pad_value, out)
    steps = _cached_steps(direction, geometry, aten.output_order(source))
    if direction == "space_to_batch":
        result = aten.space_to_batch(source, steps, pad_value)
    else:
        result = aten.batch_to_space(source, steps)
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
    read, write, pad_value = _as_bits(geometry, source, result, pad_value if to_batch else 0)
    if to_batch:
        strided_copy.space_to_batch(geometry, read, pad_value, write)
    else:
        strided_copy.batch_to_space(geometry, read, write)
    return result


def _as_bits(
    geometry: BlockGeometry, source: Tensor, result: Tensor, pad_value: PadValue
) -> tuple[Tensor, Tensor, PadValue]:
    """Both tensors as integers of the same width, and the pad value's bits."""
    bits = _AS_BITS[source.element_size()]
    if geometry.padded:
        pad_value = int(torch.tensor(pad_value, dtype=source.dtype, device="cpu").view(bits).item())
    return source.detach().view(bits), result.detach().view(bits), pad_value


# ---- numpy: the CPU path of the reference

# dtypes that NumPy lacks travel as integers of the same width
_AS_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_NUMPY_DTYPES = frozenset(
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


def _numpy_can_run(direction: Direction, geometry: BlockGeometry, source: Tensor, out: Tensor | None) -> str | None:
    if source.device.type != "cpu":
        return f"the tensor is on {source.device}, not on the CPU"
    if source.dtype not in _NUMPY_DTYPES and source.element_size() not in _AS_BITS:
        return f"no NumPy integer has the {source.element_size()} bytes of {source.dtype}"
    return None


def _numpy_run(
    direction: Direction, geometry: BlockGeometry, source: Tensor, pad_value: PadValue, out: Tensor | None
) -> Tensor:
    to_batch = direction == "space_to_batch"
    result = empty_result(source, geometry.batch_shape if to_batch else geometry.space_shape) if out is None else out
    read, write = source.detach(), result.detach()
    if source.dtype not in _NUMPY_DTYPES:
        read, write, pad_value = _as_bits(geometry, source, result, pad_value if to_batch else 0)
    if to_batch:
        copy_to_batch(geometry, read.numpy(), write.numpy(), pad_value, torch.get_num_threads())
    else:
        copy_to_space(geometry, read.numpy(), write.numpy(), torch.get_num_threads())
    return result


# ---- llvm: vector kernels of the CPU, compiled when the first call needs them


@lru_cache(maxsize=1)
def llvm_missing() -> str | None:
    """None where LLVM can be loaded, else why not."""
    if importlib.util.find_spec("llvmlite") is None:
        return "llvmlite is not installed"
    try:
        from .llvm import engine
    except (ImportError, OSError) as error:
        return f"llvmlite cannot be loaded: {error}"
    return engine.missing()


def llvm_call(
    direction: Direction, geometry: BlockGeometry, source: Tensor, out: Tensor | None = None
) -> LlvmCall | str:
    """What carries out such calls on the CPU, or the reason why nothing does."""
    if not source.is_cpu:
        return f"the tensor is on {source.device}, not on the CPU"
    reason = llvm_missing()
    if reason is not None:
        return reason
    from .llvm import tensors

    return tensors.call_of(direction, geometry, source.stride(), source.dtype, None if out is None else out.stride())


def cpu_into(direction: Direction, geometry: BlockGeometry, source: Tensor, out: Tensor) -> Into:
    """What fills an `out` on the CPU from such a source."""
    found = llvm_call(direction, geometry, source, out)
    if not isinstance(found, str):
        return found.into
    return lambda source, out, pad_value: _torch_run(direction, geometry, source, pad_value, out)


class ArrayCopies(NamedTuple):
    """What fills the result for a NumPy array: of (geometry, x, y, pad value), and of (geometry, y, x)."""

    to_batch: Callable[..., None]
    to_space: Callable[..., None]


@lru_cache(maxsize=1)
def array_copies() -> ArrayCopies:
    """The vector kernels where they can be loaded, and NumPy alone elsewhere."""
    if llvm_missing() is not None:
        return ArrayCopies(copy_to_batch, copy_to_space)
    from .llvm import arrays

    return ArrayCopies(arrays.to_batch, arrays.to_space)


def _llvm_can_run(direction: Direction, geometry: BlockGeometry, source: Tensor, out: Tensor | None) -> str | None:
    call = llvm_call(direction, geometry, source, out)
    return call if isinstance(call, str) else None


def _llvm_run(
    direction: Direction, geometry: BlockGeometry, source: Tensor, pad_value: PadValue, out: Tensor | None
) -> Tensor:
    call = llvm_call(direction, geometry, source, out)
    assert not isinstance(call, str)  # which `can_run` found out
    if out is None:
        return call(source, pad_value)
    call.into(source, out, pad_value)
    return out


# ---- triton: the GPU kernels, imported when the first call needs them

_HAS_TRITON = importlib.util.find_spec("triton") is not None


_Call: TypeAlias = "tuple[Direction, BlockGeometry, tuple[int, ...], torch.dtype, str]"
_triton_reasons: dict[_Call, str | None] = {}


def _triton_can_run(direction: Direction, geometry: BlockGeometry, source: Tensor, out: Tensor | None) -> str | None:
    if not _HAS_TRITON:
        return "triton is not installed"
    call = (direction, geometry, source.stride(), source.dtype, source.device.type)
    try:
        return _triton_reasons[call]
    except KeyError:
        from spacebatch.tl_kernels import launch

        if len(_triton_reasons) == 4096:
            _triton_reasons.clear()
        reason = _triton_reasons[call] = launch.can_run(direction, geometry, source)
        return reason


def _triton_run(
    direction: Direction, geometry: BlockGeometry, source: Tensor, pad_value: PadValue, out: Tensor | None
) -> Tensor:
    from spacebatch.tl_kernels import launch

    if direction == "space_to_batch":
        result = empty_result(source, geometry.batch_shape) if out is None else out
        launch.space_to_batch(geometry, source, result, pad_value)
    else:
        result = empty_result(source, geometry.space_shape) if out is None else out
        launch.batch_to_space(geometry, source, result)
    return result


TORCH = Backend("torch", _torch_can_run, _torch_run)
NUMPY = Backend("numpy", _numpy_can_run, _numpy_run)
TRITON = Backend("triton", _triton_can_run, _triton_run)
LLVM = Backend("llvm", _llvm_can_run, _llvm_run)
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
