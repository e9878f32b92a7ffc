"""Gradients: those of the operators, which only move them, and those of a deep network, layer by layer."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

import spacebatch
from spacebatch import batch_to_space, space_to_batch

from .scenes import difference, draw, network, small

DEPTH = 12


def measure(quick: bool) -> dict[str, Any]:
    """The operators' Jacobians, what many round trips leave of a gradient, and a network's gradients both ways."""
    trips, depth = (4, 3) if quick else (100, DEPTH)
    return {
        "operators": _operators(trips),
        "trips": trips,
        "depth": depth,
        "network": [_network(dtype, depth, 12 if quick else 48) for dtype in (torch.float64, torch.float32)],
    }


def _operators(trips: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, 5, 7, generator=generator, dtype=torch.float64)
    jacobian: Any = torch.autograd.functional.jacobian(lambda x: space_to_batch(x, (2, 3), ((1, 2), (0, 2))), x)  # type: ignore[no-untyped-call]
    matrix = jacobian.reshape(-1, x.numel())
    values = torch.linalg.svdvals(matrix)
    z = torch.randn(2, 3, 24, 36, generator=generator, requires_grad=True)
    seed, y = torch.randn(z.shape, generator=generator), z
    for trip in range(trips):
        block = 2 + trip % 3
        y = batch_to_space(space_to_batch(y, block, paddings=block), block, crops=block)
    (gradient,) = torch.autograd.grad(y, z, seed)
    small = torch.randn(1, 1, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)

    def call(x: Tensor) -> Tensor:
        return space_to_batch(x, 2, paddings=((1, 0), (0, 2))).pow(2)

    return {
        "singular": [values.min().item(), values.max().item()],
        "entries": sorted({*matrix.flatten().tolist()}),
        "same_bits": torch.equal(gradient, seed),
        "norms": [seed.norm().item(), gradient.norm().item()],
        "gradcheck": torch.autograd.gradcheck(call, (small,)),
        "gradgradcheck": torch.autograd.gradgradcheck(call, (small,)),
    }


def _network(dtype: torch.dtype, depth: int, size: int) -> dict[str, Any]:
    """A chain of layers of rates 2, 4 and 8 in turn: the gradient of each layer's weight, natively and in batch space."""
    native = network(8, tuple((2, 4, 8)[k % 3] for k in range(depth))).to(dtype)
    ours = spacebatch.convert(copy.deepcopy(native), method="batch_space")
    x, y = draw(2, size, seed=3)
    gradients = [_gradients(net, x.to(dtype), y) for net in (native, ours)]
    pairs = list(zip(*gradients, strict=True))
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "difference": max(difference(a, b) for a, b in pairs),
        "norms": [[a.norm().item(), b.norm().item()] for a, b in pairs[1:-1]],
    }


def _gradients(net: nn.Module, x: Tensor, y: Tensor) -> list[Tensor]:
    nn.functional.cross_entropy(net(x), y).backward()  # type: ignore[no-untyped-call]
    found: Any = [part.weight.grad for part in net.modules() if isinstance(part, nn.Conv2d)]
    return found  # type: ignore[no-any-return]


def told(found: dict[str, Any]) -> list[Any]:
    """Two tables."""
    of, exact = found["operators"], {True: "yes", False: "no"}
    operators = [
        ("what", "found"),
        ("entries of the Jacobian of a padded space_to_batch", ", ".join(f"{entry:g}" for entry in of["entries"])),
        ("its smallest and largest singular value", f"{of['singular'][0]:.15g}, {of['singular'][1]:.15g}"),
        (f"a gradient after {found['trips']} padded round trips has the bits it had", exact[of["same_bits"]]),
        ("its norm before and after", f"{of['norms'][0]:.6f}, {of['norms'][1]:.6f}"),
        ("gradcheck, gradgradcheck", f"{exact[of['gradcheck']]}, {exact[of['gradgradcheck']]}"),
    ]
    layers: list[Any] = [
        (
            "gradients of " + f"{found['depth']} dilated layers",
            "first layer: native, batch space",
            "middle",
            "last",
            "largest difference",
        )
    ]
    for row in found["network"]:
        norms = row["norms"]
        chosen = [norms[0], norms[len(norms) // 2], norms[-1]]
        layers.append((row["dtype"], *(f"{a:.3e}, {b:.3e}" for a, b in chosen), small(row["difference"])))
    return [
        operators,
        "Norms of the gradients of weights, and the largest difference of any element, relative to the largest:",
        layers,
    ]
