"""Rules for parts of a value and for values made of several: channels, and spatial dims from a multiple of the rate on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .batch_space_tensor import Value
from .cells import Cells
from .elementwise import operand
from .rule import rule
from .value import cells_of, value_of, view_of


@rule("cat", "concat", "concatenate")
def _concatenated(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = args[0] if args else kwargs.get("tensors")
    dim = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else 0))
    if not isinstance(tensors, (tuple, list)) or kwargs.get("out") is not None:
        return NotImplemented
    value: Any = next((t for t in tensors if isinstance(t, Value) and t._memory.image is None), None)
    cells = None if value is None else cells_of(value)
    if cells is None or dim not in (1, 1 - cells.tensor.dim()):
        return NotImplemented
    parts, clean = [], True
    for tensor in tensors:
        if not isinstance(tensor, Value) and (tensor.shape[:1], tensor.shape[2:]) != ((cells.samples,), cells.sizes):
            return NotImplemented
        found = operand(tensor, cells, value._memory)
        if found is None or found[0].shape[2:] != cells.tensor.shape[2:]:
            return NotImplemented
        parts.append(found[0])
        clean = clean and found[1]
    return value_of(cells._replace(tensor=torch.cat(parts, 1), clean=clean), value._memory)


@rule("chunk", "split", "tensor_split", "unsafe_chunk", "unsafe_split", "split_with_sizes")
def _split(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Along the channels: as many views."""
    value: Any = args[0] if args else None
    cells = cells_of(value) if isinstance(value, Value) else None
    if cells is None or kwargs.get("dim", args[2] if len(args) > 2 else 0) not in (1, 1 - cells.tensor.dim()):
        return NotImplemented
    parts: Any = func(cells.tensor, *args[1:], **kwargs)
    views, start = [], 0
    for part in parts:
        where = slice(start, start + part.shape[1])
        views.append(view_of(value, lambda t, where=where: t[:, where], cells.sizes, part))  # type: ignore[misc]
        start = where.stop
    return type(parts)(views)


@rule("narrow")
def _narrowed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """A slice of the channels."""
    if kwargs or len(args) != 4 or not all(isinstance(a, int) for a in args[1:]):
        return NotImplemented
    value, dim, start, length = args
    cells = cells_of(value)
    if cells is None or dim not in (1, 1 - cells.tensor.dim()):
        return NotImplemented
    if not 0 <= start <= start + length <= cells.tensor.shape[1]:  # PyTorch's own error, or it counts from the end
        return NotImplemented
    return _taken(func, (value, (slice(None), slice(start, start + length))), {})


@rule("__getitem__")
def _taken(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """value[…, a:b, …]."""
    value, index = args
    cells = cells_of(value) if isinstance(value, Value) else None
    part = None if cells is None else _part(cells, index if isinstance(index, tuple) else (index,))
    return NotImplemented if part is None else view_of(value, lambda t: t[index], part.sizes, part.tensor)


def _part(cells: Cells, entries: tuple[Any, ...]) -> Cells | None:
    """The cells of a slice, None where it is none, or not of whole cells."""
    rank = 2 + len(cells.rate)
    gaps = [k for k, entry in enumerate(entries) if entry is Ellipsis]
    if len(gaps) == 1:
        entries = (*entries[: gaps[0]], *(slice(None),) * (1 + rank - len(entries)), *entries[gaps[0] + 1 :])
    if len(entries) > rank or not all(isinstance(entry, slice) for entry in entries):
        return None
    tensor, sizes = cells.tensor, list(cells.sizes)
    for d, entry in enumerate(entries):
        if entry.start is None and entry.stop is None and entry.step is None:
            continue
        if d == 0 or not all(part is None or isinstance(part, int) for part in (entry.start, entry.stop, entry.step)):
            return None
        if d == 1:
            tensor = tensor[:, entry]
            continue
        start, stop, step = entry.indices(sizes[d - 2])
        block = cells.rate[d - 2]
        if step != 1 or start % block or stop <= start:
            return None
        sizes[d - 2] = stop - start
        tensor = tensor.narrow(d, start // block, (sizes[d - 2] + block - 1) // block)
    return cells._replace(tensor=tensor, sizes=tuple(sizes))


@rule("detach")
def _detached(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    cells = cells_of(args[0]) if len(args) == 1 else None
    if cells is None:
        return NotImplemented
    return view_of(args[0], Tensor.detach, cells.sizes, cells.tensor.detach())


@rule("contiguous")
def _contiguous(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The value itself where it is so already."""
    value, cells = args[0], cells_of(args[0]) if len(args) == 1 else None
    if cells is None:
        return NotImplemented
    if cells.tensor.is_contiguous(**kwargs):
        return value
    return value_of(cells._replace(tensor=cells.tensor.contiguous(**kwargs)), value._memory)


@rule("to", "type_as", "float", "double", "half", "bfloat16", "type", "cuda", "cpu")
def _converted(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Another type or device: the value itself where it has them already."""
    value, *others = args
    if kwargs.keys() & {"copy", "memory_format"} or len(args) > 3 or any(isinstance(a, bool) for a in others):
        return NotImplemented
    if not isinstance(value, Value) and len(args) == 2 and not kwargs:  # to what a value is
        return value.to(others[0].device, others[0].dtype)
    if any(isinstance(other, Value) for other in (*others, *kwargs.values())):
        return NotImplemented
    cells = cells_of(value)
    if cells is None:
        return NotImplemented
    tensor = func(cells.tensor, *others, **kwargs)
    if not isinstance(tensor, Tensor):
        return tensor  # `type()` gives its name
    if (tensor.dtype, tensor.device) == (cells.tensor.dtype, cells.tensor.device):
        return value
    return value_of(cells._replace(tensor=tensor), value._memory)


@rule("new_empty", "new_zeros", "new_ones", "new_full", "new_tensor")
def _made_new(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """They ask for the type and the device alone."""
    cells = cells_of(args[0]) if isinstance(args[0], Value) else None
    return NotImplemented if cells is None else func(cells.tensor, *args[1:], **kwargs)
