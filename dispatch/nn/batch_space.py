"""`BatchSpace`: a chain of layers that share a dilation, written down as one."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .batch_space_tensor import graph
from .leaving import images_in
from .taps import positive
from .value import may_stay, wanting


class BatchSpace(nn.Sequential):
    """`torch.nn.Sequential` of layers of one dilation, run in batch space: equal, with two moves where all layers can stay there.

    >>> import torch, spacebatch
    >>> def stage():
    ...     return [torch.nn.Conv1d(4, 4, 3, padding=2, dilation=2), torch.nn.BatchNorm1d(4), torch.nn.ReLU()]
    >>> layers = [*stage(), *stage()]
    >>> network = spacebatch.nn.BatchSpace(*layers, rate=2)
    >>> x = torch.randn(1, 4, 13)
    >>> torch.allclose(network(x), torch.nn.Sequential(*layers)(x), atol=1e-5)
    True

    The layers are those of the network, dilations and all, and so is the state_dict of a `Sequential` of them. Convolutions whose
    dilation and padding are multiples of the rate compute in batch space, and so does what `spacebatch.nn.rules` knows; any other
    layer is given the image, and the chain goes on after it. Where the rate does not divide a size, the cells that exist only
    because of that are zeroed before each convolution that would read them, and norms leave them out. Dropout draws other numbers
    than the original would, in the same way.

    Args:
        layers: any modules, or one OrderedDict of them.
        rate: an int, or one int per spatial dim; None takes the one dilation of the convolutions.

    Shape:
        As the layers.

    Raises:
        ValueError, TypeError: a rate that is no positive int per dim, or none where the convolutions have several dilations.

    Source: the chains of dilated layers in DRN, WaveNet, TCN and DeepLab; TensorFlow's atrous_conv2d advises the same.
    """

    rate: tuple[int, ...]

    def __init__(self, *layers: Any, rate: int | tuple[int, ...] | None = None) -> None:
        super().__init__(*layers)
        self.rate = _rate(self, rate)

    def forward(self, input: Tensor) -> Tensor:
        """The layers' result."""
        graph.enter()
        x = input
        try:
            for layer in self:
                if type(x) is Tensor and x.dim() == len(self.rate) + 2 and may_stay(x):
                    x = wanting(x, self.rate)
                x = layer(x)
        finally:
            graph.leave()
        result: Tensor = images_in(x)
        return result

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


def _rate(network: nn.Module, rate: Any) -> tuple[int, ...]:
    convolutions: list[Any] = [
        layer for layer in network.modules() if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
    ]
    dims = {len(layer.kernel_size) for layer in convolutions}
    if isinstance(rate, (tuple, list)):
        dims = dims or {len(rate)}
    if len(dims) != 1:
        raise ValueError(
            "BatchSpace: the number of spatial dims is not clear: give a rate with one int per dim"
            if not dims
            else f"BatchSpace: convolutions of {sorted(dims)} spatial dims cannot be in one chain"
        )
    if rate is None:
        rates = {tuple(layer.dilation) for layer in convolutions if max(layer.kernel_size) > 1}
        if len(rates) != 1:
            raise ValueError(f"BatchSpace: rate must be given, the convolutions have the dilations {sorted(rates)}")
        rate = rates.pop()
    return positive("BatchSpace", "rate", rate, dims.pop())
