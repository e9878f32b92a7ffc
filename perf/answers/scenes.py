"""A task that needs a wide view, drawn by the program: which outline is this position inside of?

An image holds noise and the outlines of balls and boxes. The label of a position is 0 outside of all, 1 inside a ball, 2 inside
a box: what decides lies as far away as the outline. Radii do not grow with the image.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 3
RATES = (2, 4, 8, 4)
Batch = tuple[Tensor, Tensor]

_DISTANCES: dict[str, Callable[[Tensor], Tensor]] = {
    "ball": lambda d: d.square().sum(0).sqrt(),
    "box": lambda d: d.amax(0),
    "diamond": lambda d: d.sum(0),
}


def draw(
    count: int,
    size: int,
    seed: int,
    *,
    dims: int = 2,
    radii: tuple[int, int] = (5, 11),
    kinds: tuple[str, str] = ("ball", "box"),
) -> Batch:
    """`count` images, (count, 1, *sizes), and their labels, (count, *sizes); the same for the same seed.

    >>> x, y = draw(2, 32, 0)
    >>> x.shape, y.shape, y.unique().tolist()
    (torch.Size([2, 1, 32, 32]), torch.Size([2, 32, 32]), [0, 1, 2])

    Args:
        size: along each of `dims` dims. radii: the smallest and the largest, in positions.
        kinds: what the labels 1 and 2 stand for: "ball", "box" or "diamond".
    """
    generator = torch.Generator().manual_seed(seed)
    x = 0.3 * torch.randn(count, 1, *(size,) * dims, generator=generator)
    y = torch.zeros(count, *(size,) * dims, dtype=torch.long)
    axes = torch.stack(torch.meshgrid(*[torch.arange(size, dtype=torch.float32)] * dims, indexing="ij"))
    tries = max(2, round(1.5 * (size / (3 * sum(radii) / 2)) ** dims))
    for image, labels in zip(x[:, 0], y, strict=True):
        for _ in range(tries):
            least, most = radii
            radius = least + (most - least) * float(torch.rand((), generator=generator))
            middle = size * torch.rand(dims, generator=generator)
            label = int(torch.randint(1, CLASSES, (), generator=generator))
            distance = _DISTANCES[kinds[label - 1]]((axes - middle.view(-1, *(1,) * dims)).abs())
            if (labels[distance < radius + 2] == 0).all():
                image[(distance - radius).abs() < 0.8] += 1.5
                labels[distance < radius] = label
    return x, y


def batches(
    count: int, images: int, size: int, *, dims: int = 2, radii: tuple[int, int] = (5, 11), seed: int = 1000
) -> list[Batch]:
    """So many batches to train on, each of images that never come again."""
    return [draw(images, size, seed + k, dims=dims, radii=radii) for k in range(count)]


def network(
    channels: int = 16, rates: tuple[int, ...] = RATES, dims: int = 2, depthwise: bool = False
) -> nn.Sequential:
    """A convolution, a dilated one with batch norm for each rate, and the scores of the classes; the same weights at every call.

    >>> network(4)(torch.zeros(1, 1, 20, 21)).shape
    torch.Size([1, 3, 20, 21])
    """
    convolution, norm = [(nn.Conv1d, nn.BatchNorm1d), (nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d)][
        dims - 1
    ]
    layers: list[nn.Module] = []
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        layers += [convolution(1, channels, 3, padding=1), nn.ReLU()]
        for rate in rates:
            groups = channels if depthwise else 1
            layers.append(convolution(channels, channels, 3, padding=rate, dilation=rate, groups=groups, bias=False))
            if depthwise:
                layers.append(convolution(channels, channels, 1, bias=False))
            layers += [norm(channels), nn.ReLU()]
        return nn.Sequential(*layers, convolution(channels, CLASSES, 1))


@dataclass
class Training:
    """What was seen of one network: the loss of every step, and its seconds of the process's CPU time."""

    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def steps_until(self, loss: float, over: int = 10) -> int | None:
        """After how many steps the mean of the last `over` losses is below; None where it never is.

        >>> Training([4.0, 2.0, 1.0, 0.5]).steps_until(1.6, over=2)
        3
        """
        for end in range(over, len(self.losses) + 1):
            if statistics.fmean(self.losses[end - over : end]) < loss:
                return end
        return None


def train(networks: Mapping[str, nn.Module], data: Sequence[Batch], rate: float = 1e-2) -> dict[str, Training]:
    """Train networks side by side on the same batches: each step is taken by all of them, in a random order.

    So other load on the machine slows all of them alike, and ratios may be taken step by step. The learning rate falls to zero in
    a straight line, so that where a training ends depends little on its last batches.
    """
    shuffle = random.Random(0).shuffle
    optimizers = {name: torch.optim.Adam(net.train().parameters(), lr=rate) for name, net in networks.items()}
    found, order = {name: Training() for name in networks}, list(networks)
    for k, (x, y) in enumerate(data):
        shuffle(order)
        for optimizer in optimizers.values():
            optimizer.param_groups[0]["lr"] = rate * (1 - k / len(data))
        for name in order:
            start = time.process_time()
            loss = functional.cross_entropy(networks[name](x), y)
            optimizers[name].zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizers[name].step()
            found[name].losses.append(loss.item())
            found[name].seconds.append(time.process_time() - start)
    return found


def ratio(theirs: list[float], ours: list[float]) -> float:
    """The median of the ratios round by round.

    >>> ratio([2.0, 4.0, 30.0], [1.0, 2.0, 3.0])
    2.0
    """
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))


def overlap(predicted: Tensor, labels: Tensor) -> float:
    """The mean over the classes of intersection over union.

    >>> overlap(torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 2, 1]))
    0.6666666666666666
    """
    found = [(predicted == c, labels == c) for c in range(CLASSES)]
    return statistics.fmean(((p & t).sum() / (p | t).sum().clamp(min=1)).item() for p, t in found)


def score(model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> float:
    """The overlap of what a model says, in evaluation mode and without gradients."""
    if isinstance(model, nn.Module):
        model.eval()
    with torch.no_grad():
        return overlap(model(x).argmax(1), y)


def difference(expected: Tensor, found: Tensor) -> float:
    """The largest difference, relative to the largest value.

    >>> difference(torch.tensor([4.0, 1.0]), torch.tensor([4.0, 2.0]))
    0.25
    """
    return ((expected.double() - found.double()).abs().max() / expected.double().abs().max().clamp(min=1e-30)).item()


def small(value: float) -> str:
    """A difference for a table.

    >>> small(0.0), small(1.234e-7)
    ('0', '1e-07')
    """
    return f"{value:.0e}" if value else "0"
