"""`spacebatch.convert`: a network whose dilated convolutions go through the batch where that was measured to be faster."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn

from spacebatch.reference.arguments import check_choice

from .. import trials
from . import part_timing
from .atrous import become_atrous, dilation_of
from .chains import Chain, record
from .conversion_check import difference
from .conversion_report import Conversion, Row
from .leaving import left
from .taps import positive
from .value import graph


@overload
def convert(
    model: nn.Module,
    *inputs: Any,
    method: str = ...,
    rate: Any = ...,
    budget: float = ...,
    dry_run: Literal[False] = ...,
    **options: Any,
) -> nn.Module: ...
@overload
def convert(
    model: nn.Module,
    *inputs: Any,
    method: str = ...,
    rate: Any = ...,
    budget: float = ...,
    dry_run: Literal[True],
    **options: Any,
) -> Conversion: ...
def convert(
    model: nn.Module,
    *inputs: Any,
    method: str = "auto",
    rate: int | tuple[int, ...] | None = None,
    budget: float = 30.0,
    dry_run: bool = False,
    **options: Any,
) -> nn.Module | Conversion:
    """Let a network's dilated convolutions go through the batch; what follows one of them stays there as long as it can.

    >>> import copy, torch
    >>> conv = [torch.nn.Conv2d(4, 4, 3, padding=2, dilation=2) for _ in range(2)]
    >>> model = torch.nn.Sequential(conv[0], torch.nn.ReLU(), conv[1])
    >>> x = torch.randn(1, 4, 16, 16)
    >>> converted = convert(copy.deepcopy(model), x, method="batch_space")
    >>> torch.allclose(converted(x), model(x), atol=1e-5)
    True
    >>> [(row.kind, row.where, row.rate, row.replaced) for row in converted.conversion.rows]
    [('chain', ('0', '2'), (2, 2), True)]
    >>> list(converted.state_dict()) == list(model.state_dict())
    True

    The model is changed in place, as `torch.nn.SyncBatchNorm.convert_sync_batchnorm` changes it: its dilated `Conv*d` become
    `AtrousConv*d`, subclasses of yours and parametrized ones included, and nothing else does. Their results are tensors that stay in
    batch space until something needs the image; what leaves the model is an image. Before that, a copy of the model over the same
    tensors runs on the example, and is compared with the native model: what differs is not replaced.

    Args:
        model: any module. Its mode decides what is measured: a training step in training, inference in evaluation.
        inputs, options: an example of what the model is called with. Without one, nothing is compared or measured.
        method: "auto" replaces what was measured to be at least 3% faster, with the quartiles apart, on the inputs' device and under
            the autocast that is on; "batch_space" replaces everything, and measures nothing.
        rate: blocks to use instead of each dilation, an int or one per spatial dim; convolutions whose dilation is a
            multiple keep the rest of it, the others stay as they are. None: the dilation itself.
        budget: seconds to measure for; what they do not suffice for is left alone.
        dry_run: only report; with "batch_space", too, times are measured then.

    Returns:
        The model, with the report as its attribute `conversion`; with `dry_run` the `Conversion` alone.

    Raises:
        ValueError, TypeError: no module, an unknown method, a rate that is no positive int per dim, "auto" or a dry run without an
            example input.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"convert: model must be a torch.nn.Module, got {type(model).__name__}")
    check_choice("convert", "method", method, ("auto", "batch_space"))
    example = bool(inputs or options)
    if not example and (method == "auto" or dry_run):
        raise ValueError("convert: inputs are needed to measure; give an example of what the model is called with")
    blocks = _blocks(model, rate)
    work = _Work(shared_copy(model), blocks, method, method == "auto" or dry_run, time.monotonic() + budget)
    if example and blocks:
        with trials.undisturbed(work.network):
            work.run(lambda: work.network(*inputs, **options), trials.device_of(model, inputs))
    else:
        rows = [("convolution", (path,), _felt(model, path, block)) for path, block in blocks.items()]
        work.rows = [Row(*row, None, None, True, "asked for") for row in rows]
    measured = ("training step" if work.training else "inference") if work.measures and example else "nothing"
    report = Conversion(tuple(work.rows), measured, tuple(work.notes))
    if dry_run:
        return report
    replaced = {path for row in report.rows if row.replaced and row.kind != "network" for path in row.where}
    for path, block in blocks.items():
        layer = model.get_submodule(path)
        if path in replaced:
            become_atrous(layer, "batch_space", block)
        elif hasattr(layer, "method"):
            layer.method = "native"  # type: ignore[assignment]
    if replaced:
        _hook(model)
    model.conversion = report  # type: ignore[assignment]
    return model


