"""The arguments of a convolution, checked and in one form: what every kernel tap reads, dim by dim.

>>> taps = normalize("conv", (1, 3, 9, 9), (8, 3, 3, 3), 1, "same", (2, 1), 1)
>>> taps.dilation, taps.before, taps.after, taps.sizes
((2, 1), (2, 1), (2, 1), (9, 9))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from spacebatch.reference.arguments import as_integer, as_sequence, check_choice, shown

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class Taps(NamedTuple):
    """One entry per spatial dim: output o of a dim is the sum over j of weight[j] * x[o * stride + j * dilation - before]."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    sizes: tuple[int, ...]  # of the result


def normalize(
    op: str, shape: Sequence[int], weight: Sequence[int], stride: Any, padding: Any, dilation: Any, groups: Any
) -> Taps:
    """The taps of a convolution of a batched input, or a ValueError or TypeError that names what does not fit.

    Args:
        op: the operation, for messages.
        shape: of the input, (N, C, *spatial); sizes may be symbols. weight: (out channels, C / groups, *kernel).
        stride, padding, dilation, groups: as `torch.nn.functional.conv2d` takes them.
    """
    nd = len(weight) - 2
    groups = as_integer(groups, f"{op}: groups")
    if groups < 1:
        raise ValueError(f"{op}: groups must be at least 1, got {groups}")
    if shape[1] != weight[1] * groups:
        raise ValueError(
            f"{op}: the input has {shape[1]} channels, the weight of shape {tuple(weight)} with groups={groups} "
            f"takes {weight[1] * groups}"
        )
    if weight[0] % groups != 0:
        raise ValueError(f"{op}: groups={groups} does not divide the {weight[0]} channels of the result")
    strides = positive(op, "stride", stride, nd)
    rates = positive(op, "dilation", dilation, nd)
    kernel = tuple(weight[2:])
    before, after = borders(op, padding, kernel, rates, strides)
    sizes = []
    for k in range(nd):
        reach = rates[k] * (kernel[k] - 1) + 1
        free = shape[2 + k] + before[k] + after[k] - reach
        if kernel[k] < 1 or free < 0:
            raise ValueError(
                f"{op}: dim {2 + k} of size {shape[2 + k]}, padded by ({before[k]}, {after[k]}), is smaller than the "
                f"{reach} elements that a kernel of {kernel[k]} with dilation {rates[k]} spans"
            )
        sizes.append(free // strides[k] + 1)
    return Taps(kernel, strides, rates, before, after, tuple(sizes))


def missing(size: int, rate: int) -> int:
    """What a size lacks to the next multiple of the rate; without a negative number, which compilers handle badly.

    >>> missing(5, 4), missing(8, 4)
    (3, 0)
    """
    return (size + rate - 1) // rate * rate - size


def positive(op: str, name: str, value: Any, nd: int) -> tuple[int, ...]:
    """`value`, an int or one int per dim, as a tuple of positive ints.

    >>> positive("conv", "stride", 2, 3)
    (2, 2, 2)
    """
    found = entries(op, name, value, nd)
    for k, entry in enumerate(found):
        if entry < 1:
            raise ValueError(f"{op}: {name}[{k}] must be at least 1, got {entry}")
    return found


def borders(
    op: str, padding: Any, kernel: Sequence[int], dilation: Sequence[int], stride: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(before, after) of every dim; "same" puts the odd element after, as PyTorch does.

    >>> borders("conv", "same", (4,), (3,), (1,))
    ((4,), (5,))
    """
    if isinstance(padding, str):
        check_choice(op, "padding", padding, ("same", "valid"))
        if padding == "valid":
            return (0,) * len(kernel), (0,) * len(kernel)
        if any(step != 1 for step in stride):
            raise ValueError(f'{op}: padding="same" needs a stride of 1, got {tuple(stride)}')
        totals = [rate * (size - 1) for rate, size in zip(dilation, kernel, strict=True)]
        return tuple(total // 2 for total in totals), tuple(total - total // 2 for total in totals)
    found = entries(op, "padding", padding, len(kernel))
    for k, entry in enumerate(found):
        if entry < 0:
            raise ValueError(f"{op}: padding[{k}] must not be negative, got {entry}")
    return found, found


def entries(op: str, name: str, value: Any, nd: int) -> tuple[int, ...]:
    """`value`, an int or one int per dim, as a tuple.

    >>> entries("conv", "padding", [1], 2)
    (1, 1)
    """
    if isinstance(value, int) or hasattr(value, "__index__") or type(value).__name__ == "SymInt":
        return (as_integer(value, f"{op}: {name}"),) * nd
    given = as_sequence(value, f"{op}: {name}")
    if len(given) == 1:
        given = given * nd  # as PyTorch takes it
    if len(given) != nd:
        raise ValueError(f"{op}: {name} has {len(given)} entries for {nd} spatial dims: {shown(value)}")
    return tuple(as_integer(entry, f"{op}: {name}[{k}]") for k, entry in enumerate(given))
