"""Rules for values whose channels have become the last dim, as layer norms and linear layers over channels want them.

Such a value is a view of the one that was permuted, or came of another one like it. Permuted back it is as any other. Beside these
rules only elementwise functions know it; all else gets the image.
"""

from __future__ import annotations

from typing import Any

from .batch_space_tensor import Value
from .cells import Cells
from .rule import rule, rule_of_cells
from .value import cells_of, view_of


@rule("permute")
def _permuted(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The channels to the end, or back from there: a view."""
    value: Any = args[0] if args else None
    dims = args[1:] if len(args) != 2 or isinstance(args[1], int) else tuple(args[1])
    if kwargs or not isinstance(value, Value) or not all(isinstance(d, int) for d in dims):
        return NotImplemented
    rank, last = len(value._sizes) + 2, value._last
    order = (0, rank - 1, *range(1, rank - 1)) if last else (0, *range(2, rank), 1)
    cells = cells_of(value, last=True) if tuple(d + rank if d < 0 else d for d in dims) == order else None
    if cells is None:
        return NotImplemented
    return view_of(value, lambda t: t.permute(order), cells.sizes, cells.tensor.permute(order), not last)


@rule("transpose")
def _transposed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """With one spatial dim, it is exchanged for the channels."""
    if len(args) != 3 or not isinstance(args[0], Value) or len(args[0]._sizes) != 1:
        return NotImplemented
    if not {*args[1:]} <= {1, 2, -1, -2} or (args[1] - args[2]) % 3 == 0:
        return NotImplemented
    return _permuted(func, (args[0], 0, 2, 1), kwargs)


@rule_of_cells("layer_norm", last=True)
def _layer_norm(
    func: Any, cells: Cells, normalized_shape: Any = None, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    """Over the channels of each position. Cells of no position may all hold zero: without an epsilon, gradients there are no numbers."""
    if not cells.last or len(normalized_shape) != 1 or (eps <= 0 and not cells.whole):
        return NotImplemented
    return cells._replace(tensor=func(cells.tensor, normalized_shape, weight, bias, eps), clean=False)


@rule_of_cells("linear", last=True)
def _linear(func: Any, cells: Cells, weight: Any = None, bias: Any = None) -> Any:
    return cells._replace(tensor=func(cells.tensor, weight, bias), clean=False) if cells.last else NotImplemented
