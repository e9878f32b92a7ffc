"""The activation of a convolution's own result: in the memory of that where no gradient needs it, or on the way out of batch space.

A bias stays with the convolution: there it costs nothing, and in 16-bit types the sum is rounded once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from spacebatch.reference.arguments import Borders
from spacebatch.reference.arithmetic import Activation

from .. import functions, fused, routes
from .batch_space_tensor import Value, graph

APART = (
    "silu",
    "gelu",
    "sigmoid",
)  # PyTorch's passes over what lies in the cache are faster than ours by more than a move's
LARGE = 16 << 20  # bytes of what does not; there a pass less is worth more
_NEW: dict[str, tuple[Any, dict[str, Any]]] = {
    "relu": (torch.relu, {}),
    "silu": (functional.silu, {}),
    "gelu": (functional.gelu, {}),
    "gelu_tanh": (functional.gelu, {"approximate": "tanh"}),
    "sigmoid": (torch.sigmoid, {}),
    "tanh": (torch.tanh, {}),
    "hardswish": (functional.hardswish, {}),
}
_IN_PLACE: dict[str, tuple[Any, dict[str, Any]]] = {
    "relu": (torch.relu_, {}),
    "silu": (functional.silu, {"inplace": True}),
    "sigmoid": (torch.sigmoid_, {}),
    "tanh": (torch.tanh_, {}),
    "hardswish": (functional.hardswish, {"inplace": True}),
}


def activated(y: Tensor, activation: Activation) -> Tensor:
    """The activation of what a convolution has just made, and nobody else has seen.

    >>> activated(torch.tensor([-1.0, 2.0]), "relu")
    tensor([0., 2.])
    """
    if activation == "none":
        return y
    stays = isinstance(y, Value)
    own = not torch.compiler.is_compiling() and (stays or routes.route_of(y) == "eager") and not y.requires_grad
    function, options = (own and _IN_PLACE.get(activation)) or _NEW[activation]
    if stays:  # the rule is asked here: torch.compile does not take every function of a value to it
        return graph.rules(function, (y,), options)  # type: ignore[no-any-return]
    return function(y, **options)  # type: ignore[no-any-return]


def leave(y: Tensor, blocks: tuple[int, ...], crops: Borders, activation: Activation) -> Tensor:
    """`batch_to_space`, and the activation in the same pass where that is the faster way."""
    plain = routes.route_of(y) in ("eager", "autograd")
    apart = plain and y.device.type == "cpu" and activation in APART and y.nbytes < LARGE
    if apart or activation == "none":
        return activated(functions.batch_to_space(y, blocks, crops), activation)
    return fused.batch_to_space(y, blocks, crops, activation=activation)
