"""Rules for parts of a value and for values made of several: channels, and spatial dims from a multiple of the rate on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .elementwise import operand
from .value import Value, cells_of, value_of, view_of


def _concatenated(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = args[0] if args else kwargs.get("tensors")
    dim = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else 0))
    if not isinstance(tensors, (tuple, list)) or kwargs.get("out") is not None:
        return NotImplemented
    value: Any = next((t for t in tensors if isinstance(t, Value) and t._memory.image is None), None)
    cells = None if value is None else cells_of(value)
    if cells is None or dim not in (1, 1 - cells.tensor.dim()):
        return NotImplemented
    parts = []
    clean = True
    for tensor in tensors:
        if not isinstance(tensor, Tensor) or tensor.dim() != cells.tensor.dim():
            return NotImplemented
        if not isinstance(tensor, Value) and (tensor.shape[0], *tensor.shape[2:]) != (cells.samples, *cells.sizes):
            return NotImplemented
        found = operand(tensor, cells, value._memory)
        if found is None or found[0].shape[2:] != cells.tensor.shape[2:]:
            return NotImplemented
        parts.append(found[0])
        clean = clean and found[1]
    return value_of(cells._replace(tensor=torch.cat(parts, 1), clean=clean), value._memory)


def _split(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """`chunk`, `split` and their like, along the channels: as many views."""
    value: Any = args[0] if args else None
    dim = kwargs.get("dim", args[2] if len(args) > 2 else 0)
    if not isinstance(value, Value) or len(args) < 1:
        return NotImplemented
    cells = cells_of(value)
    if cells is None or dim not in (1, 1 - cells.tensor.dim()):
        return NotImplemented
    parts: Any = func(cells.tensor, *args[1:], **kwargs)
    start = 0
    views = []
    for part in parts:
        views.append(_channels(value, slice(start, start + part.shape[1]), part))
        start += part.shape[1]
    return type(parts)(views)


def _channels(value: Any, where: slice, tensor: Tensor) -> Tensor:
    return view_of(value, lambda t: t[:, where], value._sizes, tensor)


def _narrowed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    if kwargs or len(args) != 4 or not isinstance(args[0], Value) or not all(isinstance(a, int) for a in args[1:]):
        return NotImplemented
    value, dim, start, length = args
    if dim < 0:
        dim += len(value._sizes) + 2
    if (
        not 0 <= start <= start + length <= (value._own if value._memory.image is None else value._plain).shape[1]
        or dim != 1
    ):
        return NotImplemented
    return _taken(func, (value, (slice(None), slice(start, start + length))), {})


def _taken(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """value[…, a:b, …]."""
    value, index = args
    cells = cells_of(value) if isinstance(value, Value) else None
    if cells is None:
        return NotImplemented
    entries: Sequence[Any] = index if isinstance(index, tuple) else (index,)
    if sum(entry is Ellipsis for entry in entries) > 1:
        return NotImplemented
    for k, entry in enumerate(entries):
        if entry is Ellipsis:
            entries = (*entries[:k], *(slice(None),) * (3 + len(cells.rate) - len(entries)), *entries[k + 1 :])
            break
    if len(entries) > 2 + len(cells.rate) or not all(isinstance(entry, slice) for entry in entries):
        return NotImplemented
    tensor, sizes = cells.tensor, list(cells.sizes)
    for d, entry in enumerate(entries):
        if entry.start is None and entry.stop is None and entry.step is None:
            continue
        if d == 0 or not all(part is None or isinstance(part, int) for part in (entry.start, entry.stop, entry.step)):
            return NotImplemented
        size = tensor.shape[1] if d == 1 else sizes[d - 2]
        start, stop, step = entry.indices(size)
        if d == 1:
            tensor = tensor[:, entry]
            continue
        block = cells.rate[d - 2]
        if step != 1 or start % block or stop <= start:
            return NotImplemented
        sizes[d - 2] = stop - start
        tensor = tensor.narrow(d, start // block, (sizes[d - 2] + block - 1) // block)
    return view_of(value, lambda t: t[index], tuple(sizes), tensor)


def _detached(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    cells = cells_of(args[0]) if len(args) == 1 else None
    if cells is None:
        return NotImplemented
    return view_of(args[0], Tensor.detach, args[0]._sizes, cells.tensor.detach())


def _same(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """`contiguous`: the value itself where it is so already."""
    value = args[0]
    cells = cells_of(value)
    if cells is None or len(args) > 1:
        return NotImplemented
    if cells.tensor.is_contiguous(**kwargs):
        return value
    return value_of(cells._replace(tensor=cells.tensor.contiguous(**kwargs)), value._memory)


def _converted(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Another type or device: the value itself where it has them already."""
    value: Any = args[0] if args else None
    if kwargs.keys() & {"copy", "memory_format"} or len(args) > 3 or any(isinstance(a, bool) for a in args):
        return NotImplemented
    if not isinstance(value, Value):  # to what a value is
        others = [other for other in args[1:] if isinstance(other, Value)]
        return (
            value.to(others[0].device, others[0].dtype) if len(args) == 2 and others and not kwargs else NotImplemented
        )
    if any(isinstance(other, Value) for other in (*args[1:], *kwargs.values())):
        return NotImplemented
    cells = cells_of(value)
    if cells is None:
        return NotImplemented
    tensor = func(cells.tensor, *args[1:], **kwargs)
    if not isinstance(tensor, Tensor):
        return tensor  # `type()` gives its name
    if (tensor.dtype, tensor.device) == (cells.tensor.dtype, cells.tensor.device):
        return value
    return value_of(cells._replace(tensor=tensor), value._memory)


def _made_new(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """`new_zeros` and its like ask for the type and the device alone."""
    value = args[0]
    cells = cells_of(value) if isinstance(value, Value) else None
    return NotImplemented if cells is None else func(cells.tensor, *args[1:], **kwargs)


RULES: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("cat", "concat", "concatenate"), _concatenated),
    **dict.fromkeys(("chunk", "split", "tensor_split", "unsafe_chunk", "unsafe_split", "split_with_sizes"), _split),
    **dict.fromkeys(("to", "type_as", "float", "double", "half", "bfloat16", "type", "cuda", "cpu"), _converted),
    **dict.fromkeys(("new_empty", "new_zeros", "new_ones", "new_full", "new_tensor"), _made_new),
    "narrow": _narrowed,
    "__getitem__": _taken,
    "detach": _detached,
    "contiguous": _same,
}
