"""Where a traced network can stay in batch space: chains of dilated convolutions of one rate, with what lies between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, fx, nn

from . import function_rules, layer_rules
from .tracing import overwrites

Rate = tuple[int, ...]


class Region(NamedTuple):
    """Nodes that compute in batch space, in the order of the graph."""

    rate: Rate
    nodes: tuple[fx.Node, ...]
    convolutions: tuple[str, ...]  # paths of the dilated ones


class Recorder(fx.Interpreter):
    """Runs a graph and writes beside each node what came out: `node.meta["value"]`, tensors on the meta device."""

    def run_node(self, n: fx.Node) -> Any:
        """The node's result, its shape and layout written down."""
        result = super().run_node(n)
        n.meta["value"] = fx.node.map_aggregate(result, _outline)
        return result


def _outline(value: Any) -> Any:
    return value.detach().to("meta") if isinstance(value, Tensor) else value


def dilation_of(layer: Any) -> Rate | None:
    """A convolution's dilation, 1 along dims where the kernel has one element; None where all are 1.

    >>> dilation_of(nn.Conv2d(1, 1, (1, 3), dilation=(5, 2))), dilation_of(nn.Conv2d(1, 1, 3))
    ((1, 2), None)
    """
    if not layer_rules.is_convolution(layer):
        return None
    dilation = tuple(d if size > 1 else 1 for d, size in zip(layer.dilation, layer.kernel_size, strict=True))
    return dilation if max(dilation) > 1 else None


def regions(graph: fx.Graph, modules: Mapping[str, nn.Module], rate: Rate | None = None) -> list[Region]:
    """The maximal chains of a graph whose nodes hold their values' shapes (see `Recorder`).

    Args:
        graph: of a network, run once. modules: by path.
        rate: only chains of convolutions whose dilation is a multiple of this, single ones as well; None: chains of at least
            two, of each dilation that there is.
    """
    dilated = {
        node: dilation
        for node in graph.nodes
        if node.op == "call_module" and (dilation := dilation_of(modules[node.target])) is not None
    }
    rates = [rate] if rate is not None else sorted(set(dilated.values()))
    taken: set[fx.Node] = set()
    found: list[Region] = []
    for candidate in rates:
        anchors = {
            node
            for node, dilation in dilated.items()
            if len(dilation) == len(candidate)
            and (
                dilation == candidate
                if rate is None
                else all(d % r == 0 for d, r in zip(dilation, candidate, strict=True))
            )
        }
        legal: set[fx.Node] = set()
        for node in graph.nodes:
            if (
                node not in taken
                and (node in anchors or node not in dilated)
                and _legal(node, modules, candidate, legal)
            ):
                legal.add(node)
        levels = _levels(graph, legal)
        kept = _between(graph, levels, anchors & legal)
        for nodes in _components(graph, kept, levels):
            names = tuple(str(node.target) for node in nodes if node in anchors)
            if len(names) > (1 if rate is None else 0):
                found.append(Region(candidate, tuple(nodes), names))
                taken |= set(nodes)
    return found


def _levels(graph: fx.Graph, legal: set[fx.Node]) -> dict[fx.Node, int]:
    """A number for each legal node, larger where a way from another one leads through something that is not legal.

    Nodes of one number make up a part of the graph that nothing leaves and enters again: a value that went to layers of
    another rate and back is not waited for in batch space.
    """
    levels: dict[fx.Node, int] = {}
    highest: dict[fx.Node, int] = {}  # of what a node that is not legal depends on
    for node in graph.nodes:
        reached = [levels.get(source, highest.get(source, -1) + 1) for source in node.all_input_nodes]
        if node in legal:
            levels[node] = max(reached, default=0)
        else:
            highest[node] = max((levels.get(s, highest.get(s, -1)) for s in node.all_input_nodes), default=-1)
    return levels


def _between(graph: fx.Graph, levels: dict[fx.Node, int], anchors: set[fx.Node]) -> set[fx.Node]:
    """What lies on a way from an anchor to an anchor of its level, and where such ways part and meet.

    Where a skip meets what it skipped, one value leaves instead of two; where it parts, one enters.
    """

    def beside(node: fx.Node, others: list[fx.Node] | dict[fx.Node, None]) -> list[fx.Node]:
        return [other for other in others if levels.get(other) == levels[node]]

    after: set[fx.Node] = set()
    ends = set(anchors)
    for node in levels:
        sources = [source for source in node.all_input_nodes if source.op != "get_attr"]
        forked = any(user in anchors for source in sources for user in beside(node, source.users))
        if node in anchors or forked or any(source in after for source in beside(node, sources)):
            after.add(node)
            if len(sources) > 1 and all(source in after and levels[source] == levels[node] for source in sources):
                ends.add(node)
    before: set[fx.Node] = set()
    for node in reversed(levels):
        if node in ends or any(user in before for user in beside(node, node.users)):
            before.add(node)
    kept = after & before
    for node in list(kept):
        if isinstance(node.meta["value"], tuple):
            kept |= set(node.users)
    return kept


