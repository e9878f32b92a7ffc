"""A module's forward as a graph, made only where the graph holds all of it.

A graph holds one run: the flags and branches of that run are frozen into it. So it is made twice, training and evaluating,
and taken only where both are the same; values of the input that decide about a branch stop the tracing.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx, nn

_IN_PLACE = (operator.iadd, operator.isub, operator.imul, operator.itruediv, torch.relu_)


class NotTraceableError(Exception):
    """A module whose forward no single graph holds, with the reason."""


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        ours = type(m).__module__.startswith("spacebatch.nn") and not isinstance(m, fx.GraphModule)
        return ours or super().is_leaf_module(m, module_qualified_name)


def graph_of(module: nn.Module, absent: dict[str, Any] | None = None) -> fx.Graph:
    """The graph of a module's forward; its leaves are PyTorch's modules and ours.

    >>> [node.op for node in graph_of(nn.Sequential(nn.ReLU(), nn.Tanh())).nodes]
    ['placeholder', 'call_module', 'call_module', 'output']

    Args:
        module: its mode (training or not, of every part) is left as it was.
        absent: arguments of the forward that calls leave out, with their defaults.

    Raises:
        NotTraceableError: the forward branches on values, or differs between training and evaluation.
    """
    modes = [(part, part.training) for part in module.modules()]
    graphs = []
    try:
        for training in (True, False):
            for part, _ in modes:
                part.training = training
            graphs.append(_Tracer().trace(module, concrete_args=absent or None))
    except Exception as error:  # the forward is the user's code and may raise anything on a proxy
        raise NotTraceableError(
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        ) from error
    finally:
        for part, training in modes:
            part.training = training
    first, second = (_text(graph) for graph in graphs)
    if first != second:
        raise NotTraceableError("its forward differs between training and evaluation")
    return graphs[0]


def _text(graph: fx.Graph) -> list[str]:
    return [f"{node.name} {node.op} {node.target} {node.args} {node.kwargs}" for node in graph.nodes]


def overwrites(node: fx.Node) -> bool:
    """Whether a node changes its first argument in place while others read it: values in batch space are not shared so.

    >>> graph = fx.Graph()
    >>> x = graph.placeholder("x")
    >>> y = graph.call_method("add_", (x, 1))
    >>> overwrites(y), overwrites(graph.call_method("add", (x, 1))), overwrites(y)
    (False, False, True)
    """
    in_place = node.target in _IN_PLACE if node.op == "call_function" else str(node.target).endswith("_")
    first = node.args[0] if node.args else None
    return (
        node.op in ("call_function", "call_method") and in_place and isinstance(first, fx.Node) and len(first.users) > 1
    )


def modules_of(root: nn.Module) -> dict[str, nn.Module]:
    """Every module by the path that a node names it with, shared ones under each of their paths."""
    return dict(root.named_modules(remove_duplicate=False))
