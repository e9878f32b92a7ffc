"""`SpaceToBatch` and `BatchToSpace`: the functions with their arguments kept.

>>> import torch, spacebatch
>>> spacebatch.nn.SpaceToBatch(2, paddings=1)
SpaceToBatch(block_shape=2, paddings=1)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spacebatch.reference.arguments import Arrangement, BatchOrder, BlockShape, Borders, Shifts, SpatialDims

from .. import functions

_DEFAULTS = {
    "spatial_dims": None,
    "pad_value": 0,
    "batch_order": "block_major",
    "arrangement": "interleaved",
    "shifts": 0,
}


class _Move(torch.nn.Module):
    arguments: dict[str, Any]

    def extra_repr(self) -> str:
        return ", ".join(
            f"{name}={value!r}"
            for name, value in self.arguments.items()
            if name not in _DEFAULTS or value != _DEFAULTS[name]
        )


class SpaceToBatch(_Move):
    """`spacebatch.space_to_batch` as a module, with nothing to learn.

    >>> import torch
    >>> SpaceToBatch(2, paddings="auto")(torch.ones(1, 3, 5, 5)).shape
    torch.Size([4, 3, 3, 3])

    Args:
        block_shape, paddings, spatial_dims, pad_value, batch_order, arrangement, shifts: see `spacebatch.space_to_batch`.

    Shape:
        (N, …, S, …) → (N * P, …, (S + before + after) / b, …).

    Raises:
        ValueError, TypeError: when called, as the function; the block and the paddings cannot be judged before a shape
        is known.
    """

    def __init__(
        self,
        block_shape: BlockShape,
        paddings: Borders | str = 0,
        *,
        spatial_dims: SpatialDims = None,
        pad_value: bool | int | float | complex = 0,
        batch_order: BatchOrder = "block_major",
        arrangement: Arrangement = "interleaved",
        shifts: Shifts = 0,
    ) -> None:
        super().__init__()
        self.arguments = {
            "block_shape": block_shape,
            "paddings": paddings,
            "spatial_dims": spatial_dims,
            "pad_value": pad_value,
            "batch_order": batch_order,
            "arrangement": arrangement,
            "shifts": shifts,
        }

    def forward(self, x: Tensor) -> Tensor:
        """The batch tensor of x."""
        result: Tensor = functions.space_to_batch(x, **self.arguments)
        return result


class BatchToSpace(_Move):
    """`spacebatch.batch_to_space` as a module, with nothing to learn.

    >>> import torch
    >>> BatchToSpace(2, crops=((0, 1), (0, 1)))(torch.ones(4, 3, 3, 3)).shape
    torch.Size([1, 3, 5, 5])

    Args:
        block_shape, crops, spatial_dims, batch_order, arrangement, shifts: see `spacebatch.batch_to_space`.

    Shape:
        (N * P, …, S', …) → (N, …, S' * b - before - after, …).

    Raises:
        ValueError, TypeError: when called, as the function.
    """

    def __init__(
        self,
        block_shape: BlockShape,
        crops: Borders = 0,
        *,
        spatial_dims: SpatialDims = None,
        batch_order: BatchOrder = "block_major",
        arrangement: Arrangement = "interleaved",
        shifts: Shifts = 0,
    ) -> None:
        super().__init__()
        self.arguments = {
            "block_shape": block_shape,
            "crops": crops,
            "spatial_dims": spatial_dims,
            "batch_order": batch_order,
            "arrangement": arrangement,
            "shifts": shifts,
        }

    def forward(self, y: Tensor) -> Tensor:
        """The space tensor of y."""
        result: Tensor = functions.batch_to_space(y, **self.arguments)
        return result
