"""A layer of WaveNet as its first implementation computed it: a dilated causal convolution by time_to_batch and batch_to_time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from spacebatch.windows import batch_to_time, time_to_batch


class WaveNetLayer(nn.Module):
    """Gated, causal, dilated: no step of time sees a later one."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.convolution = nn.Conv1d(channels, 2 * channels, 2)
        self.out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        past = functional.pad(x, (self.dilation, 0))
        y = self.convolution(time_to_batch(past, self.dilation))  # an ordinary convolution
        value, gate = batch_to_time(y, self.dilation, x.shape[-1]).chunk(2, dim=1)
        return x + self.out(value.tanh() * gate.sigmoid())


def main() -> None:
    """Five layers, equal to dilated convolutions."""
    torch.manual_seed(0)
    x = torch.randn(2, 8, 1500)
    for dilation in (2**k for k in range(5)):
        layer = WaveNetLayer(8, dilation)
        weight, bias = layer.convolution.weight, layer.convolution.bias
        y = functional.conv1d(functional.pad(x, (dilation, 0)), weight, bias, dilation=dilation)
        value, gate = y.chunk(2, dim=1)
        expected = x + layer.out(value.tanh() * gate.sigmoid())
        x = layer(x)
        torch.testing.assert_close(x, expected)
    print(f"5 layers, {tuple(x.shape)}: equal to dilated convolutions")


if __name__ == "__main__":
    main()
