"""Who is timed: this library, and everything else that computes the same.

A provider says whether it is here and whether it offers a case, with a reason if not; it makes of a case the function that
is timed, and takes and gives tensors. Packages are imported when the first case needs them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

import spacebatch
from spacebatch.by_hand import by_hand, steps
from spacebatch.reference.geometry import BlockGeometry

from . import fused
from .cases import Case
from .fused_cases import FusedCase

Function = Callable[[Any], Any]
_dlpack: Any = import_module("torch.utils.dlpack")


@dataclass(frozen=True)
class Provider:
    """One way to compute a case.

    Attributes:
        name: what tables and options call it. about: what it is, in a line.
        prepare: case → the function that is timed, of an input as `take` gave it.
        package: what has to be installed, None where it comes with the library.
        devices: kinds of devices that it runs on.
        arrays: its arrays are dense and know no memory order, so that a channels_last case is given to it as
            (N, *spatial, C), and gradients are left to PyTorch.
        lacks: case → None, or the reason why it has nothing for it.
        of_tensor, to_tensor: from a tensor to its kind of array and back.
        wait: returns when a result is there, for what queues its work where PyTorch does not see it.
        peer: whether goals compare this library with it. against: which of this library's providers its times are compared with.
        computes: whether it has the fused cases, too.
    """

    name: str
    about: str
    prepare: Callable[[Case], Function]
    package: str | None = None
    devices: tuple[str, ...] = ("cpu", "cuda")
    arrays: bool = False
    lacks: Callable[[Case], str | None] = lambda case: None
    of_tensor: Function = lambda x: x
    to_tensor: Function = lambda y: y
    wait: Callable[[Any], object] | None = None
    peer: bool = True
    against: str = "ours"
    computes: bool = False

    def missing(self, device: torch.device) -> str | None:
        """None, or why it cannot run on this machine."""
        if device.type not in self.devices:
            return f"does not run on {device.type}"
        if self.package is not None and importlib.util.find_spec(self.package) is None:
            return f"{self.package} is not installed"
        return None

    def offers(self, case: Case) -> str | None:
        """None, or why it has nothing for a case."""
        if isinstance(case, FusedCase) and not self.computes:
            return "no arithmetic is written for it"
        if self.arrays and case.mode != "forward":
            return "no gradient of it is timed"
        if self.arrays and case.layout not in ("contiguous", "channels_last"):
            return "its arrays are dense"
        if self.arrays and self.name != "numpy" and case.shifts:
            return "no roll is written for it"
        return self.lacks(case)

    def take(self, case: Case, x: Tensor) -> Any:
        """The input as this provider wants it, without a copy."""
        return self.of_tensor(x.permute(case.memory_dims) if self.arrays else x)

    def give(self, case: Case, y: Any) -> Tensor:
        """A result as a tensor, for the check."""
        result = cast(Tensor, self.to_tensor(y))
        return result.permute(tuple(np.argsort(case.memory_dims).tolist())) if self.arrays else result


def named(names: Sequence[str]) -> tuple[Provider, ...]:
    """The providers of these names, in their own order.

    >>> [provider.name for provider in named(["eager", "ours"])]
    ['ours', 'eager']

    Raises:
        ValueError: a name that no provider has.
    """
    for name in names:
        if name not in PROVIDERS:
            raise ValueError(f"provider: no provider is called {name!r}; there are {', '.join(PROVIDERS)}")
    return tuple(provider for provider in PROVIDERS.values() if provider.name in names)


def split(wanted: Sequence[Provider], device: torch.device) -> tuple[tuple[Provider, ...], dict[str, str]]:
    """(those that can run here, the reasons of those that cannot)."""
    reasons = {provider.name: provider.missing(device) for provider in wanted}
    here = tuple(provider for provider in wanted if reasons[provider.name] is None)
    return here, {name: reason for name, reason in reasons.items() if reason is not None}


# This library, and PyTorch


def _as_written(case: Case, spatial_dims: Any = None) -> tuple[Any, dict[str, Any]]:
    """The arguments of a case's call as one writes it: nothing that is so by default."""
    options: dict[str, Any] = {"batch_order": case.batch_order, "arrangement": case.arrangement}
    options = {k: v for k, v in options.items() if v not in ("block_major", "interleaved")}
    options = {**options, "shifts": case.shifts} if case.shifts else options
    options = {**options, "spatial_dims": spatial_dims} if spatial_dims else options
    return (case.block, case.paddings) if any(map(any, case.paddings)) else (case.block,), options


def _ours(case: Case) -> Function:
    if isinstance(case, FusedCase):
        return fused.ours(case)
    operation, (arguments, options) = getattr(spacebatch, case.direction), _as_written(case)
    return _differentiated(case, lambda x: operation(x, *arguments, **options))


def _ours_out(case: Case) -> Function:
    operation, (arguments, options) = getattr(spacebatch, case.direction), _as_written(case)
    kept: list[Tensor] = []

    def run(x: Tensor) -> Tensor:
        if not kept:
            kept.append(operation(x, *arguments, **options))
        return cast(Tensor, operation(x, *arguments, **options, out=kept[0]))

    return run


