"""The classes of a converted network's convolutions: theirs, with a dilation that goes through the batch."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from . import chains, functional
from .atrous import AtrousConv1d, AtrousConv2d, AtrousConv3d, _Atrous, leaf
from .atrous_transposed import AtrousConvTranspose1d, AtrousConvTranspose2d, AtrousConvTranspose3d
from .batch_space_tensor import Value
from .method_choice import Method
from .value import copy_of, may_stay, wanting

PARENTS: dict[Any, Any] = {
    nn.Conv1d: AtrousConv1d,
    nn.Conv2d: AtrousConv2d,
    nn.Conv3d: AtrousConv3d,
    nn.ConvTranspose1d: AtrousConvTranspose1d,
    nn.ConvTranspose2d: AtrousConvTranspose2d,
    nn.ConvTranspose3d: AtrousConvTranspose3d,
}


class _Converted:
    """After a class of its own: pickled by the class that it was converted from, for pickles find that by its name."""

    def __reduce_ex__(self: Any, protocol: Any) -> Any:
        state = self.__getstate__() if hasattr(self, "__getstate__") else vars(self)
        return _again, (type(self)._converted_from,), state


class _OwnForward(_Converted):
    """Before a class with a forward of its own: what it is called with may be moved where that forward convolves it."""

    _own_forward = True

    def forward(self: Any, input: Any, *args: Any, **kwargs: Any) -> Any:
        """The class's own forward."""
        if isinstance(input, torch.fx.Proxy):
            return leaf(self, input, *args, **kwargs)
        if isinstance(input, Tensor) and input.dim() == len(self.kernel_size) + 2 and self.method != "native":
            if isinstance(input, Value) and not self._felt(input._memory.rate):
                chains.called("a convolution of another geometry")
                input = copy_of(input)
            if type(input) in (Tensor, nn.Parameter) and may_stay(input):
                blocks = self.rate or functional.blocks_of(tuple(self.kernel_size), self.dilation, input.shape[2:])
                input = wanting(input, blocks)
        if chains.recording():
            return chains.recorded(self, super().forward, input, *args, **kwargs)  # type: ignore[misc]
        return super().forward(input, *args, **kwargs)  # type: ignore[misc]


def _again(kind: Any) -> Any:
    made = converted_class(kind)
    return made.__new__(made)


@cache
def converted_class(kind: Any) -> Any:
    """The class of convolutions of a class, once their dilation goes through the batch.

    >>> converted_class(nn.Conv2d) is AtrousConv2d
    True
    """
    if kind in PARENTS:
        return PARENTS[kind]
    if issubclass(kind, _Atrous):
        return kind
    parent = next(base for base in PARENTS if issubclass(kind, base))
    if len(kind.__bases__) == 1 and kind.__name__ == f"Parametrized{kind.__bases__[0].__name__}":
        inherited = converted_class(kind.__bases__[0])
        own = {k: v for k, v in vars(kind).items() if k not in ("__dict__", "__weakref__")}
        return type(kind.__name__, (inherited,), own)  # removing the parametrization leaves its first base
    own_forward = any(getattr(kind, f, None) is not getattr(parent, f, None) for f in ("forward", "_conv_forward"))
    bases = (_OwnForward if own_forward else _Converted, kind, PARENTS[parent])
    return type(kind.__name__, bases, {"__module__": kind.__module__, "_converted_from": kind, "__doc__": kind.__doc__})


def dilation_of(layer: Any) -> tuple[int, ...] | None:
    """A convolution's dilation, 1 along dims where the kernel has one element, or a transposed one a stride; None where all are 1.

    >>> dilation_of(nn.Conv2d(1, 1, (1, 3), dilation=(5, 2))), dilation_of(nn.Conv2d(1, 1, 3))
    ((1, 2), None)
    """
    kinds: Any = tuple(PARENTS)
    if not isinstance(layer, kinds) or isinstance(layer, nn.modules.lazy.LazyModuleMixin):
        return None
    each = zip(layer.dilation, layer.kernel_size, layer.stride, strict=True)
    dilation = tuple(d if size > 1 and not (layer.transposed and stride > 1) else 1 for d, size, stride in each)
    return dilation if max(dilation) > 1 else None


def become_atrous(layer: Any, method: Method, rate: tuple[int, ...] | None) -> None:
    """The same module, weights, hooks, parametrizations and all, of the class whose dilation goes through the batch."""
    made: Any = converted_class  # a parametrized module has a class of its own, and so it stays
    layer.__class__ = (made.__wrapped__ if parametrize.is_parametrized(layer) else made)(type(layer))
    layer.method, layer.rate, layer.otherwise = method, rate, True
