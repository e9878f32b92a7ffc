"""Triton kernels for both directions, their launch plans and their tuning.

`steps` turns loops into those of a result, `plan` and the `*_plan` modules those into numbers, all
without torch, triton or a GPU; `rows`, `vectors`, `phases` and `granules` hold the kernels; `launch` starts them. Import the
modules by name: this package imports nothing, so that triton is loaded when the first call needs it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .measure import tune

__all__ = ["tune"]


def __getattr__(name: str) -> object:
    if name == "tune":
        from .measure import tune

        return tune
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
