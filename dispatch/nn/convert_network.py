"""`spacebatch.convert`: a network whose dilated convolutions go through the batch where that was measured to be faster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

import torch
from torch import Tensor, fx, nn

from spacebatch.reference.arguments import check_choice

from .. import trials
from . import atrous, layer_rules
from .conversion_report import Conversion, Row
from .recording import calls_of, recorded, shared_copy
from .regions import Region, dilation_of, regions
from .rewriting import module_of, part_of, rewrite
from .tracing import NotTraceableError, modules_of

GAIN = 1.03  # what is measured less than 3% faster is not replaced: another run may say the opposite
ATROUS = {nn.Conv1d: atrous.AtrousConv1d, nn.Conv2d: atrous.AtrousConv2d, nn.Conv3d: atrous.AtrousConv3d}


@overload
def convert(
    model: nn.Module, *inputs: Any, method: str = ..., rate: Any = ..., dry_run: Literal[False] = ...
) -> nn.Module: ...
@overload
def convert(
    model: nn.Module, *inputs: Any, method: str = ..., rate: Any = ..., dry_run: Literal[True]
) -> Conversion: ...
def convert(
    model: nn.Module,
    *inputs: Any,
    method: str = "auto",
    rate: int | tuple[int, ...] | None = None,
    dry_run: bool = False,
) -> nn.Module | Conversion:
    """Let a network's dilated convolutions go through the batch, chains of one rate with two moves for the whole chain.

    >>> import torch
    >>> conv = [torch.nn.Conv2d(4, 4, 3, padding=2, dilation=2) for _ in range(2)]
    >>> model = torch.nn.Sequential(conv[0], torch.nn.ReLU(), conv[1])
    >>> x = torch.randn(1, 4, 16, 16)
    >>> converted = convert(model, x, method="batch_space")
    >>> torch.allclose(converted(x), model(x), atol=1e-5)
    True
    >>> [(row.kind, row.where, row.rate, row.replaced) for row in converted.conversion.rows]
    [('chain', ('0', '2'), (2, 2), True)]
    >>> list(converted.state_dict()) == list(model.state_dict())
    True

    The network is traced by torch.fx, whole or, where its forward branches, in the largest parts that can be traced; single
    convolutions in what remains become `AtrousConv*d`. The result shares the parameters and buffers of the model, which
    itself stays as it was: use one of the two. Both load the state_dict of the other.

    Args:
        model: any module. Its mode decides what is measured: a training step in training, inference in evaluation.
        inputs: an example of what the model is called with. Without one, convolutions are replaced one by one.
        method: "auto" replaces what was measured to be at least 3% faster, on the inputs' device and under the autocast
            that is on; "batch_space" replaces everything that can be, and measures nothing.
        rate: blocks to use instead of each dilation, an int or one per spatial dim; convolutions whose dilation is a
            multiple keep the rest of it. None: the dilation itself.
        dry_run: only report; with "batch_space", too, times are measured then.

    Returns:
        The converted module, with the report as its attribute `conversion`; with `dry_run` the `Conversion` alone.

    Raises:
        ValueError, TypeError: no module, an unknown method, "auto" or a dry run without an example input.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"convert: model must be a torch.nn.Module, got {type(model).__name__}")
    check_choice("convert", "method", method, ("auto", "batch_space"))
    if not inputs and (method == "auto" or dry_run):
        raise ValueError("convert: inputs are needed to measure; give an example of what the model is called with")
    work = _Work(method, rate, bool(inputs) and (method == "auto" or dry_run))
    with trials.undisturbed(model):
        converted = work.converted(shared_copy(model), inputs or None)
        if work.measures and work.rows:
            work.compare(model, converted, inputs)
        if method == "auto" and not any(row.replaced for row in work.rows):
            converted = shared_copy(model)
    training = model.training and any(parameter.requires_grad for parameter in model.parameters())
    measured = ("training step" if training else "inference") if work.measures else "nothing"
    report = Conversion(tuple(work.rows), measured, tuple(work.notes))
    if dry_run:
        return report
    converted.conversion = report  # type: ignore[assignment]
    return converted


