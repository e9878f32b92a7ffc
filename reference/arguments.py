"""From what a caller may write to one normal form; every mistake is named here, before anything is allocated.

The functions only compare, add and multiply sizes, so that symbolic integers pass through them as well.
"""

from __future__ import annotations

import math
import operator
import reprlib
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, SupportsIndex, TypeAlias

from .data_layout import layout_dims

BatchOrder: TypeAlias = Literal["block_major", "batch_major"]
Arrangement: TypeAlias = Literal["interleaved", "contiguous"]
BlockShape: TypeAlias = "int | SupportsIndex | Sequence[int]"
Borders: TypeAlias = "int | SupportsIndex | Sequence[int] | Sequence[Sequence[int]]"
Shifts: TypeAlias = "int | SupportsIndex | Sequence[int]"
SpatialDims: TypeAlias = "int | Sequence[int] | str | None"  # a string is a layout, such as "NHWC"
Pair: TypeAlias = tuple[int, int]

BATCH_ORDERS = ("block_major", "batch_major")
ARRANGEMENTS = ("interleaved", "contiguous")
INT64_MAX = 2**63 - 1
MOST_ENTRIES = 1024  # of an argument; shapes of NumPy and PyTorch have at most 64


# Whether a border is negative. `dispatch` puts a function here that exports of open sizes can answer as well.
negative: Callable[[int], bool] = (0).__gt__


def _never(size: int) -> bool:
    return False


# Whether a size may be a symbol, which a compiler does not show. `dispatch` puts a function here that knows.
may_be_symbol: Callable[[int], bool] = _never


class Blocking(NamedTuple):
    """The arguments of a call in normal form, for one number of dims and any sizes.

    Attributes:
        blocks, dims: of the blocked dims, in the caller's order; dims counted from 0.
        pairs: paddings or crops, one (before, after) pair per blocked dim; None for "auto".
        phases: P, the product of the blocks.
        shifts: one per blocked dim, as given: their normal form depends on the sizes; None if there is none.
    """

    blocks: tuple[int, ...]
    dims: tuple[int, ...]
    pairs: tuple[Pair, ...] | None
    phases: int
    batch_order: BatchOrder
    arrangement: Arrangement
    shifts: tuple[int, ...] | None = None


class _Short(reprlib.Repr):
    """A value in one line of a message, whatever its size."""

    def __init__(self) -> None:
        super().__init__()
        self.maxtuple = self.maxlist = self.maxdict = self.maxset = self.maxfrozenset = 8
        self.maxlong = self.maxstring = self.maxother = 80

    def repr1(self, x: Any, level: int) -> str:
        if isinstance(x, int) and x.bit_length() > 4096:
            return f"<an integer of {x.bit_length()} bits>"  # Python itself refuses to print the longest
        text = " ".join(super().repr1(x, level).split())
        return text if len(text) <= 240 else f"{text[:200]} ... {text[-30:]}"


shown = _Short().repr


