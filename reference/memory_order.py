"""Which dim is outermost in memory: outputs keep the order of their input (channels_last in, channels_last out)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .geometry import BlockGeometry
    from .prepared import Direction


def memory_order(shape: Sequence[int], strides: Sequence[int]) -> tuple[int, ...]:
    """The dims from outermost to innermost in memory.

    Ties (dims of size 1, expanded dims of stride 0) keep the dims' own order: an insertion sort that moves a dim
    outwards only past dims of a smaller, non-zero stride. Where there are no ties, this is PyTorch's rule for the outputs
    of elementwise operators; elements or bytes may be the unit of `strides`, and their sign does not matter.

    >>> memory_order((2, 3, 4, 5), (60, 1, 15, 3))
    (0, 2, 3, 1)
    """
    order = list(range(len(shape)))
    for i in range(1, len(order)):
        moving = i
        for j in range(i - 1, -1, -1):
            outer, inner = order[j], order[moving]
            a, b = abs(strides[outer]), abs(strides[inner])
            if a == 0 or b == 0 or shape[outer] == 1 or shape[inner] == 1:
                continue
            if a >= b:
                break
            order[j], order[moving] = inner, outer
            moving = j
    return tuple(order)


def dense_strides(shape: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """Strides, in elements, of a dense tensor whose dims lie in memory in `order` (outermost first).

    >>> dense_strides((2, 3, 4, 5), (0, 2, 3, 1))
    (60, 1, 15, 3)
    """
    strides = [0] * len(shape)
    step = 1
    for dim in reversed(order):
        strides[dim] = step
        step *= max(shape[dim], 1)
    return tuple(strides)


def result_layout(
    direction: Direction, geometry: BlockGeometry, source_strides: Sequence[int], contiguous: bool = False
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape and strides, in elements, of a new result: dense, in the memory order of its source.

    >>> from .geometry import BlockGeometry
    >>> result_layout("space_to_batch", BlockGeometry((2, 3, 4, 4), 2), (48, 1, 12, 3))
    ((8, 3, 2, 2), (12, 1, 6, 3))

    Args:
        direction, geometry: of the call.
        source_strides: of the source, in any unit.
        contiguous: whether the source is known to be in row-major order.
    """
    source, result = geometry.space_shape, geometry.batch_shape
    if direction == "batch_to_space":
        source, result = result, source
    if contiguous:  # the usual case, at every new size
        strides, step = [], 1
        for size in reversed(result):
            strides.append(step)
            step *= size or 1
        return result, tuple(strides[::-1])
    return result, dense_strides(result, memory_order(source, source_strides))
