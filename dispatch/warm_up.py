"""`spacebatch.warm_up`: what a first call does besides its work, done before it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, ParamSpec

import numpy as np

from spacebatch.reference import prepared

P = ParamSpec("P")


def warm_up(operation: Callable[P, Any], *arguments: P.args, **options: P.kwargs) -> None:
    """Make ready whatever a call with these arguments needs, so that the call itself neither waits nor loads anything.

    >>> import torch, spacebatch
    >>> x = torch.rand(1, 3, 16, 16)
    >>> spacebatch.warm_up(spacebatch.space_to_batch, x, 2, paddings=1)
    >>> y = spacebatch.space_to_batch(x, 2, paddings=1)  # by a kernel that is compiled

    On a GPU the kernel is chosen (and measured, with `SPACEBATCH_AUTOTUNE=on`), compiled and loaded, as it must be before a
    CUDA graph is captured; on the CPU it is compiled, and waited for. To that end the call is made, twice, into memory of its
    own: no tensor of the arguments is written to. Where it wants a gradient, that is computed as well.

    What counts are the sizes, strides, dtype and device of tensors, and whether they start at a multiple of 16 bytes; not
    their values, nor the pad value.

    Args:
        operation: `space_to_batch` or `batch_to_space`, in any spelling: also `spacebatch.tensorflow`'s and
            `spacebatch.caffe2`'s, or a module or a geometry's method.
        arguments, options: of the call.

    Raises:
        ValueError, TypeError: as the call itself.
        RuntimeError: a CUDA graph is being captured.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
        raise RuntimeError("warm_up: a CUDA graph is being captured; warm up before")
    wanted = []

    def own(value: Any) -> Any:
        if torch is None or not isinstance(value, torch.Tensor) or not value.requires_grad:
            return value
        wanted.append(value.detach().requires_grad_())
        return wanted[-1]

    call: Callable[..., Any] = operation
    inputs = [own(value) for value in arguments]
    keywords: dict[str, Any] = {name: own(value) for name, value in options.items() if name != "out"}
    if options.get("out") is not None:
        keywords["out"] = _like(options["out"])
    with prepared.waiting_for_kernels():
        for _ in range(2):  # a new shape may be served by a recipe at first
            result = call(*inputs, **keywords)
            if wanted and result.requires_grad:
                torch.autograd.grad(result, wanted, torch.zeros_like(result), allow_unused=True)  # type: ignore[union-attr]


def _like(out: Any) -> Any:
    """Memory that lies as `out` does."""
    if isinstance(out, np.ndarray):
        if out.dtype.hasobject or not out.size:
            return np.empty_like(out)
        reach = [(size - 1) * stride for size, stride in zip(out.shape, out.strides, strict=True)]
        first = -sum(step for step in reach if step < 0)
        memory = np.empty(first + sum(step for step in reach if step > 0) + out.itemsize, np.uint8)
        return np.ndarray(out.shape, out.dtype, memory, first, out.strides)
    torch = sys.modules["torch"]
    if not isinstance(out, torch.Tensor) or out.layout is not torch.strided or not out.numel():
        return out  # to be refused, or with nothing to write
    start = out.data_ptr() % 16 // out.element_size()
    reach = [(size - 1) * stride for size, stride in zip(out.shape, out.stride(), strict=True)]
    memory = torch.empty(start + sum(reach) + 1, dtype=out.dtype, device=out.device)
    return memory.as_strided(out.shape, out.stride(), start)