def as_integer(value: Any, what: str) -> int:
    """`value` as an int; a bool, a float or anything else that is no integer raises TypeError.

    >>> as_integer(True, "block_shape[0]")
    Traceback (most recent call last):
    TypeError: block_shape[0] must be an integer, got the bool True
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value  # first: a traced size is an int that may not be asked for anything else
    if isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool"):
        raise TypeError(f"{what} must be an integer, got the bool {shown(value)}")
    if type(value).__name__ == "SymInt":
        return value  # type: ignore[no-any-return]
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{what} must be an integer, got {shown(value)} of type {type(value).__name__}") from None


def as_sequence(value: Any, what: str, kind: str = "an integer or a sequence of integers") -> tuple[Any, ...]:
    """`value`, a list, tuple, array or tensor, as a tuple; a string, a mapping, a set or a number raises TypeError."""
    if isinstance(value, (str, bytes, dict, set, frozenset)):
        raise TypeError(f"{what} must be {kind}, got {shown(value)}")
    if hasattr(value, "tolist") and getattr(value, "ndim", 1) > 0:  # numpy arrays and torch tensors
        if math.prod(getattr(value, "shape", ())) > MOST_ENTRIES:
            raise TypeError(f"{what} must be {kind}, got a {type(value).__name__} of shape {tuple(value.shape)}")
        value = value.tolist()
    try:
        entries = tuple(value)
    except TypeError:
        raise TypeError(f"{what} must be {kind}, got {shown(value)} of type {type(value).__name__}") from None
    if len(entries) > MOST_ENTRIES:
        raise ValueError(f"{what} has {len(entries)} entries, more than any shape has dims")
    return entries


def is_scalar(value: Any) -> bool:
    """Whether `value` is one number and no sequence of them."""
    if isinstance(value, (int, float, complex)) or type(value).__name__ == "SymInt":
        return True
    return bool(getattr(value, "ndim", None if not hasattr(value, "__index__") else 0) == 0)


def normalize_blocks(
    op: str, ndim: int, block_shape: Any, spatial_dims: Any = None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(block sizes, blocked dims), both one int per blocked dim and the dims non-negative.

    >>> normalize_blocks("space_to_batch", 4, 2)
    ((2, 2), (2, 3))
    """
    if ndim < 2:
        raise ValueError(f"{op}: the input must have a batch dimension and at least one more, got {ndim}-D")
    scalar = is_scalar(block_shape)
    blocks = (block_shape,) if scalar else as_sequence(block_shape, f"{op}: block_shape")
    blocks = tuple(as_integer(b, f"{op}: block_shape[{k}]") for k, b in enumerate(blocks))
    for k, b in enumerate(blocks):
        if b < 1:
            raise ValueError(f"{op}: block_shape[{k}] must be at least 1, got {shown(b)}")
    if spatial_dims is None:
        if scalar:
            dims = tuple(range(2, ndim))
            if not dims:
                raise ValueError(
                    f"{op}: block_shape={shown(blocks[0])} blocks the dims from 2 on, but the input is {ndim}-D; "
                    "name the dims with spatial_dims, or give an image (H, W) a batch and channels: x[None, None]"
                )
        else:
            if len(blocks) > ndim - 1:
                raise ValueError(
                    f"{op}: block_shape has {len(blocks)} entries, but a {ndim}-D input has only "
                    f"{ndim - 1} dims besides the batch"
                )
            dims = tuple(range(ndim - len(blocks), ndim))
    else:
        dims = normalize_dims(op, ndim, spatial_dims)
    if scalar:
        blocks = blocks * len(dims)
    if not blocks:
        raise ValueError(f"{op}: block_shape is empty; give one block size per blocked dim")
    if len(blocks) != len(dims):
        raise ValueError(f"{op}: block_shape has {len(blocks)} entries for {len(dims)} spatial_dims {shown(dims)}")
    return blocks, dims


def normalize_dims(op: str, ndim: int, spatial_dims: Any) -> tuple[int, ...]:
    """The blocked dims, counted from 0, in the caller's order; or those of a layout such as "NHWC"."""
    if isinstance(spatial_dims, str):
        return layout_dims(f"{op}: spatial_dims", spatial_dims, ndim)
    entries = (spatial_dims,) if is_scalar(spatial_dims) else as_sequence(spatial_dims, f"{op}: spatial_dims")
    dims: list[int] = []
    for k, entry in enumerate(entries):
        dim = as_integer(entry, f"{op}: spatial_dims[{k}]")
        if not -ndim <= dim < ndim:
            raise ValueError(f"{op}: spatial_dims[{k}]={shown(dim)} is out of range for a {ndim}-D input")
        dim = dim + ndim if dim < 0 else dim
        if dim == 0:
            raise ValueError(f"{op}: spatial_dims[{k}] names dim 0, which is the batch")
        if dim in dims:
            raise ValueError(f"{op}: spatial_dims names dim {dim} twice")
        dims.append(dim)
    if not dims:
        raise ValueError(f"{op}: spatial_dims is empty; name at least one dim")
    return tuple(dims)


def normalize_borders(op: str, name: str, borders: Any, dims: Sequence[int]) -> tuple[Pair, ...] | None:
    """One (before, after) pair per blocked dim, or None for "auto", which only paddings may be.

    >>> normalize_borders("space_to_batch", "paddings", (0, 1), (2, 3))
    ((0, 0), (1, 1))
    """
    if isinstance(borders, str):
        if borders == "auto" and name == "paddings":
            return None
        allowed = ' or "auto"' if name == "paddings" else ""
        raise ValueError(f"{op}: {name} must be integers{allowed}, got {shown(borders)}")
    if is_scalar(borders):
        value = _border(op, f"{name}", borders)
        return ((value, value),) * len(dims)
    entries = as_sequence(borders, f"{op}: {name}")
    if len(entries) != len(dims):
        missing = "; dim 0 is the batch: an image (C, H, W) needs one, x[None]" if tuple(dims) == (2,) else ""
        raise ValueError(
            f"{op}: {name} has {len(entries)} entries for {len(dims)} blocked dims {tuple(dims)}; "
            f"give an int, one int per blocked dim, or one (before, after) pair per blocked dim{missing}"
        )
    scalars = [is_scalar(entry) for entry in entries]
    if all(scalars):
        values = tuple(_border(op, f"{name}[{k}]", entry) for k, entry in enumerate(entries))
        return tuple((value, value) for value in values)
    if any(scalars):
        raise ValueError(f"{op}: {name} mixes ints and pairs: {shown(borders)}")
    pairs = []
    for k, entry in enumerate(entries):
        pair = as_sequence(entry, f"{op}: {name}[{k}]")
        if len(pair) != 2:
            raise ValueError(f"{op}: {name}[{k}] must be a (before, after) pair, got {len(pair)} entries")
        before, after = (_border(op, f"{name}[{k}][{side}]", value) for side, value in enumerate(pair))
        pairs.append((before, after))
    return tuple(pairs)


