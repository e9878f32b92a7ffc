"""The same operators in other packages: einops, JAX, CuPy, TensorFlow, and NumPy arrays.

Their arrays are dense and know no memory order, so a channels_last cell is given to them as (N, *spatial, C).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from spacebatch.reference.geometry import BlockGeometry

from .cells import Cell
from .eager import steps

Function = Callable[[Any], Any]
_dlpack: Any = import_module("torch.utils.dlpack")
NUMPY_DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "complex64")


def _package(name: str) -> Any:
    """An optional package, imported when a cell needs it.

    Triton comes before TensorFlow: both bring an LLVM, and the other way round the process crashes.
    """
    if name == "tensorflow" and find_spec("triton") is not None:
        import_module("triton")
    return import_module(name)


def _from_dlpack(y: Any) -> Tensor:
    return cast(Tensor, _dlpack.from_dlpack(y))


def dense_only(cell: Cell) -> str | None:
    """For packages whose arrays are dense; gradients are left to PyTorch."""
    if cell.mode != "forward":
        return "no gradient of it is timed"
    return None if cell.layout in ("contiguous", "channels_last") else "its arrays are dense"


def numpy_dtypes_only(cell: Cell) -> str | None:
    """`dense_only`, without the dtypes that NumPy lacks."""
    if cell.dtype not in (*NUMPY_DTYPES, "complex128"):
        return f"it has no {cell.dtype}"
    return dense_only(cell)


def memory_order(cell: Cell, x: Tensor) -> Tensor:
    """The tensor with its dims from outermost to innermost: contiguous, and no copy."""
    return x.permute(cell.memory_dims)


def dims_order(cell: Cell, y: Tensor) -> Tensor:
    """The way back from `memory_order`."""
    return y.permute(tuple(np.argsort(cell.memory_dims).tolist()))


# ---- einops


def pattern(direction: str, geometry: BlockGeometry) -> tuple[str, dict[str, int]]:
    """einops' pattern for a geometry without its border, and the sizes that it needs.

    >>> pattern("space_to_batch", BlockGeometry((1, 3, 4, 4), 2))
    ('n d1 (i2 p2) (i3 p3) -> (p2 p3 n) d1 i2 i3', {'p2': 2, 'p3': 2})
    """
    space, batch, interleaved = ["n"], [], geometry.arrangement == "interleaved"
    for d in range(1, len(geometry.space_shape)):
        if d in geometry.spatial_dims:
            space.append(f"(i{d} p{d})" if interleaved else f"(p{d} i{d})")
            batch.append(f"i{d}")
        else:
            space.append(f"d{d}")
            batch.append(f"d{d}")
    sizes = {f"p{d}": block for d, block in zip(geometry.spatial_dims, geometry.block_shape, strict=True)}
    outermost = ["n", *sizes] if geometry.batch_order == "batch_major" else [*sizes, "n"]
    left, right = " ".join(space), " ".join([f"({' '.join(outermost)})", *batch])
    return (f"{left} -> {right}" if direction == "space_to_batch" else f"{right} -> {left}"), sizes


def _window(geometry: BlockGeometry) -> tuple[slice, ...]:
    inside = {axis.dim: slice(axis.before, axis.before + axis.size) for axis in geometry.axes}
    return tuple(inside.get(d, slice(None)) for d in range(len(geometry.space_shape)))


def _amounts(geometry: BlockGeometry) -> list[tuple[int, int]]:
    borders = dict(zip(geometry.spatial_dims, geometry.paddings, strict=True))
    return [borders.get(d, (0, 0)) for d in range(len(geometry.space_shape))]


def einops_tensor(cell: Cell) -> Function:
    rearrange = _package("einops").rearrange

    geometry = cell.memory_geometry
    text, sizes = pattern(cell.direction, geometry)
    if not geometry.padded:
        return lambda x: rearrange(x, text, **sizes).contiguous()
    if cell.direction == "space_to_batch":
        amounts = steps(cell.direction, geometry).amounts
        return lambda x: rearrange(torch.nn.functional.pad(x, amounts), text, **sizes).contiguous()
    window = _window(geometry)
    return lambda y: rearrange(y, text, **sizes)[window].contiguous()


def einops_array(cell: Cell) -> Function:
    rearrange = _package("einops").rearrange

    geometry = cell.memory_geometry
    text, sizes = pattern(cell.direction, geometry)
    amounts, window = _amounts(geometry), _window(geometry)
    if not geometry.padded:
        return lambda x: np.ascontiguousarray(rearrange(x, text, **sizes))
    if cell.direction == "space_to_batch":
        return lambda x: np.ascontiguousarray(rearrange(np.pad(x, amounts), text, **sizes))
    return lambda y: np.ascontiguousarray(rearrange(y, text, **sizes)[window])


# ---- NumPy


def our_arrays(cell: Cell) -> Function:
    import spacebatch

    operation, geometry = getattr(spacebatch, cell.direction), cell.memory_geometry
    arguments: Any = geometry.arguments if cell.direction == "space_to_batch" else geometry.inverse
    return lambda x: operation(x, **arguments)


def numpy_take(cell: Cell, x: Tensor) -> Any:
    return memory_order(cell, x).numpy()


def numpy_give(cell: Cell, y: Any) -> Tensor:
    return dims_order(cell, torch.from_numpy(y))


# ---- JAX


def jax_function(cell: Cell) -> Function:
    jax = _package("jax")
    jax.config.update("jax_enable_x64", True)
    return cast(Function, jax.jit(_array_function(_package("jax.numpy"), cell)))


def _array_function(package: Any, cell: Cell) -> Function:
    """pad, reshape, transpose and crop, in a package that names them as NumPy does."""
    geometry = cell.memory_geometry
    _, split, permutation, sizes, window = steps(cell.direction, geometry)
    amounts = _amounts(geometry)

    def run(x: Any) -> Any:
        if geometry.padded and cell.direction == "space_to_batch":
            x = package.pad(x, amounts)
        x = x.reshape(split).transpose(permutation).reshape(sizes)
        return x[window] if window else x

    return run


def jax_take(cell: Cell, x: Tensor) -> Any:
    jax = _package("jax")
    jax.config.update("jax_enable_x64", True)
    if cell.dtype == "bool":
        return _package("jax.numpy").asarray(memory_order(cell, x).cpu().numpy())
    return _package("jax.dlpack").from_dlpack(memory_order(cell, x))


def jax_give(cell: Cell, y: Any) -> Tensor:
    return dims_order(cell, _from_dlpack(y))


def jax_wait(y: Any) -> object:
    return y.block_until_ready()


# ---- CuPy


def cupy_function(cell: Cell) -> Function:
    cupy = _package("cupy")
    function = _array_function(cupy, cell)

    def run(x: Any) -> Any:
        with cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream):
            return cupy.ascontiguousarray(function(x))

    return run


def cupy_take(cell: Cell, x: Tensor) -> Any:
    cupy = _package("cupy")
    return cupy.from_dlpack(memory_order(cell, x))


def cupy_give(cell: Cell, y: Any) -> Tensor:
    return dims_order(cell, _from_dlpack(y))


# ---- TensorFlow


def tensorflow_offers(cell: Cell) -> str | None:
    if cell.arrangement != "interleaved" or cell.batch_order != "block_major":
        return "its operator is interleaved and block-major"
    if cell.dtype == "bool" or cell.dtype.startswith(("complex", "float8")):
        return f"its operator has no kernel for {cell.dtype}"
    return dense_only(cell)


def tensorflow_function(cell: Cell) -> Function:
    tensorflow = _package("tensorflow")
    geometry = cell.memory_geometry
    axes = {axis.dim: axis for axis in geometry.axes}
    dims = range(1, max(axes) + 1)  # its blocked dims follow the batch; the others have a block of one
    block = [axes[d].block if d in axes else 1 for d in dims]
    borders = [[axes[d].before, axes[d].after] if d in axes else [0, 0] for d in dims]
    if cell.direction == "space_to_batch":
        return lambda x: tensorflow.space_to_batch_nd(x, block, borders)
    return lambda y: tensorflow.batch_to_space(y, block, borders)


def tensorflow_take(cell: Cell, x: Tensor) -> Any:
    tensorflow = _package("tensorflow")
    return tensorflow.experimental.dlpack.from_dlpack(_dlpack.to_dlpack(memory_order(cell, x)))


def tensorflow_give(cell: Cell, y: Any) -> Tensor:
    tensorflow = _package("tensorflow")
    return dims_order(cell, _from_dlpack(tensorflow.experimental.dlpack.to_dlpack(y)))


def tensorflow_wait(y: Any) -> object:
    tensorflow = _package("tensorflow")
    if y.device.endswith("CPU:0"):
        return y  # eager calls on the CPU have returned when they are done
    return tensorflow.test.experimental.sync_devices()