class _Work:
    """One conversion: its options, what it found, and what it could not trace."""

    def __init__(self, method: str, rate: Any, measures: bool) -> None:
        self.method, self.rate, self.measures = method, rate, measures
        self.rows: list[Row] = []
        self.notes: list[str] = []

    def converted(self, module: nn.Module, inputs: Sequence[Any] | None, path: str = "") -> nn.Module:
        """The module, or what takes its place; its children may be replaced in it."""
        if not any(dilation_of(part) for part in module.modules()):
            return module
        if layer_rules.is_convolution(module):
            self._convolutions({path: module}, {} if inputs is None else {path: inputs[0]})
            return module
        if inputs is None:
            self._convolutions(
                {_join(path, name): part for name, part in module.named_modules() if dilation_of(part)}, {}
            )
            return module
        try:
            return self._traced(module, inputs, path)
        except NotTraceableError as error:
            self.notes.append(f"{path or 'the network'} ({type(module).__name__}) could not be traced whole: {error}")
        calls = calls_of(module, inputs)
        for name, child in list(module.named_children()):
            module.add_module(name, self.converted(child, calls.get(name), _join(path, name)))
        return module

    def _traced(self, module: nn.Module, inputs: Sequence[Any], path: str) -> nn.Module:
        graph = recorded(module, inputs)
        modules = modules_of(module)
        rate = self._rate_of(module)
        chains = regions(graph, modules, rate)
        device = trials.device_of(module, inputs)
        chosen: set[str] = set()
        for chain in chains:
            times = self._chain_times(module, graph, chain, device) if self.measures else None
            row = self._row("chain", tuple(_join(path, name) for name in chain.convolutions), chain.rate, times)
            self.rows.append(row)
            if row.replaced:
                rewrite(graph, chain)
                chosen |= set(chain.convolutions)
        single: dict[str, nn.Module] = {}
        likes: dict[str, Tensor] = {}
        for node in graph.nodes:
            if node.op == "call_module" and dilation_of(modules[node.target]) and node.target not in chosen:
                single[_join(path, node.target)] = modules[node.target]
                likes[_join(path, node.target)] = node.args[0].meta["value"]
        self._convolutions(single, likes)
        return module_of(module, graph) if chosen else module

    def _rate_of(self, module: nn.Module) -> tuple[int, ...] | None:
        if not isinstance(self.rate, int):
            return self.rate if self.rate is None else tuple(self.rate)
        dims = {len(dilation) for part in module.modules() if (dilation := dilation_of(part))}
        return (self.rate,) * max(dims, default=1)

    def _row(self, kind: str, where: tuple[str, ...], rate: tuple[int, ...], times: dict[str, float] | None) -> Row:
        if times is None:
            return Row(kind, where, rate, None, None, True, "asked for")
        before, after = times["before"], times["after"]
        if self.method == "batch_space":
            return Row(kind, where, rate, before, after, True, "asked for")
        gain = before / after >= GAIN
        return Row(kind, where, rate, before, after, gain, "faster" if gain else f"less than {GAIN - 1:.0%} faster")

    def _chain_times(self, module: nn.Module, graph: fx.Graph, chain: Region, device: torch.device) -> dict[str, float]:
        part, _, likes = part_of(graph, chain)
        ours, inner, _ = part_of(graph, chain)
        rewrite(ours, inner)
        calls = {"before": module_of(module, part), "after": module_of(module, ours)}
        parameters = [p for name in chain.convolutions for p in module.get_submodule(name).parameters()]
        return trials.seconds(calls, trials.filled(likes, device), parameters if module.training else (), device)

    def _convolutions(self, found: dict[str, nn.Module], inputs: dict[str, Tensor]) -> None:
        """Decide about single convolutions, and make those that go through the batch `AtrousConv*d`, in place."""
        for name, layer in found.items():
            dilation = dilation_of(layer)
            if dilation is None or self.rate is not None:
                continue  # a single convolution has the blocks of its dilation
            times = None
            if self.measures and name in inputs:
                ours = _as_atrous(shared_copy(layer))
                like = inputs[name].detach()
                device = trials.device_of(layer, ())
                parameters = list(layer.parameters()) if layer.training else ()
                times = trials.seconds(
                    {"before": layer, "after": ours}, trials.filled([like], device), parameters, device
                )
            row = self._row("convolution", (name,), dilation, times)
            if self.measures and times is None:
                row = row._replace(replaced=False, why="not called with the example input")
            self.rows.append(row)
            if row.replaced:
                _as_atrous(layer)

    def compare(self, model: nn.Module, converted: nn.Module, inputs: Sequence[Any]) -> None:
        """Time the whole network before and after; where it lost by what its parts gained, nothing is replaced."""
        if not any(row.replaced for row in self.rows):
            return
        parameters = list(model.parameters()) if model.training else []
        times = trials.seconds(
            {"before": model, "after": converted}, inputs, parameters, trials.device_of(model, inputs)
        )
        lost = self.method == "auto" and times["before"] < times["after"]
        if lost:
            whole = "the network as a whole became slower"
            self.rows = [row._replace(replaced=False, why=whole) if row.replaced else row for row in self.rows]
        why = "the whole of it became slower" if lost else "the whole of it"
        self.rows.append(Row("network", (type(model).__name__,), (), times["before"], times["after"], not lost, why))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name


def _as_atrous(layer: nn.Module) -> nn.Module:
    """The same module, weights, hooks, parametrizations and all, with its dilation through the batch."""
    kind = type(layer)
    for parent, ours in ATROUS.items():
        if isinstance(layer, parent) and not isinstance(layer, ours):
            layer.__class__ = (
                ours if kind is parent else type(kind.__name__, (kind, ours), {"__module__": kind.__module__})
            )
    layer.method = "batch_space"  # type: ignore[assignment]
    return layer
