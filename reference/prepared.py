"""The way of a call: a geometry and two layouts in, a prepared call out, which then needs nothing but source and result.

Every backend answers one question: `prepare(direction, geometry, source, result)` gives a `Prepared` or the reason why it
cannot. The chain of backends is asked in order; `find` is the loop that does so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from .geometry import BlockGeometry

Direction: TypeAlias = Literal["space_to_batch", "batch_to_space"]


class Layout(NamedTuple):
    """How a tensor or an array lies in memory: all that a backend may know before a call.

    Attributes:
        strides: in elements; None where a stride of a NumPy array is no whole number of elements.
        itemsize: bytes of an element.
        dtype: NumPy's or PyTorch's.
        device: "numpy" for an array, else the type of the tensor's device: "cpu", "cuda", "meta" …
        new: a result that was allocated for this call, and not given as `out=`.
    """

    strides: tuple[int, ...] | None
    itemsize: int
    dtype: Any
    device: str
    new: bool = False


class Prepared(Protocol):
    """One call, with everything worked out but addresses and the pad value."""

    def ready(self) -> bool:
        """Whether it can run at once. False while it is being compiled, which the first question starts."""

    def __call__(self, source: Any, result: Any, pad: bytes) -> None:
        """Fill the result.

        Args:
            source, result: tensors or arrays of the layouts that this was prepared for.
            pad: the bits of one element of padding; empty for zero bits.
        """

    def __str__(self) -> str:
        """What runs, in a line, for `explain`."""


class Backend(NamedTuple):
    """A name and the one question: can you run this?"""

    name: str
    prepare: Callable[[Direction, BlockGeometry, Layout, Layout], Prepared | str]
