"""The pictures of the operators: small grids of numbers, moved by the library itself.

    python docs/pictures/draw.py

Cells are coloured by the sample of the batch that they go to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from canvas import CELL, PADDING, Canvas, Cells

import spacebatch
from spacebatch import windows

TOP, LEFT = 56, 20


def colours_of(batch: Cells, size: int) -> Cells:
    """For each number below `size`, the sample of the batch that holds it; numbers below 0 are padding."""
    found = np.full(size, PADDING)
    for sample, cells in enumerate(batch):
        found[cells[cells >= 0]] = sample
    return found


def painted(values: Cells, sample: int) -> Cells:
    """A sample of the batch in its colour, and its padding."""
    return np.where(values < 0, PADDING, sample)


def batches(canvas: Canvas, x: float, y: float, batch: Cells, across: int, title: str = "y[{}]") -> None:
    """The samples of a batch, some side by side."""
    rows, columns = batch.shape[1:]
    for k, cells in enumerate(batch):
        row, column = divmod(k, across)
        place = x + column * (columns * CELL + 24), y + row * (rows * CELL + 44)
        canvas.grid(*place, cells, painted(cells, k), title.format(k))


def moved(
    title: str, image: Cells, move: Callable[[Cells], Cells], words: str, across: int, before: str = "x[0]"
) -> Canvas:
    """An image, an arrow, and the batch that is made of it."""
    canvas = Canvas(title)
    batch = move(image[None])
    canvas.grid(LEFT, TOP, image, colours_of(batch, image.size)[image], before)
    x, length = LEFT + image.shape[1] * CELL + 20, max(60, 7 * len(words))
    canvas.arrow(x, TOP + image.shape[0] * CELL / 2, words, length)
    batches(canvas, x + length + 24, TOP, batch, across)
    return canvas


def count(*shape: int) -> Cells:
    """0, 1, 2 … in a shape."""
    return np.arange(np.prod(shape)).reshape(shape)


def interleaved() -> Canvas:
    """Every second element of every second row belongs to one phase."""
    return moved(
        "Interleaved: 4 x 4 numbers become four phases of 2 x 2, every second number each",
        count(4, 4), lambda x: spacebatch.space_to_batch(x, 2, spatial_dims=(1, 2)), "block 2", 2,
    )  # fmt: skip


def contiguous() -> Canvas:
    """Neighbours stay together."""
    return moved(
        "Contiguous: 4 x 4 numbers become four windows of 2 x 2 neighbours",
        count(4, 4), lambda x: spacebatch.space_to_batch(x, 2, spatial_dims=(1, 2), arrangement="contiguous"), "2 x 2 windows", 2,
    )  # fmt: skip


def shift() -> Canvas:
    """Swin's shifted windows: what leaves at the top and on the left comes back at the bottom and on the right."""
    return moved(
        "Shifted by 1: windows of 2 x 2 begin one row and one column later, and those at the end go round",
        count(4, 4), lambda x: windows.window_partition(x, 2, shift=1, layout="NHW"), "windows, shift 1", 2,
    )  # fmt: skip


def padding() -> Canvas:
    """An image that the block does not divide, there and back."""
    canvas, image = (
        Canvas("Padded: 3 x 3 numbers become four phases of 2 x 2, and are cropped on the way back"),
        count(3, 3),
    )
    geometry = spacebatch.BlockGeometry((1, 3, 3), 2, "auto", spatial_dims=(1, 2))
    batch = geometry.space_to_batch(image[None], pad_value=-1)
    colours = colours_of(batch, 9)
    y = TOP + 1.5 * CELL
    canvas.grid(LEFT, TOP, image, colours[image], "x[0]")
    canvas.arrow(LEFT + 3 * CELL + 20, y, 'paddings="auto"', 110)
    x = LEFT + 3 * CELL + 154
    batches(canvas, x, TOP, batch, 2)
    back = geometry.batch_to_space(batch)[0]
    canvas.arrow(x + 4 * CELL + 44, y, "crops", 70)
    canvas.grid(x + 4 * CELL + 138, TOP, back, colours[back], "x[0]")
    return canvas


