"""The words of a fused call on tensors, checked."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from spacebatch.reference import prepared
from spacebatch.reference.arguments import shown
from spacebatch.reference.arithmetic import Arithmetic
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.words import Words, arithmetic_of, check_channels, result_name

from ..arithmetic import Factor, name_of
from ..aten import sizes
from ..checks import check_tensor


def arithmetic_for(
    op: str,
    x: Tensor,
    words: Words,
    shape: Sequence[int],
    spatial_dims: Sequence[int],
    keeper: BlockGeometry | None = None,
    first: int = 1,
) -> Arithmetic:
    """The arithmetic of a call, checked but for the values of its tensors.

    Args:
        op, x, words: of the call. shape, spatial_dims, first: as `arithmetic_of` takes them.
        keeper: a geometry that remembers it.
    """
    scale, bias, residual, channel_dim, activation, dtype, pad = words
    if residual is not None and not isinstance(residual, Tensor):
        raise TypeError(f"{op}: residual must be a torch.Tensor, got {type(residual).__name__}")
    ndims = _ndim(op, "scale", scale), _ndim(op, "bias", bias)
    of_residual = None if residual is None else residual.dtype
    key = x.dtype, ndims, of_residual, channel_dim, type(channel_dim), activation, dtype, pad
    if keeper is not None:
        try:
            found = keeper._prepared.get(key)
        except TypeError:  # a word that is no word, which is named below
            found = None
        if found is not None:
            return found  # type: ignore[no-any-return]
    if dtype is not None and not isinstance(dtype, torch.dtype):
        raise TypeError(f"{op}: dtype must be a torch.dtype, got {shown(dtype)}")
    source = name_of(x.dtype)
    result = result_name(source) if dtype is None else name_of(dtype)
    other = None if of_residual is None else name_of(of_residual)
    arithmetic = arithmetic_of(op, words, source, result, shape, spatial_dims, ndims, other, first)
    if keeper is not None:
        prepared.keep(keeper, key, arithmetic)
    return arithmetic


def _ndim(op: str, name: str, value: Any) -> int | None:
    """The number of dims of scale or bias: 0 of a number, None of none."""
    if value is None:
        return None
    if isinstance(value, Tensor):
        if value.is_complex() or value.dtype is torch.bool:
            raise TypeError(f"{op}: {name} has dtype {value.dtype}; it must be of real numbers")
        return value.dim()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(
            f"{op}: {name} must be a number or a torch.Tensor, got {shown(value)} of type {type(value).__name__}"
        )
    return 0


def factors_of(op: str, x: Tensor, words: Words, arithmetic: Arithmetic, shape: Sequence[int]) -> tuple[Factor, Factor]:
    """Scale and bias, of as many entries as there are channels, and on the device of x."""
    return _factor(op, "scale", words.scale, x, arithmetic, shape), _factor(
        op, "bias", words.bias, x, arithmetic, shape
    )


def _factor(op: str, name: str, value: Any, x: Tensor, arithmetic: Arithmetic, shape: Sequence[int]) -> Factor:
    if not isinstance(value, Tensor):
        return value if value is None or type(value) in (int, float) else float(value)
    if value.dim():
        c = arithmetic.channel_dim
        assert c is not None
        check_channels(op, name, sizes(value)[0], shape[c], c)
    if value.device != x.device and (value.dim() or not value.is_cpu):
        raise ValueError(f"{op}: {name} is on {value.device}, the input on {x.device}")
    return value


def residual_of(op: str, x: Tensor, residual: Tensor | None, shape: Sequence[int]) -> Tensor | None:
    """The residual, of the result's shape, and on the device of x."""
    if residual is None:
        return None
    check_tensor(f"{op}: residual", residual)
    mine = tuple(sizes(residual))
    if mine != tuple(shape):
        raise ValueError(f"{op}: residual has shape {mine}, the result has {tuple(shape)}")
    if residual.device != x.device:
        raise ValueError(f"{op}: residual is on {residual.device}, the input on {x.device}")
    return residual
