"""A volume cut into patches for a network, with sizes that nothing divides, and put together again."""

from __future__ import annotations

import torch
from torch import nn

from spacebatch.windows import Windows


def main() -> None:
    """Patches of 16 x 32 x 32 of a volume of 40 x 70 x 100, in batches through a network that keeps sizes."""
    torch.manual_seed(0)
    volume = torch.randn(1, 1, 40, 70, 100)
    patches = Windows(volume.shape, (16, 32, 32))
    network = nn.Conv3d(1, 2, 1)
    with torch.inference_mode():
        y = torch.cat([network(batch) for batch in patches.partition(volume).split(8)])
        result = patches.merge(y)  # other channels than before; the padding is dropped
        torch.testing.assert_close(result, network(volume))
    print(f"{patches.grid} patches of {patches.window_size}: {tuple(y.shape)} -> {tuple(result.shape)}")


if __name__ == "__main__":
    main()
