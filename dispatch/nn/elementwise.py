"""Rules for what takes one position at a time: functions of one value, and of two."""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from torch import Tensor

from . import chains
from .batch_space_tensor import Value
from .cells import Cells
from .entering import entered, entered_before
from .rule import Rule, rule
from .value import cells_of, may_stay, shown, value_of, writable, written

# Of one value: those that leave zero zero, and the others.
_ZERO_STAYS = """
    relu relu6 leaky_relu rrelu elu celu selu gelu silu mish hardswish softsign tanhshrink hardshrink softshrink tanh abs neg square
    sign sin asinh atan erf expm1 negative absolute nan_to_num __neg__ __abs__ clone sqrt
"""
_ZERO_CHANGES = """
    logsigmoid hardsigmoid softplus hardtanh sigmoid exp cos threshold clamp clamp_min clamp_max clip pow __pow__ rsqrt reciprocal log
"""
UNARY = _ZERO_STAYS + _ZERO_CHANGES
# The derivative may be infinite, or the result: beside it the zero gradient of a cell that is no position of the image is no number.
_SINGULAR = frozenset(("sqrt", "pow", "__pow__", "rsqrt", "reciprocal", "log", "exp", "expm1"))
BINARY = "add sub subtract mul multiply div divide true_divide maximum minimum"


def _unary(name: str, keeps: bool, always_writes: bool = False) -> Rule:
    singular = name in _SINGULAR

    def made(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        value: Any = args[0] if args else kwargs.get("input")
        rest, writes = args[1:], always_writes
        if rest or kwargs:
            writes = writes or in_place(func, args, kwargs)
            kwargs = {key: option for key, option in kwargs.items() if key != "input"}
            if not isinstance(value, Value) or any(isinstance(a, Tensor) for a in (*rest, *kwargs.values())):
                return NotImplemented
        cells = cells_of(value, last=True)
        if cells is None or (singular and not cells.whole) or (writes and not writable(value)):
            return NotImplemented
        tensor = func(cells.tensor, *rest, **kwargs)
        if writes:
            return written(value, keeps)
        return value_of(Cells(tensor, cells.rate, cells.sizes, cells.clean and keeps, cells.last), value._memory)

    return made


def in_place(func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a function of `torch.nn.functional` is asked to write into its input.

    >>> in_place(torch.nn.functional.relu, (None, True), {}), in_place(torch.nn.functional.relu, (None,), {})
    (True, False)
    """
    place = _PLACES.get(func)
    flag = kwargs.get("inplace", args[place] if place is not None and len(args) > place else False)
    return isinstance(flag, int) and bool(flag)


def _place(function: Any) -> int | None:
    names = [*inspect.signature(function).parameters] if inspect.isfunction(function) else []
    return names.index("inplace") if "inplace" in names else None


_PLACES = {f: _place(f) for name in UNARY.split() if (f := getattr(torch.nn.functional, name, None)) is not None}


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
    rank = cells.tensor.dim()
    if other.dim() > rank:
        return None
    samples, _, *sizes = (*(1,) * (rank - other.dim()), *other.shape)
    everywhere = all(size == 1 for size in sizes)  # the same at all positions
    if everywhere and samples == 1:
        return other, False
    if samples not in (1, cells.samples) or other.dim() != rank or other.device != cells.tensor.device:
        return None
    if everywhere:
        return other.repeat(math.prod(cells.rate), *(1,) * (rank - 1)), False
    if tuple(sizes) != cells.sizes or not may_stay(other):
        return None
    moved = entered(other, cells.rate).tensor
    return (moved if samples == cells.samples else moved.repeat_interleave(cells.samples, 0)), True


def _binary(name: str, writes: bool = False, reversed: bool = False) -> Rule:
    divides, multiplies = name.endswith(("div", "divide")), name.startswith("mul")

    def made(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if len(args) != 2 or kwargs.keys() - {"alpha", "rounding_mode"}:
            return NotImplemented
        a, b = args
        for value, beside in ((a, b),) if writes else ((a, b), (b, a)):
            cells = cells_of(value, last=True) if isinstance(value, Value) else None
            other = None if cells is None else operand(beside, cells, value._memory)
            if other is not None:
                break
        else:
            return NotImplemented
        assert cells is not None
        if writes and not writable(value):
            return NotImplemented
        divisor = reversed or value is b  # what is no position may hold zero
        if divides and not cells.whole and (divisor or (isinstance(b, Tensor) and b.dim())):
            return NotImplemented
        tensor, clean = other
        if not isinstance(tensor, Tensor) or tensor.dim() == 0 or tensor.shape[2:] != cells.tensor.shape[2:]:
            clean = multiplies or (divides and not divisor)  # a number, or one per channel
        else:
            clean = clean and not divides
        clean = clean and cells.clean
        result = func(cells.tensor, tensor, **kwargs) if value is a else func(tensor, cells.tensor, **kwargs)
        return written(value, clean) if writes else value_of(cells._replace(tensor=result, clean=clean), value._memory)

    return made


for _names, _keeps in ((_ZERO_STAYS, True), (_ZERO_CHANGES, False)):
    for _name in _names.split():
        rule(_name)(_unary(_name, _keeps))
        rule(f"{_name.strip('_')}_")(_unary(_name, _keeps, True))
for _name in f"{BINARY} rsub".split():
    rule(_name)(_binary(_name))
    rule(f"{_name}_")(_binary(_name, True))
for _name in ("add", "sub", "mul", "truediv", "div"):
    rule(f"__{_name}__")(_binary(_name))
    rule(f"__r{_name}__")(_binary(_name, reversed=True))
    rule(f"__i{_name}__")(_binary(_name, True))