def _our_arrays(case: Case) -> Function:
    dims = case.memory_geometry.spatial_dims if case.layout == "channels_last" else None
    operation, (arguments, options) = getattr(spacebatch, case.direction), _as_written(case, dims)
    return lambda x: operation(x, *arguments, **options)


def _eager(case: Case) -> Function:
    if isinstance(case, FusedCase):
        return fused.by_hand(case)
    return _differentiated(case, by_hand(case.direction, case.geometry, case.layout == "channels_last"))


def _compiled(case: Case) -> Function:
    if isinstance(case, FusedCase):
        return fused.by_hand(case, compiled=True)
    torch.compiler.reset()  # every case is a program of its own, and the compiler keeps but a few
    function = by_hand(case.direction, case.geometry, case.layout == "channels_last")
    return _differentiated(case, torch.compile(function, dynamic=False, fullgraph=True))


def _differentiated(case: Case, function: Function) -> Function:
    """The function itself, or that of its output's gradient."""
    if case.mode == "forward":
        return function
    made: list[tuple[Tensor, Tensor]] = []

    def gradient(g: Tensor) -> Tensor:
        if not made:
            leaf = torch.zeros(case.result_shape, dtype=case.torch_dtype, device=g.device)
            if case.layout == "channels_last":
                leaf = leaf.to(memory_format=torch.channels_last if leaf.dim() == 4 else torch.channels_last_3d)
            leaf.requires_grad_()
            made.append((function(leaf), leaf))
        output, leaf = made[0]
        return torch.autograd.grad(output, leaf, g, retain_graph=True)[0]

    return gradient


# Other packages


def _package(name: str) -> Any:
    """An optional package, imported when a case needs it.

    Triton comes before TensorFlow: both bring an LLVM, and the other way round the process crashes.
    """
    if name == "tensorflow" and importlib.util.find_spec("triton") is not None:
        import_module("triton")
    if name == "jax":
        import_module("jax").config.update("jax_enable_x64", True)
    return import_module(name)


def pattern(direction: str, geometry: BlockGeometry) -> tuple[str, dict[str, int]]:
    """einops' pattern for a geometry without its border, and the sizes that it needs.

    >>> pattern("space_to_batch", BlockGeometry((1, 3, 4, 4), 2))
    ('n d1 (i2 p2) (i3 p3) -> (p2 p3 n) d1 i2 i3', {'p2': 2, 'p3': 2})
    """
    blocked = "(i{0} p{0})" if geometry.arrangement == "interleaved" else "(p{0} i{0})"
    dims, spatial = range(1, len(geometry.space_shape)), geometry.spatial_dims
    space = ["n", *(blocked.format(d) if d in spatial else f"d{d}" for d in dims)]
    batch = [f"i{d}" if d in spatial else f"d{d}" for d in dims]
    sizes = {f"p{d}": block for d, block in zip(geometry.spatial_dims, geometry.block_shape, strict=True)}
    outermost = ["n", *sizes] if geometry.batch_order == "batch_major" else [*sizes, "n"]
    left, right = " ".join(space), " ".join([f"({' '.join(outermost)})", *batch])
    return (f"{left} -> {right}" if direction == "space_to_batch" else f"{right} -> {left}"), sizes


def _amounts(geometry: BlockGeometry) -> list[tuple[int, int]]:
    borders = dict(zip(geometry.spatial_dims, geometry.paddings, strict=True))
    return [borders.get(d, (0, 0)) for d in range(len(geometry.space_shape))]


def _einops(case: Case, pad: Callable[[Any, Any], Any], amounts: Any, dense: Function) -> Function:
    rearrange, geometry = _package("einops").rearrange, case.memory_geometry
    text, sizes = pattern(case.direction, geometry)
    if not geometry.padded:
        return lambda x: dense(rearrange(x, text, **sizes))
    if case.direction == "space_to_batch":
        return lambda x: dense(rearrange(pad(x, amounts), text, **sizes))
    window = steps(case.direction, geometry).window
    return lambda y: dense(rearrange(y, text, **sizes)[window])


def _einops_tensor(case: Case) -> Function:
    amounts = steps("space_to_batch", case.memory_geometry).amounts
    return _einops(case, torch.nn.functional.pad, amounts, torch.Tensor.contiguous)


def _einops_array(case: Case) -> Function:
    return _einops(case, np.pad, _amounts(case.memory_geometry), np.ascontiguousarray)


def array_function(package: Any, case: Case, dense: Function = lambda y: y) -> Function:
    """pad, reshape, transpose, crop and, where a package's results are views, `dense`; named as in NumPy."""
    geometry = case.memory_geometry
    _, halves, permutation, sizes, window = steps(case.direction, geometry)
    amounts = _amounts(geometry) if geometry.padded and case.direction == "space_to_batch" else None

    def run(x: Any) -> Any:
        if amounts:
            x = package.pad(x, amounts)
        x = x.reshape(halves).transpose(permutation).reshape(sizes)
        return dense(x[window] if window else x)

    return run


