"""The way of a call: a geometry and two layouts in, a prepared call out, which then needs nothing but source and result.

Every backend answers one question: `prepare(direction, geometry, source, result, arithmetic)` gives a `Prepared` or the reason why it
cannot. Each kind of device has a chain of backends, best first, and `find` is the loop that asks it. `use_backend` replaces the
chain by one backend, and `explain` prints the answers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from .arithmetic import NO_OPERANDS, Arithmetic, Operands
from .geometry import BlockGeometry

Direction: TypeAlias = Literal["space_to_batch", "batch_to_space"]

NAMES = ("llvm", "numpy", "torch", "triton")


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

    def ready(self, wait: bool = False) -> bool:
        """Whether it can run at once. While it is being compiled, which the first question starts, it cannot, unless told to wait."""

    def __call__(self, source: Any, result: Any, pad: Any, operands: Operands = NO_OPERANDS) -> None:
        """Fill the result.

        Args:
            source, result: tensors or arrays of the layouts that this was prepared for.
            pad: the bytes of one element of padding, in the result's dtype; empty for zero bits. Of arrays of objects: a 0-d array.
            operands: of the arithmetic that this was prepared for.
        """

    def __str__(self) -> str:
        """What runs, in a line, for `explain`."""


Answer: TypeAlias = "Prepared | str"


class Backend(NamedTuple):
    """A name and the one question: can you run this? The last argument is the arithmetic on the way, None where bits are moved."""

    name: str
    prepare: Callable[[Direction, BlockGeometry, Layout, Layout, Arithmetic | None], Answer]


class Device(NamedTuple):
    """The backends of one kind of device.

    Attributes:
        chain: asked in order. The last one takes every call.
        others: asked only when demanded by name.
    """

    chain: tuple[Backend, ...]
    others: tuple[Backend, ...] = ()


DEVICES: dict[str, Device] = {}  # by `Layout.device`; "" stands for every device that is not listed


def _checked(name: object, where: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{where}: the backend must be a name, got {name!r} of type {type(name).__name__}")
    if name not in NAMES:
        raise ValueError(f"{where}: no backend is called {name!r}; there are {', '.join(NAMES)}")
    return name


demanded: str | None = None  # by `use_backend` or the environment
if os.environ.get("SPACEBATCH_BACKEND"):
    demanded = _checked(os.environ["SPACEBATCH_BACKEND"], "SPACEBATCH_BACKEND")


@contextmanager
def use_backend(name: Literal["triton", "llvm", "numpy", "torch"]) -> Iterator[None]:
    """Have every eager call inside the block computed by the named backend, or fail with its reason.

    >>> import numpy as np, spacebatch
    >>> with spacebatch.use_backend("numpy"):
    ...     spacebatch.space_to_batch(np.arange(4).reshape(1, 4), (2,))
    array([[0, 2],
           [1, 3]])

    The choice holds for the whole process while the block runs, gradients in autograd's own threads included.
    `SPACEBATCH_BACKEND` in the environment makes it from the start. Compiled graphs and functorch transforms are computed by
    PyTorch's own operators and do not ask. A call that moves no element is served whatever was demanded.

    Args:
        name: "triton" (GPU; on the CPU only under Triton's interpreter), "llvm" or "numpy" (CPU), or "torch" (tensors).

    Raises:
        ValueError: no backend of that name. TypeError: no name.
    """
    global demanded
    before, demanded = demanded, _checked(name, "use_backend")
    try:
        yield
    finally:
        demanded = before


_waiting = False  # for kernels that are not compiled


@contextmanager
def waiting_for_kernels() -> Iterator[None]:
    """Have calls inside the block, in all threads, wait until their kernel is compiled, as those do whose backend is demanded."""
    global _waiting
    before, _waiting = _waiting, True
    try:
        yield
    finally:
        _waiting = before


def waits() -> bool:
    """Whether calls wait until their kernel is compiled: inside `waiting_for_kernels`, and where a backend is demanded."""
    return _waiting or demanded is not None


def answers(
    direction: Direction,
    geometry: BlockGeometry,
    source: Layout,
    result: Layout,
    arithmetic: Arithmetic | None = None,
    device: str | None = None,
) -> Iterator[tuple[str, Answer]]:
    """Each backend's name and its answer, in the order in which they are asked.

    Args:
        direction, geometry, source, result: of the call. arithmetic: on the way, if any.
        device: whose chain is asked; by default that of the source.
    """
    found = DEVICES.get(source.device if device is None else device) or DEVICES[""]
    backends = found.chain
    if geometry.empty or 0 in geometry.batch_shape:
        backends = backends[-1:]  # nothing is moved; at most the padding is filled
    elif demanded is not None:
        backends = tuple(b for b in (*found.chain, *found.others) if b.name == demanded)
        if not backends:
            kind = "a NumPy array" if source.device == "numpy" else f"a tensor on {source.device}"
            yield demanded, f"it does not compute on {kind}"
    for backend in backends:
        yield backend.name, backend.prepare(direction, geometry, source, result, arithmetic)


def find(
    direction: Direction,
    geometry: BlockGeometry,
    source: Layout,
    result: Layout,
    arithmetic: Arithmetic | None = None,
) -> tuple[Prepared, bool]:
    """The first backend's call that can run now, and whether it is to be kept: not while a better one is being compiled.

    Raises:
        RuntimeError: a backend was demanded that cannot run this call.
    """
    keep = True
    reason = ""
    for _, answer in answers(direction, geometry, source, result, arithmetic):
        if isinstance(answer, str):
            reason = answer
        elif answer.ready(wait=waits()):
            return answer, keep
        else:
            reason = "its kernel is not compiled"
            keep = False
    for _, answer in answers(
        direction, geometry, source, result, arithmetic
    ):  # again: why there is no kernel may be known by now
        reason = answer if isinstance(answer, str) else reason
    raise RuntimeError(f"{direction}: the backend {demanded!r} was asked for, but {reason}")


MOST_KEPT = 64  # calls of one geometry; each dtype, device and memory order is one


def keep(geometry: BlockGeometry, key: tuple[Any, ...], call: Any) -> None:
    """Have a geometry remember a prepared call. This is the only cache of prepared calls, and it goes with its geometry."""
    kept = geometry._prepared
    if len(kept) >= MOST_KEPT:
        kept.clear()
    kept[key] = call
