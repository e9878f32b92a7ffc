"""Phases of a signal or an image: the polyphase decomposition, and time moved to the batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

from ..reference.arguments import as_integer
from ..reference.data_layout import ANY_RANK, layout_dims
from . import plans
from .images import plan_of
from .partition import Partition

ArrayT = TypeVar("ArrayT")  # a NumPy array or a tensor


def polyphase(x: ArrayT, factor: int | Sequence[int], *, layout: str = ANY_RANK, pad_value: Any = 0) -> ArrayT:
    """The polyphase decomposition: phase p is every `factor`-th element, from the p-th on.

    >>> import numpy as np
    >>> polyphase(np.arange(6).reshape(1, 1, 6), 3)[:, 0, 0].tolist()
    [[0, 3], [1, 4], [2, 5]]

    Args:
        x: array or tensor of signals, (N, C, L), of images, or of volumes.
        factor: number of phases, an int or one per spatial dim.
        layout, pad_value: as in `window_partition`; the end is padded up to a multiple of the factor.

    Returns:
        One dim for the phases of each spatial dim, then those of x: `polyphase(x, 4)[p]` equals `x[..., p::4]`, and of an
        image `polyphase(x, (2, 2))[p, q]` equals `x[..., p::2, q::2]`.

    Raises:
        ValueError: sizes or a layout that do not fit. TypeError: arguments of a wrong type.

    Source: polyphase filters, as in `scipy.signal.upfirdn`.
    """
    op = "polyphase"
    plan = plan_of(op, plans.dilated, x, factor, layout, "block_major", "factor")
    y: Any = plan._partition(op, x, pad_value=pad_value)
    return y.reshape((*plan.grid, y.shape[0] // plan.windows, *y.shape[1:]))  # type: ignore[no-any-return]


def inverse_polyphase(y: ArrayT, size: int | Sequence[int] | None = None, *, layout: str = ANY_RANK) -> ArrayT:
    """The signals or images whose phases these are.

    >>> import numpy as np
    >>> inverse_polyphase(polyphase(np.arange(5).reshape(1, 1, 5), 3), 5).tolist()
    [[[0, 1, 2, 3, 4]]]

    Args:
        y: array or tensor, as `polyphase` returns it. Phases that do not follow each other in memory are copied first.
        size: elements along each spatial dim, an int or one per dim; None where nothing was padded.
        layout: as given to `polyphase`: of one phase.

    Raises:
        ValueError: phases that make no signal of this size. TypeError: arguments of a wrong type.
    """
    op = "inverse_polyphase"
    plan = plan_of(op, _phases_of, y, size, layout)
    merged: Any = y
    merged = merged.reshape((merged.shape[len(plan.grid)] * plan.windows, *merged.shape[len(plan.grid) + 1 :]))
    return plan._merge(op, merged)  # type: ignore[no-any-return]


def time_to_batch(x: ArrayT, dilation: int, *, layout: str = ANY_RANK, pad_value: Any = 0) -> ArrayT:
    """Move every `dilation`-th step of time into a sample of its own: a dilated convolution becomes an ordinary one.

    >>> import numpy as np
    >>> time_to_batch(np.arange(5).reshape(1, 1, 5), 2)[:, 0].tolist()
    [[0, 2, 4], [1, 3, 0]]

    Args:
        x: array or tensor of signals, (N, C, T), or of anything else with one dim of time.
        dilation: steps from one of a sample to its next.
        layout: the letters of the dims, such as "NCT" or "NTC"; where there are several spatial dims, T is the time.
        pad_value: what the end is padded with, up to a multiple of the dilation.

    Returns:
        (dilation * N, C, T / dilation): all signals of the first phase come first.

    Raises:
        ValueError: sizes or a layout that do not fit. TypeError: arguments of a wrong type.

    Source: WaveNet's `time_to_batch`, whose layout is "NTC".
    """
    op = "time_to_batch"
    return plan_of(op, _steps, x, dilation, layout)._partition(op, x, pad_value=pad_value)  # type: ignore[no-any-return]


def batch_to_time(y: ArrayT, dilation: int, length: int | None = None, *, layout: str = ANY_RANK) -> ArrayT:
    """Move the samples of `time_to_batch` back into time, and drop what is beyond the length.

    >>> import numpy as np
    >>> batch_to_time(time_to_batch(np.arange(5).reshape(1, 1, 5), 2), 2, 5).tolist()
    [[[0, 1, 2, 3, 4]]]

    Args:
        y: array or tensor of shape (dilation * N, C, T / dilation).
        dilation, layout: as given to `time_to_batch`.
        length: steps of time to keep; None keeps all, as WaveNet's function does.

    Raises:
        ValueError: samples that make no signal of this length. TypeError: arguments of a wrong type.

    Source: WaveNet's `batch_to_time`.
    """
    op = "batch_to_time"
    return plan_of(op, _steps_of_batch, y, dilation, length, layout)._merge(op, y)  # type: ignore[no-any-return]


def _phases_of(op: str, shape: Any, size: Any, layout: Any) -> Partition:
    """The plan of `inverse_polyphase`: each spatial dim has one for its phases in front."""
    m = (len(shape) - (2 if isinstance(layout, str) and "C" in layout else 1)) // 2
    dims = layout_dims(f"{op}: layout", layout, len(shape) - max(m, 0))
    if len(dims) != m:
        raise ValueError(
            f"{op}: layout {layout!r} has {len(dims)} spatial dims; an input of {len(shape)} dims has not as many of phases"
        )
    factor, rest = tuple(shape[:m]), shape[m:]
    if 0 in factor:
        raise ValueError(f"{op}: the input has no phases: shape {tuple(shape)}")
    whole = tuple([rest[d] * f for d, f in zip(dims, factor, strict=True)]) if size is None else size
    batch = rest[0] * math.prod(factor), *rest[1:]
    return plans.dilated_of_batch(op, batch, factor, whole, dims, "block_major", "factor", "size")


def _time(op: str, shape: Any, layout: Any) -> tuple[int, ...]:
    dims = layout_dims(f"{op}: layout", layout, len(shape))
    if len(dims) == 1:
        return dims
    if "T" in layout and "..." not in layout:
        return (layout.index("T"),)
    raise ValueError(
        f'{op}: an input of layout {layout!r} has {len(dims)} spatial dims; name that of time T, as in "NCTHW"'
    )


def _steps(op: str, shape: Any, dilation: Any, layout: Any) -> Partition:
    return plans.dilated(op, shape, dilation, _time(op, shape, layout), "block_major")


def _steps_of_batch(op: str, shape: Any, dilation: Any, length: Any, layout: Any) -> Partition:
    dims = _time(op, shape, layout)
    whole = shape[dims[0]] * as_integer(dilation, f"{op}: dilation") if length is None else length
    return plans.dilated_of_batch(op, shape, dilation, whole, dims, "block_major", "dilation", "length")
