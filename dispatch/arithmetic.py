"""Arithmetic on the way in PyTorch's own operators: the definition for tensors, and what gradients are made of.

`reference/arithmetic.py` says what is computed. Here it is spelled by operators that compilers fuse, and that transforms take apart.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from spacebatch.reference.arithmetic import Activation, Arithmetic

Factor = Any  # a number or a tensor: of one element, or of one for each channel

_aten = torch.ops.aten
_ACTIVATIONS: dict[str, Any] = {
    "none": lambda z: z,
    "relu": torch.relu,
    "silu": functional.silu,
    "gelu": functional.gelu,
    "gelu_tanh": lambda z: functional.gelu(z, approximate="tanh"),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hardswish": functional.hardswish,
}
_BACKWARDS: dict[str, Any] = {
    "none": lambda g, z: g,
    "relu": lambda g, z: _aten.threshold_backward(g, z, 0),
    "silu": _aten.silu_backward,
    "gelu": _aten.gelu_backward,
    "gelu_tanh": lambda g, z: _aten.gelu_backward(g, z, approximate="tanh"),
    "sigmoid": lambda g, z: _aten.sigmoid_backward(g, torch.sigmoid(z)),
    "tanh": lambda g, z: _aten.tanh_backward(g, torch.tanh(z)),
    "hardswish": _aten.hardswish_backward,
}


def _silu_slope(z: Tensor) -> Tensor:
    s = torch.sigmoid(z)
    return s * (1 + z * (1 - s))


def _gelu_slope(z: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf(z * math.sqrt(0.5))) + z * torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def _gelu_tanh_slope(z: Tensor) -> Tensor:
    k, c = math.sqrt(2 / math.pi), 0.044715
    t = torch.tanh(k * (z + c * z * z * z))
    return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * k * (1 + 3 * c * z * z)


# PyTorch's backward operators of these have no gradients of their own.
_SLOPES: dict[str, Any] = {"silu": _silu_slope, "gelu": _gelu_slope, "gelu_tanh": _gelu_tanh_slope}


def dtype_of(name: str) -> torch.dtype:
    """PyTorch's dtype of a name.

    >>> dtype_of("bfloat16")
    torch.bfloat16
    """
    return getattr(torch, name)  # type: ignore[no-any-return]


def name_of(dtype: torch.dtype) -> str:
    """The name of a dtype.

    >>> name_of(torch.float8_e5m2)
    'float8_e5m2'
    """
    return str(dtype)[6:]


def along(value: Factor, channel_dim: int | None, ndim: int) -> Factor:
    """Scale or bias in a shape that broadcasts against a tensor of so many dims.

    >>> along(torch.ones(3), 1, 4).shape
    torch.Size([3, 1, 1])
    """
    if not isinstance(value, Tensor):
        return value
    if value.dim() == 0 or channel_dim is None:
        return value.reshape(())
    return value.reshape(-1, *[1] * (ndim - 1 - channel_dim))


def before_activation(
    x: Tensor, arithmetic: Arithmetic, scale: Factor, bias: Factor, residual: Tensor | None
) -> Tensor:
    """compute(x) * scale[c] + bias[c] + compute(residual)."""
    compute = dtype_of(arithmetic.compute)
    value = x.to(compute)
    if scale is not None:
        value = value * _to(along(scale, arithmetic.channel_dim, x.dim()), compute)
    if bias is not None:
        value = value + _to(along(bias, arithmetic.channel_dim, x.dim()), compute)
    return value if residual is None else value + residual.to(compute)


def activated(z: Tensor, activation: Activation) -> Tensor:
    """The activation of a tensor."""
    return _ACTIVATIONS[activation](z)  # type: ignore[no-any-return]


def activation_backward(grad: Tensor, z: Tensor, activation: Activation) -> Tensor:
    """grad * activation'(z); differentiable.

    >>> activation_backward(torch.ones(2), torch.tensor([-1.0, 2.0]), "relu")
    tensor([0., 1.])
    """
    if activation in _SLOPES and torch.is_grad_enabled():
        return grad * _SLOPES[activation](z)  # type: ignore[no-any-return]
    return _BACKWARDS[activation](grad, z)  # type: ignore[no-any-return]


def converted(value: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor in another dtype; to integers it is rounded, ties to even, and saturates, and NaN becomes 0.

    >>> converted(torch.tensor([0.5, 1.5, 300.0, torch.nan, -1.0]), torch.uint8)
    tensor([  0,   2, 255,   0,   0], dtype=torch.uint8)
    """
    if dtype.is_floating_point:
        return value.to(dtype)
    limits = torch.iinfo(dtype)
    return value.round().nan_to_num(0.0, float(limits.max), float(limits.min)).clamp(limits.min, limits.max).to(dtype)


def computed(
    x: Tensor, arithmetic: Arithmetic, scale: Factor = None, bias: Factor = None, residual: Tensor | None = None
) -> Tensor:
    """All of an arithmetic, at the place where x is.

    >>> computed(torch.tensor([[2, 4]], dtype=torch.uint8), Arithmetic("uint8", "float32", scale=True), 0.5)
    tensor([[1., 2.]])

    Args:
        x: of any shape. residual: of the same.
        scale, bias: numbers or tensors; None where the arithmetic has none.
    """
    if not arithmetic.gradient:
        value = activated(before_activation(x, arithmetic, scale, bias, residual), arithmetic.activation)
        return converted(value, dtype_of(arithmetic.result))
    compute = dtype_of(arithmetic.compute)
    value = x.to(compute)
    if arithmetic.activation != "none":
        assert residual is not None
        z = before_activation(residual.to(compute), arithmetic, scale, bias, None)
        value = activation_backward(value, z, arithmetic.activation)
    if scale is not None:
        value = value * _to(along(scale, arithmetic.channel_dim, x.dim()), compute)
    return converted(value, dtype_of(arithmetic.result))


def _to(value: Factor, dtype: torch.dtype) -> Factor:
    return value.to(dtype) if isinstance(value, Tensor) else value
