"""The main job: a photograph to the batch and back, forward and backward, checked bit by bit and timed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

import spacebatch
from spacebatch.reference import BlockGeometry, definition
from spacebatch.reference.prepared import Direction

from .by_hand import by_hand
from .timing import Call, copy_of, interleaved

TIMED_BYTES = {"cpu": 64 << 20, "cuda": 512 << 20}  # the photograph is repeated up to here: beyond any cache
ROUNDS = 21

_Operation = Callable[..., Tensor]


def run(photograph: Tensor, geometry: BlockGeometry) -> tuple[bool, Tensor, Tensor]:
    """Check and time both operators and their gradients on a (1, 3, H, W) tensor, and print what is found.

    Returns:
        (whether every check passed, the batch, what became of it in space).
    """
    passed = _check_moves(photograph, geometry)
    passed &= _check_convolution(photograph, geometry.block_shape)
    _print_times(photograph, geometry)
    batch = spacebatch.space_to_batch(photograph, **geometry.arguments)
    return passed, batch, spacebatch.batch_to_space(batch, **geometry.inverse)


def by(sizes: Sequence[int]) -> str:
    """Sizes as they are printed."""
    return " x ".join(map(str, sizes))


# What is checked: every operation and its gradient, against its definition


def _moves(x: Tensor, geometry: BlockGeometry) -> tuple[tuple[str, str, Tensor, Tensor], ...]:
    """(operation, the definition's name for it, input, output) of both operations and both gradients on x."""
    generator = torch.Generator().manual_seed(0)
    space_gradient, batch_gradient = (
        torch.randn(shape, generator=generator).to(x.device) for shape in (geometry.space_shape, geometry.batch_shape)
    )
    space = x.detach().requires_grad_()
    batch = spacebatch.space_to_batch(space, **geometry.arguments)
    (to_space,) = torch.autograd.grad(batch, space, batch_gradient)
    leaf = batch.detach().requires_grad_()
    back = spacebatch.batch_to_space(leaf, **geometry.inverse)
    (to_batch,) = torch.autograd.grad(back, leaf, space_gradient)
    return (
        ("space_to_batch", "space_to_batch", space, batch),
        ("  backward", "batch_to_space", batch_gradient, to_space),
        ("batch_to_space", "batch_to_space", leaf, back),
        ("  backward", "space_to_batch", space_gradient, to_batch),
    )


def _check_moves(photograph: Tensor, geometry: BlockGeometry) -> bool:
    """The definition on a crop, for it goes element by element; its gather map on the whole photograph."""
    sizes = [
        s if s <= 24 else s - (s - 24) // b * b for s, b in zip(photograph.shape[2:], geometry.block_shape, strict=True)
    ]
    top, left = ((s - crop) // 2 for s, crop in zip(photograph.shape[2:], sizes, strict=True))
    crop = photograph[:, :, top : top + sizes[0], left : left + sizes[1]].contiguous()
    small = BlockGeometry(crop.shape, geometry.block_shape, geometry.paddings)
    source = geometry.space_indices()
    print(f"\n{'Checks, bit by bit':24}{'definition, element by element':34}gather map of the definition")
    print(f"{'':24}{f'on a crop of {by(crop.shape)}':34}on the whole photograph, {by(photograph.shape)}")
    passed = True
    for on_crop, on_all in zip(_moves(crop, small), _moves(photograph, geometry), strict=True):
        name, operation, given, found = on_crop
        arguments = small.arguments if operation == "space_to_batch" else small.inverse
        by_definition = getattr(definition, operation)(_numpy(given), **arguments)
        verdicts = [_compare(_numpy(found), by_definition)]
        _, _, given, found = on_all
        verdicts.append(_compare(_numpy(found), _gathered(operation, _numpy(given), source, geometry)))
        passed &= all(verdict == "equal" for verdict in verdicts)
        print(f"  {name:22}{verdicts[0]:34}{verdicts[1]}")
    return passed


def _gathered(operation: str, given: np.ndarray[Any, Any], source: np.ndarray[Any, Any], g: BlockGeometry) -> Any:
    """The operation by the index map alone: where each element of the batch comes from, -1 for the padding."""
    if operation == "space_to_batch":
        return np.where(source < 0, np.float32(0), given.reshape(-1)[source])
    space = np.empty(math.prod(g.space_shape), dtype=given.dtype)
    space[source[source >= 0]] = given[source >= 0]
    return space.reshape(g.space_shape)


def _numpy(x: Tensor) -> np.ndarray[Any, Any]:
    return x.detach().cpu().numpy()


def _compare(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> str:
    if found.shape != expected.shape:
        return f"DIFFERS: shape {by(found.shape)}, not {by(expected.shape)}"
    bits = [np.ascontiguousarray(array).view(np.uint32) for array in (found, expected)]
    different = np.count_nonzero(bits[0] != bits[1])
    return "equal" if different == 0 else f"DIFFERS in {different} of {found.size}"


def _check_convolution(photograph: Tensor, rate: tuple[int, ...]) -> bool:
    """A dilated 3 x 3 convolution is an ordinary one between space_to_batch and batch_to_space."""
    x = photograph.double()
    weight = torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(0), dtype=x.dtype).to(x.device)
    paddings, crops = spacebatch.required_paddings(x.shape[2:], rate, [(r, r) for r in rate])
    dilated = torch.nn.functional.conv2d(x, weight, padding=rate, dilation=rate)
    ordinary = torch.nn.functional.conv2d(spacebatch.space_to_batch(x, rate, paddings), weight)
    found = spacebatch.batch_to_space(ordinary, rate, crops)
    terms = weight[0].numel()
    sums = torch.nn.functional.conv2d(x.abs(), weight.abs(), padding=rate, dilation=rate)
    allowed = 2 * terms * torch.finfo(x.dtype).eps * float(sums.max())
    difference = float((found - dilated).abs().max()) if found.shape == dilated.shape else math.inf
    passed = difference <= allowed
    print(f"\nDilated convolution, rate {by(rate)} = space_to_batch, ordinary convolution, batch_to_space")
    verdict = "within" if passed else "DIFFERS by more than"
    print(f"  largest difference {difference:.1e}, {verdict} the allowed {allowed:.1e}")
    print(f"  (in float64; the {terms} products of a sum may be added in another order, each addition rounding)")
    return passed


# What is timed: the package, PyTorch by hand, and a copy of as many bytes


def _print_times(photograph: Tensor, geometry: BlockGeometry) -> None:
    device, arguments = photograph.device, (geometry.block_shape, geometry.paddings)
    repeats = max(1, TIMED_BYTES[device.type] // (photograph.numel() * 4))
    x = photograph.repeat(repeats, 1, 1, 1)
    y = spacebatch.space_to_batch(x, *arguments)
    to_batch, to_space = 4 * (x.numel() + y.numel()), 8 * x.numel()  # bytes; what is cropped need not be read
    print(f"\nTimes of {repeats} such photographs, {x.numel() * 4 / 1e6:.0f} MB: medians of {ROUNDS} interleaved runs")
    print(f"  {'operation':18}{'backend':10}{'ms':>9}{'GB/s':>10}{'of a copy':>12}{'eager ms':>12}{'speed-up':>11}")
    shapes = BlockGeometry(x.shape, *arguments)
    rows: tuple[tuple[str, Direction, Tensor, Tensor, int], ...] = (
        ("space_to_batch", "space_to_batch", x, y, to_batch),
        ("  backward", "batch_to_space", x, y, to_space),
        ("batch_to_space", "batch_to_space", y, x, to_space),
        ("  backward", "space_to_batch", y, x, to_batch),
    )
    for name, moved_by, source, result, moved in rows:
        operation: Direction = "space_to_batch" if source is x else "batch_to_space"
        timed = _backward if name.startswith(" ") else _forward
        keywords = shapes.arguments if source is x else shapes.inverse
        call = timed(partial(getattr(spacebatch, operation), **keywords), source, result)
        eager = timed(by_hand(operation, shapes), source, result)
        calls = {"call": call, "eager": eager, "copy": copy_of(moved, device)}
        times = {key: timing.median for key, timing in interleaved(calls, device, rounds=ROUNDS).items()}
        backend = spacebatch.explain(moved_by, x if moved_by == "space_to_batch" else y, *arguments).backend
        print(
            f"  {name:18}{backend or '-':10}{times['call'] * 1e3:9.3f}{moved / times['call'] / 1e9:10.1f}"
            f"{times['copy'] / times['call']:12.0%}{times['eager'] * 1e3:12.3f}{times['eager'] / times['call']:10.2f}x"
        )
    print("  GB/s: every byte read once and written once. of a copy: the speed of copy_ of as many bytes, in the same")
    print(
        "  run, to memory at hand. eager: pad, view, permute, contiguous by hand. All but copy_ allocate their results."
    )


def _forward(operation: _Operation, source: Tensor, result: Tensor) -> Call:
    return lambda: operation(source)


def _backward(operation: _Operation, source: Tensor, result: Tensor) -> Call:
    leaf = source.detach().requires_grad_()
    output = operation(leaf)
    return lambda: torch.autograd.grad(output, leaf, result, retain_graph=True)