def _jax(case: Case) -> Function:
    return cast(Function, _package("jax").jit(array_function(_package("jax.numpy"), case)))


def _jax_of(x: Tensor) -> Any:
    _package("jax")
    if x.dtype is torch.bool:
        return _package("jax.numpy").asarray(x.cpu().numpy())
    return _package("jax.dlpack").from_dlpack(x)


def _cupy(case: Case) -> Function:
    cupy = _package("cupy")
    function = array_function(cupy, case, cupy.ascontiguousarray)

    def run(x: Any) -> Any:
        with cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream):
            return function(x)

    return run


def _tensorflow(case: Case) -> Function:
    tensorflow, geometry = _package("tensorflow"), case.memory_geometry
    axes = {axis.dim: axis for axis in geometry.axes}
    dims = range(1, max(axes) + 1)  # its blocked dims follow the batch; the others have a block of one
    block = [axes[d].block if d in axes else 1 for d in dims]
    borders = [[axes[d].before, axes[d].after] if d in axes else [0, 0] for d in dims]
    if case.direction == "space_to_batch":
        return lambda x: tensorflow.space_to_batch_nd(x, block, borders)
    return lambda y: tensorflow.batch_to_space(y, block, borders)


def _tensorflow_wait(y: Any) -> object:
    if y.device.endswith("CPU:0"):
        return y  # eager calls on the CPU have returned when they are done
    return _package("tensorflow").test.experimental.sync_devices()


def _tensorflow_lacks(case: Case) -> str | None:
    if case.arrangement != "interleaved" or case.batch_order != "block_major":
        return "its operator is interleaved and block-major"
    if case.dtype == "bool" or case.dtype.startswith(("complex", "float8")):
        return f"its operator has no kernel for {case.dtype}"
    return None


def _out_lacks(case: Case) -> str | None:
    return None if case.mode == "forward" else "no gradient of it is timed"


def _transformers(case: Case) -> Function:
    assert isinstance(case, FusedCase)
    return fused.processor(case)


def _transformers_lacks(case: Case) -> str | None:
    tokens = isinstance(case, FusedCase) and case.tokens == "CTHW" and case.merge == case.temporal == 2
    return None if tokens and case.layout == "contiguous" else "it makes tokens of Qwen2-VL"


def _numpy_lacks(case: Case) -> str | None:
    return None if case.dtype == "bool" or hasattr(np, case.dtype) else f"it has no {case.dtype}"


OURS = Provider("ours", "this library", _ours, peer=False, computes=True)
_NUMPY: dict[str, Any] = {
    "devices": ("cpu",),
    "arrays": True,
    "lacks": _numpy_lacks,
    "of_tensor": Tensor.numpy,
    "to_tensor": torch.from_numpy,
}
_EVERYONE = (
    OURS,
    Provider("out", "this library, into memory at hand", _ours_out, lacks=_out_lacks, peer=False),
    Provider("eager", "PyTorch by hand: pad, roll, view, permute, contiguous", _eager, computes=True),
    Provider("compile", "the same under torch.compile", _compiled, computes=True),
    Provider("einops", "einops.rearrange of a padded tensor", _einops_tensor, "einops", arrays=True),
    Provider(
        "jax",
        "jax.numpy under jax.jit: XLA",
        _jax,
        "jax",
        arrays=True,
        of_tensor=_jax_of,
        to_tensor=_dlpack.from_dlpack,
        wait=lambda y: y.block_until_ready(),
    ),
    Provider(
        "cupy",
        "cupy.pad and cupy.transpose",
        _cupy,
        "cupy",
        ("cuda",),
        arrays=True,
        lacks=_numpy_lacks,
        of_tensor=lambda x: _package("cupy").from_dlpack(x),
        to_tensor=_dlpack.from_dlpack,
    ),
    Provider(
        "tensorflow",
        "tf.space_to_batch_nd and tf.batch_to_space, eagerly",
        _tensorflow,
        "tensorflow",
        arrays=True,
        lacks=_tensorflow_lacks,
        of_tensor=lambda x: _package("tensorflow").experimental.dlpack.from_dlpack(_dlpack.to_dlpack(x)),
        to_tensor=lambda y: _dlpack.from_dlpack(_package("tensorflow").experimental.dlpack.to_dlpack(y)),
        wait=_tensorflow_wait,
    ),
    Provider(
        "transformers",
        "transformers' fast image processor of Qwen2-VL",
        _transformers,
        "transformers",
        ("cpu",),
        lacks=_transformers_lacks,
        computes=True,
    ),
    Provider("numpy", "this library on NumPy arrays", _our_arrays, peer=False, **_NUMPY),
    Provider("einops-numpy", "einops.rearrange of NumPy arrays", _einops_array, "einops", against="numpy", **_NUMPY),
)
PROVIDERS = {provider.name: provider for provider in _EVERYONE}
DEFAULTS = {
    "cpu": ("ours", "out", "eager", "compile", "einops", "jax", "tensorflow", "transformers", "numpy", "einops-numpy"),
    "cuda": ("ours", "eager", "compile", "jax", "cupy"),
}