def _border(op: str, what: str, value: Any) -> int:
    number = as_integer(value, f"{op}: {what}")
    if negative(number):
        raise ValueError(f"{op}: {what} must not be negative, got {shown(number)}")
    return number


def normalize_shifts(op: str, shifts: Any, dims: Sequence[int]) -> tuple[int, ...] | None:
    """One shift per blocked dim, or None where nothing is shifted.

    >>> normalize_shifts("space_to_batch", -3, (2, 3)), normalize_shifts("space_to_batch", (0, 0), (2, 3))
    ((-3, -3), None)
    """
    if type(shifts) is int and shifts == 0:
        return None
    if is_scalar(shifts):
        found = (as_integer(shifts, f"{op}: shifts"),) * len(dims)
    else:
        entries = as_sequence(shifts, f"{op}: shifts")
        if len(entries) != len(dims):
            raise ValueError(
                f"{op}: shifts has {len(entries)} entries for {len(dims)} blocked dims {tuple(dims)}; "
                "give an int, or one int per blocked dim"
            )
        found = tuple(as_integer(entry, f"{op}: shifts[{k}]") for k, entry in enumerate(entries))
    # a symbol is not asked: the graph would serve no other value
    return None if all(isinstance(shift, int) and shift == 0 for shift in found) else found


def reduced_shift(shift: int, size: int) -> int:
    """A shift from 0 on and below the padded size. One of a size that is a symbol stays as it is: graphs take any, and no remainder.

    >>> reduced_shift(-3, 56), reduced_shift(8, 8), reduced_shift(1, 0)
    (53, 0, 0)
    """
    if may_be_symbol(size):
        return shift
    return shift % size if size else 0


def check_choice(op: str, name: str, value: Any, choices: tuple[str, ...]) -> None:
    """`value` is one of `choices`, or ValueError (TypeError if it is no string)."""
    if not isinstance(value, str):
        raise TypeError(f"{op}: {name} must be one of {choices}, got {shown(value)} of type {type(value).__name__}")
    if value not in choices:
        raise ValueError(f"{op}: {name} must be one of {choices}, got {shown(value)}")


def normalize(
    op: str,
    name: str,
    ndim: int,
    block_shape: Any,
    borders: Any,
    spatial_dims: Any,
    batch_order: Any,
    arrangement: Any,
    shifts: Any = 0,
) -> Blocking:
    """All arguments of a call but the tensor, checked, as far as they can be without the sizes.

    >>> normalize("space_to_batch", "paddings", 4, 2, "auto", None, "block_major", "interleaved")[:3]
    ((2, 2), (2, 3), None)

    Args:
        op, name: of the operator and of `borders`, for messages.
        ndim: of the tensor.
    """
    check_choice(op, "batch_order", batch_order, BATCH_ORDERS)
    check_choice(op, "arrangement", arrangement, ARRANGEMENTS)
    blocks, dims = normalize_blocks(op, ndim, block_shape, spatial_dims)
    pairs = normalize_borders(op, name, borders, dims)
    moved = normalize_shifts(op, shifts, dims)
    return Blocking(blocks, dims, pairs, math.prod(blocks), batch_order, arrangement, moved)


def check_int64(op: str, shape: Sequence[int], what: str) -> None:
    """The number of elements fits a signed 64-bit integer, counting zero sizes as one."""
    total = 1
    for size in shape:
        total *= max(size, 1)
    if total > INT64_MAX:
        raise ValueError(f"{op}: the {what} shape {shown(tuple(shape))} has more than 2**63 - 1 elements")


def checked_shape(op: str, shape: Sequence[int], name: str = "shape") -> tuple[int, ...]:
    """Sizes as plain integers, none of them negative."""
    entries = as_sequence(shape, f"{op}: {name}", "a sequence of integers")
    sizes = tuple(as_integer(size, f"{op}: {name}[{d}]") for d, size in enumerate(entries))
    for d, size in enumerate(sizes):
        if size < 0:
            raise ValueError(f"{op}: {name}[{d}] must not be negative, got {shown(size)}")
    return sizes
