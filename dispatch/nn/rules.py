"""What torch functions do with values in batch space: which of them stay there, and what the others are given.

Operations go by one name each, however they are written: `torch.relu(x)`, `x.relu()`, `x.relu_()` and `F.relu(x, inplace=True)` are
"relu". A rule returns its result or NotImplemented, and then the function gets images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from . import (
    chains,
    channels_last_rules,
    convolution_rules,
    elementwise,
    gradient_rules,
    layer_rules,
    slices,
    statistics,
)
from .value import Value, _untouched, become_image, copy_of, graph, image_of, resynchronized

Rule: TypeAlias = Callable[[Any, Any, dict[str, Any]], Any]
F = torch.nn.functional
_HOLDERS: tuple[Any, ...] = (torch, F, Tensor, torch._C._nn, torch._C._VariableFunctions, torch.special)


def functions_named(name: str) -> Iterable[Any]:
    """Every torch function of a name.

    >>> [f is torch.relu for f in functions_named("relu")][0]
    True
    """
    return [found for holder in _HOLDERS if callable(found := getattr(holder, name, None))]


# What depends on the image's shape and type alone is asked of the value itself.
_ASKED = (
    *("size", "dim", "ndimension", "numel", "nelement", "stride", "is_contiguous", "is_floating_point", "is_complex"),
    *("element_size", "get_device", "is_inference", "is_signed", "is_pinned", "is_same_size"),
)
_ATTRIBUTES = (
    *(
        "shape",
        "dtype",
        "device",
        "layout",
        "ndim",
        "requires_grad",
        "is_leaf",
        "grad_fn",
        "is_cuda",
        "is_cpu",
        "is_meta",
    ),
    *(
        "is_sparse",
        "is_quantized",
        "is_mkldnn",
        "is_nested",
        "is_mps",
        "is_xpu",
        "itemsize",
        "nbytes",
        "names",
        "is_mtia",
    ),
    *("is_vulkan", "is_ipu", "is_maia", "is_sparse_csr", "is_xla", "output_nr", "name"),
)
# What returns memory of its own and writes into none is given a copy, and the value stays what it is.
_READS = (
    *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear", "bilinear"),
    *("max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "lp_pool1d", "lp_pool2d"),
    *(
        "adaptive_avg_pool1d",
        "adaptive_avg_pool2d",
        "adaptive_avg_pool3d",
        "adaptive_max_pool1d",
        "adaptive_max_pool2d",
    ),
    *(
        "adaptive_max_pool3d",
        "interpolate",
        "upsample",
        "grid_sample",
        "pad",
        "fold",
        "softmax",
        "log_softmax",
    ),
    *("batch_norm", "group_norm", "instance_norm", "layer_norm", "local_response_norm", "normalize", "cross_entropy"),
    *("mse_loss", "l1_loss", "smooth_l1_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits", "nll_loss"),
    *("mean", "sum", "amax", "amin", "std", "var", "norm", "prod", "argmax", "argmin", "logsumexp", "cumsum", "topk"),
    *("cat", "concat", "stack", "matmul", "bmm", "where", "flip", "roll", "repeat", "isclose", "allclose"),
    *("equal", "eq", "ne", "lt", "le", "gt", "ge", "isnan", "isinf", "isfinite", "all", "any", "item", "tolist"),
    *(
        "zeros_like",
        "ones_like",
        "empty_like",
        "full_like",
        "rand_like",
        "randn_like",
        "glu",
        "max_pool2d_with_indices",
    ),
    *(
        "avg_pool1d",
        "maximum",
        "minimum",
        "logical_not",
        "count_nonzero",
        "cosine_similarity",
    ),
)


def called(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """A torch function of which an argument is a value."""
    rule = RULES.get(func)
    if rule is not None:
        with _untouched():
            found = rule(func, args, kwargs)
        if found is not NotImplemented:
            return found
    chains.called(getattr(func, "__name__", str(func)))
    if READS.get(func) and not elementwise.in_place(func, args, kwargs) and kwargs.get("out") is None:
        return func(*_mapped(args, copy_of), **_mapped(kwargs, copy_of))
    values: list[Any] = []

    def image(value: Any) -> Tensor:
        values.append(value)
        return become_image(value)

    result = func(*_mapped(args, image), **_mapped(kwargs, image))
    for value in values:
        resynchronized(value)
    return result


def _mapped(argument: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(argument, Value):
        return change(argument)
    if isinstance(argument, tuple):
        parts = [_mapped(part, change) for part in argument]
        return type(argument)(*parts) if hasattr(argument, "_fields") else tuple(parts)
    if isinstance(argument, list):
        return [_mapped(part, change) for part in argument]
    if isinstance(argument, dict):
        return {name: _mapped(part, change) for name, part in argument.items()}
    return argument


def _asked(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    value = args[0]
    if not isinstance(value, Value):
        return NotImplemented
    if value._memory.image is not None:
        return func(image_of(value), *args[1:], **kwargs)
    return func(*args, **kwargs)


def _table() -> dict[Any, Rule]:
    table: dict[Any, Rule] = {}
    for module in (elementwise, slices, convolution_rules, layer_rules, statistics, channels_last_rules):
        for name, rule in module.RULES.items():
            for function in functions_named(name):
                table[function] = rule
    for name in _ASKED:
        table.update(dict.fromkeys(functions_named(name), _asked))
    for name in _ATTRIBUTES:
        found: Any = getattr(Tensor, name, None)
        if hasattr(found, "__get__"):
            table[found.__get__] = _asked
    table[torch.autograd.grad] = gradient_rules.gradients
    table[Tensor.register_hook] = gradient_rules.hooked
    table[Tensor.retain_grad] = gradient_rules.retained
    grad: Any = Tensor.grad
    table[grad.__get__] = gradient_rules.gradient
    return table


RULES = _table()
READS: dict[Any, bool] = dict.fromkeys(
    (function for name in (*_READS, *elementwise.UNARY, *elementwise.BINARY) for function in functions_named(name)),
    True,
)
graph.rules = called
