"""`BatchSpace`: a chain of layers of one dilation, with one space_to_batch before it and one batch_to_space after it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

from torch import Tensor, fx, nn

from . import function_rules, layer_rules
from .cells import Cells, enter, leave
from .taps import positive
from .tracing import NotTraceableError, graph_of, modules_of, overwrites


class _Value(NamedTuple):
    """The result of an earlier step, as an argument."""

    step: int


class _Step(NamedTuple):
    """One call: of a module by its path, of a function by its name, or of a parameter by its path."""

    kind: str  # "module", "function" or "parameter"
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class BatchSpace(nn.Sequential):
    """`torch.nn.Sequential` of layers of one dilation, run in batch space: equal, with two moves for the whole chain.

    >>> import torch, spacebatch
    >>> def stage():
    ...     return [torch.nn.Conv1d(4, 4, 3, padding=2, dilation=2), torch.nn.BatchNorm1d(4), torch.nn.ReLU()]
    >>> layers = [*stage(), *stage()]
    >>> network = spacebatch.nn.BatchSpace(*layers, rate=2)
    >>> x = torch.randn(1, 4, 13)
    >>> torch.allclose(network(x), torch.nn.Sequential(*layers)(x), atol=1e-5)
    True
    >>> spacebatch.nn.BatchSpace(torch.nn.GroupNorm(2, 4), rate=(2,))
    Traceback (most recent call last):
    ValueError: BatchSpace: '0' (GroupNorm) cannot run in batch space of rate (2,): it mixes positions of a sample, which
    stand in different samples of the batch in batch space. End the chain before it and begin another one after it.

    The layers are those of the network, dilations and all, and so is the state_dict of a `Sequential` of them. In batch
    space a convolution has its dilation divided by the rate, and its padding. Where the rate does not divide a size, the
    cells that exist only because of that are zeroed before each convolution that would read them, and BatchNorm's
    statistics leave them out, in training, with the running statistics of the original. Dropout draws other numbers than
    the original would, in the same way.

    Args:
        layers: modules, or one OrderedDict of them. Convolutions with dilations and paddings that are multiples of the
            rate (or kernels of 1) and a stride of 1; BatchNorm; activations; dropout; constant padding; and modules of
            your own whose forward is made of these, of sums, products, concatenation and slices (a residual block). They
            are traced once, here.
        rate: an int, or one int per spatial dim; None takes the one dilation of the convolutions.

    Shape:
        (N, C, *spatial) → as the layers: N samples, and no dim blocked by the rate left out.

    Raises:
        ValueError: a layer that cannot run in batch space, named with the reason and the way out; when called, an input
            without a batch, or sizes that do not fit.

    Source: the chains of dilated layers in DRN, WaveNet, TCN and DeepLab; TensorFlow's atrous_conv2d advises the same.
    """

    rate: tuple[int, ...]

    def __init__(self, *layers: Any, rate: int | tuple[int, ...] | None = None) -> None:
        super().__init__(*layers)
        self.rate = _rate(self, rate)
        self._steps, self._result = _steps(self, self.rate)

    def forward(self, input: Tensor) -> Tensor:
        """The layers' result."""
        return leave(self.cells(enter(input, self.rate)))

    def cells(self, cells: Cells) -> Cells:
        """The layers alone, from batch space to batch space."""
        values: list[Any] = [cells]
        for step in self._steps:
            if step.kind == "module":
                values.append(layer_rules.run(self.get_submodule(step.name), values[step.args[0].step]))
            elif step.kind == "parameter":
                owner, _, name = step.name.rpartition(".")
                values.append(getattr(self.get_submodule(owner), name))
            else:
                args = _resolved(step.args, values)
                values.append(function_rules.run(step.name, *args, **_resolved(step.kwargs, values)))
        found: Cells = values[self._result]
        return found

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


def _rate(network: nn.Module, rate: Any) -> tuple[int, ...]:
    convolutions: list[Any] = [layer for layer in network.modules() if layer_rules.is_convolution(layer)]
    dims = {len(layer.kernel_size) for layer in convolutions}
    if isinstance(rate, (tuple, list)):
        dims = dims or {len(rate)}
    if len(dims) != 1:
        raise ValueError(
            "BatchSpace: the number of spatial dims is not clear: give a rate with one int per dim"
            if not dims
            else f"BatchSpace: convolutions of {sorted(dims)} spatial dims cannot be in one chain"
        )
    if rate is None:
        rates = {tuple(layer.dilation) for layer in convolutions if max(layer.kernel_size) > 1}
        if len(rates) != 1:
            raise ValueError(f"BatchSpace: rate must be given, the convolutions have the dilations {sorted(rates)}")
        rate = rates.pop()
    return positive("BatchSpace", "rate", rate, dims.pop())


def _steps(network: nn.Sequential, rate: tuple[int, ...]) -> tuple[list[_Step], int]:
    """(the network's calls in order, which value is the result); everything that cannot be in batch space is refused."""
    try:
        graph = graph_of(nn.Sequential(OrderedDict(network._modules)))
    except NotTraceableError as error:
        raise ValueError(
            f"BatchSpace: the layers cannot be traced ({error}): put modules whose forward branches outside of the chain"
        ) from error
    modules = modules_of(network)
    steps: list[_Step] = []
    places: dict[fx.Node, _Value] = {}
    for node in graph.nodes:
        if node.op == "output":
            (result,) = node.args
            if not isinstance(result, fx.Node):
                raise ValueError(f"BatchSpace: the chain must have one result, it has {result!r}")
            return steps, places[result].step
        places[node] = _Value(len(places))
        if node.op == "placeholder":
            continue
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), places.__getitem__)
        if node.op == "call_module":
            layer = modules[node.target]
            _refuse(f"{node.target!r} ({type(layer).__name__})", layer_rules.reason(layer, rate), rate)
            steps.append(_Step("module", node.target, args, {}))
        elif node.op == "get_attr":
            steps.append(_Step("parameter", node.target, (), {}))
        else:
            name = function_rules.name_of(node.op, node.target)
            label = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", repr(node.target))
            if name is None:
                _refuse(f"the call of {label}", "it is not known to take one position at a time", rate)
            if overwrites(node):
                _refuse(f"the call of {label}", "it changes in place what others read", rate)
            _refuse(f"the call of {label}", function_rules.reason(str(name), node.args, node.kwargs, rate), rate)
            steps.append(_Step("function", str(name), args, kwargs))
    raise AssertionError("a graph ends with its output")


def _refuse(what: str, why: str | None, rate: tuple[int, ...]) -> None:
    if why is not None:
        raise ValueError(
            f"BatchSpace: {what} cannot run in batch space of rate {rate}: {why}. End the chain before it and begin "
            "another one after it."
        )


def _resolved(argument: Any, values: list[Any]) -> Any:
    """`argument` with the results of earlier steps in their places."""
    if isinstance(argument, _Value):
        return values[argument.step]
    if isinstance(argument, slice):
        return slice(*(_resolved(part, values) for part in (argument.start, argument.stop, argument.step)))
    if isinstance(argument, dict):
        return {name: _resolved(part, values) for name, part in argument.items()}
    if isinstance(argument, (tuple, list)):
        return type(argument)(_resolved(part, values) for part in argument)
    return argument
