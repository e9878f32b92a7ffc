"""NumPy as a backend: strided copies of whole rectangles, for arrays of any dtype and any strides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .arithmetic import NO_OPERANDS, Arithmetic, Operands
from .geometry import BlockGeometry
from .prepared import Answer, Backend, Direction, Layout
from .strided_copies import Array, copy_to_batch, copy_to_space


class NumpyCopies:
    """A prepared call."""

    def __init__(
        self,
        direction: Direction,
        geometry: BlockGeometry,
        dtype: np.dtype[Any],
        as_array: Callable[[Any], Array] = np.asarray,
        threads: Callable[[], int | None] = lambda: None,
    ) -> None:
        """`as_array` gives a view of a source or a result with the dtype; `threads` how many may copy."""
        self._to_batch = direction == "space_to_batch"
        self._geometry, self._dtype = geometry, dtype
        self._as_array, self._threads = as_array, threads

    def ready(self, wait: bool = False) -> bool:
        """Always."""
        return True

    def __call__(self, source: Any, result: Any, pad: Any, operands: Operands = NO_OPERANDS) -> None:
        """Fill the result."""
        read, write, threads = self._as_array(source), self._as_array(result), self._threads()
        if not self._to_batch:
            copy_to_space(self._geometry, read, write, threads)
            return
        if isinstance(pad, bytes):
            pad = np.frombuffer(pad or bytes(self._dtype.itemsize), self._dtype)[0]
        copy_to_batch(self._geometry, read, write, pad, threads)

    def __str__(self) -> str:
        return "strided copies of whole rectangles" + (", border filled apart" if self._to_batch else "")


def _prepare(
    direction: Direction,
    geometry: BlockGeometry,
    source: Layout,
    result: Layout,
    arithmetic: Arithmetic | None = None,
) -> Answer:
    if arithmetic is not None:
        return "it computes nothing on the way"
    return NumpyCopies(direction, geometry, source.dtype)


NUMPY = Backend("numpy", _prepare)
