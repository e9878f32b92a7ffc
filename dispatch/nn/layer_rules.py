"""Rules for what layers call: convolutions, batch norm, dropout, padding, and what goes along the channels.

A convolution whose dilation is a multiple of the rate has that much less of it; padding becomes padding in cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .cells import Cells, cleaned, enter, leave
from .masked_norm import batch_norm
from .value import Value, cells_of, copy_of, value_of, wanting, writable, written

F = torch.nn.functional


class Convolution(NamedTuple):
    """The arguments of a convolution in cells, and what it makes of the spatial sizes."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    sizes: tuple[int, ...]
    reads_beyond: bool  # whether it reads cells that are no positions of the image


def in_cells(
    sizes: tuple[int, ...], rate: tuple[int, ...], kernel: tuple[int, ...], stride: Any, padding: Any, dilation: Any
) -> Convolution | None:
    """The convolution in batch space of a rate, None where it cannot be there.

    >>> in_cells((9,), (2,), (3,), 1, 4, 4)
    Convolution(stride=(1,), padding=(2,), dilation=(2,), sizes=(9,), reads_beyond=True)
    >>> in_cells((9,), (2,), (3,), 1, 3, 3) is None
    True
    """
    nd = len(rate)
    if len(kernel) != nd:
        return None
    strides, dilations = _per_dim(stride, nd), _per_dim(dilation, nd)
    if isinstance(padding, str):
        totals = [0] * nd if padding == "valid" else [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
        if any(total % 2 for total in totals):
            return None
        paddings = tuple(total // 2 for total in totals)
    else:
        paddings = _per_dim(padding, nd)
    new, beyond = [], False
    for size, block, k, step, pad, d in zip(sizes, rate, kernel, strides, paddings, dilations, strict=True):
        if (block > 1 and step != 1) or (k > 1 and d % block) or pad % block or pad < 0:
            return None
        left = size + 2 * pad - d * (k - 1)
        if left <= 0:
            return None
        new.append((left - 1) // step + 1)
        beyond = beyond or (k > 1 and pad > 0 and block > 1 and size % block != 0)
    return Convolution(
        strides,
        tuple(pad // block for pad, block in zip(paddings, rate, strict=True)),
        tuple(max(d // block, 1) for d, block in zip(dilations, rate, strict=True)),
        tuple(new),
        beyond,
    )


def _per_dim(value: Any, nd: int) -> tuple[int, ...]:
    if isinstance(value, (tuple, list)):
        return tuple(value) * (nd if len(value) == 1 else 1)
    return (value,) * nd


_CONVOLUTION = {"input": None, "weight": None, "bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}


def _convolution(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    given = _CONVOLUTION | dict(zip(_CONVOLUTION, args, strict=False)) | kwargs
    value, weight, bias = given["input"], given["weight"], given["bias"]
    if not isinstance(value, Value) or isinstance(weight, Value) or isinstance(bias, Value):
        return NotImplemented
    rate, kernel = value._memory.rate, tuple(weight.shape[2:])
    found = in_cells(value._sizes, rate, kernel, given["stride"], given["padding"], given["dilation"])
    if found is None:
        return NotImplemented
    cells = cells_of(value, enters=any(k > 1 and block > 1 for k, block in zip(kernel, rate, strict=True)))
    if cells is None:
        return NotImplemented
    return convolved(cells, found, func, weight, bias, given["groups"], value._memory)


def convolved(
    cells: Cells, found: Convolution, func: Any, weight: Tensor, bias: Tensor | None, groups: int, memory: Any = None
) -> Tensor:
    """The value of a convolution of cells."""
    source = cells.tensor if memory is None else None
    if found.reads_beyond:
        cells = cleaned(cells)
    tensor = func(cells.tensor, weight, bias, found.stride, found.padding, found.dilation, groups)
    clean = cells.clean and bias is None and all(k == 1 for k in weight.shape[2:]) and not any(found.padding)
    return value_of(Cells(tensor, cells.rate, found.sizes, clean), memory, source)


_BATCH_NORM = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")


def _batch_norm(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    given = dict(zip(_BATCH_NORM, args, strict=False)) | kwargs
    value = given.get("input")
    cells = cells_of(value) if isinstance(value, Value) else None
    if cells is None or func is not F.batch_norm:
        return NotImplemented
    if given.get("training") and not cells.whole:
        if cells.samples * math.prod(cells.sizes) <= 1:
            return NotImplemented  # PyTorch refuses a single value per channel
        mean, var, weight, bias = (given.get(name) for name in ("running_mean", "running_var", "weight", "bias"))
        momentum, eps = given.get("momentum", 0.1), given.get("eps", 1e-5)
        tensor = batch_norm(cells, mean, var, weight, bias, 0.0 if momentum is None else momentum, eps)
    else:
        if given.get("training") and cells.samples * math.prod(cells.sizes) <= 1:
            return NotImplemented
        tensor = F.batch_norm(**{**given, "input": cells.tensor})
    return value_of(cells._replace(tensor=tensor, clean=False), value._memory)  # type: ignore[union-attr]


def _dropout(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Elements alone, or a channel of a sample in all phases or in none."""
    given = dict(zip(("input", "p", "training", "inplace"), args, strict=False)) | kwargs
    value, p = given.get("input"), given.get("p", 0.5)
    training = given.get("training", given.get("train", True))
    cells = cells_of(value) if isinstance(value, Value) else None
    if cells is None or func not in _DROPOUTS or not 0 <= p <= 1:
        return NotImplemented
    if not training:
        return value
    if given.get("inplace") and not writable(value):
        return NotImplemented
    if func in (F.dropout, F.alpha_dropout):
        tensor = func(cells.tensor, p, True, bool(given.get("inplace")))
        clean = func is F.dropout
    else:
        x = cells.tensor
        kept = func(x.new_ones((cells.samples, x.shape[1], *(1,) * len(cells.rate))), p, True)
        kept = kept.repeat(math.prod(cells.rate), *(1,) * (x.dim() - 1))
        tensor, clean = x.mul_(kept) if given.get("inplace") else x * kept, True
    if given.get("inplace"):
        return written(value, clean)
    return value_of(cells._replace(tensor=tensor, clean=cells.clean and clean), value._memory)  # type: ignore[union-attr]


_DROPOUTS = (F.dropout, F.alpha_dropout, F.dropout1d, F.dropout2d, F.dropout3d)


def _pad(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """With a constant, in cells; what fills the border otherwise is done to the image, which wants to go back."""
    given: dict[str, Any] = {"mode": "constant", "value": None}
    given |= dict(zip(("input", "pad", "mode", "value"), args, strict=False)) | kwargs
    value, amounts = given.get("input"), given.get("pad")
    if not isinstance(value, Value) or not isinstance(amounts, (tuple, list)):
        return NotImplemented
    cells = cells_of(value)
    number = 0 if given["value"] is None else given["value"]
    if cells is not None and given["mode"] == "constant" and _fits(amounts, cells):
        return value_of(_padded(cells, tuple(amounts), number), value._memory)
    if func is not F.pad:
        return NotImplemented
    plain = copy_of(value)
    return wanting(F.pad(plain, amounts, given["mode"], given["value"]), value._memory.rate, value._memory.chain)


def _fits(amounts: Any, cells: Cells) -> bool:
    rate, rest = cells.rate, len(amounts) // 2
    if len(amounts) % 2 or rest > len(rate):
        return False
    return all(
        isinstance(before, int) and isinstance(after, int) and before >= 0 and after >= 0 and before % block == 0
        for before, after, block in zip(amounts[::2], amounts[1::2], rate[::-1], strict=False)
    )


def _padded(cells: Cells, amounts: tuple[int, ...], number: float) -> Cells:
    cells = cleaned(cells, number)
    sizes, counts = list(cells.sizes), []
    for k in range(len(amounts) // 2):
        dim, before, after = len(sizes) - 1 - k, amounts[2 * k], amounts[2 * k + 1]
        block, old = cells.rate[dim], cells.tensor.shape[2 + dim]
        sizes[dim] = sizes[dim] + before + after
        counts += [before // block, (sizes[dim] + block - 1) // block - old - before // block]
    tensor = F.pad(cells.tensor, counts, value=number)
    return cells._replace(tensor=tensor, sizes=tuple(sizes), clean=number == 0)


def _along_channels(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    given = dict(zip(("input", "dim"), args, strict=False)) | kwargs
    value = given.get("input")
    cells = cells_of(value) if isinstance(value, Value) else None
    if cells is None or given.get("dim") not in (1, 1 - cells.tensor.dim()) or "out" in kwargs:
        return NotImplemented
    tensor = func(cells.tensor, *args[1:], **{k: v for k, v in kwargs.items() if k != "input"})
    return value_of(cells._replace(tensor=tensor, clean=False), value._memory)  # type: ignore[union-attr]


def _prelu(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    if kwargs or len(args) != 2 or not isinstance(args[0], Value) or isinstance(args[1], Value):
        return NotImplemented
    cells = cells_of(args[0])
    return (
        NotImplemented
        if cells is None
        else value_of(cells._replace(tensor=func(cells.tensor, args[1])), args[0]._memory)
    )


_POOL = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")


def _max_pool(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Dilated pooling of stride 1: windows of one phase."""
    given = dict(zip(_POOL, args, strict=False)) | kwargs
    value: Any = given.get("input")
    if not isinstance(value, Value) or given.get("return_indices") or given.get("ceil_mode"):
        return NotImplemented
    nd = len(value._sizes)
    kernel = _per_dim(given.get("kernel_size"), nd)
    stride = given.get("stride") or kernel
    found = in_cells(
        value._sizes, value._memory.rate, kernel, stride, given.get("padding", 0), given.get("dilation", 1)
    )
    cells = None if found is None else cells_of(value)
    if cells is None or found is None or cells.tensor.is_complex():
        return NotImplemented
    if found.reads_beyond:
        cells = cleaned(cells, -math.inf)
    tensor = func(cells.tensor, kernel, found.stride, found.padding, found.dilation)
    return value_of(Cells(tensor, cells.rate, found.sizes, False), value._memory)


def gradients(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """`torch.autograd.grad` with respect to values: by their cells."""
    given = dict(zip(("outputs", "inputs"), args, strict=False)) | kwargs
    inputs, several = given["inputs"], isinstance(given["inputs"], (tuple, list))
    wanted = list(inputs) if several else [inputs]
    anchors = [anchor_of(value) if isinstance(value, Value) else (value, None) for value in wanted]
    outputs = [copy_of(y) if isinstance(y, Value) else y for y in _listed(given["outputs"])]
    rest = {k: v for k, v in given.items() if k not in ("outputs", "inputs")}
    found = func(outputs, [anchor for anchor, _ in anchors], *args[2:], **rest)
    return tuple(
        grad if cells is None or grad is None else leave(cells._replace(tensor=grad))
        for grad, (_, cells) in zip(found, anchors, strict=True)
    )


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (tuple, list)) else [value]


def anchor_of(value: Any) -> tuple[Tensor, Cells | None]:
    """(the tensor whose gradient is that of the value, the value's cells if it is they)."""
    own, memory = value._own, value._memory
    if memory.image is None:
        cells = cells_of(value)
        assert cells is not None
        return cells.tensor, cells
    if own is not None:  # autograd knows its cells as inputs, of the image and of others
        return own, Cells(own, memory.rate, value._sizes, False)
    return value._plain, None


def hooked(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """`register_hook`: the hook is given the gradient as an image."""
    value, hook = args
    anchor, cells = anchor_of(value)
    if cells is None:
        return anchor.register_hook(hook)  # type: ignore[no-untyped-call]
    rate, sizes = cells.rate, cells.sizes

    def moved(grad: Tensor) -> Tensor | None:
        changed = hook(leave(Cells(grad, rate, sizes, False)))
        return None if changed is None else enter(changed, rate).tensor

    return anchor.register_hook(moved)  # type: ignore[no-untyped-call]


def retained(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """`retain_grad`."""
    return anchor_of(args[0])[0].retain_grad()


def gradient(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The attribute `grad`."""
    anchor, cells = anchor_of(args[0])
    found = anchor.grad
    return found if found is None or cells is None else leave(cells._replace(tensor=found))


RULES: dict[str, Callable[..., Any]] = {
    **{f"conv{k}d": _convolution for k in (1, 2, 3)},
    **{f"max_pool{k}d": _max_pool for k in (1, 2, 3)},
    **dict.fromkeys(("softmax", "log_softmax", "softmin", "glu"), _along_channels),
    **dict.fromkeys(("dropout", "alpha_dropout", "dropout1d", "dropout2d", "dropout3d"), _dropout),
    "batch_norm": _batch_norm,
    "pad": _pad,
    "prelu": _prelu,
}
