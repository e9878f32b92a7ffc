"""What torch functions do with values in batch space: which of them stay there, and what the others are given.

A rule answers first; where there is none, or it returns NotImplemented, the function gets images.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from .. import torch_private
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
from .batch_space_tensor import Value, graph, untouched
from .rule import RULES, functions_named, rule
from .value import become_image, copy_of, image_of, resynchronized

_MODULES = (
    channels_last_rules,
    elementwise,
    gradient_rules,
    layer_rules,
    slices,
    statistics,
)  # imported for their rules

# What depends on the image's shape and type alone is asked of the value itself: methods, and attributes.
_ASKED = """
    size dim ndimension numel nelement stride is_contiguous is_floating_point is_complex element_size get_device is_inference
    is_signed is_pinned is_same_size
"""
_ATTRIBUTES = """
    shape dtype device layout ndim requires_grad is_leaf grad_fn is_cuda is_cpu is_meta is_sparse is_quantized is_mkldnn is_nested
    is_mps is_xpu itemsize nbytes names is_mtia is_vulkan is_ipu is_maia is_sparse_csr is_xla output_nr name
"""
# What returns memory of its own and writes into none is given a copy, and the value stays what it is.
_READS = """
    conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear bilinear
    max_pool1d max_pool2d max_pool3d max_pool2d_with_indices avg_pool1d avg_pool2d avg_pool3d lp_pool1d lp_pool2d
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
    adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
    interpolate upsample grid_sample pad fold softmax log_softmax glu
    batch_norm group_norm instance_norm layer_norm local_response_norm normalize
    cross_entropy mse_loss l1_loss smooth_l1_loss binary_cross_entropy binary_cross_entropy_with_logits nll_loss cosine_similarity
    mean sum amax amin std var norm prod argmax argmin logsumexp cumsum topk count_nonzero maximum minimum
    cat concat stack matmul bmm where flip roll repeat isclose allclose
    equal eq ne lt le gt ge isnan isinf isfinite logical_not all any item tolist
    zeros_like ones_like empty_like full_like rand_like randn_like
"""


def called(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """A torch function of which an argument is a value."""
    rule = RULES.get(func)
    if rule is not None:
        with untouched():
            found = rule(func, args, kwargs)
        if found is not NotImplemented:
            return found
    chains.called(getattr(func, "__name__", str(func)))
    if READS.get(func) and not elementwise.in_place(func, args, kwargs) and kwargs.get("out") is None:
        args, kwargs = tree_map_only(Value, copy_of, (args, kwargs))
        return func(*args, **kwargs)
    values: list[Any] = []

    def image(value: Any) -> Tensor:
        values.append(value)
        return become_image(value)

    args, kwargs = tree_map_only(Value, image, (args, kwargs))
    result = func(*args, **kwargs)
    for value in values:
        resynchronized(value)
    return result


@rule(_ASKED)
def _asked(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    value = args[0]
    if not isinstance(value, Value):
        return NotImplemented
    if value._memory.image is not None:
        return func(image_of(value), *args[1:], **kwargs)
    return func(*args, **kwargs)


for _name in _ATTRIBUTES.split():
    _found: Any = getattr(Tensor, _name, None)
    if hasattr(_found, "__get__"):
        RULES[_found.__get__] = _asked
for _name, _rule in convolution_rules.RULES.items():
    rule(_name)(_rule)
# a dict, for torch.compile finds no function in a set
READS = dict.fromkeys(functions_named(_READS, elementwise.UNARY, elementwise.BINARY), True)
graph.rules = called
_builtins = (
    vars(torch._C._nn),
    {name: getattr(torch._C._VariableFunctions, name) for name in dir(torch._C._VariableFunctions)},
)
torch_private.overridden.update(RULES, READS)
torch_private.overridden.update(
    f for names in _builtins for name, f in names.items() if callable(f) and not name.startswith("_")
)