def _components(graph: fx.Graph, kept: set[fx.Node], levels: dict[fx.Node, int]) -> list[list[fx.Node]]:
    """The connected parts of what is kept, each in the order of the graph."""
    group: dict[fx.Node, set[fx.Node]] = {}
    for node in levels:
        if node not in kept:
            continue
        mine = {node}
        for source in node.all_input_nodes:
            if source in group and levels[source] == levels[node]:
                mine |= group[source]
        for member in mine:
            group[member] = mine
    parts = {id(nodes): nodes for nodes in group.values()}.values()
    return [[node for node in levels if node in nodes] for nodes in parts]


def _legal(node: fx.Node, modules: Mapping[str, nn.Module], rate: Rate, legal: set[fx.Node]) -> bool:
    value = node.meta.get("value")
    if node.op == "call_module":
        one = len(node.args) == 1 and isinstance(node.args[0], fx.Node) and not node.kwargs
        return one and _full(node.args[0], rate) and layer_rules.reason(modules[str(node.target)], rate) is None
    if node.op not in ("call_function", "call_method"):
        return False
    name = function_rules.name_of(node.op, node.target)
    if name is None or name in function_rules.SIZES or overwrites(node) or not node.all_input_nodes:
        return False
    if function_rules.reason(name, node.args, node.kwargs, rate) is not None:
        return False
    if name == "getitem":
        source, index = node.args
        if isinstance(source, fx.Node) and isinstance(source.meta["value"], tuple):
            return source in legal and isinstance(index, int)
        return _full(source, rate) and _fixed(index, rate)
    if isinstance(value, tuple):
        split = all(function_rules.name_of(user.op, user.target) == "getitem" for user in node.users)
        return name == "chunk" and split and _full(node.args[0], rate)
    if name not in function_rules.BINARY and name != "cat":
        return node.all_input_nodes == [node.args[0]] and _full(node.args[0], rate)
    inputs = node.all_input_nodes
    full = [source for source in inputs if enters(source, value)]
    # A parameter that is the same at all positions stays as it is; a tensor computed from the image may differ by sample.
    constants = [source for source in inputs if source.op == "get_attr" and name != "cat" and _constant(source, rate)]
    return bool(full) and all(_full(source, rate) for source in full) and {*full, *constants} == {*inputs}


def enters(source: fx.Node, result: Any) -> bool:
    """Whether an operand has the positions of the result: it is a value in batch space where the result is one."""
    value = source.meta.get("value")
    return (
        source.op != "get_attr"
        and isinstance(value, Tensor)
        and isinstance(result, Tensor)
        and value.dim() == result.dim()
        and (value.shape[0], value.shape[2:]) == (result.shape[0], result.shape[2:])
    )


def _constant(source: fx.Node, rate: Rate) -> bool:
    value = source.meta["value"]
    return isinstance(value, Tensor) and function_rules.constant_over_space(value.shape, len(rate))


def _full(source: Any, rate: Rate) -> bool:
    value = source.meta.get("value") if isinstance(source, fx.Node) else None
    return isinstance(value, Tensor) and value.dim() == len(rate) + 2 and value.is_floating_point()


def _fixed(index: Any, rate: Rate) -> bool:
    """Slices that cut the same from an image of any size, from a multiple of the rate on."""
    entries = index if isinstance(index, tuple) else (index,)
    if sum(entry is Ellipsis for entry in entries) > 1 or len(entries) > len(rate) + 2:
        return False
    dims = len(rate) + 2
    at = next((k for k, entry in enumerate(entries) if entry is Ellipsis), len(entries))
    for k, entry in enumerate(entries):
        if entry is Ellipsis:
            continue
        if not isinstance(entry, slice) or not all(isinstance(part, (int, type(None))) for part in _parts(entry)):
            return False
        d = k if k < at else dims - len(entries) + k
        untouched = entry == slice(None)
        if d == 0 and not untouched:
            return False
        if (
            d > 1
            and not untouched
            and (entry.step not in (None, 1) or (entry.start or 0) < 0 or (entry.start or 0) % rate[d - 2])
        ):
            return False
    return True


def _parts(entry: slice) -> tuple[Any, Any, Any]:
    return entry.start, entry.stop, entry.step
