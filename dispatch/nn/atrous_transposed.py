"""`AtrousConvTranspose1d`, 2d, 3d: PyTorch's transposed convolutions, with a say in how a dilation is computed."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from . import chains, transposed
from .activations import activated
from .atrous import _Atrous
from .batch_space_tensor import Value
from .value import copy_of, may_stay


class _Transposed(nn.modules.conv._ConvTransposeNd):
    """What the three share beside `_Atrous`, whose `forward` calls this one."""

    method: Any
    rate: tuple[int, ...] | None
    _felt: Any
    _atrous_activation: Any

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """The parent's forward, by either method."""
        nd = len(self.kernel_size)
        options: Any = (self.stride, self.padding, self.kernel_size, nd, self.dilation)
        more = self._output_padding(input, output_size, *options)
        given: Any = (self.weight, self.bias, self.stride, self.padding, tuple(more), self.groups, self.dilation)
        if isinstance(input, Value):
            if self._felt(input._memory.rate):
                return activated(transposed.TRANSPOSED[nd](input, *given), self._atrous_activation)
            chains.called("a convolution of another geometry")
            input = copy_of(input)
        return transposed.convolution(
            *(nd, input, *given),
            method=self.method,
            activation=self._atrous_activation,
            stays=may_stay(input),
            rate=self.rate,
        )


class AtrousConvTranspose1d(_Atrous, _Transposed, nn.ConvTranspose1d):
    """`torch.nn.ConvTranspose1d` whose dilation is computed natively or through the batch, whichever is faster here.

    >>> import torch
    >>> AtrousConvTranspose1d(2, 4, 3, padding=2, dilation=2, method="batch_space")(torch.ones(1, 2, 7)).shape
    torch.Size([1, 4, 7])

    As the result of `AtrousConv1d`, the result may stay in batch space until something needs it as an image.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, output_padding, groups, bias, dilation, padding_mode, device, dtype:
            as in `torch.nn.ConvTranspose1d`, whose weights and state_dict it has: one can be swapped for the other.
        method: "auto", "native" or "batch_space"; see `spacebatch.nn.functional.atrous_conv_transpose1d`.
        activation: of the result, as there.

    Shape:
        As `torch.nn.ConvTranspose1d`: (N, C, L) or (C, L).

    Raises:
        ValueError, TypeError: as the parent and `spacebatch.nn.functional.atrous_conv_transpose1d`.

    Source: TensorFlow's atrous_conv2d_transpose, which has two dims and no stride.
    """


class AtrousConvTranspose2d(_Atrous, _Transposed, nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d` whose dilation is computed natively or through the batch, whichever is faster here.

    >>> import torch
    >>> ours = AtrousConvTranspose2d(2, 4, 3, padding=2, dilation=2, method="batch_space")
    >>> theirs = torch.nn.ConvTranspose2d(2, 4, 3, padding=2, dilation=2)
    >>> theirs.load_state_dict(ours.state_dict())
    <All keys matched successfully>
    >>> x = torch.randn(1, 2, 7, 7)
    >>> torch.allclose(ours(x), theirs(x), atol=1e-6)
    True

    Args, Shape, Raises: as `AtrousConvTranspose1d`, for `torch.nn.ConvTranspose2d`: (N, C, H, W) or (C, H, W).
    """


class AtrousConvTranspose3d(_Atrous, _Transposed, nn.ConvTranspose3d):
    """`torch.nn.ConvTranspose3d` whose dilation is computed natively or through the batch, whichever is faster here.

    >>> import torch
    >>> AtrousConvTranspose3d(2, 4, 3, padding=2, dilation=2, method="batch_space")(torch.ones(1, 2, 4, 5, 6)).shape
    torch.Size([1, 4, 4, 5, 6])

    Args, Shape, Raises: as `AtrousConvTranspose1d`, for `torch.nn.ConvTranspose3d`: (N, C, D, H, W) or (C, D, H, W).
    """
