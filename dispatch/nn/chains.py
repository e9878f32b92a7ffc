"""What a run of a converted network did: which convolutions computed in one chain in batch space, and what ended it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .cells import Cells


class Call(NamedTuple):
    """One call of a dilated convolution: what it was given, as a tensor of the meta device."""

    layer: Any
    like: Tensor
    wants_gradient: bool
    rate: tuple[int, ...] | None  # None: it entered no batch space
    stayed: bool  # whether its input was there already


class Chain:
    """Convolutions between which values stayed in batch space."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.ends: dict[str, None] = {}  # in order
        self.leaves: list[Cells] = []  # of the meta device
        self.into: Chain | None = None

    def root(self) -> Chain:
        """The chain that this one has become a part of."""
        chain = self
        while chain.into is not None:
            chain = chain.into
        return chain


class Record:
    """All calls of one run, by chain; convolutions that entered no batch space are chains of their own."""

    def __init__(self, network: nn.Module) -> None:
        self.paths = {id(part): path for path, part in network.named_modules()}
        self.started: list[Chain] = []
        self.stack: list[str] = []
        self.function = ""
        self.thread = threading.get_ident()

    @property
    def chains(self) -> list[Chain]:
        """The chains in the order of their beginnings."""
        return list(dict.fromkeys(chain.root() for chain in self.started))

    def place(self) -> str:
        """The function being called, and the innermost module."""
        inside = next((path for path in reversed(self.stack) if path), "")
        return f"{self.function} in {inside}" if inside and self.function else self.function or "the end of the network"


_record: Record | None = None


def recording() -> bool:
    """Whether a run is being recorded, by this thread."""
    return _record is not None and not torch.compiler.is_compiling() and _record.thread == threading.get_ident()


@contextmanager
def record(network: nn.Module) -> Iterator[Record]:
    """Record what the network's convolutions do meanwhile."""
    global _record
    made = Record(network)

    def before(module: nn.Module, _: Any) -> None:
        if recording():
            made.stack.append(made.paths.get(id(module), ""))

    def after(*_: Any) -> None:
        if made.stack and recording():
            made.stack.pop()

    modules = torch.nn.modules.module
    hooks = [
        modules.register_module_forward_pre_hook(before),
        modules.register_module_forward_hook(after, always_call=True),
    ]
    _record = made
    try:
        yield made
    finally:
        _record = None
        for hook in hooks:
            hook.remove()


def recorded(layer: nn.Module, forward: Callable[..., Any], input: Any, *args: Any, **kwargs: Any) -> Any:
    """The forward of a dilated convolution, with a note of it."""
    from .value import Value

    assert _record is not None
    found = getattr(input, "_memory", None) if isinstance(input, Value) else None
    before = None if found is None or found.image is not None else found.chain
    like = input.detach().to("meta") if found is None else torch.empty_like(found_like(input), device="meta")
    result = forward(input, *args, **kwargs)
    memory = result._memory if isinstance(result, Value) else None
    if memory is None or memory.image is not None:
        chain, stayed = Chain(), False
        _record.started.append(chain)
    else:
        stayed = before is not None and memory.chain is not None and memory.chain.root() is before.root()
        if memory.chain is None:
            memory.chain = Chain()
            _record.started.append(memory.chain)
        chain = memory.chain.root()
    chain.calls.append(Call(layer, like, input.requires_grad, None if memory is None else memory.rate, stayed))
    return result


def found_like(value: Any) -> Tensor:
    """A tensor of the value's shape, type and strides, without numbers."""
    from .value import untouched

    with untouched():
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")


def met(memory: Any, other: Any) -> None:
    """Two values became one: their chains are one."""
    if memory.chain is None or other.chain is None:
        return
    one, two = memory.chain.root(), other.chain.root()
    if one is not two:
        two.into = one
        one.calls += two.calls
        one.ends |= two.ends
        one.leaves += two.leaves


def left(memory: Any, cells: Cells) -> None:
    """A value left batch space."""
    if memory.chain is not None and _record is not None and recording():
        chain = memory.chain.root()
        chain.ends[_record.place()] = None
        chain.leaves.append(cells._replace(tensor=cells.tensor.detach().to("meta")))


def called(name: str) -> None:
    """A torch function was given images for values."""
    if _record is not None and recording():
        _record.function = name
