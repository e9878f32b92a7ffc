"""method="auto": native, through the batch or channels last, by measurement on the device at hand, remembered per geometry.

A geometry that the table lacks is measured at its first call: a few runs of each method, with the backward pass where a
gradient is wanted. It is not measured where that cannot or must not be, and the native convolution runs instead: while
compiling or transforming, while a CUDA graph is captured, under deterministic algorithms (a replay must not depend on a
clock), and when `SPACEBATCH_AUTOTUNE` is set to "cached" or "off". What the table holds is taken in all of these cases
but the first and the last. It stands beside the kernels' tuning tables, in a file of its own per device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from .. import routes, trials, tuning
from .method_table import Choice, MethodTable

Method: TypeAlias = Literal["auto", "native", "batch_space"]
METHODS = ("auto", "native", "batch_space")
ConvolutionMethod: TypeAlias = Literal["auto", "native", "batch_space", "channels_last"]  # not of transposed ones
CONVOLUTION_METHODS = (*METHODS, "channels_last")
ROUNDS, WARMUP = 7, 2


@cache
def table_of(device: torch.device) -> MethodTable:
    """The table of a device, of this PyTorch: another one has other kernels."""
    from ..timing import hardware

    return MethodTable(f"{hardware(device)}, torch {torch.__version__}")


def key_of(op: str, tensors: Sequence[Tensor | None], arguments: tuple[Any, ...]) -> str:
    """The geometry as a string: all that the time of a call depends on, of shapes, layouts, types and settings.

    >>> key_of("conv1d", (torch.zeros(1, 2, 9), torch.zeros(4, 2, 3), None), (1, 2, 2, 1))
    'conv1d float32[1,2,9] float32[4,2,3] - (1, 2, 2, 1)'
    """
    described = [
        "-"
        if t is None
        else f"{str(t.dtype)[6:]}[{','.join(map(str, t.shape))}]"
        + ("" if t.is_contiguous() else f"@{','.join(map(str, t.stride()))}")
        + ("'" if t.requires_grad and torch.is_grad_enabled() else "")
        for t in tensors
    ]
    kind = next(t.device.type for t in tensors if t is not None)
    settings = [f"autocast {str(torch.get_autocast_dtype(kind))[6:]}"] if torch.is_autocast_enabled(kind) else []
    settings += ["deterministic"] if torch.are_deterministic_algorithms_enabled() else []
    settings += ["benchmark"] if kind == "cuda" and torch.backends.cudnn.benchmark else []
    return " ".join([op, *described, str(arguments), *settings])


def _mode() -> str:
    """What the environment asks for; method="auto" asks for a measurement by itself."""
    return tuning.mode(unset="on")


def settings(kind: str) -> tuple[Any, ...]:
    """What a choice depends on beside the tensors and the arguments."""
    return (
        *(torch.is_grad_enabled(), torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind)),
        *(torch.are_deterministic_algorithms_enabled(), tuning.setting()),
        kind == "cuda" and torch.backends.cudnn.benchmark,
    )


def why_not_asked(x: Tensor) -> str | None:
    """Why the table is not even looked at for this input, or None if it is."""
    if routes.route_of(x) not in ("autograd", "eager"):
        return "compiling, transforming, or a tensor that is not plain"
    if _mode() == "off":
        return "SPACEBATCH_AUTOTUNE=off"
    return None


def why_not_measured(x: Tensor) -> str | None:
    """Why a geometry that the table lacks is not measured now, or None if it may be."""
    if _mode() == "cached":
        return "SPACEBATCH_AUTOTUNE=cached"
    if torch.are_deterministic_algorithms_enabled():
        return "deterministic algorithms are demanded"
    if x.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        return "a CUDA graph is being captured"
    return None


def measure(
    calls: Mapping[str, Callable[..., Tensor]], tensors: Sequence[Tensor | None], device: torch.device
) -> Choice:
    """Time the methods on detached tensors of the call, backward too where one of them asks for a gradient."""
    from ..timing import interleaved

    training = torch.is_grad_enabled()
    inputs = [None if t is None else t.detach().requires_grad_(training and t.requires_grad) for t in tensors]
    wanted = [t for t in inputs if t is not None and t.requires_grad]
    seconds: dict[str, float | None] = dict.fromkeys(calls)
    runs: dict[str, Callable[[], object]] = {}
    for name, call in calls.items():
        try:
            result = call(*inputs)
        except torch.OutOfMemoryError:
            continue
        seed = torch.ones_like(result) if wanted else None
        del result
        runs[name] = _run(call, inputs, wanted, seed)
        try:
            runs[name]()
        except torch.OutOfMemoryError:
            del runs[name]
    timings = interleaved(runs, device, rounds=ROUNDS, warmup=WARMUP - 1)
    for name, timing in timings.items():
        seconds[name] = timing.median
    others = [name for name in timings if name != "native"]
    best = min(others, key=lambda name: timings[name].median, default="native")
    if "native" in timings and best != "native" and not trials.gains(timings["native"], timings[best]):
        best = "native"
    return Choice(best, seconds["native"], seconds["batch_space"], seconds.get("channels_last"))


def _run(
    call: Callable[..., Tensor], inputs: list[Tensor | None], wanted: list[Tensor], seed: Tensor | None
) -> Callable[[], object]:
    if seed is None:
        return lambda: call(*inputs)
    return lambda: torch.autograd.grad(call(*inputs), wanted, seed)


def known(op: str, tensors: Sequence[Tensor | None], arguments: tuple[Any, ...]) -> Choice | None:
    """What the table holds for a call, if it may be asked."""
    x = tensors[0]
    assert x is not None
    return table_of(x.device).get(key_of(op, tensors, arguments)) if why_not_asked(x) is None else None


def choose(
    op: str, calls: Mapping[str, Callable[..., Tensor]], tensors: Sequence[Tensor | None], arguments: tuple[Any, ...]
) -> str:
    """The method for a call: out of the table, or measured, or the native one; see the module's docstring."""
    x = tensors[0]
    assert x is not None
    if why_not_asked(x) is not None:
        return "native"
    table, key = table_of(x.device), key_of(op, tensors, arguments)
    found = table.get(key)
    if found is None:
        if why_not_measured(x) is not None:
            return "native"
        found = measure(calls, tensors, x.device)
        table.add(key, found)
    return found.method
