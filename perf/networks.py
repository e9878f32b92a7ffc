"""Networks that are known for their dilations, written small: what `spacebatch.convert` is proved and measured on.

`compare_training` trains one twice from the same start, as it is and converted: two loss curves, to be laid over each other.

>>> import torch
>>> {name: tuple(make().eval()(torch.zeros(1, *shape)).shape) for name, (make, shape) in NETWORKS.items()}
{'deeplab': (1, 5, 65, 65), 'drn': (1, 5, 33, 33), 'wavenet': (1, 4, 96), 'tcn': (1, 4, 97)}

The shapes and the order of layers are those of the papers, the channels are few: DeepLabv3 (Chen et al., 2017), dilated
residual networks (Yu, Koltun and Funkhouser, 2017), WaveNet (van den Oord et al., 2016), temporal convolutional networks
(Bai, Kolter and Koltun, 2018).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

import spacebatch


def _conv(before: int, after: int, kernel: int = 3, rate: int = 1, stride: int = 1) -> nn.Sequential:
    padding = rate * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, padding, rate, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


class ResidualBlock(nn.Module):
    """ResNet's basic block with a dilation, and a projection where the channels or the size change."""

    def __init__(self, before: int, after: int, rate: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, rate, rate, bias=False)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, 1, rate, rate, bias=False)
        self.second_norm = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.project = (
            nn.Conv2d(before, after, 1, stride, bias=False) if (before, stride) != (after, 1) else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) → (N, after, H / stride, W / stride)."""
        y = self.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        return self.relu(y + self.project(x))  # type: ignore[no-any-return]


class AtrousPyramid(nn.Module):
    """DeepLabv3's ASPP: a 1x1 convolution, three dilated ones and the mean of the image, side by side."""

    def __init__(self, before: int, after: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.point = _conv(before, after, 1)
        self.branches = nn.ModuleList(_conv(before, after, 3, rate) for rate in rates)
        self.mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(before, after, 1), nn.ReLU())
        self.project = nn.Sequential(_conv((len(rates) + 2) * after, after, 1), nn.Dropout(0.1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) → (N, after, H, W)."""
        mean = functional.interpolate(self.mean(x), size=x.shape[-2:], mode="nearest")
        parts = [self.point(x), *(branch(x) for branch in self.branches), mean]
        return self.project(torch.cat(parts, dim=1))  # type: ignore[no-any-return]


class DeepLab(nn.Module):
    """A dilated ResNet of output stride 4 and the ASPP head, with the logits at the size of the image."""

    def __init__(self, channels: int = 8, classes: int = 5, rates: tuple[int, ...] = (6, 12, 18)) -> None:
        super().__init__()
        self.stem = _conv(3, channels, 3, 1, 2)
        self.layer1 = ResidualBlock(channels, channels, 1, 2)
        self.layer2 = nn.Sequential(*(ResidualBlock(channels, channels, 2) for _ in range(2)))
        self.layer3 = nn.Sequential(*(ResidualBlock(channels, channels, 4) for _ in range(2)))
        self.head = AtrousPyramid(channels, channels, rates)
        self.classes = nn.Conv2d(channels, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) → (N, classes, H, W)."""
        y = self.classes(self.head(self.layer3(self.layer2(self.layer1(self.stem(x))))))
        return functional.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)


class DRN(nn.Module):
    """A dilated residual network: stages of rates 2 and 4, and the degridding convolutions of rates 2 and 1 after them."""

    def __init__(self, channels: int = 8, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, channels, 7), ResidualBlock(channels, channels, 1, 2))
        self.stages = nn.Sequential(
            *(ResidualBlock(channels, channels, 2) for _ in range(2)),
            *(ResidualBlock(channels, channels, 4) for _ in range(2)),
        )
        self.degrid = nn.Sequential(
            _conv(channels, channels, 3, 2), _conv(channels, channels, 3, 2), _conv(channels, channels)
        )
        self.classes = nn.Conv2d(channels, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) → (N, classes, H / 2, W / 2)."""
        return self.classes(self.degrid(self.stages(self.stem(x))))  # type: ignore[no-any-return]


class GatedLayer(nn.Module):
    """WaveNet's layer: two causal dilated convolutions, one gating the other, a residual and a skip."""

    def __init__(self, channels: int, rate: int) -> None:
        super().__init__()
        self.causal = nn.ConstantPad1d((rate, 0), 0.0)
        self.filter = nn.Conv1d(channels, channels, 2, dilation=rate)
        self.gate = nn.Conv1d(channels, channels, 2, dilation=rate)
        self.residual, self.skip = nn.Conv1d(channels, channels, 1), nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, T) → the next layer's input and the skip, both (N, C, T)."""
        padded = self.causal(x)
        y = torch.tanh(self.filter(padded)) * torch.sigmoid(self.gate(padded))
        return x + self.residual(y), self.skip(y)


