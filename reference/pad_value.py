"""The pad value: one rule for what may stand in which kind of dtype."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

OP = "space_to_batch"


def check_pad_value(
    value: Any, kind: str, low: float, high: float, name: str, op: str = OP
) -> bool | int | float | complex:
    """`value` as a Python number that a dtype of the given kind holds; nothing is cut off, wrapped or made infinite.

    >>> check_pad_value(3.0, "u", 0, 255, "uint8")
    3

    Args:
        value: a Python number, or a NumPy or PyTorch scalar.
        kind: "b", "i", "u", "f" or "c", as NumPy's dtype.kind.
        low, high: smallest and largest finite value of the dtype (of its real part).
        name: the dtype's name, for the message. op: what messages call the operation.

    Raises:
        TypeError: no number, or complex for a real dtype.
        ValueError: not representable: out of range, or a fraction for an integer dtype. Rounding of floats is fine.
    """
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if not isinstance(value, (bool, int, float, complex)):
        raise TypeError(f"{op}: pad_value must be a number, got {value!r} of type {type(value).__name__}")
    parts: tuple[int | float, ...]
    if kind == "c":
        parts = (value.real, value.imag)
    elif isinstance(value, complex):
        raise TypeError(f"{op}: pad_value {value!r} is complex, but the input's dtype is {name}")
    else:
        parts = (value,)
    for part in parts:
        finite = isinstance(part, int) or math.isfinite(part)  # isfinite would overflow on huge ints
        if kind in "biu" and (not finite or part != int(part)):
            raise ValueError(f"{op}: pad_value {value!r} is not an integer, but the input's dtype is {name}")
        if finite and not low <= part <= high:
            raise ValueError(f"{op}: pad_value {value!r} is out of range for {name}, [{low}, {high}]")
    if kind == "b":
        return bool(value)
    return int(value.real) if kind in "iu" else value


def numpy_pad_value(value: Any, dtype: np.dtype[Any], op: str = OP) -> npt.NDArray[Any]:
    """`value` as a 0-d array of `dtype`, checked; dtypes that are not numeric take what NumPy can convert."""
    if type(value) is int and value == 0 and dtype.kind in "biufc":
        return np.zeros((), dtype)
    if dtype.kind == "b":
        value = check_pad_value(value, "b", 0, 1, str(dtype), op)
    elif dtype.kind in "iu":
        integers = np.iinfo(dtype)
        value = check_pad_value(value, dtype.kind, int(integers.min), int(integers.max), str(dtype), op)
    elif dtype.kind in "fc":
        floats = np.finfo(dtype)
        value = check_pad_value(value, dtype.kind, float(floats.min), float(floats.max), str(dtype), op)
    try:
        pad = np.full((), value, dtype=dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{op}: pad_value {value!r} does not convert to the input's dtype {dtype}: {error}") from None
    if isinstance(value, (str, bytes)) and dtype.kind in "SU" and pad[()] != value:
        raise ValueError(f"{op}: pad_value {value!r} does not fit the input's dtype {dtype}")
    return pad