def entering(module: nn.Module, args: Any) -> None:
    """The hook before a converted network."""
    graph.enter()


def as_images(module: nn.Module, args: Any, result: Any) -> Any:
    """The hook after a converted network: what leaves it are images."""
    return left(result)


def _hook(network: nn.Module) -> None:
    if as_images not in network._forward_hooks.values():
        network.register_forward_pre_hook(entering)
        network.register_forward_hook(as_images, always_call=True)


class _Work:
    """One conversion, tried on a copy of the network: what its convolutions did, how long it took, whether anything differed."""

    def __init__(
        self, network: nn.Module, blocks: dict[str, tuple[int, ...] | None], method: str, measures: bool, end: float
    ) -> None:
        self.network, self.blocks, self.method, self.measures, self.end = network, blocks, method, measures, end
        self.training = network.training and any(parameter.requires_grad for parameter in network.parameters())
        self.rows: list[Row] = []
        self.notes: list[str] = []
        self.layers: dict[str, Any] = {path: network.get_submodule(path) for path in blocks}

    def run(self, call: Callable[[], Any], device: torch.device) -> None:
        """Try the conversion."""
        for path, block in self.blocks.items():
            become_atrous(self.layers[path], "batch_space", block)
        _hook(self.network)
        with record(self.network) as found, torch.set_grad_enabled(self.training):
            try:
                call()
            except Exception as error:  # the network's own code; is it an error natively, too?
                self._natively(True)
                call()
                self.notes.append(f"taken back: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
        chains = found.chains
        self._describe(chains)
        if self.notes:
            self.rows = [row._replace(replaced=False, why="it fails in batch space") for row in self.rows]
            return
        try:
            differs = difference(self.network, call, self._natively, self.training)
        except RuntimeError as error:  # a step that cannot be taken so; the network is as it was
            differs, self.training = None, False
            self.notes.append(f"not compared: {type(error).__name__}: {str(error).splitlines()[0]}")
        if differs:
            self.notes.append(f"taken back: {differs} would differ from the native network's")
            self.rows = [row._replace(replaced=False, why="its results differ") for row in self.rows]
            return
        if differs == "":
            self.notes.append("not compared: two native runs differ as well, for the network draws random numbers")
        if self.measures:
            with trials.gradients_kept(self.network):
                self._measure(chains, call, device)

    def _natively(self, native: bool) -> None:
        for layer in self.layers.values():
            layer.method = "native" if native else "batch_space"

    def _describe(self, chains: list[Chain]) -> None:
        names = {id(layer): path for path, layer in self.layers.items()}
        called: set[str] = set()
        for chain in chains:
            where = dict.fromkeys(names[id(c.layer)] for c in chain.calls if id(c.layer) in names)
            first = chain.calls[0]
            kind = "chain" if len(chain.calls) > 1 else "convolution"
            rate = first.rate or first.layer.rate or dilation_of(first.layer) or ()
            called |= {*where}
            self.rows.append(Row(kind, tuple(where), rate, None, None, True, "asked for", tuple(chain.ends)))
        for path, layer in self.layers.items():
            if path not in called:
                rate = layer.rate or dilation_of(layer) or ()
                asked = self.method == "batch_space"
                self.rows.append(
                    Row("convolution", (path,), rate, None, None, asked, "not called with the example input")
                )

    def _measure(self, chains: list[Chain], call: Callable[[], Any], device: torch.device) -> None:
        known: dict[Any, Any] = {}
        for k, chain in enumerate(chains):
            key = part_timing.signature(chain)
            if key not in known and time.monotonic() < self.end:
                calls = part_timing.calls_of(chain, device, self.training)
                known[key] = trials.timings(calls, device, part_timing.ROUNDS)
            times = known.get(key)
            if times is None:
                late = self.rows[k]._replace(replaced=self.method == "batch_space", why="the budget was spent before")
                self.rows[k] = late
                continue
            row = self.rows[k]._replace(before=times["before"], after=times["after"])
            if self.method == "auto":
                gain = trials.gains(times["before"], times["after"])
                row = row._replace(replaced=gain, why="faster" if gain else "not faster beyond noise")
            self.rows[k] = row
        replaced = {path for row in self.rows if row.replaced for path in row.where}
        if not replaced:
            return

        def choose(native: bool) -> Callable[[], Any]:
            def chosen() -> Any:
                for path, layer in self.layers.items():
                    layer.method = "batch_space" if path in replaced and not native else "native"
                return call()

            return trials.step(self.network, chosen, self.training)

        times = trials.timings({"before": choose(True), "after": choose(False)}, device)
        kept = self.method == "batch_space" or trials.gains(times["before"], times["after"])
        if not kept:
            whole = "the network as a whole was not faster beyond noise"
            self.rows = [row._replace(replaced=False, why=whole) if row.replaced else row for row in self.rows]
        where = (type(self.network).__name__,)
        self.rows.append(Row("network", where, (), times["before"], times["after"], kept, "the whole of it"))


def _blocks(model: nn.Module, rate: Any) -> dict[str, tuple[int, ...] | None]:
    """The convolutions to convert, with the blocks asked for: each once, by its first path."""
    dilated: dict[str, Any] = {path: d for path, part in model.named_modules() if (d := dilation_of(part))}
    if rate is None:
        return dict.fromkeys(dilated)
    fitting = {len(d) for d in dilated.values()}
    given = len(rate) if isinstance(rate, (tuple, list)) and len(rate) in fitting else 0
    dims = {given} if given else fitting or {1}
    checked = {nd: positive("convert", "rate", rate, nd) for nd in sorted(dims)}
    return {
        path: tuple(block if d > 1 else 1 for block, d in zip(checked[len(dilation)], dilation, strict=True))
        for path, dilation in dilated.items()
        if len(dilation) in checked
        and all(d % block == 0 or d == 1 for d, block in zip(dilation, checked[len(dilation)], strict=True))
    }


def _felt(model: nn.Module, path: str, block: tuple[int, ...] | None) -> tuple[int, ...]:
    return block or dilation_of(model.get_submodule(path)) or ()


def shared_copy(model: nn.Module) -> nn.Module:
    """The module tree anew, over the same parameters and buffers."""
    memo: dict[int, Any] = {}
    for part in model.modules():
        for tensor in (*part._parameters.values(), *part._buffers.values(), *vars(part).values()):
            if isinstance(tensor, Tensor):
                memo[id(tensor)] = tensor
    try:
        return copy.deepcopy(model, memo)
    except Exception:  # something that the model keeps cannot be copied; it is shared, then
        return _shallow_copy(model, {})


def _shallow_copy(module: nn.Module, memo: dict[int, nn.Module]) -> nn.Module:
    if id(module) not in memo:
        made = memo[id(module)] = module.__class__.__new__(module.__class__)
        made.__dict__.update({k: copy.copy(v) if isinstance(v, (dict, set)) else v for k, v in vars(module).items()})
        for name, child in module.named_children():
            made._modules[name] = _shallow_copy(child, memo)
    return memo[id(module)]