class WaveNet(nn.Module):
    """Two stacks of gated layers of rates 1, 2, 4, 8, 16; the sum of the skips is read out."""

    def __init__(self, channels: int = 8, outputs: int = 4, rates: tuple[int, ...] = (1, 2, 4, 8, 16) * 2) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, channels, 1)
        self.layers = nn.ModuleList(GatedLayer(channels, rate) for rate in rates)
        self.read = nn.Sequential(
            nn.ReLU(), nn.Conv1d(channels, channels, 1), nn.ReLU(), nn.Conv1d(channels, outputs, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, T) → (N, outputs, T)."""
        x = self.first(x)
        skips = torch.zeros_like(x)
        for layer in self.layers:
            x, skip = layer(x)
            skips = skips + skip
        return self.read(skips)  # type: ignore[no-any-return]


class Chomp(nn.Module):
    """Cuts off the end what a symmetric padding added there, which leaves a causal convolution."""

    def __init__(self, amount: int) -> None:
        super().__init__()
        self.amount = amount

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T + amount) → (N, C, T)."""
        return x[:, :, : -self.amount].contiguous()


class TemporalBlock(nn.Module):
    """TCN's block: twice a causal dilated convolution under weight norm, a ReLU and dropout, and the residual."""

    def __init__(self, before: int, after: int, rate: int, kernel: int = 3, dropout: float = 0.1) -> None:
        super().__init__()
        padding = (kernel - 1) * rate
        layers: list[nn.Module] = []
        for channels in (before, after):
            layers += [weight_norm(nn.Conv1d(channels, after, kernel, padding=padding, dilation=rate)), Chomp(padding)]
            layers += [nn.ReLU(), nn.Dropout(dropout)]
        self.net = nn.Sequential(*layers)
        self.project = nn.Conv1d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, T) → (N, after, T)."""
        return torch.relu(self.net(x) + self.project(x))


class TCN(nn.Module):
    """Temporal blocks of rates 1, 2, 4, 8."""

    def __init__(self, channels: int = 8, outputs: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        widths = (1, channels, channels, channels)
        blocks = [TemporalBlock(before, channels, 2**k, dropout=dropout) for k, before in enumerate(widths)]
        self.blocks, self.read = nn.Sequential(*blocks), nn.Conv1d(channels, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, T) → (N, outputs, T)."""
        return self.read(self.blocks(x))  # type: ignore[no-any-return]


# name: (constructor, shape of one sample; sizes that not all rates divide)
NETWORKS: dict[str, tuple[Callable[..., nn.Module], tuple[int, ...]]] = {
    "deeplab": (DeepLab, (3, 65, 65)),
    "drn": (DRN, (3, 65, 65)),
    "wavenet": (WaveNet, (1, 96)),
    "tcn": (TCN, (1, 97)),
}

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
    from spacebatch.photograph import read

    return torch.from_numpy(read(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).pixels[0])


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


def compare_training(steps: int = 300) -> dict[str, Any]:
    """Train DeepLabv3's small twin natively and in batch space: both curves, their largest difference, both times.

    In float64: training multiplies any rounding from step to step, and in float32 two correct runs part after some hundred.

    >>> found = compare_training(steps=2)
    >>> len(found["native"]), found["difference"] < 1e-12
    (2, True)
    """
    torch.manual_seed(0)
    native = DeepLab(channels=8, classes=3).double()
    image = photograph().double()
    ours = spacebatch.convert(
        copy.deepcopy(native), image[None, :, :CROP, :CROP].expand(BATCH, -1, -1, -1), method="batch_space"
    )
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
