"""The arguments of a dilated convolution, tensors and all, checked before anything is computed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spacebatch.reference.arguments import check_choice

from .. import checks
from .method_choice import CONVOLUTION_METHODS
from .taps import PADDING_MODES, Taps, normalize


def checked(
    nd: int,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    padding_mode: Any,
    method: Any,
) -> tuple[Tensor, Taps, tuple[Any, ...]]:
    """(batched and, if the mode is not zeros, padded input; taps; what else the time of the call depends on)."""
    op = f"atrous_conv{nd}d"
    check_choice(op, "method", method, CONVOLUTION_METHODS)
    check_choice(op, "padding_mode", padding_mode, PADDING_MODES)
    x = check_tensors(op, nd, x, weight, bias)
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        raise ValueError(f"{op}: bias must have shape ({weight.shape[0]},), got {tuple(bias.shape)}")
    taps = normalize(op, x.shape, weight.shape, stride, padding, dilation, groups)
    arguments = (taps.stride, taps.before, taps.after, taps.dilation, groups, padding_mode)
    if padding_mode != "zeros":
        sides = [side for pair in zip(reversed(taps.before), reversed(taps.after), strict=True) for side in pair]
        x = torch.nn.functional.pad(x, sides, mode=padding_mode)
        taps = taps._replace(before=(0,) * nd, after=(0,) * nd)
    return x, taps, arguments


def check_tensors(op: str, nd: int, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The batched input, once ranks, types and devices are known to fit."""
    for name, tensor in (("input", x), ("weight", weight), ("bias", bias)):
        if not isinstance(tensor, Tensor) and (name != "bias" or tensor is not None):
            raise TypeError(f"{op}: {name} must be a torch.Tensor, got {type(tensor).__name__}")
    checks.check_tensor(op, x)
    if weight.dim() != nd + 2:
        raise ValueError(f"{op}: weight must be {nd + 2}-D, got shape {tuple(weight.shape)}")
    if x.dim() not in (nd + 1, nd + 2):
        raise ValueError(f"{op}: input must be {nd + 2}-D, or {nd + 1}-D without a batch, got shape {tuple(x.shape)}")
    if not _autocast(x.device.type):
        for name, tensor in (("weight", weight), ("bias", bias)):
            if tensor is not None and tensor.dtype != x.dtype:
                raise ValueError(f"{op}: {name} has dtype {tensor.dtype}, the input has {x.dtype}")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.device != x.device:
            raise ValueError(f"{op}: {name} is on {tensor.device}, the input on {x.device}")
    return x if x.dim() == nd + 2 else x.unsqueeze(0)


def _autocast(kind: str) -> bool:
    """Whether autocast is on for a kind of device; some, like "meta", have none."""
    try:
        return torch.is_autocast_enabled(kind)
    except RuntimeError:
        return False
