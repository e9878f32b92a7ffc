"""What `spacebatch.explain` has to know of a fused call on a tensor."""

from __future__ import annotations

from torch import Tensor

from spacebatch.reference.arithmetic import Arithmetic
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.prepared import Direction, Layout
from spacebatch.reference.words import Words

from ..routes import Route
from . import eager
from .aten import Call
from .tensor_words import arithmetic_for
from .tensors import route_of_words


def asked(
    op: str, direction: Direction, geometry: BlockGeometry, x: Tensor, words: Words, out: Tensor | None
) -> tuple[Route, Arithmetic, tuple[Layout, Layout]]:
    """The route of a call, its arithmetic as backends are asked for it, and how its tensors lie in memory.

    Args:
        op: the function, for messages. direction, geometry, x, words, out: of the call.
    """
    arithmetic = arithmetic_for(op, x, words, geometry.space_shape, geometry.spatial_dims)
    table = any(isinstance(value, Tensor) for value in words[:2]) and direction == "space_to_batch" and geometry.padded
    way = Call(direction, geometry, eager.asked(arithmetic, table) or arithmetic)
    return route_of_words(x, words), way.arithmetic, eager.layouts_of(way, x, out)
