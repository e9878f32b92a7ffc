"""The compiled CPU path as a backend: a geometry and two layouts in, a prepared call or the reason why there is none out."""

from __future__ import annotations

import ctypes
import importlib.util
import math
import struct
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.prepared import Direction, Layout
from spacebatch.reference.threads import thread_limit

from . import openmp, workers
from .plan import HEAD_NUMBERS, Kind, Plan, make_plan

if TYPE_CHECKING:
    from .engine import Functions

NUMBERS = "biufcmM"  # kinds of NumPy's dtypes that are nothing but their bits

# Bytes read and written, of float32 in blocks of 2 and 4 on 2 cores of an AMD EPYC. Below SHORT_BYTES a call keeps the interpreter's
# lock, which takes longer to give away than the call. From SHARED_BYTES on threads share a call: 1 MiB to and fro takes 21 us by one
# and 16 by two of PyTorch's, half of that 11 and 9.7, 4 MiB 84 and 54; threads of our own, which have to be woken, take 30 and 63.
SHORT_BYTES = 1 << 16
SHARED_BYTES = 1 << 20
SHARED_BYTES_OF_OUR_OWN = 6 << 20
CHUNK_BYTES = 1 << 17  # what the last thread may be late by
# Of a result that was there before, which non-temporal stores write: 64 MiB take 2.2 ms instead of 2.8 and 256 MiB 9.6 instead of 12.7,
# but 16 MiB, which stay in the cache, 0.39 instead of 0.35. New memory was just zeroed through the cache by the operating system, and
# non-temporal stores are slower there: 256 MiB 23 ms instead of 18.
STREAM_BYTES = 32 << 20


def prepare(direction: Direction, geometry: BlockGeometry, source: Layout, result: Layout) -> Call | str:
    """A call between two layouts, or the reason why there is none.

    >>> x, y = (Layout(strides, 4, np.dtype("f4"), "numpy", strides[0] == 4) for strides in ((8, 1), (4, 1)))
    >>> str(prepare("space_to_batch", BlockGeometry((1, 8), (2,)), x, y))
    'rows of 2 phases by shuffles, words of 4 bytes'

    Args:
        direction, geometry: of the call; the result has at least one element.
        source, result: layouts of a NumPy array or a tensor on the CPU.
    """
    reason = missing() or _refused(geometry, source, result)
    if reason is not None:
        return reason
    assert source.strides is not None
    assert result.strides is not None
    to_batch = direction == "space_to_batch"
    space, batch = (source.strides, result.strides) if to_batch else (result.strides, source.strides)
    size = source.itemsize
    written = math.prod(geometry.batch_shape if to_batch else geometry.space_shape) * size
    stream = not result.new and written >= STREAM_BYTES
    from .engine import vector_bytes

    plan = make_plan(direction, geometry, space, batch, size, vector_bytes(), stream)
    if isinstance(plan, str):
        return plan
    moved = (math.prod(geometry.space_shape) + math.prod(geometry.batch_shape)) * size
    return (ArrayCall if source.device == "numpy" else Call)(direction, geometry, plan, moved)


@lru_cache(maxsize=1)
def missing() -> str | None:
    """None where LLVM can be loaded, else why not."""
    if importlib.util.find_spec("llvmlite") is None:
        return "llvmlite is not installed"
    try:
        from . import engine
    except (ImportError, OSError) as error:
        return f"llvmlite cannot be loaded: {error}"
    return engine.missing()


def _refused(geometry: BlockGeometry, source: Layout, result: Layout) -> str | None:
    if source.device == "numpy":
        if source.dtype.kind not in NUMBERS:
            return f"dtype {source.dtype} is not one of plain numbers"
    elif source.device != "cpu":
        return f"the tensor is on {source.device}, not on the CPU"
    if source.strides is None or result.strides is None:
        return "a stride is no whole number of elements"
    if geometry.empty or 0 in geometry.batch_shape:
        return "there is nothing to move"
    if source.itemsize not in (1, 2, 4, 8, 16):
        return f"no word has the {source.itemsize} bytes of an element"
    return None


