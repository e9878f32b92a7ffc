"""`spacebatch.convert`: a network whose dilated convolutions go through the batch where that was measured to be faster."""

from __future__ import annotations

from typing import Any, Literal, TypeVar, overload

from torch import nn

from spacebatch.reference.arguments import check_choice

from .. import trials
from .conversion_report import Conversion, Row
from .conversion_trial import Trial, rate_of
from .converted_class import become_atrous, dilation_of
from .leaving import mark_ends
from .progress import Told, telling
from .shared_copy import shared_copy
from .taps import positive

M = TypeVar("M", bound=nn.Module)


@overload
def convert(model: nn.Module, *inputs: Any, dry_run: Literal[True], **options: Any) -> Conversion: ...
@overload
def convert(
    model: M,
    *inputs: Any,
    method: str = ...,
    rate: int | tuple[int, ...] | None = ...,
    budget: float = ...,
    progress: bool | Told = ...,
    dry_run: Literal[False] = ...,
    **options: Any,
) -> M: ...
def convert(
    model: nn.Module,
    *inputs: Any,
    method: str = "auto",
    rate: int | tuple[int, ...] | None = None,
    budget: float = 30.0,
    progress: bool | Told = False,
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
    tensors runs on the example, and is compared with the native model: what differs by more than rounding is not replaced.

    Args:
        model: any module. Its mode decides what is measured: a training step in training, inference in evaluation.
        inputs, options: an example of what the model is called with. Without one, nothing is compared or measured.
        method: "auto" replaces what was measured to be at least 3% faster, with the quartiles apart, on the inputs' device and under
            the autocast that is on; "batch_space" replaces everything, and measures nothing.
        rate: blocks to use instead of each dilation, an int or one per spatial dim; convolutions whose dilation is a
            multiple keep the rest of it, the others stay as they are. None: the dilation itself.
        budget: seconds to measure parts for; what they do not suffice for is left alone, and the report says so.
        progress: True tells the terminal, on its standard error, how many parts are measured and how long it will take, before each
            part; a function is called with a `Progress` instead.
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
    example, measures = bool(inputs or options), method == "auto" or dry_run
    if not example and measures:
        raise ValueError("convert: inputs are needed to measure; give an example of what the model is called with")
    blocks = _blocks(model, rate)
    if example and blocks:
        report = _tried(model, blocks, inputs, options, method, budget if measures else None, progress)
    else:
        layers = ((path, block or rate_of(model.get_submodule(path))) for path, block in blocks.items())
        rows = (Row("convolution", (path,), block, None, None, True, "asked for") for path, block in layers)
        report = Conversion(tuple(rows), "nothing")
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
        mark_ends(model)
    model.conversion = report  # type: ignore[assignment]
    return model


def _tried(
    model: nn.Module,
    blocks: dict[str, tuple[int, ...] | None],
    inputs: tuple[Any, ...],
    options: dict[str, Any],
    method: str,
    budget: float | None,
    progress: bool | Told,
) -> Conversion:
    """The report of a trial on a copy of the model; without a budget nothing is measured."""
    network = shared_copy(model)
    trial = Trial(network, blocks, inputs, options, method == "batch_space")
    with trials.undisturbed(network):
        chains = trial.run()
        if budget is not None and chains:
            with trials.gradients_kept(network), telling(progress) as tell:
                trial.measure(chains, trials.device_of(network, inputs), budget, tell)
    measured = "nothing" if budget is None else "training step" if trial.training else "inference"
    return Conversion(tuple(trial.rows), measured, tuple(trial.notes))


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
