"""Photographs of different sizes through a small network, all blocks in one batch, and back to images of their own sizes.

    python docs/examples/varying_sizes.py

The network sees 3 pixels in each direction (three convolutions of 3 x 3), so blocks are read with a halo of 3. The convolutions have no padding
of their own, and eat it up. What they make of the blocks is then what they make of the whole images, borders included.
"""

from __future__ import annotations

import torch
from torch import nn

import spacebatch


def photographs() -> list[torch.Tensor]:
    """Smooth random images, each of another size, as a camera roll has them."""
    generator = torch.Generator().manual_seed(0)
    coarse = [torch.rand(1, 3, 4, 4, generator=generator) for _ in range(4)]
    sizes = [(150, 200), (90, 64), (64, 64), (33, 171)]
    return [nn.functional.interpolate(x, size, mode="bicubic")[0] for x, size in zip(coarse, sizes, strict=True)]


def main() -> None:
    """Cut, compute, restore, and compare with one image after the other."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3)).eval()
    images = photographs()

    blocks = spacebatch.to_blocks(images, 64, halo=3)
    print(blocks)
    with torch.no_grad():
        maps = blocks.restore(network(blocks.data))
        alone = [network(nn.functional.pad(image[None], (3, 3, 3, 3)))[0] for image in images]

    for image, found, wanted in zip(images, maps, alone, strict=True):
        print(
            f"{tuple(image.shape)} -> {tuple(found.shape)}, differs by {(found - wanted).abs().max():.0e} from the image alone"
        )
        torch.testing.assert_close(found, wanted)

    # the blocks of an image are a sequence: where each begins, for attention of variable length
    print("sequences start at", blocks.cu_seqlens.tolist())


if __name__ == "__main__":
    main()
