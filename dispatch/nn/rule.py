"""How rules are written, and the table of them: what becomes of cells under a torch function.

Operations go by one name each, however they are written: `torch.relu(x)`, `x.relu()` and `F.relu(x)` are "relu".
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from .batch_space_tensor import Value
from .cells import Cells
from .value import cells_of, value_of

Rule: TypeAlias = Callable[
    [Any, Any, dict[str, Any]], Any
]  # of a function and its arguments; NotImplemented: it wants images
Body = TypeVar("Body", bound=Callable[..., Any])
RULES: dict[Any, Rule] = {}
_HOLDERS: tuple[Any, ...] = (
    *(torch, torch.nn.functional, Tensor, torch._C._nn, torch._C._VariableFunctions, torch.special),
)


def functions_named(*names: str) -> Iterable[Any]:
    """Every torch function of these names; a string may hold several.

    >>> functions = functions_named("relu gelu")
    >>> torch.relu in functions, torch.Tensor.relu_ in functions
    (True, False)
    """
    each = " ".join(names).split()
    return [found for name in each for holder in _HOLDERS if callable(found := getattr(holder, name, None))]


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Enter a rule for the functions of these names in the table."""

    def entered(made: Rule) -> Rule:
        RULES.update(dict.fromkeys(functions_named(*names), made))
        return made

    return entered


def rule_of_cells(*names: str, last: bool = False) -> Callable[[Body], Body]:
    """The same for a function of the cells of the first argument, with the others by name.

    The parameters after the function and the cells are named as in PyTorch, in its order, each with a default; a call that gives
    another one is given images. What is returned: cells, which become a value, any other result, or NotImplemented.

    Args:
        names: of the functions. last: whether it knows cells whose channels are the last dim.
    """

    def entered(body: Body) -> Body:
        known = tuple(inspect.signature(body).parameters)[2:]

        def made(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
            given = dict(zip(known, args[1:], strict=False)) | kwargs
            value = args[0] if args else given.pop("input", None)
            if not isinstance(value, Value) or len(args) > 1 + len(known) or given.keys() - {*known}:
                return NotImplemented
            cells = cells_of(value, last=last)
            if cells is None or any(isinstance(other, Value) for other in given.values()):
                return NotImplemented
            found = body(func, cells, **given)
            return value_of(found, value._memory) if isinstance(found, Cells) else found

        rule(*names)(made)
        return body

    return entered
