"""What is computed of each element of a list of NumPy arrays on its way into one batch, or out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .arithmetic import Arithmetic, Operands
from .array_arithmetic import along, computed
from .fused import arithmetic_for, border, operands_for
from .llvm.prepare import address
from .words import Words

Array = npt.NDArray[Any]


class OnWay(NamedTuple):
    """An arithmetic, and what it meets; its channel dim is one of an image."""

    arithmetic: Arithmetic
    operands: Operands
    dtype: np.dtype[Any]

    def computed(self, x: Array, dims: int = 0) -> Array:
        """The arithmetic of an array whose channels are so many dims later than those of an image."""
        return computed(x, self.in_batch(dims), self.dtype, self.operands.scale, self.operands.bias)

    def in_batch(self, dims: int = 1) -> Arithmetic:
        """The arithmetic of arrays whose channels are so many dims later than those of an image."""
        c = self.arithmetic.channel_dim
        return self.arithmetic if c is None else replace(self.arithmetic, channel_dim=c + dims)

    def pad_value(self, op: str, value: Any, source: np.dtype[Any], ndim: int) -> Array:
        """What the border holds: a number, or a table that broadcasts against an image of so many dims."""
        pad, operands = border(op, self.arithmetic, value, source, self.dtype, self.operands)
        if operands.pad is None:
            return np.frombuffer(pad, self.dtype).reshape(())
        return along(operands.pad, self.arithmetic.channel_dim, ndim)

    def addressed(self, table: Array | None) -> tuple[Arithmetic, Operands, Operands]:
        """What kernels are given: the arithmetic of a batch, addresses, and the arrays that are there.

        Args:
            table: what the border holds for each channel, if it is not one number.
        """
        held = self.operands if table is None else self.operands._replace(pad=np.ascontiguousarray(table))
        arithmetic = replace(self.in_batch(), pad="after" if table is None else "before")
        return arithmetic, Operands(*(None if x is None else address(x) for x in held)), held


def on_way(
    op: str, words: Words, x: Array, shape: Sequence[int], dims: Sequence[int], channel: int | None = None
) -> OnWay | None:
    """The words of a call with a list of images; None where nothing is computed.

    >>> bytes_of = np.zeros((3, 4, 4), np.uint8)
    >>> str(on_way("to_blocks", Words(scale=0.5), bytes_of, bytes_of.shape, (1, 2)).arithmetic)
    'uint8 * scale -> float32'

    Args:
        op, words: of the call. x: one of its arrays.
        shape: of an image. dims: of these, those that are cut.
        channel: the dim that scale and bias run along even where they are single numbers.
    """
    arithmetic, dtype = arithmetic_for(op, x, words, shape, dims, first=0)
    if arithmetic.plain:
        return None
    if channel is not None:
        arithmetic = replace(arithmetic, channel_dim=channel)
    return OnWay(arithmetic, operands_for(op, arithmetic, words, shape), dtype)
