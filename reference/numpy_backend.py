"""NumPy as a backend: strided copies of whole rectangles, for arrays of any dtype and any strides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .arithmetic import NO_OPERANDS, Arithmetic, Operands
from .array_arithmetic import along, computed
from .geometry import BlockGeometry
from .prepared import Answer, Backend, Direction, Layout
from .strided_copies import Array, copy_to_batch, copy_to_space, fill_border


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


class NumpyArithmetic:
    """A prepared call with arithmetic on the way: computed where the source is, or where the result is, and copied."""

    def __init__(
        self,
        direction: Direction,
        geometry: BlockGeometry,
        source: np.dtype[Any],
        result: np.dtype[Any],
        arithmetic: Arithmetic,
    ) -> None:
        self._geometry, self._arithmetic = geometry, arithmetic
        self._dtype, self._moved = result, source
        self._border = direction == "space_to_batch" and geometry.padded
        self._copy = NumpyCopies(direction, geometry, source if arithmetic.residual is not None else result)

    def ready(self, wait: bool = False) -> bool:
        """Always."""
        return True

    def __call__(self, source: Any, result: Any, pad: Any, operands: Operands = NO_OPERANDS) -> None:
        """Fill the result."""
        arithmetic, geometry = self._arithmetic, self._geometry
        scale, bias, residual, table = operands
        number: Any = np.frombuffer(pad or bytes(self._dtype.itemsize), self._dtype)[0]
        if residual is not None:
            moved = np.empty_like(result, self._moved)
            self._copy(source, moved, b"")
            result[...] = computed(moved, arithmetic, self._dtype, scale, bias, residual)
            if self._border:
                fill_border(geometry, result, number)
            return
        self._copy(computed(source, arithmetic, self._dtype, scale, bias), result, pad)
        if self._border and table is not None:
            fill_border(geometry, result, along(table, arithmetic.channel_dim, result.ndim))

    def __str__(self) -> str:
        steps = [f"{self._arithmetic} by NumPy", str(self._copy)]
        return ", then ".join(reversed(steps) if self._arithmetic.residual is not None else steps)


def _prepare(
    direction: Direction,
    geometry: BlockGeometry,
    source: Layout,
    result: Layout,
    arithmetic: Arithmetic | None = None,
) -> Answer:
    if arithmetic is not None:
        return NumpyArithmetic(direction, geometry, source.dtype, result.dtype, arithmetic)
    return NumpyCopies(direction, geometry, source.dtype)


NUMPY = Backend("numpy", _prepare)
