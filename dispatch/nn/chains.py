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
    """One call of a dilated convolution; its input is a tensor of the meta device."""

    layer: Any
    like: Tensor
    options: tuple[tuple[Any, ...], dict[str, Any]]  # what it was given beside the input
    wants_gradient: bool
    rate: tuple[int, ...] | None  # None: it entered no batch space
    stayed: bool  # whether its input was there already


class Chain:
    """Convolutions between which values stayed in batch space; one that entered none is a chain of its own."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.ends: dict[str, None] = {}  # in order
        self.leaves: list[Cells] = []  # of the meta device
        self.into: Chain | None = None

    def root(self) -> Chain:
        """The chain that this one has become a part of."""
        return self if self.into is None else self.into.root()


class Record:
    """All chains of one run, and where in the network it is now."""

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
    hooks = (
        modules.register_module_forward_pre_hook(before),
        modules.register_module_forward_hook(after, always_call=True),
    )
    _record = made
    try:
        yield made
    finally:
        _record = None
        for hook in hooks:
            hook.remove()


def recorded(layer: nn.Module, forward: Callable[..., Any], input: Any, *args: Any, **kwargs: Any) -> Any:
    """The forward of a dilated convolution, with a note of it."""
    assert _record is not None
    before = _chain_in(input)
    with torch._C.DisableTorchFunctionSubclass():
        like = torch.empty_strided(input.shape, input.stride(), dtype=input.dtype, device="meta")
        wants_gradient = input.requires_grad
    result = forward(input, *args, **kwargs)
    memory, chain = getattr(result, "_memory", None), _chain_in(result)
    if chain is None:
        chain = Chain()
        _record.started.append(chain)
    rate = None
    if memory is not None and memory.image is None:
        memory.chain, rate = chain, memory.rate
    chain.calls.append(Call(layer, like, (args, kwargs), wants_gradient, rate, chain is before))
    return result


def _chain_in(x: Any) -> Chain | None:
    """The chain of what may be a value in batch space."""
    memory = getattr(x, "_memory", None)
    return None if memory is None or memory.image is not None or memory.chain is None else memory.chain.root()


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
