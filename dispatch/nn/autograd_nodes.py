"""What autograd sees of values: nodes between a value and its cells, or the image that holds its numbers, in both directions."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor

from .. import torch_private
from .batch_space_tensor import wrapper
from .cells import Cells, enter, leave

Where: TypeAlias = (
    "tuple[tuple[int, ...], bool] | None"  # the rate, and whether the channels are the last dim; None: an image
)


class Link(torch.autograd.Function):
    """The value behind its cells."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, where: Where, shape: tuple[int, ...]) -> Tensor:
        ctx.where = where
        return wrapper(own, shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _to_cells(grad, ctx.where), None, None


link = torch_private.apply_of(Link)


class Relink(torch.autograd.Function):
    """The value behind the cells that a rule has written into."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, own: Tensor, where: Where) -> Tensor:
        ctx.where = where
        ctx.mark_dirty(value)
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        return None, _to_cells(grad, ctx.where), None


def _to_cells(grad: Tensor, where: Where) -> Tensor:
    return grad if where is None else enter(grad, *where).tensor


class Rejoin(torch.autograd.Function):
    """Cells, or an image, behind what was recorded on the value."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, own: list[Tensor], like: Cells | None) -> Tensor:
        ctx.like = None if like is None else like._replace(tensor=None, clean=False)  # type: ignore[arg-type]
        return own[0].detach()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return (grad if ctx.like is None else leave(ctx.like._replace(tensor=grad))), None, None
