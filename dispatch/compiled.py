"""`spacebatch.use_compiled`: what a compiled graph holds, PyTorch's own operators or ours."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

from . import torch_private

Spelling: TypeAlias = Literal["aten", "kernel"]
_SPELLINGS = ("aten", "kernel")


def _named(name: object, where: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{where}: the spelling must be a name, got {name!r} of type {type(name).__name__}")
    if name not in _SPELLINGS:
        raise ValueError(f"{where}: no spelling is called {name!r}; there are {', '.join(_SPELLINGS)}")
    return name


# "aten" because the compiler fuses it with its neighbours; which of the two is faster on a GPU has not been measured.
_chosen = _named(os.environ.get("SPACEBATCH_COMPILED") or "aten", "SPACEBATCH_COMPILED")


@contextmanager
def use_compiled(name: Spelling) -> Iterator[None]:
    """Have graphs that are compiled or called inside the block hold the named spelling of both operators.

    >>> import torch, spacebatch
    >>> with spacebatch.use_compiled("kernel"):
    ...     program = torch.export.export(spacebatch.nn.SpaceToBatch(2), (torch.zeros(1, 3, 4, 4),))
    >>> [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    ['spacebatch.space_to_batch.default']

    "aten" is the default: PyTorch's `constant_pad_nd`, `reshape`, `permute` and `clone`, which Inductor fuses with each
    other and with pointwise neighbours. "kernel" is `torch.ops.spacebatch`, one node that runs what an eager call would: the
    Triton kernel on a GPU, and between two memory-bound neighbours a pass of its own. Gradients are the other operator in
    both. Calls inside `torch.func` transforms, forward-mode AD and ONNX export are always spelled in aten.

    `torch.compile` compiles again for a call outside of the block. `SPACEBATCH_COMPILED` in the environment chooses from the
    start. The operator is opaque to Inductor, and no `torch.library.triton_op`: which kernel runs, on how many programs, and with
    which units of alignment is worked out of the very sizes, strides and addresses, which a symbolic graph does not have.

    Args:
        name: "aten" or "kernel".

    Raises:
        ValueError: no spelling of that name. TypeError: no name.
    """
    global _chosen
    before, _chosen = _chosen, _named(name, "use_compiled")
    try:
        yield
    finally:
        _chosen = before


def kernel_wanted() -> bool:
    """Whether a call that is being traced becomes one of our operators: no transform may need to look inside."""
    if _chosen != "kernel" or not torch_private.is_compiling() or torch_private.exporting_to_onnx():
        return False
    return isinstance(torch_private.transform_in_graph(), type(None)) and not torch_private.forward_ad_active()
