"""Fused operators as this library computes them, and as one writes them by hand: the arithmetic in PyTorch beside the move.

By hand the order is that which moves fewer bytes: bytes are computed with before they are moved, since PyTorch moves single bytes slowly,
casts narrow before the move, and what follows a `batch_to_space` writes into its result. In bfloat16 PyTorch rounds after each step.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

import spacebatch
from spacebatch import by_hand as moves

from .fused_cases import FusedCase

Function = Callable[[Any], Any]
MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's and Qwen2-VL's, of bytes as numbers from 0 to 1
STD = (0.26862954, 0.26130258, 0.27577711)


class Operands(NamedTuple):
    """Tensors beside the source; those that a case does not have are None."""

    scale: Tensor | None  # (channels,), float32
    bias: Tensor | None
    residual: Tensor | None


def operands(case: FusedCase, device: torch.device) -> Operands:
    """What a case computes with.

    >>> from spacebatch.perf.fused_cases import fused_suite
    >>> found = operands(fused_suite()[0], torch.device("cpu"))
    >>> found.scale.shape, found.residual
    (torch.Size([3]), None)
    """
    channels = case.shape[1]
    if case.dtype == "uint8":
        mean, std = torch.tensor(MEAN, dtype=torch.float64), torch.tensor(STD, dtype=torch.float64)
        scale, bias = (1 / (255 * std)).float(), (-mean / std).float()
    else:
        scale, bias = 1 + torch.arange(channels) / (2 * channels), torch.arange(channels) / channels - 0.5
    residual = None
    if case.residual:
        words = {"direction": "space_to_batch", "dtype": case.result or case.dtype, "mode": "forward"}
        residual = FusedCase(**{**vars(case), **words}).source(device)
    return Operands(scale.to(device) if case.scale else None, bias.to(device) if case.bias else None, residual)


def ours(case: FusedCase) -> Function:
    """The call as users write it."""
    return _at_first_call(lambda device: _ours(case, operands(case, device)))


def by_hand(case: FusedCase, compiled: bool = False) -> Function:
    """PyTorch's operators, one after the other; or compiled by `torch.compile`."""

    def made(device: torch.device) -> Function:
        given = operands(case, device)
        function = _tokens(case, given) if case.tokens else _moved(case, given)
        if compiled:
            torch.compiler.reset()
            function = torch.compile(function, dynamic=False, fullgraph=True)
        bias = None if given.bias is None or case.dtype == "uint8" else given.bias.to(case.torch_dtype)
        return differentiated(case, function, bias)

    return _at_first_call(made)


def _at_first_call(made: Callable[[torch.device], Function]) -> Function:
    """A function that is made when its input tells the device."""
    kept: list[Function] = []

    def run(x: Any) -> Any:
        if not kept:
            kept.append(made(x.device))
        return kept[0](x)

    return run


def _ours(case: FusedCase, given: Operands) -> Function:
    if case.tokens:
        last = case.layout == "channels_last"
        words: dict[str, Any] = {"merge": case.merge, "temporal": case.temporal, "token": case.tokens}
        words |= {"mean": MEAN, "std": STD, "dtype": case.result_dtype, "layout": "HWC" if last else "CHW"}

        def tokens(x: Tensor) -> Any:
            return spacebatch.patchify(list(x.permute(0, 2, 3, 1) if last else x), case.block, **words).tokens

        return tokens
    operation, words = _call(case, given)
    return differentiated(case, lambda x, **bias: operation(x, **(words | bias)), given.bias)


def _call(case: FusedCase, given: Operands) -> tuple[Function, dict[str, Any]]:
    """The operator, and the words that it is called with."""
    words = case.arguments | {name: value for name, value in given._asdict().items() if value is not None}
    words |= {"dtype": case.result_dtype} | ({"activation": case.activation} if case.activation != "none" else {})
    return getattr(spacebatch.fused, case.direction), words


def kernel(case: FusedCase, source: Tensor) -> str:
    """What computes our side; empty of tokens, which nothing explains."""
    if case.tokens:
        return ""
    operation, words = _call(case, operands(case, source.device))
    told = spacebatch.explain(operation, source, **words)
    return f"{told.backend}: {told.kernel}"


