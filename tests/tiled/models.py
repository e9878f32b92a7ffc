"""Models and images of the tests of tiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

CONVOLUTION = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POOL = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}


def network(dims: int = 2, channels: int = 2, mode: str = "zeros") -> nn.Module:
    """Convolutions that pad, of radius 1, 2 and 1: every result sees 4 elements to each side."""
    torch.manual_seed(0)
    convolution = CONVOLUTION[dims]
    layers = (
        convolution(channels, 6, 3, padding=1, padding_mode=mode),
        nn.GELU(),
        convolution(6, 6, 5, padding=2, padding_mode=mode),
        nn.Tanh(),
        convolution(6, 3, 3, padding=1, padding_mode=mode),
    )
    return nn.Sequential(*layers).double().eval()


class Hourglass(nn.Module):
    """A stride, a pool and transposed convolutions back, as in a U-Net: 4 elements are one in the middle."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.down = nn.Sequential(nn.Conv2d(2, 4, 3, 2, 1), nn.GELU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1))
        self.up = nn.ConvTranspose2d(4, 4, 2, 2)
        self.last = nn.Sequential(nn.GELU(), nn.ConvTranspose2d(4, 3, 2, 2), nn.Conv2d(3, 3, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.up(self.down(x)))  # type: ignore[no-any-return]


def image(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def places(x: Tensor) -> Tensor:
    """Two results per channel that depend on the place in the tile: blending shows."""
    ramp = torch.linspace(-1, 2, x.shape[2], dtype=x.dtype).view(-1, *(1,) * (x.ndim - 3))
    return torch.cat([x * ramp, x.flip(-1) + ramp], 1)


class Counting:
    """A model that counts its tiles, and fails at the call `fails`."""

    def __init__(self, model: Any, fails: int | None = None, error: type[BaseException] = RuntimeError) -> None:
        self.model, self.fails, self.error = model, fails, error
        self.calls = self.tiles = 0

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.fails:
            raise self.error("it failed")
        self.tiles += len(x)
        return self.model(x)  # type: ignore[no-any-return]


class Sliced:
    """What a zarr array offers and no more: shape, dtype, and slices; it remembers them."""

    def __init__(self, data: np.ndarray) -> None:
        self._data, self.shape, self.dtype = data, data.shape, data.dtype
        self.read: list[Any] = []
        self.written: list[Any] = []

    def __getitem__(self, index: Any) -> np.ndarray:
        assert all(isinstance(each, (int, slice)) for each in index)
        self.read.append(index)
        return self._data[index].copy()

    def __setitem__(self, index: Any, values: np.ndarray) -> None:
        assert isinstance(values, np.ndarray)
        assert self._data[index].shape == values.shape
        self.written.append(index)
        self._data[index] = values
