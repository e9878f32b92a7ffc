"""The parts of a converted network timed alone: a chain's convolutions natively, and in batch space with the chain's moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .cells import Cells, enter, leave
from .chains import Call, Chain
from .value import value_of

ROUNDS, WARMUP = 9, 2


def signature(chain: Chain) -> Any:
    """What the time of a chain depends on: chains of one signature are timed once."""
    calls = [
        (
            *(tuple(call.like.shape), call.like.stride(), call.like.dtype, call.wants_gradient, call.rate, call.stayed),
            *(call.layer.in_channels, call.layer.out_channels, call.layer.kernel_size, call.layer.groups),
            *(
                call.layer.padding,
                call.layer.dilation,
                call.layer.stride,
                call.layer.padding_mode,
                call.layer.bias is None,
            ),
        )
        for call in chain.calls
    ]
    return tuple(calls), tuple((tuple(cells.tensor.shape), cells.sizes) for cells in chain.leaves)


def calls_of(chain: Chain, device: torch.device, training: bool) -> dict[str, Callable[[], object]]:
    """The chain's convolutions as they are natively, and in batch space, each on random numbers; with backward in training."""
    natively = [_natively(call, device, training) for call in chain.calls]
    ours = [
        _in_batch(call, device, training) if call.stayed else _entering(call, device, training) for call in chain.calls
    ]
    ours += [_leaving(cells, device, training) for cells in chain.leaves if chain.calls[0].rate is not None]
    return {"before": _run(natively, training), "after": _run(ours, training)}


Part = tuple[Callable[[], Tensor], list[Tensor]]  # a call, and what its gradient is wanted for


def _filled(like: Tensor, device: torch.device, gradient: bool) -> Tensor:
    return torch.empty_like(like, device=device).normal_().requires_grad_(gradient)


def _parameters(call: Call) -> list[Tensor]:
    return [p for p in (*call.layer.parameters(),) if p.requires_grad]


def _natively(call: Call, device: torch.device, training: bool) -> Part:
    x, layer = _filled(call.like, device, training and call.wants_gradient), call.layer

    def run() -> Tensor:
        chosen, layer.method = layer.method, "native"
        try:
            result: Tensor = layer._conv_forward(x, layer.weight, layer.bias)
            return result
        finally:
            layer.method = chosen

    return run, [*([x] if x.requires_grad else []), *_parameters(call)]


def _entering(call: Call, device: torch.device, training: bool) -> Part:
    x, layer = _filled(call.like, device, training and call.wants_gradient), call.layer
    return (
        lambda: _cells(layer._conv_forward(x, layer.weight, layer.bias)),
        [*([x] if x.requires_grad else []), *_parameters(call)],
    )


def _in_batch(call: Call, device: torch.device, training: bool) -> Part:
    x, layer, rate = _filled(call.like, device, False), call.layer, call.rate
    assert rate is not None
    cells = enter(x, rate)
    cells.tensor.requires_grad_(training and call.wants_gradient)
    cells = cells._replace(clean=False)
    return (
        lambda: _cells(layer._conv_forward(value_of(cells), layer.weight, layer.bias)),
        [*([cells.tensor] if cells.tensor.requires_grad else []), *_parameters(call)],
    )


def _leaving(like: Cells, device: torch.device, training: bool) -> Part:
    cells = like._replace(tensor=_filled(like.tensor, device, training))
    return lambda: leave(cells), [cells.tensor] if training else []


def _cells(value: Any) -> Tensor:
    tensor: Tensor = (
        value._memory.cells.tensor if hasattr(value, "_memory") and value._memory.cells is not None else value
    )
    return tensor


def _run(parts: Sequence[Part], training: bool) -> Callable[[], object]:
    def infer() -> None:
        with torch.no_grad():
            for call, _ in parts:
                call()

    def train() -> None:
        for call, wanted in parts:
            y = call()
            if wanted and y.requires_grad:
                torch.autograd.grad(y, wanted, torch.ones_like(y), allow_unused=True)

    return train if training else infer
