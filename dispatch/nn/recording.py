"""A network run once on an example: its graph with the shapes of all values, and what its parts are called with."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from .. import trials
from .regions import Recorder
from .tracing import NotTraceableError, graph_of


def shared_copy(model: nn.Module) -> nn.Module:
    """The module tree anew, over the same parameters and buffers."""
    memo: dict[int, Any] = {}
    for part in model.modules():
        for tensor in (*part._parameters.values(), *part._buffers.values(), *vars(part).values()):
            if isinstance(tensor, Tensor):
                memo[id(tensor)] = tensor
    return copy.deepcopy(model, memo)


def recorded(module: nn.Module, inputs: Sequence[Any]) -> fx.Graph:
    """The graph of a module, its nodes with the shapes of an example; refused where it computes something else."""
    names = list(inspect.signature(module.forward).parameters.values())
    absent = {p.name: p.default for p in names[len(inputs) :] if p.default is not p.empty}
    graph = graph_of(module, absent)
    with torch.no_grad():
        try:
            with trials.undisturbed(module):
                expected = module(*inputs)
            with trials.undisturbed(module):
                found = Recorder(module, graph=graph).run(*inputs, *absent.values())
            torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2, equal_nan=True)
        except Exception as error:  # anything at all: the graph is not what the module does
            raise NotTraceableError(f"{type(error).__name__}: {str(error).splitlines()[0]}") from error
    return graph


def calls_of(module: nn.Module, inputs: Sequence[Any]) -> dict[str, tuple[Any, ...]]:
    """What every child is called with first, if it is called with plain arguments only."""
    calls: dict[str, tuple[Any, ...]] = {}
    hooks = []

    def keep(name: str) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if not kwargs:
                calls.setdefault(name, args)

        return hook

    for name, child in module.named_children():
        hooks.append(child.register_forward_pre_hook(keep(name), with_kwargs=True))
    try:
        with torch.no_grad(), trials.undisturbed(module):
            module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return calls
