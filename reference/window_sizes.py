"""Windows and grids by their size: what an image of any size is padded by, and how many windows it has."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

from .arguments import Pair, as_integer, as_sequence, check_choice, is_scalar, shown

Covered: TypeAlias = Literal["shift", "stay", "fit"]
COVERED = ("shift", "stay", "fit")


class Cut(NamedTuple):
    """How an image is cut, one entry per spatial dim, in the terms of `BlockGeometry`.

    Attributes:
        cells: elements of a window.
        blocks: the block shape: contiguous, the number of windows; interleaved, the step from cell to cell.
        paddings: what makes the size divisible, at the end.
        shifts: as by `torch.roll`; 0 where there is none.
    """

    cells: tuple[int, ...]
    blocks: tuple[int, ...]
    paddings: tuple[Pair, ...]
    shifts: int | tuple[int, ...]


def cut_windows(op: str, sizes: tuple[int, ...], window: Any, shift: Any = 0, covered: Any = "shift") -> Cut:
    """Windows of neighbours: as many as cover the image.

    >>> cut_windows("windows", (5, 8), 4, 2)
    Cut(cells=(4, 4), blocks=(2, 2), paddings=((0, 3), (0, 0)), shifts=(-2, -2))

    Args:
        op: for messages.
        sizes: of the image.
        window, shift: int, or one per spatial dim; `shift` is Swin's, towards the end.
        covered: what happens along a dim that one window covers: "shift" as along any other; "stay", no shift, as in
            torchvision; "fit", no shift, and the window becomes as small as the image, as in Swin.
    """
    check_choice(op, "covered", covered, COVERED)
    cells = list(_sizes(op, "window_size", window, len(sizes)))
    moved = list(_integers(op, "shift", shift, len(sizes)))
    counts, paddings = [], []
    for k, size in enumerate(_image(op, sizes)):
        if covered != "shift" and size <= cells[k]:
            moved[k] = 0
            if covered == "fit":
                cells[k] = size
        counts.append((size + cells[k] - 1) // cells[k])
        paddings.append((0, counts[k] * cells[k] - size))
    still = all(isinstance(by, int) and by == 0 for by in moved)
    return Cut(tuple(cells), tuple(counts), tuple(paddings), 0 if still else tuple(-by for by in moved))


def cut_grid(op: str, sizes: tuple[int, ...], grid: Any) -> Cut:
    """A grid of as many cells as asked for, as far apart as the image allows.

    >>> cut_grid("grid", (8, 10), 4)
    Cut(cells=(4, 4), blocks=(2, 3), paddings=((0, 0), (0, 2)), shifts=0)
    """
    cells = _sizes(op, "grid_size", grid, len(sizes))
    steps = tuple((size + cell - 1) // cell for size, cell in zip(_image(op, sizes), cells, strict=True))
    return _interleaved(sizes, cells, steps)


def cut_dilated(op: str, sizes: tuple[int, ...], dilation: Any, name: str = "dilation") -> Cut:
    """One group for each position modulo the dilation.

    >>> cut_dilated("dilated", (8, 10), 4)
    Cut(cells=(2, 3), blocks=(4, 4), paddings=((0, 0), (0, 2)), shifts=0)
    """
    steps = _sizes(op, name, dilation, len(sizes))
    cells = tuple((size + step - 1) // step for size, step in zip(_image(op, sizes), steps, strict=True))
    return _interleaved(sizes, cells, steps)


def image_sizes(op: str, image_size: Any, count: int, name: str = "image_size") -> tuple[int, ...]:
    """The size of an image as one int per spatial dim.

    >>> image_sizes("window_merge", 56, 2)
    (56, 56)
    """
    return _sizes(op, name, image_size, count)


def block_sizes(op: str, block_size: Any, count: int) -> tuple[int, ...]:
    """The size of a block as one int per spatial dim.

    >>> block_sizes("space_to_depth", 2, 3)
    (2, 2, 2)
    """
    return _sizes(op, "block_size", block_size, count)


def _interleaved(sizes: tuple[int, ...], cells: tuple[int, ...], steps: tuple[int, ...]) -> Cut:
    paddings = tuple((0, step * cell - size) for size, cell, step in zip(sizes, cells, steps, strict=True))
    return Cut(cells, steps, paddings, 0)


def _image(op: str, sizes: tuple[int, ...]) -> tuple[int, ...]:
    for k, size in enumerate(sizes):
        if size < 1:
            raise ValueError(f"{op}: the image has no elements along spatial dim {k}: sizes {shown(tuple(sizes))}")
    return sizes


def _sizes(op: str, name: str, value: Any, count: int) -> tuple[int, ...]:
    numbers = _integers(op, name, value, count)
    for k, number in enumerate(numbers):
        if number < 1:
            entry = name if is_scalar(value) else f"{name}[{k}]"
            raise ValueError(f"{op}: {entry} must be at least 1, got {shown(number)}")
    return numbers


def _integers(op: str, name: str, value: Any, count: int) -> tuple[int, ...]:
    if is_scalar(value):
        return (as_integer(value, f"{op}: {name}"),) * count
    entries = as_sequence(value, f"{op}: {name}")
    if len(entries) != count:
        raise ValueError(
            f"{op}: {name} has {len(entries)} entries for {count} spatial dims; give an int, or one int per spatial dim"
        )
    return tuple(as_integer(entry, f"{op}: {name}[{k}]") for k, entry in enumerate(entries))
