"""`spacebatch.explain`: which route a call takes, which backend and kernel, and why not another."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from spacebatch.reference import prepared
from spacebatch.reference.arithmetic import Arithmetic
from spacebatch.reference.functions import layout_of, result_like
from spacebatch.reference.fused import arithmetic_for as arithmetic_of_arrays
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.prepared import Direction, Layout
from spacebatch.reference.words import Words

if TYPE_CHECKING:
    from .nn.functional import AtrousExplanation


@dataclass(frozen=True)
class Explanation:
    """What a call would do; `print` it. Nothing is computed to find out.

    Attributes:
        operation: "space_to_batch" or "batch_to_space", with "fused." before it where arithmetic was asked for.
        geometry: the block geometry of the call.
        route: "aten", "operator", "autograd" or "eager"; arrays are always eager.
        backend: name of the backend, None where none can run.
        kernel: what the backend would launch or copy. While a kernel of the CPU is being compiled, the backend after it serves.
        reasons: for each backend asked, None if it can run and otherwise why not.
        arithmetic: on the way, if any.
    """

    operation: str
    geometry: BlockGeometry
    route: str
    backend: str | None
    kernel: str
    reasons: dict[str, str | None] = field(hash=False)
    arithmetic: Arithmetic | None = None

    def __str__(self) -> str:
        g = self.geometry
        shapes = (g.space_shape, g.batch_shape)
        source, result = shapes if self.operation.endswith("space_to_batch") else shapes[::-1]
        shifts = f", shifts {g.shifts}" if g.shifted else ""
        lines = [
            f"{self.operation}: {source} -> {result}",
            f"  blocks   {g.block_shape} on dims {g.spatial_dims}, borders {g.paddings}, {g.batch_order}, {g.arrangement}{shifts}",
            *([] if self.arithmetic is None else [f"  computes {self.arithmetic}"]),
            f"  route    {self.route}: {_ROUTES[self.route]}",
            f"  backend  {self.backend}",
            f"  kernel   {self.kernel}",
        ]
        lines += [f"  not {name}: {reason}" for name, reason in self.reasons.items() if reason is not None]
        return "\n".join(lines)


_ROUTES = {
    "aten": "compiling or transforming, hence PyTorch's own operators",
    "operator": "a tensor subclass or a dispatch mode, hence torch.ops.spacebatch",
    "autograd": "a gradient is wanted",
    "eager": "straight to the backend",
}
# Operation: the names of the arguments after input and weight.
_ATROUS = {f"atrous_conv{k}d": ("bias", "stride", "padding", "dilation", "groups") for k in (1, 2, 3)} | {
    f"atrous_conv_transpose{k}d": ("bias", "stride", "padding", "output_padding", "groups", "dilation")
    for k in (1, 2, 3)
}
_ATEN_KERNEL = "pad, roll, reshape, permute, clone, view"


@overload
def explain(
    operation: Literal[
        "atrous_conv1d",
        "atrous_conv2d",
        "atrous_conv3d",
        "atrous_conv_transpose1d",
        "atrous_conv_transpose2d",
        "atrous_conv_transpose3d",
    ],
    x: Any,
    block_shape: Any,
    *borders: Any,
    **options: Any,
) -> AtrousExplanation: ...


@overload
def explain(
    operation: str | Callable[..., Any], x: Any, block_shape: Any, *borders: Any, **options: Any
) -> Explanation: ...


def explain(
    operation: str | Callable[..., Any], x: Any, block_shape: Any, *borders: Any, **options: Any
) -> Explanation | AtrousExplanation:
    """Tell which route, backend and kernel a call takes, and why; the arguments are those of the call.

    >>> import torch, spacebatch
    >>> told = spacebatch.explain("space_to_batch", torch.ones(1, 3, 5, 5), 2, "auto")
    >>> told.route, told.backend
    ('eager', 'llvm')
    >>> print(told)  # doctest: +ELLIPSIS
    space_to_batch: (1, 3, 5, 5) -> (4, 3, 3, 3)
      blocks   (2, 2) on dims (2, 3), borders ((0, 1), (0, 1)), block_major, interleaved
      ...

    Args:
        operation: "space_to_batch" or "batch_to_space", or the function; the same of `spacebatch.fused` by "fused." before the name; or one of `nn.functional.atrous_conv*`, whose
            arguments follow, for the method it takes and the times behind it.
        x: the tensor or array. For a meta tensor it tells what a GPU would do.
        block_shape, borders, options: as in the call; `pad_value` does not matter, nor do the values of scale, bias and residual.

    Returns:
        An `Explanation`; of an atrous convolution an `nn.functional.AtrousExplanation`.

    Raises:
        ValueError, TypeError: as the call itself.
    """
    name = operation if isinstance(operation, str) else _name_of(operation)
    if name in _ATROUS:
        from .nn.functional import explain_atrous

        given = dict(zip(_ATROUS[name][: len(borders)], borders, strict=True))
        return explain_atrous(x, block_shape, **given, **options, transposed="transpose" in name)
    fused, bare = name.startswith("fused."), name.removeprefix("fused.")
    if bare not in ("space_to_batch", "batch_to_space"):
        raise ValueError(
            f"explain: the operation must be space_to_batch, batch_to_space, atrous_conv1d, 2d or 3d, or atrous_conv_transpose1d, 2d or 3d, "
            f"or one of spacebatch.fused, got {operation!r}"
        )
    out = options.pop("out", None)
    options.pop("pad_value", None)
    direction: Direction = "space_to_batch" if bare == "space_to_batch" else "batch_to_space"
    words = Words(**{word: options.pop(word) for word in Words._fields if fused and word in options})
    make = BlockGeometry if direction == "space_to_batch" else BlockGeometry.from_batch
    if isinstance(x, np.ndarray):
        geometry = make(x.shape, block_shape, *borders, **options)
        shape = geometry.batch_shape if direction == "space_to_batch" else geometry.space_shape
        arithmetic, dtype = None, x.dtype
        if fused:
            arithmetic, dtype = arithmetic_of_arrays(name, x, words, geometry.space_shape, geometry.spatial_dims)
        result = result_like(x, shape, dtype) if out is None else out
        layouts = layout_of(x), layout_of(result, new=out is None)
        return _asked(name, direction, geometry, "eager", *layouts, "numpy", arithmetic)
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(x, torch.Tensor):
        raise TypeError(f"explain: x must be a torch.Tensor or a numpy.ndarray, got {type(x).__name__}")
    from . import checks, eager, routes

    geometry = make(tuple(x.shape), block_shape, *borders, **options)
    checks.check_tensor(name, x)
    device = "cuda" if x.is_meta else x.device.type
    if fused:
        from .fused.explained import asked

        route, arithmetic, layouts = asked(name, direction, geometry, x, words, out)
    else:
        route, arithmetic, layouts = routes.route_of(x), None, eager.layouts_of(direction, geometry, x, out)
    if route == "aten":
        return Explanation(name, geometry, route, "torch", _ATEN_KERNEL, {}, arithmetic)
    return _asked(name, direction, geometry, route, *layouts, device, arithmetic)


def _name_of(function: Callable[..., Any]) -> str:
    name: str = getattr(function, "__name__", repr(function))
    return f"fused.{name}" if getattr(function, "__module__", "").startswith(f"{__package__}.fused") else name


def _asked(
    operation: str,
    direction: Direction,
    geometry: BlockGeometry,
    route: str,
    source: Layout,
    result: Layout,
    device: str,
    arithmetic: Arithmetic | None,
) -> Explanation:
    """What the loop over the backends finds, with nothing compiled."""
    reasons: dict[str, str | None] = {}
    asked = None if arithmetic is None or arithmetic.plain else arithmetic
    for name, answer in prepared.answers(direction, geometry, source, result, asked, device):
        if not isinstance(answer, str):
            reasons[name] = None
            return Explanation(operation, geometry, route, name, str(answer), reasons, arithmetic)
        reasons[name] = answer
    return Explanation(operation, geometry, route, None, "none: the call fails", reasons, arithmetic)
