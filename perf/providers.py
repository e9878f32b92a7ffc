"""Who is timed: this library, and everything else that computes the same.

A provider says whether it is here and whether it offers a cell, with a reason if not; it makes of a cell the function that
is timed, and takes and gives tensors. Packages are imported when the first cell needs them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import eager, foreign
from .cells import Cell

Function = Callable[[Any], Any]


@dataclass(frozen=True)
class Provider:
    """One way to compute a cell.

    Attributes:
        name: what tables and options call it.
        about: what it is, in a line.
        package: what has to be installed, None where it comes with the library.
        devices: kinds of devices that it runs on.
        offers: cell → None, or the reason why it has nothing for it.
        prepare: cell → the function that is timed, of an input as `take` gave it.
        take: (cell, tensor) → the input. give: (cell, result) → tensor, for the check.
        wait: returns when a result is there, for what queues its work out of PyTorch's sight.
        peer: whether goals compare this library with it.
    """

    name: str
    about: str
    package: str | None
    devices: tuple[str, ...]
    offers: Callable[[Cell], str | None]
    prepare: Callable[[Cell], Function]
    take: Callable[[Cell, Tensor], Any] = lambda cell, x: x
    give: Callable[[Cell, Any], Tensor] = lambda cell, y: y
    wait: Callable[[Any], object] | None = None
    peer: bool = True

    def missing(self, device: torch.device) -> str | None:
        """None, or why it cannot run on this machine."""
        if device.type not in self.devices:
            return f"does not run on {device.type}"
        if self.package is not None and importlib.util.find_spec(self.package) is None:
            return f"{self.package} is not installed"
        return None


def _everything(cell: Cell) -> str | None:
    return None


def _forward(cell: Cell) -> str | None:
    return None if cell.mode == "forward" else "no gradient of it is timed"


def _ours(cell: Cell) -> Function:
    import spacebatch

    operation = getattr(spacebatch, cell.direction)
    options = {"batch_order": cell.batch_order, "arrangement": cell.arrangement}
    options = {k: v for k, v in options.items() if v not in ("block_major", "interleaved")}  # as one writes it
    block, paddings = cell.block, cell.paddings
    if not any(map(any, paddings)):
        return _differentiated(cell, lambda x: operation(x, block, **options))
    return _differentiated(cell, lambda x: operation(x, block, paddings, **options))


def _ours_out(cell: Cell) -> Function:
    import spacebatch

    operation = getattr(spacebatch, cell.direction)
    options = {"batch_order": cell.batch_order, "arrangement": cell.arrangement}
    kept: list[Tensor] = []

    def run(x: Tensor) -> Tensor:
        if not kept:
            kept.append(operation(x, cell.block, cell.paddings, **options))
        result: Tensor = operation(x, cell.block, cell.paddings, **options, out=kept[0])
        return result

    return run


def _eager(cell: Cell) -> Function:
    return _differentiated(cell, eager.by_hand(cell.direction, cell.geometry, cell.layout == "channels_last"))


def _compiled(cell: Cell) -> Function:
    torch.compiler.reset()  # every cell is a program of its own, and the compiler keeps but a few
    function = eager.by_hand(cell.direction, cell.geometry, cell.layout == "channels_last")
    return _differentiated(cell, torch.compile(function, dynamic=False, fullgraph=True))


def _differentiated(cell: Cell, function: Function) -> Function:
    """The function itself, or that of its output's gradient."""
    if cell.mode == "forward":
        return function
    made: list[tuple[Tensor, Tensor]] = []

    def gradient(g: Tensor) -> Tensor:
        if not made:
            shape = cell.geometry.space_shape if cell.direction == "space_to_batch" else cell.geometry.batch_shape
            leaf = torch.zeros(shape, dtype=cell.torch_dtype, device=g.device)
            if cell.layout == "channels_last":
                leaf = leaf.to(memory_format=torch.channels_last if leaf.dim() == 4 else torch.channels_last_3d)
            leaf.requires_grad_()
            made.append((function(leaf), leaf))
        output, leaf = made[0]
        return torch.autograd.grad(output, leaf, g, retain_graph=True)[0]

    return gradient


OURS = Provider("ours", "this library", None, ("cpu", "cuda"), _everything, _ours, peer=False)
PROVIDERS = {
    provider.name: provider
    for provider in (
        OURS,
        Provider("out", "this library, into memory at hand", None, ("cpu", "cuda"), _forward, _ours_out, peer=False),
        Provider(
            "eager", "PyTorch by hand: pad, view, permute, contiguous", None, ("cpu", "cuda"), _everything, _eager
        ),
        Provider("compile", "the same under torch.compile", None, ("cpu", "cuda"), _everything, _compiled),
        Provider(
            "einops",
            "einops.rearrange of a padded tensor",
            "einops",
            ("cpu", "cuda"),
            foreign.dense_only,
            foreign.einops_tensor,
            foreign.memory_order,
            foreign.dims_order,
        ),
        Provider(
            "jax",
            "jax.numpy under jax.jit: XLA",
            "jax",
            ("cpu", "cuda"),
            foreign.dense_only,
            foreign.jax_function,
            foreign.jax_take,
            foreign.jax_give,
            foreign.jax_wait,
        ),
        Provider(
            "cupy",
            "cupy.pad and cupy.transpose",
            "cupy",
            ("cuda",),
            foreign.numpy_dtypes_only,
            foreign.cupy_function,
            foreign.cupy_take,
            foreign.cupy_give,
        ),
        Provider(
            "tensorflow",
            "tf.space_to_batch_nd and tf.batch_to_space, eagerly",
            "tensorflow",
            ("cpu", "cuda"),
            foreign.tensorflow_offers,
            foreign.tensorflow_function,
            foreign.tensorflow_take,
            foreign.tensorflow_give,
            foreign.tensorflow_wait,
        ),
        Provider(
            "numpy",
            "this library on NumPy arrays",
            None,
            ("cpu",),
            foreign.numpy_dtypes_only,
            foreign.our_arrays,
            foreign.numpy_take,
            foreign.numpy_give,
            peer=False,
        ),
        Provider(
            "einops-numpy",
            "einops.rearrange of NumPy arrays",
            "einops",
            ("cpu",),
            foreign.numpy_dtypes_only,
            foreign.einops_array,
            foreign.numpy_take,
            foreign.numpy_give,
            peer=False,
        ),
    )
}


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
