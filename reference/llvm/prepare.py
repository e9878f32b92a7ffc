"""The compiled CPU path as a backend: a geometry and two layouts in, a prepared call or the reason why there is none out."""

from __future__ import annotations

import ctypes
import importlib.util
import math
import sys
from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Any

import numpy as np

from spacebatch.reference.arithmetic import NO_OPERANDS, SOURCES, Arithmetic, Operands
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.prepared import Direction, Layout
from spacebatch.reference.threads import thread_limit

from . import openmp, workers
from .compiler import Kernel, ask, finish, kernel_of, vector_bytes
from .operands import channelled, given, tables_are_plain
from .plan import plan_of
from .spec import HEAD_NUMBERS, OPERAND_NUMBERS

if TYPE_CHECKING:
    from .engine import Functions

NUMBERS = "biufcmM"  # kinds of NumPy's dtypes that are nothing but their bits

# Bytes read and written, of float32 in blocks of 2 and 4 on 2 cores of an AMD EPYC. Below SHORT_BYTES a call keeps the interpreter's
# lock, which takes longer to give away than the call. From SHARED_BYTES on threads share a call: 1 MiB to and fro takes 21 us by one
# and 16 by two of PyTorch's, half of that 11 and 9.7, 4 MiB 84 and 54; threads of our own, which have to be woken, take 30 and 63.
SHORT_BYTES = 1 << 16
SHARED_BYTES = 1 << 20
SHARED_BYTES_OF_OUR_OWN = 4 << 20
CHUNK_BYTES = 1 << 17  # what the last thread may be late by
# Of a result that was there before, which non-temporal stores write: 64 MiB take 2.2 ms instead of 2.8 and 256 MiB 9.6 instead of 12.7,
# but 16 MiB, which stay in the cache, 0.39 instead of 0.35. New memory was just zeroed through the cache by the operating system, and
# non-temporal stores are slower there: 256 MiB 23 ms instead of 18.
STREAM_BYTES = 32 << 20


def prepare(
    direction: Direction,
    geometry: BlockGeometry,
    source: Layout,
    result: Layout,
    arithmetic: Arithmetic | None = None,
) -> Call | str:
    """A call between two layouts, or the reason why there is none.

    >>> x, y = (Layout(strides, 4, np.dtype("f4"), "numpy", strides[0] == 4) for strides in ((8, 1), (4, 1)))
    >>> str(prepare("space_to_batch", BlockGeometry((1, 8), (2,)), x, y))
    'deinterleave 2 phases, words of 4 bytes'

    Args:
        direction, geometry: of the call; the result has at least one element.
        source, result: layouts of a NumPy array or a tensor on the CPU.
        arithmetic: on the way, if there is some.
    """
    reason = missing()
    if reason is not None:
        return reason
    space, size, dtype, device, _ = source
    batch, new = result.strides, result.new
    if device == "numpy":
        if arithmetic is None and dtype.kind not in NUMBERS:
            return f"dtype {dtype} is not one of plain numbers"
    elif device != "cpu":
        return f"the tensor is on {device}, not on the CPU"
    if space is None or batch is None:
        return "a stride is no whole number of elements"
    to_batch = direction == "space_to_batch"
    read, written = math.prod(geometry.space_shape), math.prod(geometry.batch_shape)
    if not (read and written):
        return "there is nothing to move"
    if size not in _SIZES:
        return f"no word has the {size} bytes of an element"
    if not to_batch:
        space, batch, read, written = batch, space, written, read
    moved = read * size + written * result.itemsize
    stream = not new and written * result.itemsize >= STREAM_BYTES
    padded = to_batch and geometry.padded
    if arithmetic is None:
        plan = plan_of(direction, geometry, space, batch, size, stream)
    else:
        found = channelled(arithmetic, geometry, padded)
        if isinstance(found, str):
            return found
        computed, channel_dim, channels = found
        if computed.residual is not None:
            moved += written * SOURCES[computed.residual]
        plan = plan_of(direction, geometry, space, batch, size, stream, computed, channel_dim)
    if isinstance(plan, str):
        return plan
    spec, numbers, steps, whole = plan
    kernel = kernel_of(spec)
    if kernel.refused is not None:
        return kernel.refused
    call: Call
    if arithmetic is None:
        call = (ArrayCall if device == "numpy" else Call)(kernel, numbers, steps, moved, padded)
    else:
        kind = ComputingArrayCall if device == "numpy" else ComputingCall
        call = kind(kernel, numbers, steps, moved, padded, channels)
    if whole:
        call._stream(whole)
    return call


