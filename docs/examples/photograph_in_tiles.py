"""A photograph of any size through a small network, tile by tile: the seams without a halo, and none with one.

    pip install ".[job]"
    python docs/examples/photograph_in_tiles.py --image any.jpg --tile 128 --out tiles.png

The photograph is read from a file on disk as the tiles need it, and the result is written to one: neither is ever in memory as a
whole until the picture is drawn.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import matplotlib.cbook
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import spacebatch
from spacebatch.photograph import read


class Pencil(nn.Module):
    """Makes a drawing of a photograph: blurred a little, its edges, dark on white, and the shade of a wider blur."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = self._blur(5, 1.0)
        self.wide = self._blur(25, 5.0)
        self.slope = nn.Conv2d(1, 2, 3, padding=1, padding_mode="replicate", bias=False)
        sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
        self.slope.weight.data = torch.stack([sobel, sobel.T])[:, None]

    @staticmethod
    def _blur(size: int, sigma: float) -> nn.Conv2d:
        line = torch.exp(-((torch.arange(size) - size // 2) ** 2) / (2 * sigma**2))
        blur = nn.Conv2d(1, 1, size, padding=size // 2, padding_mode="replicate", bias=False)
        blur.weight.data = (torch.outer(line, line) / line.sum() ** 2)[None, None]
        return blur

    def forward(self, x: Tensor) -> Tensor:
        grey = x.mean(1, keepdim=True)
        edges = self.slope(self.fine(grey)).square().sum(1, keepdim=True).add(1e-12).sqrt()
        return torch.exp(-3 * edges) * (0.4 + 0.6 * self.wide(grey))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="A photograph through a network, tile by tile.")
    parser.add_argument("--image", default=matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    parser.add_argument("--tile", type=int, default=128)
    parser.add_argument("--out", type=Path, default=Path("tiles.png"))
    options = parser.parse_args(arguments)

    network = Pencil().eval()
    field = spacebatch.receptive_field(network, (1, 3, 96, 96))
    print(f"the network sees: {field}")

    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/photograph.npy", read(options.image).pixels[0])
        photograph = np.load(f"{folder}/photograph.npy", mmap_mode="r")  # (3, H, W)
        drawing = np.lib.format.open_memmap(f"{folder}/drawing.npy", "w+", np.float32, (1, *photograph.shape[1:]))

        tile = (options.tile, options.tile)
        record = f"{folder}/record.json"  # after an interruption, the same call goes on
        spacebatch.tiled(network, photograph, tile, halo=field.halo, batch=4, out=drawing, progress=True, resume=record)
        seams = spacebatch.tiled(network, photograph, tile, batch=4)

        with torch.no_grad():
            whole = network(torch.from_numpy(photograph[None].copy()))[0].numpy()
        print(f"largest difference from the whole photograph's: {np.abs(drawing - whole).max():.1e} with the halo,")
        print(f"  {np.abs(seams - whole).max():.1e} without")
        draw(photograph, drawing, seams - whole, options.tile, options.out)
    print(f"picture: {options.out}")


def draw(photograph: np.ndarray, drawing: np.ndarray, seams: np.ndarray, tile: int, path: Path) -> None:
    """The photograph with its tiles, the error without a halo, and the drawing."""
    figure = Figure(
        figsize=(12, 12 / 3 * photograph.shape[1] / photograph.shape[2] + 0.4), dpi=100, layout="constrained"
    )
    left, middle, right = figure.subplots(1, 3)
    left.imshow(photograph.transpose(1, 2, 0).clip(0, 1))
    left.hlines(range(tile, photograph.shape[1], tile), -0.5, photograph.shape[2] - 0.5, "white", linewidth=1)
    left.vlines(range(tile, photograph.shape[2], tile), -0.5, photograph.shape[1] - 0.5, "white", linewidth=1)
    left.set_title("photograph, and its tiles")
    middle.imshow(np.abs(seams[0]), cmap="magma", vmax=0.05)
    middle.set_title("error without a halo")
    right.imshow(drawing[0], cmap="gray", vmin=0, vmax=1)
    right.set_title("with the halo: the whole image's result")
    for axes in (left, middle, right):
        axes.set_axis_off()
    figure.savefig(path, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main()
