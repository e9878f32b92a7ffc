"""Rules for what takes one position at a time: functions of one value, and of two."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from . import chains
from .cells import Cells
from .entering import entered, entered_before
from .value import Value, cells_of, may_stay, shown, value_of, writable, written

# Of one value; True: what is zero stays zero.
UNARY: dict[str, bool] = {
    **dict.fromkeys(("relu", "relu6", "leaky_relu", "rrelu", "elu", "celu", "selu", "gelu", "silu", "mish"), True),
    **dict.fromkeys(("hardswish", "softsign", "tanhshrink", "hardshrink", "softshrink", "tanh", "abs", "neg"), True),
    **dict.fromkeys(
        ("square", "sign", "sin", "asinh", "atan", "erf", "expm1", "negative", "absolute", "nan_to_num"), True
    ),
    **dict.fromkeys(("__neg__", "__abs__", "clone", "sqrt"), True),
    **dict.fromkeys(("logsigmoid", "hardsigmoid", "softplus", "hardtanh", "sigmoid", "exp", "cos", "threshold"), False),
    **dict.fromkeys(("clamp", "clamp_min", "clamp_max", "clip", "pow", "__pow__", "rsqrt", "reciprocal", "log"), False),
}
# The derivative may be infinite, or the result: beside it the zero gradient of a cell that is no position of the image is no number.
SINGULAR = frozenset(("sqrt", "pow", "__pow__", "rsqrt", "reciprocal", "log", "exp", "expm1"))
BINARY = ("add", "sub", "subtract", "mul", "multiply", "div", "divide", "true_divide", "maximum", "minimum")
_OPERATORS = ("add", "sub", "mul", "truediv", "div")
_MULTIPLIES = ("mul", "mul_", "multiply", "multiply_", "__mul__", "__imul__", "__rmul__")
_DIVIDES = (
    *("div", "div_", "divide", "divide_", "true_divide", "true_divide_"),
    *("__truediv__", "__itruediv__", "__div__", "__idiv__", "__rtruediv__", "__rdiv__"),
)


def _unary(name: str, keeps: bool, writes_by_name: bool) -> Callable[..., Any]:

    def rule(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        value: Any = args[0] if args else kwargs.get("input")
        if len(args) == 1 and not kwargs and not writes_by_name:
            cells = cells_of(value, last=True)
            if cells is None or (name in SINGULAR and not cells.whole):
                return NotImplemented
            result = Cells(func(cells.tensor), cells.rate, cells.sizes, cells.clean and keeps, cells.last)
            return value_of(result, value._memory)
        if not isinstance(value, Value) or kwargs.get("out") is not None:
            return NotImplemented
        if any(isinstance(other, Tensor) for other in (*args[1:], *(v for k, v in kwargs.items() if k != "input"))):
            return NotImplemented
        cells = cells_of(value, last=True)
        if cells is None or (name in SINGULAR and not cells.whole):
            return NotImplemented
        rest = {key: option for key, option in kwargs.items() if key != "input"}
        writes = writes_by_name or in_place(func, args, kwargs)
        if writes and not writable(value):
            return NotImplemented
        result = func(cells.tensor, *args[1:], **rest)
        if writes:
            return written(value, keeps)
        return value_of(cells._replace(tensor=result, clean=cells.clean and keeps), value._memory)

    return rule


def in_place(func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a function of `torch.nn.functional` is asked to write into its input.

    >>> in_place(torch.nn.functional.relu, (None, True), {}), in_place(torch.nn.functional.relu, (None,), {})
    (True, False)
    """
    place = _PLACES.get(func)
    flag = kwargs.get("inplace", args[place] if place is not None and len(args) > place else False)
    return isinstance(flag, int) and bool(flag)


_PLACES: dict[Any, int] = {}
for _name in UNARY:
    _function = getattr(torch.nn.functional, _name, None)
    if inspect.isfunction(_function):
        _parameters = list(inspect.signature(_function).parameters)
        if "inplace" in _parameters:
            _PLACES[_function] = _parameters.index("inplace")


