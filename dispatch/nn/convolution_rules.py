"""Rules for what slides a kernel: convolutions, transposed ones, and max pooling.

A dilation that is a multiple of the rate is that much less in cells; padding becomes padding in cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .batch_space_tensor import Value
from .cells import Cells, cleaned
from .value import cells_of, value_of


class Convolution(NamedTuple):
    """The arguments of a convolution in cells, and what it makes of the spatial sizes."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    sizes: tuple[int, ...]
    reads_beyond: bool  # whether it reads cells that are no positions of the image


def in_cells(
    sizes: tuple[int, ...], rate: tuple[int, ...], kernel: tuple[int, ...], stride: Any, padding: Any, dilation: Any
) -> Convolution | None:
    """The convolution in batch space of a rate, None where it cannot be there.

    >>> in_cells((9,), (2,), (3,), 1, 4, 4)
    Convolution(stride=(1,), padding=(2,), dilation=(2,), sizes=(9,), reads_beyond=True)
    >>> in_cells((9,), (2,), (3,), 1, 3, 3) is None
    True
    """
    nd = len(rate)
    if len(kernel) != nd:
        return None
    strides, dilations = _per_dim(stride, nd), _per_dim(dilation, nd)
    if isinstance(padding, str):
        totals = [0] * nd if padding == "valid" else [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
        if any(total % 2 for total in totals):
            return None
        paddings = tuple(total // 2 for total in totals)
    else:
        paddings = _per_dim(padding, nd)
    new, beyond = [], False
    for size, block, k, step, pad, d in zip(sizes, rate, kernel, strides, paddings, dilations, strict=True):
        if (block > 1 and step != 1) or (k > 1 and d % block) or pad % block or pad < 0:
            return None
        left = size + 2 * pad - d * (k - 1)
        if left <= 0:
            return None
        new.append((left - 1) // step + 1)
        beyond = beyond or (k > 1 and pad > 0 and block > 1 and size % block != 0)
    return Convolution(
        strides,
        tuple(pad // block for pad, block in zip(paddings, rate, strict=True)),
        tuple(max(d // block, 1) for d, block in zip(dilations, rate, strict=True)),
        tuple(new),
        beyond,
    )


def _per_dim(value: Any, nd: int) -> tuple[int, ...]:
    if isinstance(value, (tuple, list)):
        return tuple(value) * (nd if len(value) == 1 else 1)
    return (value,) * nd


_known = lru_cache(1024)(in_cells)


def _remembered(*arguments: Any) -> Convolution | None:
    """The same, of what was asked before: a third of what a rule of convolutions takes."""
    if torch.compiler.is_compiling():
        return in_cells(*arguments)
    try:
        return _known(*arguments)
    except TypeError:  # lists and symbols are no keys
        return in_cells(*arguments)


_CONVOLUTION = {"input": None, "weight": None, "bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}


def _convolution(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    given = _CONVOLUTION | dict(zip(_CONVOLUTION, args, strict=False)) | kwargs
    value, weight, bias = given["input"], given["weight"], given["bias"]
    if not isinstance(value, Value) or isinstance(weight, Value) or isinstance(bias, Value):
        return NotImplemented
    rate, kernel = value._memory.rate, tuple(weight.shape[2:])
    found = _remembered(value._sizes, rate, kernel, given["stride"], given["padding"], given["dilation"])
    if found is None:
        return NotImplemented
    cells = cells_of(value, enters=any(k > 1 and block > 1 for k, block in zip(kernel, rate, strict=True)))
    if cells is None:
        return NotImplemented
    return convolved(cells, found, func, weight, bias, given["groups"], value._memory)


def convolved(
    cells: Cells, found: Convolution, func: Any, weight: Tensor, bias: Tensor | None, groups: int, memory: Any = None
) -> Tensor:
    """The value of a convolution of cells."""
    source = cells.tensor if memory is None else None
    if found.reads_beyond:
        cells = cleaned(cells)
    tensor = func(cells.tensor, weight, bias, found.stride, found.padding, found.dilation, groups)
    clean = cells.clean and bias is None and all(k == 1 for k in weight.shape[2:]) and not any(found.padding)
    return value_of(Cells(tensor, cells.rate, found.sizes, clean), memory, source)


_DEFAULTS: dict[str, Any] = {"stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "dilation": 1}
_TRANSPOSED = ("input", "weight", "bias", *_DEFAULTS)


def transposed_in_cells(
    sizes: tuple[int, ...],
    rate: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: Any,
    padding: Any,
    output_padding: Any,
    dilation: Any,
) -> Convolution | None:
    """The transposed convolution in batch space of a rate, None where it cannot be there: each phase is one of its own.

    >>> transposed_in_cells((9,), (2,), (3,), 1, 2, 0, 2)
    Convolution(stride=(1,), padding=(1,), dilation=(1,), sizes=(9,), reads_beyond=True)
    """
    nd = len(rate)
    steps, paddings, dilations = _per_dim(stride, nd), _per_dim(padding, nd), _per_dim(dilation, nd)
    if len(kernel) != nd or any(_per_dim(output_padding, nd)) or any(step != 1 for step in steps):
        return None
    dims = tuple(zip(sizes, dilations, kernel, paddings, rate, strict=True))
    if any(p % block or (k > 1 and d % block) for _, d, k, p, block in dims):
        return None
    new = tuple(size + d * (k - 1) - 2 * p for size, d, k, p, _ in dims)
    pads = tuple(p // block for _, _, _, p, block in dims)
    return (
        Convolution(steps, pads, tuple(max(d // block, 1) for _, d, _, _, block in dims), new, True)
        if min(new) > 0
        else None
    )


def _transposed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    given = _DEFAULTS | dict(zip(_TRANSPOSED, args, strict=False)) | kwargs
    value, weight, bias = given["input"], given["weight"], given.get("bias")
    if not isinstance(value, Value) or isinstance(weight, Value) or isinstance(bias, Value):
        return NotImplemented
    rate, kernel = value._memory.rate, tuple(weight.shape[2:])
    options = (given[name] for name in ("stride", "padding", "output_padding", "dilation"))
    found = transposed_in_cells(value._sizes, rate, kernel, *options)
    enters = any(k > 1 and block > 1 for k, block in zip(kernel, rate, strict=False))
    cells = None if found is None else cells_of(value, enters=enters)
    if cells is None or found is None:
        return NotImplemented
    return transposed(cells, found, func, weight, bias, given["groups"], value._memory)


def transposed(
    cells: Cells, found: Convolution, func: Any, weight: Tensor, bias: Tensor | None, groups: int, memory: Any = None
) -> Tensor:
    """The value of a transposed convolution of cells; nothing but zeros may lie beyond their end."""
    source = cells.tensor if memory is None else None
    tensor = func(cleaned(cells).tensor, weight, bias, found.stride, found.padding, 0, groups, found.dilation)
    return value_of(Cells(tensor, cells.rate, found.sizes, False), memory, source)


_POOL = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")


def _max_pool(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Dilated pooling of stride 1: windows of one phase."""
    given = dict(zip(_POOL, args, strict=False)) | kwargs
    value: Any = given.get("input")
    if not isinstance(value, Value) or given.get("return_indices") or given.get("ceil_mode"):
        return NotImplemented
    nd = len(value._sizes)
    kernel = _per_dim(given.get("kernel_size"), nd)
    padding = _per_dim(given.get("padding", 0), nd)
    stride = given.get("stride") or kernel
    found = in_cells(value._sizes, value._memory.rate, kernel, stride, padding, given.get("dilation", 1))
    cells = None if found is None else cells_of(value)
    refused = any(2 * p > k for p, k in zip(padding, kernel, strict=True))  # by PyTorch, of the image
    if cells is None or found is None or cells.tensor.is_complex() or refused:
        return NotImplemented
    if found.reads_beyond:
        cells = cleaned(cells, -math.inf)
    tensor = func(cells.tensor, kernel, found.stride, found.padding, found.dilation)
    return value_of(Cells(tensor, cells.rate, found.sizes, False), value._memory)


RULES: dict[str, Callable[..., Any]] = {
    **{f"conv{k}d": _convolution for k in (1, 2, 3)},
    **{f"conv_transpose{k}d": _transposed for k in (1, 2, 3)},
    **{f"max_pool{k}d": _max_pool for k in (1, 2, 3)},
}
