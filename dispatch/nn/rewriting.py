"""A traced network rewritten: its chains in batch space, everything else as it was."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from . import cells, function_rules, layer_rules
from .regions import Region, enters


def rewrite(graph: fx.Graph, region: Region) -> None:
    """Put the nodes of a region into batch space, in place: values enter before their first use there and leave after it."""
    inside: dict[fx.Node, fx.Node] = {}  # from a node to its value in batch space
    members = set(region.nodes)

    def entered(source: fx.Node, user: fx.Node) -> fx.Node:
        if source not in inside:
            with graph.inserting_before(user):
                inside[source] = graph.call_function(cells.enter, (source, region.rate))
        return inside[source]

    for node in region.nodes:
        result = node.meta["value"]

        def operand(source: fx.Node, node: fx.Node = node, result: object = result) -> fx.Node:
            if source in members:
                return inside[source]
            single = node.op == "call_module" or len(node.all_input_nodes) == 1
            return entered(source, node) if single or enters(source, result) else source

        args, kwargs = fx.node.map_arg((node.args, node.kwargs), operand)
        with graph.inserting_before(node):
            if node.op == "call_module":
                layer = graph.create_node("get_attr", str(node.target))
                inside[node] = graph.call_function(layer_rules.run, (layer, *args))
            else:
                name = function_rules.name_of(node.op, node.target)
                inside[node] = graph.call_function(function_rules.run, (name, *args), kwargs)
        inside[node].meta = dict(node.meta)
    for node in region.nodes:
        outside = [user for user in node.users if user not in members]
        sizes = [user for user in outside if _is_size(user)]
        for user in sizes:
            name = function_rules.name_of(user.op, user.target)
            with graph.inserting_before(user):
                size = graph.call_function(function_rules.run, (name, inside[node], *user.args[1:]), user.kwargs)
            size.meta = dict(user.meta)
            user.replace_all_uses_with(size)
            graph.erase_node(user)
        outside = [user for user in outside if user not in sizes]
        if outside:
            with graph.inserting_after(inside[node]):
                left = graph.call_function(cells.leave, (inside[node],))
            left.meta = dict(node.meta)
            for user in outside:
                user.replace_input_with(node, left)
    for node in reversed(region.nodes):
        graph.erase_node(node)


def _is_size(node: fx.Node) -> bool:
    return node.op in ("call_function", "call_method") and (
        function_rules.name_of(node.op, node.target) in function_rules.SIZES
    )


def part_of(graph: fx.Graph, region: Region) -> tuple[fx.Graph, Region, list[Tensor]]:
    """A region as a graph of its own: (the graph, the region in it, what its inputs look like)."""
    part = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    likes: list[Tensor] = []
    members = set(region.nodes)
    for node in region.nodes:
        for source in node.all_input_nodes:
            if source in copies or source in members:
                continue
            if source.op == "get_attr":
                copies[source] = part.node_copy(source)
            else:
                copies[source] = part.placeholder(source.name)
                likes.append(source.meta["value"])
            copies[source].meta = dict(source.meta)
        copies[node] = part.node_copy(node, copies.__getitem__)
        copies[node].meta = dict(node.meta)
    ends = [
        n for n in region.nodes if any(user not in members for user in n.users) and isinstance(n.meta["value"], Tensor)
    ]
    part.output(tuple(copies[node] for node in ends))
    return part, Region(region.rate, tuple(copies[node] for node in region.nodes), region.convolutions), likes


def module_of(root: nn.Module, graph: fx.Graph) -> fx.GraphModule:
    """The graph as a module with the very children, parameters and buffers of `root`, used or not: one state_dict."""
    module = fx.GraphModule(nn.Module(), fx.Graph(), type(root).__name__)
    for store in ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set"):
        getattr(module, store).update(getattr(root, store))
    for name, value in vars(root).items():
        if isinstance(value, torch.Tensor):
            setattr(module, name, value)
    module.graph = graph
    module.recompile()
    module.training = root.training
    return module
