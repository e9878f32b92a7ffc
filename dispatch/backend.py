"""What a backend is: a small record that answers "can you run this?" with None or a reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import torch
from torch import Tensor

from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.memory_order import dense_strides

from . import aten
from .huge_pages import advised

Direction: TypeAlias = Literal["space_to_batch", "batch_to_space"]
PadValue: TypeAlias = "bool | int | float | complex"
Into: TypeAlias = Callable[[Tensor, Tensor, PadValue], object]  # of source, result and pad value


class Run(Protocol):
    """What a backend is called as."""

    def __call__(
        self, direction: Direction, geometry: BlockGeometry, source: Tensor, pad_value: PadValue, out: Tensor | None
    ) -> Tensor: ...


@dataclass(frozen=True)
class Backend:
    """One way to compute both operators on plain, strided, resolved tensors.

    Attributes:
        name: what `use_backend` and `explain` call it.
        can_run: (direction, geometry, input, out or None) → None, or the reason why not.
        run: (direction, geometry, input, pad value, out or None) → result.
    """

    name: str
    can_run: Callable[[Direction, BlockGeometry, Tensor, Tensor | None], str | None]
    run: Run


def empty_result(source: Tensor, shape: tuple[int, ...]) -> Tensor:
    """An uninitialised tensor of `shape` in the memory order of `source`."""
    if source.is_contiguous():
        return advised(torch.empty(shape, dtype=source.dtype, device=source.device))
    strides = dense_strides(shape, aten.output_order(source))
    return advised(torch.empty_strided(shape, strides, dtype=source.dtype, device=source.device))
