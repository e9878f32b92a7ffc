"""Arithmetic on the way in NumPy: the definition for arrays; see `arithmetic.py`.

bfloat16 and the 8-bit floats are dtypes of the package ml_dtypes; where an array has one of them, NumPy converts it by the name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .arithmetic import Activation, Arithmetic

Array = npt.NDArray[Any]

_erf: Callable[[Array], Array] = np.frompyfunc(math.erf, 1, 1)


def _sigmoid(z: Array) -> Array:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-z))


def _half_erf(z: Array) -> Array:
    """0.5 * (1 + erf(z / sqrt(2)))."""
    return 0.5 * (1 + _erf(z * math.sqrt(0.5)).astype(z.dtype))


def _tanh_part(z: Array) -> Array:
    return np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z * z * z))


def activated(z: Array, activation: Activation) -> Array:
    """The activation of an array.

    >>> activated(np.array([-4.0, -1.0, 4.0]), "hardswish").round(3).tolist()
    [-0.0, -0.333, 4.0]
    """
    if activation == "relu":
        return np.maximum(z, 0)
    if activation == "silu":
        return z / (1 + np.exp(-z))  # type: ignore[no-any-return]
    if activation == "gelu":
        return z * _half_erf(z)
    if activation == "gelu_tanh":
        return 0.5 * z * (1 + _tanh_part(z))  # type: ignore[no-any-return]
    if activation == "sigmoid":
        return _sigmoid(z)
    if activation == "tanh":
        return np.tanh(z)
    if activation == "hardswish":
        return z * np.clip(z + 3, 0, 6) / 6  # type: ignore[no-any-return]
    return z


def slope(z: Array, activation: Activation) -> Array:
    """The derivative of the activation.

    >>> slope(np.array([-1.0, 0.0, 2.0]), "relu").tolist()
    [0.0, 0.0, 1.0]
    """
    if activation == "relu":
        return (z > 0).astype(z.dtype)
    if activation == "silu":
        s = _sigmoid(z)
        return s * (1 + z * (1 - s))  # type: ignore[no-any-return]
    if activation == "gelu":
        return _half_erf(z) + z * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    if activation == "gelu_tanh":
        t = _tanh_part(z)
        inner = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * z * z)
        return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * inner  # type: ignore[no-any-return]
    if activation == "sigmoid":
        s = _sigmoid(z)
        return s * (1 - s)  # type: ignore[no-any-return]
    if activation == "tanh":
        return 1 - np.tanh(z) ** 2
    if activation == "hardswish":
        return np.where(z <= -3, 0, np.where(z < 3, z / 3 + 0.5, 1)).astype(z.dtype)
    return np.ones_like(z)


def converted(value: Array, dtype: np.dtype[Any]) -> Array:
    """An array in another dtype; to integers it is rounded, ties to even, and saturates, and NaN becomes 0.

    >>> converted(np.array([0.5, 1.5, 300.0, np.nan]), np.dtype(np.uint8)).tolist()
    [0, 2, 255, 0]
    """
    if dtype.kind not in "iu":
        with np.errstate(over="ignore"):
            return value.astype(dtype)
    limits = np.iinfo(dtype)
    rounded: Array = np.nan_to_num(np.clip(np.rint(value), limits.min, limits.max))
    return rounded.astype(dtype)


def along(value: Array, channel_dim: int | None, ndim: int) -> Array:
    """Scale or bias in a shape that broadcasts against an array of so many dims."""
    return value.reshape(() if channel_dim is None else (-1, *[1] * (ndim - 1 - channel_dim)))


def computed(
    x: Array, arithmetic: Arithmetic, dtype: np.dtype[Any], scale: Any = None, bias: Any = None, residual: Any = None
) -> Array:
    """All of an arithmetic, at the place where x is.

    >>> one = np.full(1, 0.5, np.float32)
    >>> computed(np.array([2, 4], np.uint8), Arithmetic("uint8", "float32", scale=True), np.dtype(np.float32), one)
    array([1., 2.], dtype=float32)

    Args:
        x: of any shape. residual: of the same. dtype: of the result.
        scale, bias: of the dtype of the arithmetic, one entry or one for each channel; None where the arithmetic has none.
    """
    compute = np.dtype(arithmetic.compute)
    factor = None if scale is None else along(scale, arithmetic.channel_dim, x.ndim)
    value = (residual if arithmetic.gradient and residual is not None else x).astype(compute)
    with np.errstate(over="ignore", invalid="ignore"):
        if factor is not None:
            value = value * factor
        if bias is not None:
            value = value + along(bias, arithmetic.channel_dim, x.ndim)
        if not arithmetic.gradient:
            if residual is not None:
                value = value + residual.astype(compute)
            return converted(activated(value, arithmetic.activation), dtype)
        value = x.astype(compute) * slope(value, arithmetic.activation)
        return converted(value if factor is None else value * factor, dtype)
