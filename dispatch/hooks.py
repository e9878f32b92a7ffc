"""The private hooks of PyTorch that the front door asks on every call, each with a public fallback.

The environment variable SPACEBATCH_PUBLIC_HOOKS=1 forces the fallbacks, which are more careful than needed: they send a
call the slower way round where the private hook would have seen that it need not go there.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

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


# Whether a tensor has memory of its own. Those that autograd maps over a batch of gradients (`is_grads_batched`) have none
# and yet are of the plain type.
has_storage: Callable[[torch.Tensor], object] = _find("_C._has_storage") or _reads_storage

# How many dispatch modes (FakeTensorMode, make_fx, profilers in Python, …) are active.
dispatch_modes: Callable[[], object] | None = _find("_C._len_torch_dispatch_stack")


def mode_active() -> bool:
    """Whether a TorchDispatchMode is active; without the private hook, always True: the operator's way is right anyway."""
    return bool(dispatch_modes()) if dispatch_modes is not None else True


def forward_ad_active() -> bool:
    """Whether a level of forward-mode AD is open."""
    if PRIVATE and hasattr(torch.autograd.forward_ad, "_current_level"):
        return bool(torch.autograd.forward_ad._current_level >= 0)
    return True