class Call:
    """A call of tensors between two layouts, shared by PyTorch's threads where these were handed over.

    Attributes:
        kind: of kernel. shared: whether threads share a call.
    """

    __slots__ = (
        "_chunk",
        "_functions",
        "_numbers",
        "_padded",
        "_short",
        "_steps",
        "_stream",
        "_to_batch",
        "kind",
        "shared",
    )

    def __init__(self, direction: Direction, geometry: BlockGeometry, plan: Plan, moved: int) -> None:
        self._to_batch = direction == "space_to_batch"
        self._padded = self._to_batch and geometry.padded
        self._stream = plan.kind if plan.kind.stream else None
        self.kind: Kind = plan.kind.through_the_cache
        self.shared = moved >= self._shared_from()
        self._steps = plan.steps
        self._chunk = max(1, plan.steps * CHUNK_BYTES // moved)
        self._numbers = struct.pack(f"{len(plan.numbers)}q", *plan.numbers)  # with a pad value of 0
        self._functions: Functions | None = None
        self._short: Any = moved < SHORT_BYTES  # then the function of (space, batch, numbers), else None

    def __call__(self, source: Any, result: Any, pad: bytes) -> None:
        short = self._short
        if not short or short is True or pad:
            pair = source.data_ptr(), result.data_ptr()
            self.run(*(pair if self._to_batch else pair[::-1]), pad)
        elif self._to_batch:
            short(source.data_ptr(), result.data_ptr(), self._numbers)
        else:
            short(result.data_ptr(), source.data_ptr(), self._numbers)

    def ready(self, wait: bool = False) -> bool:
        """Whether it can run at once; it is compiled else."""
        if self._functions is None:
            self._load()
        return True

    def _load(self) -> None:
        from .engine import compiled

        self._functions = compiled(self.kind)
        self._short = self._functions.short if self._short else None

    def run(self, space: int, batch: int, pad: bytes) -> None:
        """Move everything between two addresses; `pad` has the bits of the pad value, none for zeros."""
        if self._functions is None:
            self._load()
        numbers = self._numbers
        if pad and self._padded:
            numbers = b"".join((numbers[:8], (pad * 16)[:16], numbers[8 * (HEAD_NUMBERS - 1) :]))
        functions = self.functions(batch if self._to_batch else space)
        if self.shared:
            workers.run(functions, space, batch, numbers, self._steps, self._chunk, *self._threads())
        else:
            (self._short or functions.long)(space, batch, numbers)

    def functions(self, result: int) -> Functions:
        """What runs for a result at an address."""
        if self._stream is not None and result % self.kind.vector == 0:
            from .engine import compiled

            return compiled(self._stream)
        assert self._functions is not None
        return self._functions

    def __str__(self) -> str:
        """What runs, for `explain`."""
        ways = [", an aligned out= by non-temporal stores"] if self._stream is not None else []
        ways += [", shared by threads"] if self.shared else []
        return "".join([str(self.kind), *ways])

    def _shared_from(self) -> int:
        return SHARED_BYTES if openmp.loaded() else SHARED_BYTES_OF_OUR_OWN

    def _threads(self) -> tuple[int, openmp.OpenMP | None]:
        """How many, and of which library."""
        return openmp.threads(), openmp.loaded()


class ArrayCall(Call):
    """A call of NumPy arrays, shared by threads of our own: PyTorch's would not outlive a fork."""

    __slots__ = ()

    def __call__(self, source: Any, result: Any, pad: bytes) -> None:
        short = self._short
        if not short or short is True or pad:
            pair = address(source), address(result)
            self.run(*(pair if self._to_batch else pair[::-1]), pad)
        elif self._to_batch:
            short(address(source), address(result), self._numbers)
        else:
            short(address(result), address(source), self._numbers)

    def _shared_from(self) -> int:
        return SHARED_BYTES_OF_OUR_OWN

    def _threads(self) -> tuple[int, None]:
        return thread_limit(), None


def _address(array: Any) -> int:
    return int(array.ctypes.data)


def _address_in_header(array: Any) -> int:
    """The first member of NumPy's array after Python's header, which its C interface promises: 0.13 us instead of 1."""
    return _word_at(id(array) + _HEADER).value or 0


_HEADER = object.__basicsize__
_word_at = ctypes.c_void_p.from_address
_probe = np.empty(1)
_plain = sys.implementation.name == "cpython" and _address_in_header(_probe) == _address(_probe)
address = _address_in_header if _plain else _address
