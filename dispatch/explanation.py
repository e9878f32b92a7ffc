"""`spacebatch.explain`: which way a call takes, which backend and kernel, and why not another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from torch import Tensor

from spacebatch.reference.geometry import BlockGeometry

from . import backends, checks, llvm_backend, routes, strided_copy
from .backend import Direction

if TYPE_CHECKING:
    from .nn.functional import AtrousExplanation


@dataclass(frozen=True)
class Explanation:
    """What a call would do; `print` it. Nothing is computed to find out.

    Attributes:
        operation: "space_to_batch" or "batch_to_space".
        geometry: the block geometry of the call.
        way: "aten", "operator", "autograd" or "backend" for tensors, "reference" for NumPy arrays.
        backend: name of the backend, None where none can run.
        kernel: what the backend would launch or copy.
        reasons: for each backend asked, None if it can run and otherwise why not.
    """

    operation: str
    geometry: BlockGeometry
    way: str
    backend: str | None
    kernel: str
    reasons: dict[str, str | None] = field(hash=False)

    def __str__(self) -> str:
        g = self.geometry
        shapes = (g.space_shape, g.batch_shape)
        source, result = shapes if self.operation == "space_to_batch" else shapes[::-1]
        lines = [
            f"{self.operation}: {source} -> {result}",
            f"  blocks   {g.block_shape} on dims {g.spatial_dims}, borders {g.paddings}, {g.batch_order}, {g.arrangement}",
            f"  way      {self.way}: {_WAYS[self.way]}",
            f"  backend  {self.backend}",
            f"  kernel   {self.kernel}",
        ]
        lines += [f"  not {name}: {reason}" for name, reason in self.reasons.items() if reason is not None]
        return "\n".join(lines)


_WAYS = {
    "aten": "compiling or transforming, hence PyTorch's own operators",
    "operator": "a tensor subclass or a dispatch mode, hence torch.ops.spacebatch",
    "autograd": "a gradient is wanted",
    "backend": "eager, straight to the backend",
    "reference": "a NumPy array",
}


@overload
def explain(
    operation: Literal["atrous_conv1d", "atrous_conv2d", "atrous_conv3d"],
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
    """Tell which way, backend and kernel a call takes, and why; the arguments are those of the call.

    >>> import torch, spacebatch
    >>> told = spacebatch.explain("space_to_batch", torch.ones(1, 3, 5, 5), 2, "auto")
    >>> told.way, told.backend
    ('backend', 'llvm')
    >>> print(told)  # doctest: +ELLIPSIS
    space_to_batch: (1, 3, 5, 5) -> (4, 3, 3, 3)
      blocks   (2, 2) on dims (2, 3), borders ((0, 1), (0, 1)), block_major, interleaved
      ...

    Args:
        operation: "space_to_batch" or "batch_to_space", or the function; or one of `nn.functional.atrous_conv*d`, whose
            arguments follow, for the method it takes and the times behind it.
        x: the tensor or array; a meta tensor will do.
        block_shape, borders, options: as in the call; `pad_value` and `out` do not matter.

    Returns:
        An `Explanation`; of an atrous convolution an `nn.functional.AtrousExplanation`.

    Raises:
        ValueError, TypeError: as the call itself.
    """
    name = operation if isinstance(operation, str) else getattr(operation, "__name__", repr(operation))
    if name in ("atrous_conv1d", "atrous_conv2d", "atrous_conv3d"):
        from .nn.functional import explain_atrous

        return explain_atrous(x, block_shape, *borders, **options)
    if name not in ("space_to_batch", "batch_to_space"):
        raise ValueError(
            f"explain: the operation must be space_to_batch, batch_to_space or atrous_conv1d, 2d or 3d, got {operation!r}"
        )
    options = {key: value for key, value in options.items() if key not in ("pad_value", "out")}
    if not isinstance(x, (Tensor, np.ndarray)):
        raise TypeError(f"explain: x must be a torch.Tensor or a numpy.ndarray, got {type(x).__name__}")
    geometry = (BlockGeometry if name == "space_to_batch" else BlockGeometry.from_batch)(
        tuple(x.shape), block_shape, *borders, **options
    )
    direction: Direction = "space_to_batch" if name == "space_to_batch" else "batch_to_space"
    if isinstance(x, np.ndarray):
        return _of_array(direction, geometry, x)
    checks.check_tensor(name, x)
    way = routes.way(x)
    if way == "aten":
        return Explanation(name, geometry, way, "torch", _TORCH_KERNEL, {})
    forced = backends.forced
    reasons: dict[str, str | None] = {}
    for backend in backends.candidates(x) if forced is None else (forced,):
        reasons[backend.name] = reason = backend.can_run(direction, geometry, x, None)
        if reason is None:
            return Explanation(
                name, geometry, way, backend.name, _kernel(backend.name, direction, geometry, x), reasons
            )
    return Explanation(name, geometry, way, None, "none: the call fails", reasons)


def _of_array(direction: Direction, geometry: BlockGeometry, x: np.ndarray[Any, Any]) -> Explanation:
    call = llvm_backend.array_call(direction, geometry, x)
    if not isinstance(call, str):
        return Explanation(direction, geometry, "reference", "llvm", str(call), {"llvm": None})
    return Explanation(direction, geometry, "reference", "numpy", _NUMPY_KERNEL, {"llvm": call, "numpy": None})


_NUMPY_KERNEL = "strided copies of whole rectangles, border filled apart"
_TORCH_KERNEL = "pad, reshape, permute, clone, view"


def _kernel(backend: str, direction: Direction, geometry: BlockGeometry, x: Tensor) -> str:
    if backend == "triton":
        from spacebatch.tl_kernels import launch

        return launch.describe(direction, geometry, x)
    if backend == "numpy":
        return _NUMPY_KERNEL
    if backend == "llvm":
        call = llvm_backend.call_for(direction, geometry, x)
        assert not isinstance(call, str)
        return str(call.prepared)
    if x.device.type == "cpu" and not geometry.empty:
        return strided_copy.describe(direction, geometry, x)
    return _TORCH_KERNEL
