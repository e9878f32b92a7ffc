"""The private hooks of PyTorch that `routes` asks on every call, each with a public fallback.

The environment variable SPACEBATCH_PUBLIC_HOOKS=1 forces the fallbacks, which are more careful than needed: they send a
call the slower way round where the private hook would have seen that it need not go there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.autograd import forward_ad

PRIVATE = os.environ.get("SPACEBATCH_PUBLIC_HOOKS", "0") != "1"


def _find(*names: str) -> Callable[..., object] | None:
    if not PRIVATE:
        return None
    for name in names:
        found: object = torch
        for part in name.split("."):
            found = getattr(found, part, None)
        if callable(found):
            return found
    return None


is_compiling: Callable[[], bool] = torch.compiler.is_compiling


def _unknown_transform() -> bool:
    return True


# The innermost functorch transform (vmap, grad, jvp, …), None outside of any. There is no public way to ask; without the
# hook every call takes the aten spelling, which is right under any transform.
functorch_level: Callable[[], object] = (
    _find("_C._functorch.maybe_current_level", "_C._functorch.peek_interpreter_stack") or _unknown_transform
)


def _reads_storage(x: torch.Tensor) -> bool:
    try:
        x.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return False
    return True


# The same, asked in a way that a compiler can follow; it sees an object that wraps the None.
transform_in_graph: Callable[[], object] = _find("_C._functorch.peek_interpreter_stack") or _unknown_transform

# Whether the graph being traced is to become an ONNX model.
exporting_to_onnx: Callable[[], bool] = torch.onnx.is_in_onnx_export

# Whether `torch.jit.trace` is recording.
is_tracing: Callable[[], object] = _find("_C._is_tracing") or torch.jit.is_tracing  # type: ignore[attr-defined]

# Whether a tensor has memory of its own. Those that autograd maps over a batch of gradients (`is_grads_batched`) have none
# and yet are of the plain type.
has_storage: Callable[[torch.Tensor], object] = _find("_C._has_storage") or _reads_storage

# How many dispatch modes (FakeTensorMode, make_fx, profilers in Python, …) are active.
dispatch_modes: Callable[[], object] | None = _find("_C._len_torch_dispatch_stack")


def _unknown_mode() -> bool:
    return True


# Whether a TorchDispatchMode is active; without the private hook always: the operator's way is right anyway.
mode_active: Callable[[], object] = dispatch_modes or _unknown_mode

# Tells autograd that tensors were written to; without the look at what it was given, which takes as long again.
increment_version: Callable[[Sequence[torch.Tensor]], object] = (
    _find("_C._increment_version") or torch.autograd.graph.increment_version
)

_LEVELS = PRIVATE and hasattr(forward_ad, "_current_level")


def forward_ad_active() -> bool:
    """Whether a level of forward-mode AD is open."""
    return forward_ad._current_level >= 0 if _LEVELS else True


def apply_of(function: type[torch.autograd.Function]) -> Callable[..., Any]:
    """`function.apply` without its look for functorch transforms, where the caller knows that there are none."""
    found = getattr(super(torch.autograd.Function, function), "apply", None) if PRIVATE else None
    return found or function.apply


def shards_by_all_arguments(operators: Sequence[Any]) -> bool:
    """Have DTensor tell calls apart by all arguments, not only by the tensors and plain ints.

    `register_sharding`, which is public, lets a rule depend on no list of numbers: calls that differ in one would share the first
    one's rule. False where this cannot be changed.
    """
    if not PRIVATE:
        return False
    try:
        from torch.distributed.tensor import DTensor
        from torch.distributed.tensor._op_schema import RuntimeSchemaInfo

        known = DTensor._op_dispatcher.sharding_propagator.op_to_schema_info
    except (ImportError, AttributeError):
        return False
    for operator in operators:
        known[operator] = RuntimeSchemaInfo(1, needs_pytree=True)
    return True


overridden: set[Any] = (
    set()
)  # functions of which tensor subclasses of ours must hear; filled where their rules are written down


def compiler_overrides() -> bool:
    """Whether torch.compile takes every function of a subclass to its `__torch_function__`, as eager calls do.

    Its list lacks `torch.relu_` and `torch.nn.functional.hardswish`, among others, which it applies to the subclass as if it were plain; they
    are added to it. Without that hook no value may stay in batch space inside a graph.
    """
    from importlib import import_module

    known = (
        getattr(import_module("torch._dynamo.variables.torch"), "get_overridable_functions", None) if PRIVATE else None
    )
    if known is None:
        return False
    known().update(overridden)
    return bool(overridden <= known())


compiler_overrides._dynamo_marked_constant = True  # type: ignore[attr-defined]  # called while a graph is traced, not traced itself