def differentiated(case: FusedCase, function: Callable[..., Tensor], bias: Tensor | None) -> Function:
    """The function itself; in training a call of it, and the gradients of the source and the bias: the first one is returned."""
    if case.mode == "forward":
        return function
    seed = torch.ones(case.result_shape, dtype=case.result_dtype, device=None if bias is None else bias.device)
    if case.layout == "channels_last":
        seed = seed.to(memory_format=torch.channels_last)

    def step(x: Tensor) -> Tensor:
        leaf = x.detach().requires_grad_()
        parameters = {} if bias is None else {"bias": bias.detach().requires_grad_()}
        return torch.autograd.grad(function(leaf, **parameters), [leaf, *parameters.values()], seed)[0]

    return step


def _tokens(case: FusedCase, given: Operands) -> Function:
    """Tokens of images of one size."""
    scale, bias = _beside(given.scale, case.torch_dtype), _beside(given.bias, case.torch_dtype)
    assert scale is not None
    assert bias is not None
    (count, channels, height, width), patch, merge, frames = case.shape, case.block[0], case.merge, case.temporal
    rows, columns = height // patch, width // patch
    split = (count, channels, rows // merge, merge, patch, columns // merge, merge, patch)
    places = {"T": 6, "C": 1, "H": 4, "W": 8}  # of the split image with frames in the place 6
    letters = case.tokens if "T" in case.tokens else f"T{case.tokens}"
    order = (0, 2, 5, 3, 7, *(places[letter] for letter in letters))
    dtype, shape = case.result_dtype, case.result_shape

    def run(x: Tensor) -> Tensor:
        x = x.to(torch.float32).mul_(scale).add_(bias).to(dtype)
        x = x.reshape(split).unsqueeze(6).expand(-1, -1, -1, -1, -1, -1, frames, -1, -1)
        return x.permute(order).reshape(shape)

    return run


def _moved(case: FusedCase, given: Operands) -> Callable[..., Tensor]:
    """A move with arithmetic before or behind it."""
    move = moves.by_hand(case.direction, case.geometry, case.layout == "channels_last")
    dtype, scale, residual = case.result_dtype, _beside(given.scale, case.torch_dtype), given.residual
    kept, activation = _beside(given.bias, case.torch_dtype), ACTIVATIONS[case.activation]
    rank = len(case.shape) - 2
    if case.direction == "space_to_batch":

        def to_batch(x: Tensor) -> Tensor:
            if scale is not None and kept is not None:
                x = x.to(torch.float32).mul_(scale).add_(kept)
            return move(x.to(dtype))

        return to_batch

    def to_space(y: Tensor, bias: Tensor | None = kept) -> Tensor:
        x = move(y)
        if scale is not None:
            x = x.mul_(scale.view(-1, *(1,) * rank))
        if bias is not None:
            x = x.add_(bias.view(-1, *(1,) * rank))
        if residual is not None:
            x = x.add_(residual)
        return activation(x).to(dtype)

    return to_space


def _beside(words: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Scale or bias beside images: of the type that the arithmetic has by hand."""
    if words is None:
        return None
    return (words if dtype is torch.uint8 else words.to(dtype)).view(-1, 1, 1)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": torch.relu_,
    "silu": functional.silu,
    "gelu": functional.gelu,
}


def close(case: FusedCase, found: Tensor, wanted: Tensor) -> bool:
    """Equal but for rounding: by hand in bfloat16 each step is rounded, and PyTorch's gelu of float32 errs by up to 1.2e-6.

    >>> case = FusedCase("batch_to_space", (1, 4, 2), (2,), ((0, 0),))
    >>> close(case, torch.ones(2, 4, 1), torch.ones(2, 4, 1)), close(case, torch.ones(2), torch.full((2,), 1.01))
    (True, False)
    """
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return False
    kinds = (wanted.dtype, *(() if case.dtype == "uint8" else (case.torch_dtype,)))
    error = max(2e-6, *(4 * torch.finfo(kind).eps for kind in kinds))
    return torch.allclose(found.float(), wanted.float(), rtol=error, atol=error)


def processor(case: FusedCase) -> Function:
    """transformers' processor of Qwen2-VL on tensors, and the cast that the model makes."""
    transformers = import_module("transformers")
    fast = "" if int(transformers.__version__.partition(".")[0]) >= 5 else "Fast"  # it was the slow one's name before
    made = getattr(transformers, f"Qwen2VLImageProcessor{fast}")(
        patch_size=case.block[0], merge_size=case.merge, temporal_patch_size=case.temporal, do_resize=False
    )
    return lambda x: made(list(x), return_tensors="pt")["pixel_values"].to(case.result_dtype)