_SIZES = frozenset((1, 2, 4, 8, 16))


@lru_cache(maxsize=1)
def missing() -> str | None:
    """None where llvmlite is installed, which is found without loading it, else why it does not serve."""
    if importlib.util.find_spec("llvmlite") is None:
        return "llvmlite is not installed"
    return None  # whether it is new enough is found by the thread that loads it


@lru_cache(maxsize=64)
def _packer(count: int) -> Any:
    return Struct(f"{count}q").pack


_OPERANDS = 8 * HEAD_NUMBERS  # where they stand among the numbers
_pack_operands = Struct(f"{OPERAND_NUMBERS}q")


def with_pad(numbers: bytes, pad: bytes) -> bytes:
    """The numbers of a call with a pad value, see `spec.HEAD_NUMBERS`; `pad` holds the bytes of one element."""
    return b"".join((numbers[:8], (pad * 16)[:16], numbers[24:]))


class Call:
    """A call of tensors between two layouts, shared by PyTorch's threads where these were handed over.

    Attributes:
        kernel: that it runs. shared: whether threads share a call.
    """

    __slots__ = (
        "_functions",
        "_moved",
        "_numbers",
        "_padded",
        "_short",
        "_steps",
        "_streaming",
        "_to_batch",
        "_vector",
        "_whole",
        "kernel",
        "shared",
    )

    def __init__(self, kernel: Kernel, numbers: list[int], steps: int, moved: int, padded: bool) -> None:
        """
        Args:
            kernel, numbers, steps: of the plan.
            moved: bytes of both tensors. padded: whether pad values are written.
        """
        self.kernel = kernel
        self._padded, self._moved, self._steps = padded, moved, steps
        self._to_batch: bool = kernel.spec[0]
        self._numbers: bytes = _packer(len(numbers))(*numbers)  # with a pad value of 0
        self._functions = functions = kernel.functions
        self._streaming: Kernel | None = None
        self._whole = 0
        self._short = functions.short if functions is not None and moved < SHORT_BYTES else None
        self.shared = moved >= SHARED_BYTES and (moved >= SHARED_BYTES_OF_OUR_OWN or self._library() is not None)

    def __call__(self, source: Any, result: Any, pad: bytes, operands: Operands = NO_OPERANDS) -> None:
        short = self._short
        if short is None or pad:
            pair = source.data_ptr(), result.data_ptr()
            self._run(*(pair if self._to_batch else pair[::-1]), pad)
        elif self._to_batch:
            short(source.data_ptr(), result.data_ptr(), self._numbers)
        else:
            short(result.data_ptr(), source.data_ptr(), self._numbers)

    def ready(self, wait: bool = False) -> bool:
        """Whether it can run at once; if not, its kernel is loaded or compiled, behind or before this returns.

        Args:
            wait: have the kernel made before this returns, whatever SPACEBATCH_COMPILE says of other calls.

        Raises:
            ValueError: SPACEBATCH_COMPILE is none of its choices.
        """
        if self._functions is None:
            if wait:
                finish(self.kernel)
            if not ask(self.kernel):
                return False
            self._bind()
        if self._streaming is not None:
            (finish if wait else ask)(self._streaming)
        return True

    def _bind(self) -> Functions:
        """Take over the loaded kernel."""
        functions = self.kernel.functions
        assert functions is not None
        self._functions = functions
        self._short = functions.short if self._moved < SHORT_BYTES else None
        if self._streams():
            self._streaming, self._vector = kernel_of(self.kernel.spec._replace(stream=True)), vector_bytes()
        return functions

    def _stream(self, whole: int) -> None:
        """Write an aligned result by non-temporal stores where vectors have at most so many bytes; see `plan.Plan`."""
        self._whole = whole
        if self._functions is not None:
            self._bind()

    def _streams(self) -> bool:
        """Whether an aligned result is written by non-temporal stores."""
        return self._whole > 0 and self._whole >= vector_bytes()

    def _run(self, space: int, batch: int, pad: bytes) -> None:
        """Move everything between two addresses."""
        numbers = self._numbers
        if pad and self._padded:
            numbers = with_pad(numbers, pad)
        self._move(space, batch, numbers)

    def _move(self, space: int, batch: int, numbers: bytes) -> None:
        functions = self.functions(batch if self._to_batch else space)
        if self.shared:
            workers.run(functions, space, batch, numbers, self._steps, self._chunk(), self._threads(), self._library())
        else:
            (self._short or functions.long)(space, batch, numbers)

    def _chunk(self) -> int:
        return max(1, self._steps * CHUNK_BYTES // self._moved)

    def functions(self, result: int) -> Functions:
        """What runs for a result at an address.

        Raises:
            RuntimeError: the kernel cannot be had.
        """
        functions = self._functions
        if functions is None:
            finish(self.kernel)
            if self.kernel.refused is not None:
                raise RuntimeError(self.kernel.refused)
            functions = self._bind()
        if self._streaming is not None and self._streaming.functions is not None and result % self._vector == 0:
            return self._streaming.functions
        return functions

    def __str__(self) -> str:
        """What runs, for `explain`."""
        ways = [", an aligned out= by non-temporal stores"] if self._streams() else []
        ways += [", shared by threads"] if self.shared else []
        return "".join([str(self.kernel.spec), *ways])

    def _threads(self) -> int:
        return openmp.threads()

    def _library(self) -> openmp.OpenMP | None:
        return openmp.loaded()


class ArrayCall(Call):
    """A call of NumPy arrays, shared by threads of our own: PyTorch's would not outlive a fork."""

    __slots__ = ()

    def __call__(self, source: Any, result: Any, pad: bytes, operands: Operands = NO_OPERANDS) -> None:
        short = self._short
        if short is None or pad:
            pair = address(source), address(result)
            self._run(*(pair if self._to_batch else pair[::-1]), pad)
        elif self._to_batch:
            short(address(source), address(result), self._numbers)
        else:
            short(address(result), address(source), self._numbers)

    def _threads(self) -> int:
        return thread_limit()

    def _library(self) -> None:
        return None


class ComputingCall(Call):
    """A call of tensors with arithmetic on the way."""

    __slots__ = ("_channels", "_head", "_plain_tables", "_tail")

    def __init__(self, kernel: Kernel, numbers: list[int], steps: int, moved: int, padded: bool, channels: int) -> None:
        """`channels`: how many entries scale, bias and pad values have."""
        super().__init__(kernel, numbers, steps, moved, padded)
        self._channels = channels
        self._head, self._tail = self._numbers[:_OPERANDS], self._numbers[_OPERANDS + _pack_operands.size :]
        self._plain_tables = tables_are_plain(kernel.spec)

    def __call__(self, source: Any, result: Any, pad: bytes, operands: Operands = NO_OPERANDS) -> None:
        at = self._address
        scale, bias, residual, pads = operands
        if self._plain_tables and pads is None:
            packed = _pack_operands.pack(
                0 if scale is None else at(scale),
                0 if bias is None else at(bias),
                0 if residual is None else at(residual),
                0,
                self._channels,
            )
        else:
            addresses = Operands(*[None if operand is None else at(operand) for operand in operands])
            count = math.prod(pads.shape) if pads is not None else 0
            columns, pad, _kept = given(self.kernel.spec, self._channels, addresses, pad, count)
            packed = _pack_operands.pack(*columns)
        head = with_pad(self._head, pad) if pad and self._padded else self._head
        pair = at(source), at(result)
        space, batch = pair if self._to_batch else pair[::-1]
        numbers = head + packed + self._tail
        if self._short is None:
            self._move(space, batch, numbers)
        else:
            self._short(space, batch, numbers)

    @staticmethod
    def _address(tensor: Any) -> int:
        found: int = tensor.data_ptr()
        return found


class ComputingArrayCall(ComputingCall, ArrayCall):
    """A call of NumPy arrays with arithmetic on the way."""

    __slots__ = ()

    @staticmethod
    def _address(tensor: Any) -> int:
        return address(tensor)


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
