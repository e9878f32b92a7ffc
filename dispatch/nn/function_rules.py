"""What a function or method in a traced network does to values in batch space, or why it cannot be there.

Operations go by one name each, however they are written: `x + y`, `torch.add(x, y)` and `x.add(y)` are "add".
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from spacebatch.reference.arguments import shown

from .cells import Cells
from .layer_rules import pad, padding_reason

F = torch.nn.functional

# Of one value, position by position; True: what is zero stays zero.
UNARY: dict[str, tuple[Callable[..., Any], bool]] = {
    **{
        name: (getattr(F, name), True)
        for name in ("relu", "relu6", "leaky_relu", "elu", "celu", "selu", "gelu", "silu")
    },
    **{name: (getattr(F, name), True) for name in ("mish", "hardswish", "softsign", "tanhshrink")},
    **{name: (getattr(F, name), False) for name in ("logsigmoid", "hardsigmoid", "softplus", "hardtanh")},
    **{name: (getattr(torch, name), True) for name in ("tanh", "abs", "neg", "square", "clone")},
    **{name: (getattr(torch, name), False) for name in ("sigmoid", "exp")},
    "contiguous": (Tensor.contiguous, True),
    "float": (Tensor.float, True),
    "double": (Tensor.double, True),
}
BINARY: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "truediv": operator.truediv,
}
OTHER: dict[str, Callable[..., Any]] = {
    "cat": torch.cat,
    "chunk": torch.chunk,
    "getitem": operator.getitem,
    "getattr": getattr,
    "size": Tensor.size,
    "pad": F.pad,
    "floordiv": operator.floordiv,  # of sizes
}
SIZES = ("size", "getattr")  # what they give are numbers

_BY_NAME: dict[str, Callable[..., Any]] = {**{name: f for name, (f, _) in UNARY.items()}, **BINARY, **OTHER}
_METHODS = {"add_": "add", "sub_": "sub", "mul_": "mul", "div": "truediv", "div_": "truediv", "relu_": "relu"}
_NAMES: dict[Any, str] = {
    **{f: name for name, f in _BY_NAME.items()},
    **{getattr(torch, name): name for name in ("relu", "selu", "add", "sub", "mul")},
    **{getattr(F, name): name for name in ("tanh", "sigmoid")},
    **dict.fromkeys((torch.div, torch.true_divide, operator.itruediv), "truediv"),
    operator.iadd: "add",
    operator.isub: "sub",
    operator.imul: "mul",
    operator.neg: "neg",
    torch.concat: "cat",
    torch.relu_: "relu",
}


def name_of(op: str, target: Any) -> str | None:
    """The name of what a traced node calls, None where nothing is known about it.

    >>> name_of("call_function", torch.add), name_of("call_method", "add_"), name_of("call_function", torch.fft.fft)
    ('add', 'add', None)
    """
    if op == "call_method":
        name = _METHODS.get(target, target)
        return name if name in _BY_NAME and name != "getattr" else None
    try:
        return _NAMES.get(target)
    except TypeError:  # not hashable
        return None


def reason(name: str, args: Sequence[Any], kwargs: dict[str, Any], rate: tuple[int, ...]) -> str | None:
    """Why a call cannot run in batch space of this rate, or None if it can; arguments may be nodes of a graph."""
    dims = len(rate)
    if name in ("cat", "chunk"):
        where = kwargs.get("dim", args[(1 if name == "cat" else 2)] if len(args) > (1 if name == "cat" else 2) else 0)
        return None if where in (1, -1 - dims) else f"dim={where} is not the channels"
    if name == "getattr":
        return None if args[1] == "shape" else f"the attribute {args[1]!r} is not known in batch space"
    if name == "pad":
        amounts = args[1] if len(args) > 1 else kwargs.get("pad")
        if (kwargs.get("mode") or (args[2] if len(args) > 2 else "constant")) != "constant":
            return "it fills the border from other positions"
        if not isinstance(amounts, (tuple, list)) or not all(isinstance(side, int) for side in amounts):
            return "its amounts are not fixed numbers"
        return padding_reason(tuple(amounts), rate)
    if name == "floordiv":
        return "its results are not fixed by one position's values alone"
    if kwargs.keys() & {"alpha", "out", "rounding_mode"}:
        return f"its options {sorted(kwargs)} are not known in batch space"
    return None


def run(name: str, *args: Any, **kwargs: Any) -> Any:
    """A call in batch space: `Cells` stand for tensors, and what has none among its arguments is computed as ever."""
    values = [value for arg in args for value in _flat(arg) if isinstance(value, Cells)]
    if not values or (name == "getitem" and not isinstance(args[0], Cells)):
        return _BY_NAME[name](*args, **kwargs)
    cells = values[0]
    if name in UNARY:
        call, keeps = UNARY[name]
        return cells._replace(tensor=call(cells.tensor, *args[1:], **kwargs), clean=cells.clean and keeps)
    if name in BINARY:
        return _binary(name, *args)
    if name == "cat":
        _same_sizes(name, values)
        return cells._replace(
            tensor=torch.cat([value.tensor for value in values], 1), clean=all(value.clean for value in values)
        )
    if name == "chunk":
        count = args[1] if len(args) > 1 else kwargs["chunks"]
        return tuple(cells._replace(tensor=part) for part in torch.chunk(cells.tensor, count, 1))
    if name == "pad":
        return pad(cells, tuple(args[1] if len(args) > 1 else kwargs["pad"]), _pad_value(args, kwargs))
    if name == "getattr":
        return torch.Size(cells.shape)
    if name == "size":
        where = args[1] if len(args) > 1 else kwargs.get("dim")
        return torch.Size(cells.shape) if where is None else cells.shape[where]
    return _part(cells, args[1])


def _flat(argument: Any) -> Sequence[Any]:
    return argument if isinstance(argument, (tuple, list)) and not isinstance(argument, Cells) else (argument,)


def _pad_value(args: Sequence[Any], kwargs: dict[str, Any]) -> float:
    value = args[3] if len(args) > 3 else kwargs.get("value")
    return 0 if value is None else value


def _same_sizes(name: str, values: Sequence[Cells]) -> None:
    first = values[0]
    for value in values[1:]:
        if value.sizes != first.sizes or value.rate != first.rate:
            raise ValueError(f"BatchSpace: {name}: the sizes {first.shape} and {value.shape} differ")


def _binary(name: str, a: Any, b: Any) -> Cells:
    both = [value for value in (a, b) if isinstance(value, Cells)]
    _same_sizes(name, both)
    for value in (a, b):
        if isinstance(value, Tensor) and value.dim() and not constant_over_space(value.shape, len(both[0].rate)):
            raise ValueError(
                f"BatchSpace: {name}: a tensor of shape {tuple(value.shape)} is not the same at all positions"
            )
    tensors = [value.tensor if isinstance(value, Cells) else value for value in (a, b)]
    clean = all(value.clean for value in both)
    if len(both) == 1 and (name in ("add", "sub") or (both[0] is b and name == "truediv")):
        clean = False
    elif len(both) == 2:
        clean = clean and name != "truediv"
    return both[0]._replace(tensor=BINARY[name](*tensors), clean=clean)


def constant_over_space(shape: Sequence[int], dims: int) -> bool:
    """Whether a tensor of this shape, beside one in space, is the same number at all positions of all samples.

    >>> constant_over_space((1, 8, 1, 1), 2), constant_over_space((4, 8, 1, 1), 2), constant_over_space((8, 1), 2)
    (True, False, False)
    """
    if len(shape) <= dims:
        return all(size == 1 for size in shape)
    return all(size == 1 for size in shape[len(shape) - dims :]) and all(size == 1 for size in shape[: -dims - 1])


def _part(cells: Cells, index: Any) -> Cells:
    """cells[…, a:b, …]: channels, and spatial dims from a multiple of the rate on."""
    entries = index if isinstance(index, tuple) else (index,)
    if any(entry is Ellipsis for entry in entries):
        at = next(k for k, entry in enumerate(entries) if entry is Ellipsis)
        missing = 3 + len(cells.rate) - len(entries)
        entries = (*entries[:at], *(slice(None),) * missing, *entries[at + 1 :])
    if not all(isinstance(entry, slice) for entry in entries) or len(entries) > 2 + len(cells.rate):
        raise ValueError(f"BatchSpace: getitem: only slices can be taken in batch space, got {shown(index)}")
    tensor, sizes = cells.tensor, list(cells.sizes)
    for d, entry in enumerate(entries):
        start, stop, step = entry.indices(cells.shape[d])
        if (start, stop, step) == (0, cells.shape[d], 1):
            continue
        if d == 1:
            tensor = tensor[:, entry]
            continue
        block = cells.rate[d - 2] if d else 0
        if d == 0 or step != 1 or start % block:
            raise ValueError(
                f"BatchSpace: getitem: dim {d} can be cut only with a step of 1 from a multiple of the rate "
                f"{cells.rate}, got {entry!r}"
            )
        sizes[d - 2] = max(stop - start, 0)
        tensor = tensor.narrow(d, start // block, (sizes[d - 2] + block - 1) // block)
    clean = cells.clean and tuple(sizes) == cells.sizes
    return cells._replace(tensor=tensor, sizes=tuple(sizes), clean=clean)