def orders() -> Canvas:
    """Two samples in each arrangement and each order."""
    canvas, signals = Canvas("The four ways of two samples of four numbers, with blocks of 2"), count(2, 4)
    y = TOP + CELL
    canvas.grid(LEFT + 40, y, signals, np.repeat([[0], [1]], 4, 1), "x: two samples")
    x = LEFT + 4 * CELL + 130
    for k, arrangement in enumerate(("interleaved", "contiguous")):
        for j, order in enumerate(("block_major", "batch_major")):
            batch = spacebatch.space_to_batch(signals, (2,), batch_order=order, arrangement=arrangement)  # type: ignore[call-overload]
            left = x + (2 * k + j) * 120
            canvas.text(left + CELL, TOP - 28, arrangement)
            canvas.grid(left, TOP, batch, batch // 4, order)
    return canvas


def cuts() -> Canvas:
    """Windows, grids and dilation of one image."""
    canvas, image = Canvas("One image of 6 x 6, cut into windows of 3, grids of 3, and by a dilation of 3"), count(6, 6)
    ways: Sequence[tuple[str, Any]] = (
        ("window_partition(x, 3)", windows.window_partition),
        ("grid_partition(x, 3)", windows.grid_partition),
        ("dilated_partition(x, 3)", windows.dilated_partition),
    )
    for k, (title, move) in enumerate(ways):
        batch, x = move(image[None], 3, layout="NHW"), LEFT + k * (6 * CELL + 40)
        canvas.grid(x, TOP, image, colours_of(batch, 36)[image], title)
        left = x + (6 - batch.shape[2]) * CELL / 2
        canvas.grid(left, TOP + 6 * CELL + 44, batch[0], painted(batch[0], 0), f"y[0] of {len(batch)}")
    return canvas


def blocks() -> Canvas:
    """Two images of different sizes in one batch."""
    canvas, images = (
        Canvas("Images of 3 x 5 and 2 x 3 become one batch of eight blocks of 2 x 2"),
        [count(3, 5), count(2, 3) + 15],
    )
    batch = spacebatch.to_blocks(images, 2, pad_value=-1, layout="HW").data
    colours, y = colours_of(batch, 21), float(TOP)
    for k, image in enumerate(images):
        canvas.grid(LEFT, y, image, colours[image], f"images[{k}]")
        y += image.shape[0] * CELL + 44
    x = LEFT + 5 * CELL + 20
    canvas.arrow(x, TOP + 2.5 * CELL, "to_blocks(images, 2)", 150)
    batches(canvas, x + 174, TOP, batch, 4, "data[{}]")
    return canvas


def halo() -> Canvas:
    """A block with what is read around it."""
    canvas, image = Canvas("With a halo of 1 a block of 3 x 3 is read with its neighbours, 5 x 5 in all"), count(6, 6)
    read = spacebatch.to_blocks(image, 3, halo=1, pad_value=-1, layout="HW")
    block = 1
    row, column = read.grids.starts[block]
    inside = np.full((6, 6), 8)
    cells = read.data[block]
    inside.flat[cells[cells >= 0]] = 5
    inside[row : row + 3, column : column + 3] = 0
    canvas.grid(LEFT, TOP, image, inside, "the image")
    canvas.frame(LEFT + column * CELL, TOP + row * CELL, 3, 3)
    x = LEFT + 6 * CELL + 20
    canvas.arrow(x, TOP + 3 * CELL, "halo 1")
    flat = np.append(inside.reshape(-1), PADDING)
    canvas.grid(x + 84, TOP, cells, flat[cells], f"data[{block}]")
    canvas.frame(x + 84 + CELL, TOP + CELL, 3, 3)
    return canvas


def tokens() -> Canvas:
    """The order of tokens, with and without groups."""
    canvas = Canvas("Patches of 2 x 2 become tokens row by row, or in groups of 2 x 2 patches")
    patches = count(4, 4)
    image = np.kron(patches, np.ones((2, 2), int))[None]  # each pixel holds the number of its patch
    canvas.grid(LEFT, TOP + 20, patches, patches // 8 * 2 + patches % 4 // 2, "4 x 4 patches")
    x = LEFT + 4 * CELL + 50
    for k, merge in enumerate((1, 2)):
        order = spacebatch.patchify(image, 2, merge=merge).tokens[:, 0]
        y = TOP + 20 + k * 2.6 * CELL
        canvas.arrow(x, y + CELL / 2, f"merge={merge}", 70)
        canvas.grid(x + 90, y, order[None], (order // 8 * 2 + order % 4 // 2)[None], "tokens")
    return canvas


def dilated() -> Canvas:
    """A dilated convolution reads neighbours of a phase."""
    canvas, signal = Canvas("What a dilation of 2 reads are three neighbours of one phase"), count(1, 9)
    padded = spacebatch.BlockGeometry((1, 9), (2,), "auto")
    batch = padded.space_to_batch(signal, pad_value=-1)
    canvas.grid(LEFT, TOP, signal, signal % 2, "a kernel of 3 with a dilation of 2")
    for k in (2, 4, 6):
        canvas.frame(LEFT + k * CELL, TOP, 1, 1)
    x = LEFT + 9 * CELL + 20
    canvas.arrow(x, TOP + CELL / 2, "space_to_batch", 110)
    canvas.grid(
        x + 134,
        TOP - CELL / 2,
        batch,
        painted(batch, 0) + np.where(batch < 0, 0, [[0], [1]]),
        "the same kernel without one",
    )
    canvas.frame(x + 134 + CELL, TOP - CELL / 2, 1, 3)
    return canvas


def icon() -> Canvas:
    """The mark of the site."""
    canvas = Canvas("spacebatch")
    canvas.grid(20, 20, np.full((2, 2), ""), count(2, 2))
    return canvas


PICTURES = (interleaved, contiguous, orders, padding, shift, cuts, blocks, halo, tokens, dilated, icon)


def main(folder: Path = Path(__file__).parent) -> None:
    """Write every picture to a folder."""
    for picture in PICTURES:
        with spacebatch.use_backend("numpy"):  # no kernel is compiled for a few numbers
            drawn = picture().svg()
        (folder / f"{picture.__name__}.svg").write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
