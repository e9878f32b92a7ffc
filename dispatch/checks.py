"""What is refused of tensors: kinds that hold no plain elements, pad values that do not fit, an `out` that does not.

All is found out before anything is computed, and each message names the operation, the argument and its value.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import torch
from torch import Tensor

from spacebatch.reference.pad_value import check_pad_value

PadValue: TypeAlias = "bool | int | float | complex"


def check_tensor(op: str, x: Tensor) -> None:
    """Dense, strided tensors only; the others are named with a way out."""
    if x.layout is not torch.strided or x.is_nested or x.is_quantized:
        raise TypeError(_refusal(op, x))


def _refusal(op: str, x: Tensor) -> str:
    if x.is_nested:
        padded = ", or pad them with torch.nested.to_padded_tensor first"
        return (
            f"{op}: nested tensors have no common spatial sizes; apply it to each of x.unbind()"
            f"{padded if x.layout is not torch.strided else ''}"
        )
    if x.layout is not torch.strided:
        return f"{op}: the input must be a dense tensor, got layout {x.layout}; convert it with .to_dense()"
    return f"{op}: quantized tensors are not supported; apply it to x.int_repr()"


def torch_pad_value(value: Any, dtype: torch.dtype, op: str = "space_to_batch") -> PadValue:
    """`value` as a Python number that `dtype` holds, or ValueError / TypeError."""
    if type(value) is int and value == 0:
        return 0
    name = str(dtype)
    if dtype is torch.bool:
        return check_pad_value(value, "b", 0, 1, name, op)
    if dtype.is_floating_point or dtype.is_complex:
        limits = torch.finfo(dtype)
        number = check_pad_value(value, "c" if dtype.is_complex else "f", limits.min, limits.max, name, op)
        if number in (math.inf, -math.inf) and dtype.itemsize == 1 and dtype is not torch.float8_e5m2:
            raise ValueError(f"{op}: pad_value {value!r} is out of range for {name}, which has no infinity")
        return number
    integers = torch.iinfo(dtype)
    return check_pad_value(value, "i", integers.min, integers.max, name, op)


def check_out(
    op: str, source: Tensor, shape: tuple[int, ...], out: Any, dtype: torch.dtype | None = None, others: Any = ()
) -> None:
    """A tensor that can hold the result, of plain elements in places of their own, and no part of a gradient.

    Args:
        op, source, shape, out: of the call. dtype: of the result, where it is not the source's. others: tensors that the result depends on.
    """
    if not isinstance(out, Tensor):
        raise TypeError(f"{op}: out must be a torch.Tensor, got {type(out).__name__}")
    if out.shape != shape:
        raise ValueError(f"{op}: out has shape {tuple(out.shape)}, the result has {shape}")
    if out.dtype != (dtype or source.dtype):
        has = f"the input has {source.dtype}" if dtype is None else f"the result has {dtype}"
        raise ValueError(f"{op}: out has dtype {out.dtype}, {has}")
    if out.device != source.device:
        raise ValueError(f"{op}: out is on {out.device}, the input on {source.device}")
    if torch.is_grad_enabled() and any(x.requires_grad for x in (source, out, *others)):
        raise ValueError(f"{op}: out= takes no part in automatic differentiation, but a tensor requires a gradient")
    if not torch.compiler.is_compiling() and (out.is_conj() or out.is_neg()):  # no graph can ask
        raise ValueError(f"{op}: out is a lazily conjugated or negated view, which holds no plain elements")
    if out.is_contiguous() or not out.numel():
        return
    if any(stride == 0 and size > 1 for stride, size in zip(out.stride(), out.shape, strict=True)):
        raise ValueError(f"{op}: out is expanded: several of its elements share one place in memory")


def check_apart(op: str, source: Tensor, out: Tensor, name: str = "the input") -> None:
    """`out` shares no memory with the input, or another tensor of that name."""
    if _overlap(source, out):
        raise ValueError(f"{op}: out overlaps {name} in memory")


def _overlap(a: Tensor, b: Tensor) -> bool:
    """Whether the ranges of memory from first to last element meet."""
    if a.is_meta or a.nbytes == 0 or b.nbytes == 0:
        return False
    a_start, b_start = a.data_ptr(), b.data_ptr()
    return a_start < b_start + _reach(b) and b_start < a_start + _reach(a)


def _reach(x: Tensor) -> int:
    """Bytes from the first element to behind the last."""
    if x.is_contiguous():
        return x.nbytes
    return (1 + sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))) * x.itemsize
