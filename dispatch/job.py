"""The main job: a photograph to the batch and back, forward and backward, checked bit by bit, timed, and drawn."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import spacebatch
from spacebatch.reference import BlockGeometry, definition
from spacebatch.reference.prepared import Direction

from .by_hand import by_hand
from .picture import draw, read
from .timing import Call, copy_of, hardware, interleaved, software

TIMED_BYTES = {"cpu": 64 << 20, "cuda": 512 << 20}  # the photograph is repeated up to here: beyond any cache
ROUNDS = 21
PHOTOGRAPH = "grace_hopper.jpg"  # comes with matplotlib

_Operation = Callable[..., Tensor]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; 0 if every check passed, 1 if one failed or matplotlib is missing."""
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        import matplotlib.cbook
    except ImportError:
        print('the picture and the photograph need matplotlib: pip install "spacebatch[job]"', file=sys.stderr)
        return 1
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("argument --device: this PyTorch sees no CUDA or ROCm device; leave it out to run on the CPU")
    device = torch.device("cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu")
    path = options.image or matplotlib.cbook.get_sample_data(PHOTOGRAPH, asfileobj=False)
    try:
        about = "--image"
        photograph = read(path).to(device)
        about = "--block and --pad"
        geometry = _geometry(tuple(photograph.shape), options.block, options.pad)
        about = "--out"
        picture = _picture_path(options.out)
    except (OSError, SyntaxError, ValueError) as error:  # SyntaxError: a broken PNG
        parser.error(f"argument {about}: {error}")

    print(f"spacebatch {spacebatch.__version__}: space to batch and back")
    print(f"  device    {hardware(device)}")
    print(f"  software  {software()}")
    print(f"  image     {Path(path).name}, float32, {_by(geometry.space_shape)}")
    print(
        f"  batch     {_by(geometry.batch_shape)}, blocks of {_by(geometry.block_shape)}, padded by {_sides(geometry)}"
    )
    passed = _check_moves(photograph, geometry)
    passed &= _check_convolution(photograph, geometry.block_shape)
    _print_times(photograph, geometry)
    batch = spacebatch.space_to_batch(photograph, **geometry.arguments)
    back = spacebatch.batch_to_space(batch, **geometry.inverse)
    try:
        draw(photograph, batch, back, geometry, picture)
    except OSError as error:
        print(f"the picture could not be written: {error}", file=sys.stderr)
        return 1
    print(f"\nPicture   {picture}")
    if not passed:
        print("a check FAILED: see the lines marked DIFFERS", file=sys.stderr)
    return 0 if passed else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m spacebatch",
        description="Take a photograph to the batch and back, forward and backward; check every bit, time it, draw it.",
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: the GPU if there is one"
    )
    parser.add_argument("--image", metavar="PATH", help="any picture; by default a photograph that matplotlib ships")
    parser.add_argument(
        "--block", metavar="B[,B]", type=_integers, default=(2, 2), help="2, or rows,columns (default: 2)"
    )
    parser.add_argument(
        "--pad",
        metavar="PADS",
        type=lambda text: text if text == "auto" else _integers(text),
        help="a number, rows,columns, top,bottom,left,right, or auto: the end up to a whole number of blocks "
        "(default: 1 all around, then as auto)",
    )
    parser.add_argument("--out", metavar="PATH", type=Path, default=Path("phases.png"), help="a folder, or a file.png")
    return parser


def _integers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not made of integers and commas") from None


def _geometry(shape: tuple[int, ...], block: tuple[int, ...], pad: tuple[int, ...] | str | None) -> BlockGeometry:
    if len(block) > 2:
        raise ValueError(f"one or two block sizes are needed, got {len(block)}")
    blocks = block * 2 if len(block) == 1 else block
    if pad is None:
        return BlockGeometry(shape, blocks, spacebatch.required_paddings(shape[2:], blocks, ((1, 1), (1, 1)))[0])
    if isinstance(pad, tuple) and len(pad) not in (1, 2, 4):
        raise ValueError(f"one, two or four paddings are needed, got {len(pad)}")
    borders: Any = {1: pad[0], 2: pad, 4: (pad[:2], pad[2:])}[len(pad)] if isinstance(pad, tuple) else pad
    return BlockGeometry(shape, blocks, borders)


def _picture_path(out: Path) -> Path:
    if out.suffix and not out.is_dir():
        if out.suffix.lower() != ".png":
            raise OSError(f"{out} must be a folder or end in .png")
    else:
        out = out / "phases.png"
    out.parent.mkdir(parents=True, exist_ok=True)
    return out


def _by(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


def _sides(geometry: BlockGeometry) -> str:
    (top, bottom), (left, right) = geometry.paddings
    return f"{top} above, {bottom} below, {left} left, {right} right" if geometry.padded else "nothing"


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
    print(f"{'':24}{f'on a crop of {_by(crop.shape)}':34}on the whole photograph, {_by(photograph.shape)}")
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
        return f"DIFFERS: shape {_by(found.shape)}, not {_by(expected.shape)}"
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
    print(f"\nDilated convolution, rate {_by(rate)} = space_to_batch, ordinary convolution, batch_to_space")
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