def operand(other: Any, cells: Cells, memory: Any) -> Any:
    """What stands beside cells for another operand, and whether it is clean, or None where it must be an image.

    Numbers and what is the same at all positions stay as they are; what differs by sample is repeated for the phases; another
    image of the same sizes is moved.
    """
    if isinstance(other, Value):
        found = cells_of(other, last=cells.last)
        if found is not None and found.rate == cells.rate:
            chains.met(memory, other._memory)
        elif cells.last:
            return None
        else:  # one of another geometry, or an image: it may have been moved for a convolution
            image = shown(other)
            found = None if image is None else entered_before(image, cells.rate)
        if found is None or (found.sizes, found.samples, found.last) != (cells.sizes, cells.samples, cells.last):
            return None
        return found.tensor, found.clean
    if not isinstance(other, Tensor):
        return (other, False) if isinstance(other, (int, float, torch.SymInt, torch.SymFloat)) else None
    if type(other) not in (Tensor, torch.nn.Parameter, torch.nn.Buffer):
        return None
    if cells.last:
        return (other, False) if other.dim() <= 1 else None
    shape, dims = tuple(other.shape), len(cells.rate)
    if constant_over_space(shape, dims):
        return other, False
    if len(shape) != dims + 2 or shape[0] not in (1, cells.samples) or other.device != cells.tensor.device:
        return None
    if all(size == 1 for size in shape[2:]):
        return other.repeat(math.prod(cells.rate), *(1,) * (dims + 1)), False
    if shape[2:] != cells.sizes or not may_stay(other):
        return None
    moved = entered(other, cells.rate).tensor
    return (moved if shape[0] == cells.samples else moved.repeat_interleave(cells.samples, 0)), True


def constant_over_space(shape: Sequence[int], dims: int) -> bool:
    """Whether a tensor of this shape, beside one in space, is the same number at all positions of all samples.

    >>> constant_over_space((1, 8, 1, 1), 2), constant_over_space((4, 8, 1, 1), 2), constant_over_space((8, 1), 2)
    (True, False, False)
    """
    if len(shape) <= dims:
        return all(size == 1 for size in shape)
    return all(size == 1 for size in shape[len(shape) - dims :]) and all(size == 1 for size in shape[: -dims - 1])


def _binary(name: str, in_place: bool) -> Callable[..., Any]:
    def rule(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if len(args) != 2 or kwargs.keys() - {"alpha", "rounding_mode"}:
            return NotImplemented
        a, b = args
        for value, beside in ((a, b),) if in_place else ((a, b), (b, a)):
            cells = cells_of(value, last=True) if isinstance(value, Value) else None
            other = None if cells is None else operand(beside, cells, value._memory)
            if other is not None:
                break
        else:
            return NotImplemented
        assert cells is not None
        if in_place and not writable(value):
            return NotImplemented
        if (value is b or (isinstance(b, Tensor) and b.dim())) and name in _DIVIDES and not cells.whole:
            return NotImplemented
        tensor, clean = other
        alone = not isinstance(tensor, Tensor) or tensor.dim() == 0 or tensor.shape[2:] != cells.tensor.shape[2:]
        if alone:  # a number, or one per channel
            clean = cells.clean and (name in _MULTIPLIES or (name in _DIVIDES and value is a))
        else:
            clean = cells.clean and clean and name not in _DIVIDES
        result = func(cells.tensor, tensor, **kwargs) if value is a else func(tensor, cells.tensor, **kwargs)
        if in_place:
            return written(value, clean)
        return value_of(cells._replace(tensor=result, clean=clean), value._memory)

    return rule


RULES: dict[str, Callable[..., Any]] = {
    **{name: _unary(name, keeps, False) for name, keeps in UNARY.items()},
    **{f"{name}_": _unary(name, keeps, True) for name, keeps in UNARY.items() if not name.startswith("__")},
    **{name: _binary(name, False) for name in (*BINARY, "rsub")},
    **{f"{name}_": _binary(f"{name}_", True) for name in BINARY},
    **{f"__{name}__": _binary(f"__{name}__", False) for name in _OPERATORS},
    **{f"__r{name}__": _binary(f"__r{name}__", False) for name in _OPERATORS},
    **{f"__i{name}__": _binary(f"__i{name}__", True) for name in _OPERATORS},
}
