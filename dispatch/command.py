"""`python -m spacebatch` as a command: its arguments, one line for whatever may come between, and the exit code.

The help, the version and mistakes answer at once: PyTorch is imported when there is something to compute.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import spacebatch
from spacebatch.reference import BlockGeometry

from .exit_status import said, status_of
from .photograph import Photograph, read

NAME = "python -m spacebatch"
PHOTOGRAPH = "grace_hopper.jpg"  # comes with matplotlib
FAILED, REFUSED = 1, 2


class RefusedError(Exception):
    """The command cannot be carried out; the message is the line that says why."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job and return the exit code.

    0: every check passed. 1: one failed, or the picture could not be written. 2: the command cannot be carried out.
    130: interrupted. 141: nobody reads what is printed any more.
    """
    options = _parser().parse_args(argv)
    # each line when it is there, whatever characters the name of a file has
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    return status_of(NAME, lambda: _answered(options))


def _answered(options: argparse.Namespace) -> int:
    try:
        return _carried_out(options)
    except RefusedError as error:
        return _failed(str(error), REFUSED)


def _carried_out(options: argparse.Namespace) -> int:
    try:
        import matplotlib.cbook
        import PIL.Image  # noqa: F401
    except ImportError as error:
        _refuse(f'the photograph and the picture need matplotlib ({error}): pip install "spacebatch[job]"')
    path = options.picture or matplotlib.cbook.get_sample_data(PHOTOGRAPH, asfileobj=False)
    try:
        photograph = read(path)
    except ValueError as error:
        _refuse(str(error))
    try:
        geometry = _geometry(photograph.pixels.shape, options.block, options.pad)
    except ValueError as error:
        _refuse(f"--block and --pad: {error}")
    picture = _picture_path(options.out, Path(path))
    try:
        import torch

        from . import job
    except ImportError as error:
        _refuse(f"the job computes with PyTorch, which cannot be imported ({error}): pip install torch")
    from .picture import draw
    from .timing import hardware, software

    if options.device == "cuda" and not torch.cuda.is_available():
        _refuse("--device: this PyTorch sees no CUDA or ROCm device; leave it out to run on the CPU")
    device = torch.device("cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu")
    print(f"spacebatch {spacebatch.__version__}: space to batch and back")
    print(f"  device    {hardware(device)}")
    print(f"  software  {software()}")
    _print_sizes(Path(path).name, photograph, geometry)
    x = torch.from_numpy(photograph.pixels).to(device)
    passed, batch, back = job.run(x, geometry)
    try:
        draw(x, batch, back, geometry, picture)
    except OSError as error:
        return _failed(f"the picture could not be written: {error}", FAILED)
    print(f"\nPicture   {picture}")
    return 0 if passed else _failed("a check FAILED: see the lines marked DIFFERS", FAILED)


def _print_sizes(name: str, photograph: Photograph, geometry: BlockGeometry) -> None:
    def by(sizes: Sequence[int]) -> str:
        return " x ".join(map(str, sizes))

    (top, bottom), (left, right) = geometry.paddings
    sides = f"{top} above, {bottom} below, {left} left, {right} right" if geometry.padded else "nothing"
    print(f"  image     {name}, float32, {by(geometry.space_shape)}")
    for line in photograph.converted:
        print(f"  converted {line}")
    print(f"  batch     {by(geometry.batch_shape)}, blocks of {by(geometry.block_shape)}, padded by {sides}")


def _refuse(reason: str) -> NoReturn:
    raise RefusedError(reason) from None


def _failed(line: str, code: int) -> int:
    said(f"{NAME}: {line}")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=NAME,
        description="Take a photograph to the batch and back, forward and backward; check every bit, time it, draw it.",
        epilog="Pictures of any size and kind are taken; what is converted is said.",
    )
    parser.add_argument("--version", action="version", version=f"spacebatch {spacebatch.__version__}")
    parser.add_argument(
        "picture", metavar="PICTURE", nargs="?", help="any picture; by default a photograph that matplotlib ships"
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: the GPU if there is one"
    )
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


def _picture_path(out: Path, image: Path) -> Path:
    if out.suffix and not out.is_dir():
        if out.suffix.lower() != ".png":
            _refuse(f"--out: {out} must be a folder or end in .png")
    else:
        out = out / "phases.png"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.exists() and out.samefile(image):
            _refuse(f"--out: {out} is the picture that is read")
    except OSError as error:
        _refuse(f"--out: {out}: {error.strerror}")
    return out
