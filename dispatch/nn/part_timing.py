"""The parts of a converted network timed alone: a chain's convolutions natively, and in batch space with the chain's moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .batch_space_tensor import Value
from .cells import Cells, enter, leave
from .chains import Call, Chain
from .value import value_of

ROUNDS = 9
Part = tuple[Callable[[], Tensor], list[Tensor]]  # a call, and what its gradient is wanted for


def signature(chain: Chain) -> Any:
    """What the time of a chain depends on: chains of one signature are timed once."""
    calls = [
        (
            *(tuple(call.like.shape), call.like.stride(), call.like.dtype, call.wants_gradient, call.rate, call.stayed),
            *(str(getattr(call.layer, name)) for name in nn.modules.conv._ConvNd.__constants__),
            *(call.layer.bias is None, call.layer.transposed, getattr(type(call.layer), "_converted_from", None)),
        )
        for call in chain.calls
    ]
    return tuple(calls), tuple((tuple(cells.tensor.shape), cells.sizes) for cells in chain.leaves)


def calls_of(chain: Chain, device: torch.device, training: bool) -> dict[str, Callable[[], object]]:
    """The chain's convolutions as they are natively, and in batch space, each on random numbers; with backward in training."""
    natively = [_convolution(call, device, training, True) for call in chain.calls]
    ours = [_convolution(call, device, training, False) for call in chain.calls]
    ours += [_leaving(cells, device, training) for cells in chain.leaves if chain.calls[0].rate is not None]
    return {"before": _run(natively, training), "after": _run(ours, training)}


def _convolution(call: Call, device: torch.device, training: bool, natively: bool) -> Part:
    layer, (args, kwargs) = call.layer, call.options
    x = leaf = _filled(call.like, device)
    if call.stayed and not natively:
        assert call.rate is not None
        cells = enter(x, call.rate)._replace(clean=False)
        leaf = cells.tensor
    leaf.requires_grad_(training and call.wants_gradient)

    def run() -> Tensor:
        layer.method = "native" if natively else "batch_space"
        y = layer.forward(x if leaf is x else value_of(cells), *args, **kwargs)
        return y._memory.cells.tensor if isinstance(y, Value) and y._memory.cells is not None else y

    return run, [tensor for tensor in (leaf, *layer.parameters()) if tensor.requires_grad]


def _leaving(like: Cells, device: torch.device, training: bool) -> Part:
    cells = like._replace(tensor=_filled(like.tensor, device).requires_grad_(training))
    return lambda: leave(cells), [cells.tensor] if training else []


def _filled(like: Tensor, device: torch.device) -> Tensor:
    return torch.empty_like(like, device=device).normal_()


def _run(parts: Sequence[Part], training: bool) -> Callable[[], object]:
    def run() -> None:
        with torch.set_grad_enabled(training):
            for call, wanted in parts:
                y = call()
                if wanted and y.requires_grad:
                    torch.autograd.grad(y, wanted, torch.ones_like(y), allow_unused=True)

    return run
