"""What is computed of each element of a list of images on its way into one batch, or out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from spacebatch.reference.arithmetic import Arithmetic, Operands
from spacebatch.reference.words import Words

from ..arithmetic import Factor, computed, dtype_of
from ..checks import PadValue
from . import eager
from .tensor_words import arithmetic_for, factors_of


class OnWay(NamedTuple):
    """An arithmetic, and what it meets; its channel dim is one of an image."""

    arithmetic: Arithmetic
    scale: Factor
    bias: Factor
    channels: int

    @property
    def dtype(self) -> torch.dtype:
        """Of the result."""
        return dtype_of(self.arithmetic.result)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Scale and bias, where they are tensors."""
        return tuple(x for x in (self.scale, self.bias) if isinstance(x, Tensor))

    def computed(self, x: Tensor, dims: int = 0) -> Tensor:
        """The arithmetic of a tensor whose channels are so many dims later than those of an image; differentiable."""
        return computed(x, self.in_batch(dims), self.scale, self.bias)

    def in_batch(self, dims: int = 1) -> Arithmetic:
        """The arithmetic of tensors whose channels are so many dims later than those of an image."""
        c = self.arithmetic.channel_dim
        return self.arithmetic if c is None else replace(self.arithmetic, channel_dim=c + dims)

    def addressed(self, x: Tensor, number: PadValue, padded: bool) -> tuple[Arithmetic, bytes, Operands, Operands]:
        """What kernels are given: the arithmetic of a batch, the bytes of a pad value, addresses, and the tensors that are there.

        Args:
            x: an image. number: the pad value. padded: whether a border is written.
        """
        arithmetic = self.in_batch()
        pad, operands = eager.operands_of(arithmetic, x, self.scale, self.bias, number, (self.channels,), padded)
        known = operands.pad is not None or arithmetic.pad == "after"
        asked = arithmetic if known else replace(arithmetic, pad="after")
        return asked, pad, Operands(*(None if t is None else t.data_ptr() for t in operands)), operands


def on_way(
    op: str, words: Words | None, x: Tensor, shape: Sequence[int], dims: Sequence[int], channel: int | None = None
) -> OnWay | None:
    """The words of a call with a list of images; None where nothing is computed.

    Args:
        op, words: of the call. x: one of its tensors.
        shape: of an image. dims: of these, those that are cut.
        channel: the dim that scale and bias run along even where they are single numbers.
    """
    if words is None:
        return None
    arithmetic = arithmetic_for(op, x, words, shape, dims, first=0)
    if arithmetic.plain:
        return None
    if channel is not None:
        arithmetic = replace(arithmetic, channel_dim=channel)
    scale, bias = factors_of(op, x, words, arithmetic, shape)
    c = arithmetic.channel_dim
    return OnWay(arithmetic, scale, bias, 1 if c is None else shape[c])
