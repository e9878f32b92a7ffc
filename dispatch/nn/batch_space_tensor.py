"""The tensors that values in batch space are, and what a value shares with its aliases.

Eager, a value is a tensor without memory: it has the image's shape, type and strides. Under torch.compile, which cannot make such
tensors, it is a tensor of the image's shape that nothing reads and the compiler leaves out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from .cells import Cells
from .entering import begin, end

Step: TypeAlias = Callable[[Tensor], Tensor]  # from a tensor to a view of it, the same in space and in batch space
untouched: Any = torch._C.DisableTorchFunctionSubclass


class Memory:
    """What a value and its aliases share: the cells, until something has asked for the image.

    Attributes:
        cells: of the value that the aliases are views of; None once the image holds the numbers.
        image: what holds the numbers instead. given: whether it was there before the value.
        rate: the blocks. source: cells that were entered once and may serve again, kept as long as what came of them.
        chain: the report's notes, if one is made.
    """

    def __init__(self, rate: tuple[int, ...], cells: Cells | None = None, image: Tensor | None = None) -> None:
        self.rate, self.cells, self.image = rate, cells, image
        self.given = image is not None
        self.source: Tensor | None = None
        self.chain: Any = None
        self.members: list[Any] = []  # references to the aliases, where there are several


class Graph:
    """What values are used by: the rules, and whether torch.compile traces a network at whose end values become images: no value may leave a graph."""

    inside = 0
    rules: Any = None  # `rules.called`, of what is called with a value
    below: Any = None  # `value.below`, of what gets a value without having asked it

    def enter(self) -> None:
        """Such a network is entered."""
        if torch.compiler.is_dynamo_compiling():
            self.inside += 1
        elif not torch.compiler.is_compiling():
            begin()

    def leave(self) -> None:
        """It is left."""
        if torch.compiler.is_dynamo_compiling():
            self.inside = max(self.inside - 1, 0)
        elif not torch.compiler.is_compiling():
            end()


graph = Graph()


class Value(Tensor):
    """A value in batch space, eager or traced."""

    _memory: Memory
    _own: Tensor | None  # its own cells: a view of the memory's
    _sizes: tuple[int, ...]
    _last: bool  # whether its channels are its last dim
    _steps: tuple[tuple[Step, bool], ...]  # how it is a view of the memory's image, and whether autograd saw it
    _plain: Tensor | None  # its own view of the memory's image
    _copy: tuple[Tensor, int] | None  # an image of its own, and the version of the cells that it shows
    _node: Any  # its grad_fn, as made here
    _linked: int | None  # the version of the cells, or of the image, that autograd sees behind it
    _used: bool  # whether autograd has recorded the cells as an input

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return graph.rules(func, args, kwargs or {})


class BatchSpaceTensor(Value):
    """A value in batch space, in eager mode: it has the image's shape, type and strides, and no memory of its own."""

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """What reaches a value below autograd, without having asked it: the image's numbers, in memory that it shares."""
        with untouched():
            return func(*tree_map(graph.below, args), **tree_map(graph.below, kwargs or {}))


class TracedBatchSpaceTensor(Value):
    """A value in batch space while torch.compile traces."""


def is_value(x: Any) -> bool:
    """Whether x is a value of batch space, to code that treats them apart."""
    return isinstance(x, Value)


def wrapper(own: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A tensor of a shape without memory, whose dims lie in the order of those of `own`."""
    strides = None
    if not own.is_contiguous():
        strides, step = [0] * len(shape), 1
        for d in sorted(range(len(shape)), key=lambda d: (own.stride(d), -d)):
            strides[d], step = step, step * max(shape[d], 1)
    return torch.Tensor._make_wrapper_subclass(BatchSpaceTensor, shape, strides, dtype=own.dtype, device=own.device)
