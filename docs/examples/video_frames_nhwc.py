"""Frames of a video cut into tiles by the workers of a DataLoader: arrays of NumPy, in the layout in which decoders give them.

The workers move bytes before anything becomes a float, and need neither a GPU nor a copy to channels first.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from spacebatch.windows import Windows

FRAME = (90, 160, 3)  # height, width, colours


class Tiles(Dataset[npt.NDArray[np.uint8]]):
    """Clips of some frames each; a sample is the tiles of its frames, (frames * tiles, 32, 32, 3)."""

    def __init__(self, clips: int, frames: int) -> None:
        self.clips, self.frames = clips, frames
        self.tiles = Windows((frames, *FRAME), 32, layout="NHWC")

    def __len__(self) -> int:
        return self.clips

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]:
        return self.tiles.partition(self.decoded(index))

    def decoded(self, index: int) -> npt.NDArray[np.uint8]:
        """Stands for a decoder: any frames, the same ones for an index."""
        return np.random.default_rng(index).integers(0, 256, (self.frames, *FRAME), dtype=np.uint8)


def main(workers: int = 2) -> None:
    """The tiles of a batch of clips, put together again, are the frames."""
    data = Tiles(clips=4, frames=3)
    for number, batch in enumerate(DataLoader(data, batch_size=2, num_workers=workers)):
        frames = data.tiles.merge(batch.flatten(0, 1))  # (clips * frames, 90, 160, 3)
        expected = np.concatenate([data.decoded(2 * number), data.decoded(2 * number + 1)])
        assert torch.equal(frames, torch.from_numpy(expected))
        print(f"{tuple(batch.shape)} tiles of {tuple(frames.shape)} frames, {batch.dtype}")


if __name__ == "__main__":
    main()
