"""What a module does to a value in batch space, or why it cannot be there.

Convolutions whose dilation is a multiple of the rate have that much less of it; padding becomes padding in cells. What
looks at one position at a time passes through. What looks at several positions of a sample in any other way is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .cells import Cells, cleaned
from .dilated import CONVOLUTIONS
from .masked_norm import batch_norm, counts_cells
from .taps import borders, normalize

# Position by position; True: what is zero stays zero.
ELEMENTWISE: dict[type[nn.Module], bool] = {
    **dict.fromkeys((nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU), True),
    **dict.fromkeys((nn.SiLU, nn.Mish, nn.Tanh, nn.Hardswish, nn.Softsign, nn.Tanhshrink, nn.Hardshrink), True),
    **dict.fromkeys((nn.Softshrink, nn.Dropout, nn.Identity, nn.ChannelShuffle, nn.LocalResponseNorm), True),
    **dict.fromkeys((nn.Sigmoid, nn.Hardsigmoid, nn.LogSigmoid, nn.Softplus, nn.Hardtanh, nn.Threshold), False),
    **dict.fromkeys((nn.AlphaDropout, nn.Softmax2d), False),
}
DROPS_CHANNELS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
ALONG_CHANNELS = (nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.GLU)
PADDING = {
    **dict.fromkeys((nn.ZeroPad1d, nn.ConstantPad1d), 1),
    **dict.fromkeys((nn.ZeroPad2d, nn.ConstantPad2d), 2),
    **dict.fromkeys((nn.ZeroPad3d, nn.ConstantPad3d), 3),
}
CONVOLUTION = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_OTHER_HOOKS = (
    "_backward_hooks",
    "_backward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
)
MIXES = "it mixes positions of a sample, which stand in different samples of the batch in batch space"


def is_convolution(layer: nn.Module) -> bool:
    """A convolution that computes what its class says: parametrized ones do, subclasses with a forward of their own not.

    >>> is_convolution(nn.Conv2d(1, 1, 3)), is_convolution(nn.ConvTranspose2d(1, 1, 3))
    (True, False)
    """
    from .atrous import _Atrous

    if not isinstance(layer, CONVOLUTION) or isinstance(layer, nn.modules.lazy.LazyModuleMixin):
        return False
    kind = type(layer)
    parent = next(base for base in CONVOLUTION if isinstance(layer, base))
    own = (parent._conv_forward, _Atrous._conv_forward)
    return kind.forward is parent.forward and any(kind._conv_forward is known for known in own)


def is_batch_norm(layer: nn.Module) -> bool:
    """BatchNorm of one process; `SyncBatchNorm` counts across processes and is none of these."""
    return type(layer) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def reason(layer: Any, rate: tuple[int, ...]) -> str | None:
    """Why a module cannot run in batch space of this rate, or None if it can; `rate` has one entry per spatial dim.

    >>> reason(nn.Conv2d(1, 1, 3, dilation=2), (2, 2)), reason(nn.Conv2d(1, 1, 3, dilation=3), (2, 2))
    (None, 'dilation (3, 3) is no multiple of the rate (2, 2)')
    """
    dims = len(rate)
    kind = type(layer)
    if is_convolution(layer):
        return _convolution_reason(layer, rate)
    if is_batch_norm(layer):
        named = int(kind.__name__[-2])
        return None if named == dims else f"it takes {named} spatial dims, the rate {rate} has {dims}"
    if kind in PADDING:
        return _padding_reason(layer, rate)
    if kind in ALONG_CHANNELS:
        return None if layer.dim in (1, -1 - dims) else f"dim={layer.dim} is not the channels"
    if kind in ELEMENTWISE or kind in DROPS_CHANNELS:
        return None
    if isinstance(layer, nn.modules.lazy.LazyModuleMixin):
        return "it is lazy: run the network once first"
    if isinstance(layer, nn.SyncBatchNorm):
        return "it counts across processes, cells that are not valid included: convert the network before SyncBatchNorm"
    if isinstance(layer, CONVOLUTION):
        return "it has a forward of its own, which may do anything"
    if isinstance(layer, nn.modules.conv._ConvTransposeNd):
        return "a transposed convolution spreads positions over several phases"
    return MIXES if kind.__module__.startswith("torch.nn") else "it is not known to take one position at a time"


def _convolution_reason(layer: Any, rate: tuple[int, ...]) -> str | None:
    if len(layer.kernel_size) != len(rate):
        return f"it has {len(layer.kernel_size)} spatial dims, the rate {rate} has {len(rate)}"
    before, after = borders(type(layer).__name__, layer.padding, layer.kernel_size, layer.dilation, layer.stride)
    if layer.padding_mode != "zeros" and any(before):
        return f"padding_mode={layer.padding_mode!r} fills the border from other positions"
    if before != after:
        return f"padding={layer.padding!r} is uneven, {before} before and {after} after"
    for size, step, dilation, pad, block in zip(
        layer.kernel_size, layer.stride, layer.dilation, before, rate, strict=True
    ):
        if block > 1 and step > 1:
            return f"stride {tuple(layer.stride)} skips phases"
        if size > 1 and dilation % block:
            return f"dilation {tuple(layer.dilation)} is no multiple of the rate {rate}"
        if pad % block:
            return f"padding {before} is no multiple of the rate {rate}"
    return None


def _padding_reason(layer: Any, rate: tuple[int, ...]) -> str | None:
    if PADDING[type(layer)] != len(rate):
        return f"it pads {PADDING[type(layer)]} dims, the rate {rate} has {len(rate)}"
    return padding_reason(layer.padding, rate)


def padding_reason(amounts: tuple[int, ...], rate: tuple[int, ...]) -> str | None:
    """Why `torch.nn.functional.pad` with these amounts, last dim first, cannot be done in cells."""
    pairs = list(zip(amounts[::2], amounts[1::2], strict=True))[::-1]
    if len(pairs) > len(rate):
        return f"padding {amounts} pads more than the spatial dims"
    for (before, after), block in zip(pairs, rate[len(rate) - len(pairs) :], strict=True):
        if before < 0 or after < 0:
            return f"padding {amounts} crops"
        if before % block:
            return f"padding {amounts} before a dim is no multiple of the rate {rate}"
    return None


def run(layer: Any, cells: Cells) -> Cells:
    """What a module that `reason` has nothing against makes of a value in batch space; its forward hooks run, too."""
    kind = type(layer)
    if is_convolution(layer):
        return _convolution(layer, cells)
    if is_batch_norm(layer):
        if counts_cells(layer, cells):
            tensor = _called(layer, lambda x: batch_norm(layer, cells._replace(tensor=x)), cells.tensor)
        else:
            tensor = layer(cells.tensor)
        return cells._replace(tensor=tensor, clean=False)
    if kind in PADDING:
        return pad(cells, layer.padding, layer.value)
    if kind in DROPS_CHANNELS:
        return cells._replace(tensor=_drop_channels(layer, cells))
    return cells._replace(tensor=layer(cells.tensor), clean=cells.clean and ELEMENTWISE.get(kind, False))


def _convolution(layer: Any, cells: Cells) -> Cells:
    rate = cells.rate
    name = f"BatchSpace: {type(layer).__name__}"
    taps = normalize(name, cells.shape, layer.weight.shape, layer.stride, layer.padding, layer.dilation, layer.groups)
    # A cell that is not valid is read only beyond the end, in the padding after it.
    if any(
        size % block and kernel > 1 and after
        for size, block, kernel, after in zip(cells.sizes, rate, taps.kernel, taps.after, strict=True)
    ):
        cells = cleaned(cells)
    padding = tuple(pad // block for pad, block in zip(taps.before, rate, strict=True))
    dilation = tuple(max(d // block, 1) for d, block in zip(taps.dilation, rate, strict=True))

    def call(x: Tensor) -> Tensor:
        return CONVOLUTIONS[len(rate)](x, layer.weight, layer.bias, taps.stride, padding, dilation, layer.groups)

    point = all(kernel == 1 for kernel in taps.kernel) and not any(padding)
    clean = cells.clean and point and layer.bias is None
    return Cells(_called(layer, call, cells.tensor), rate, taps.sizes, clean)


def _called(layer: nn.Module, call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`call` in the place of the layer's forward, between its hooks: weight norm, pruning and the like compute in them."""
    if any(getattr(layer, name) for name in _OTHER_HOOKS):
        raise ValueError(
            f"BatchSpace: {type(layer).__name__} has hooks on its backward pass or with keyword arguments, which are not "
            "run here; remove them, or leave the layer out"
        )
    for hook in layer._forward_pre_hooks.values():
        changed = hook(layer, (x,))
        if changed is not None:
            x = changed[0] if isinstance(changed, tuple) else changed
    y = call(x)
    for after in layer._forward_hooks.values():
        replaced = after(layer, (x,), y)
        if replaced is not None:
            y = replaced
    return y


def pad(cells: Cells, amounts: tuple[int, ...], value: float) -> Cells:
    """`torch.nn.functional.pad` with a constant, of amounts that `padding_reason` has nothing against."""
    cells = cleaned(cells, value)
    sizes, counts = list(cells.sizes), []
    for k in range(len(amounts) // 2):
        dim, before, after = len(sizes) - 1 - k, amounts[2 * k], amounts[2 * k + 1]
        block, old = cells.rate[dim], cells.tensor.shape[2 + dim]
        sizes[dim] = sizes[dim] + before + after
        counts += [before // block, (sizes[dim] + block - 1) // block - old - before // block]
    tensor = torch.nn.functional.pad(cells.tensor, counts, value=value)
    return cells._replace(tensor=tensor, sizes=tuple(sizes), clean=value == 0)


def _drop_channels(layer: Callable[[Tensor], Tensor], cells: Cells) -> Tensor:
    """A channel of a sample is dropped in all phases or in none."""
    x = cells.tensor
    kept = layer(x.new_ones((cells.samples, x.shape[1], *(1,) * len(cells.rate))))
    return x * kept.repeat((x.shape[0] // cells.samples, *(1,) * (x.dim() - 1)))
