"""A network trained twice from the same start, as it is and converted: the two loss curves, to be laid over each other."""

from __future__ import annotations

import copy
import time
from typing import Any

import torch
from torch import Tensor, nn

from spacebatch import convert

from .dilated_networks import DeepLab

CROP, BATCH = 49, 4  # of pixels, that the rates 2, 4, 6, 12 and 18 do not divide


def photograph() -> Tensor:
    """(3, H, W), from 0 to 1: the picture that matplotlib ships.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        import matplotlib.cbook
    except ImportError as error:
        raise ImportError(
            'the training run needs the photograph of matplotlib: pip install "spacebatch[job]"'
        ) from error
    from spacebatch.picture import read

    return read(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))[0]


def train(network: nn.Module, image: Tensor, steps: int) -> tuple[list[float], float]:
    """Learn to take noise off crops of the image: (the loss of every step, seconds); the same crops at every call."""
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(1)  # dropout's
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    losses = []
    start = time.perf_counter()
    for _ in range(steps):
        corners = torch.stack(
            [torch.randint(0, size - CROP + 1, (BATCH,), generator=generator) for size in image.shape[1:]], 1
        )
        crops = torch.stack([image[:, top : top + CROP, left : left + CROP] for top, left in corners.tolist()])
        noisy = crops + 0.1 * torch.randn(crops.shape, generator=generator, dtype=crops.dtype)
        loss = (network(noisy) - crops).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, time.perf_counter() - start


def compare(steps: int = 300) -> dict[str, Any]:
    """Train DeepLabv3's small twin natively and in batch space: both curves, their largest difference, both times.

    In float64: training multiplies any rounding from step to step, and in float32 two correct runs part after some hundred.

    >>> found = compare(steps=2)
    >>> len(found["native"]), found["difference"] < 1e-12
    (2, True)
    """
    torch.manual_seed(0)
    native = DeepLab(channels=8, classes=3).double()
    image = photograph().double()
    ours = convert(copy.deepcopy(native), image[None, :, :CROP, :CROP].expand(BATCH, -1, -1, -1), method="batch_space")
    losses, seconds = train(native, image, steps)
    again, again_seconds = train(ours, image, steps)
    return {
        "network": "DeepLabv3, 8 channels, float64",
        "steps": steps,
        "native": losses,
        "batch_space": again,
        "difference": max(abs(a - b) / abs(a) for a, b in zip(losses, again, strict=True)),
        "seconds": {"native": seconds, "batch_space": again_seconds},
    }
