"""The picture that the main job draws: the photograph, its phases, and both ways."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from spacebatch.reference import BlockGeometry

from .atomic_file import write_bytes_atomically

Image = npt.NDArray[np.float32]

WIDTH = 12.0  # inches, at 100 dots each
PANEL, GAP, MARGIN = 3.4, 0.75, 0.15
TOP, BOTTOM = 0.62, 0.42
LABELLED = 16  # phases at most that are labelled and listed in colours of their own
PATCH = 8  # pixels at least along each side of the magnified patch, in whole blocks


def draw(x: Tensor, batch: Tensor, back: Tensor, geometry: BlockGeometry, path: Path) -> None:
    """Write the picture of a (1, 3, H, W) tensor, its batch tensor and the reconstruction as a PNG file."""
    from matplotlib.figure import Figure

    photograph, again = _image(x[0]), _image(back[0])
    phases = [_image(sample) for sample in batch]
    colours = _colours(geometry.phases)
    rows, columns = geometry.block_shape
    montage, boxes = _montage(phases, rows, columns, colours)
    height = min(max(PANEL * max(p.shape[0] / p.shape[1] for p in (photograph, montage)), 1.0), 2.5 * PANEL)
    figure = Figure(figsize=(WIDTH, height + TOP + BOTTOM), dpi=100, facecolor="white")
    same = "difference 0" if x.shape == back.shape and not (x != back).any() else "NOT the same"
    titles = (
        ("photograph", f"{_by(x.shape)}"),
        (f"{geometry.phases} phases, the batch", f"{_by(batch.shape)}"),
        (f"reconstruction, {same}", f"{_by(back.shape)}"),
    )
    total = figure.get_figheight()
    for k, (image, (title, shape)) in enumerate(zip((photograph, montage, again), titles, strict=True)):
        left = MARGIN + k * (PANEL + GAP)
        axes = figure.add_axes((left / WIDTH, BOTTOM / total, PANEL / WIDTH, height / total))
        axes.imshow(np.clip(image, 0, 1), interpolation="antialiased")
        axes.set_anchor("N")
        axes.set_title(title, fontsize=13, fontweight="bold", pad=8)
        axes.set_xlabel(shape, fontsize=11, color="0.35", labelpad=6)
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_visible(False)
        if k == 0:
            _magnify(axes, photograph, geometry, colours)
        if k == 1 and geometry.phases <= LABELLED:
            for number, (row, column) in enumerate(boxes):
                label = f"{number // columns}, {number % columns}"
                box = {"boxstyle": "round,pad=0.25", "facecolor": colours[number], "edgecolor": "none"}
                axes.text(
                    column, row, label, va="top", ha="left", fontsize=9, color="white", fontweight="bold", bbox=box
                )
        if k < 2:
            centre = left + PANEL + GAP / 2
            middle = (BOTTOM + height / 2) / total
            figure.text(centre / WIDTH, middle, "→", fontsize=30, ha="center", va="center", color="0.25")
            name = ("space_to\n_batch", "batch_to\n_space")[k]
            figure.text(centre / WIDTH, middle - 0.3 / total, name, fontsize=9, ha="center", va="top", color="0.25")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", pil_kwargs={"optimize": True})
    write_bytes_atomically(path, drawn.getbuffer())


def _image(sample: Tensor) -> Image:
    return sample.detach().cpu().numpy().transpose(1, 2, 0)


def _by(sizes: tuple[int, ...]) -> str:
    return " × ".join(map(str, sizes))


def _colours(count: int) -> npt.NDArray[np.float64]:
    """A colour for each phase: distinct ones for a few, a continuous scale for many."""
    import matplotlib

    scale = matplotlib.colormaps["tab10" if count <= 10 else "turbo"]
    chosen: npt.NDArray[np.float64] = scale(np.arange(count) if count <= 10 else np.linspace(0.05, 0.95, count))[:, :3]
    return chosen


def _montage(
    phases: list[Image], rows: int, columns: int, colours: npt.NDArray[np.float64]
) -> tuple[Image, list[tuple[int, int]]]:
    """(the sub-images as a grid in frames of their colours, upper left corner of each)."""
    h, w = phases[0].shape[:2]
    frame = max(1, round(0.008 * w * columns)) if max(h, w) > 8 else 0
    gap = 2 * frame
    canvas = np.ones((rows * (h + 2 * frame + gap) - gap, columns * (w + 2 * frame + gap) - gap, 3), dtype=np.float32)
    corners = []
    for number, phase in enumerate(phases):
        row, column = (number // columns) * (h + 2 * frame + gap), (number % columns) * (w + 2 * frame + gap)
        canvas[row : row + h + 2 * frame, column : column + w + 2 * frame] = colours[number]
        canvas[row + frame : row + frame + h, column + frame : column + frame + w] = phase
        corners.append((row + 2 * frame, column + 2 * frame))
    return canvas, corners


def _magnify(axes: Any, photograph: Image, geometry: BlockGeometry, colours: npt.NDArray[np.float64]) -> None:
    """A corner of the panel shows a few blocks of the photograph, each pixel framed in the colour of its phase."""
    from matplotlib.patches import Rectangle

    sizes = [-(-PATCH // b) * b for b in geometry.block_shape]
    if geometry.phases > LABELLED or any(size > s // 4 for size, s in zip(sizes, photograph.shape, strict=False)):
        return
    row, column = round(0.1 * photograph.shape[0]), round(0.52 * photograph.shape[1])
    patch = photograph[row : row + sizes[0], column : column + sizes[1]]
    inset = axes.inset_axes((0.68, 0.68, 0.3, 0.3), anchor="NE")
    inset.imshow(np.clip(patch, 0, 1), interpolation="nearest")
    for i in range(sizes[0]):
        for j in range(sizes[1]):
            batch, _, *_ = geometry.batch_index((0, 0, row + i, column + j))
            inset.add_patch(
                Rectangle(
                    (j - 0.36, i - 0.36), 0.72, 0.72, fill=False, edgecolor=colours[batch], linewidth=14.0 / max(sizes)
                )
            )
    inset.set(xticks=[], yticks=[])
    axes.indicate_inset((column - 0.5, row - 0.5, sizes[1], sizes[0]), inset, edgecolor="white", alpha=1, linewidth=1.5)
