"""`AtrousConv1d`, `AtrousConv2d`, `AtrousConv3d`: PyTorch's convolutions, with a say in how a dilation is computed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spacebatch.reference.arguments import check_choice

from . import functional
from .functional import AtrousExplanation
from .method_choice import METHODS, Method


class _Atrous(torch.nn.modules.conv._ConvNd):
    """What the three share: they are made, loaded and saved as their parents, and compute by `functional.atrous_conv*d`."""

    method: Method = "auto"

    def __init__(self, *arguments: Any, method: Method = "auto", **options: Any) -> None:
        check_choice(type(self).__name__, "method", method, METHODS)
        super().__init__(*arguments, **options)
        self.method = method

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """What `forward` of the parent calls."""
        call = getattr(functional, f"atrous_conv{weight.dim() - 2}d")
        result: Tensor = call(input, weight, bias, **self._options())
        return result

    def _options(self) -> dict[str, Any]:
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
            "padding_mode": self.padding_mode,
            "method": self.method,
        }

    def explain(self, input: Tensor) -> AtrousExplanation:
        """Which method this module takes for an input, and the times behind it; see `functional.explain_atrous`."""
        return functional.explain_atrous(input, self.weight, self.bias, **self._options())

    def extra_repr(self) -> str:
        inherited: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return inherited + ("" if self.method == "auto" else f", method={self.method!r}")


class AtrousConv1d(_Atrous, torch.nn.Conv1d):
    """`torch.nn.Conv1d` whose dilation is computed natively or through the batch, whichever is faster here.

    >>> import torch
    >>> AtrousConv1d(2, 4, 3, padding=2, dilation=2, method="batch_space")(torch.ones(1, 2, 7)).shape
    torch.Size([1, 4, 7])

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype: as in
            `torch.nn.Conv1d`, whose weights and state_dict it has: one can be swapped for the other.
        method: "auto", "native" or "batch_space"; see `spacebatch.nn.functional.atrous_conv1d`.

    Shape:
        As `torch.nn.Conv1d`: (N, C, L) or (C, L).

    Raises:
        ValueError, TypeError: as the parent and `spacebatch.nn.functional.atrous_conv1d`.
    """


class AtrousConv2d(_Atrous, torch.nn.Conv2d):
    """`torch.nn.Conv2d` whose dilation is computed natively or through the batch, whichever is faster here.

    >>> import torch
    >>> ours = AtrousConv2d(2, 4, 3, padding="same", dilation=2, method="batch_space")
    >>> theirs = torch.nn.Conv2d(2, 4, 3, padding="same", dilation=2)
    >>> theirs.load_state_dict(ours.state_dict())
    <All keys matched successfully>
    >>> x = torch.randn(1, 2, 7, 7)
    >>> torch.allclose(ours(x), theirs(x), atol=1e-6)
    True

    Args, Shape, Raises: as `AtrousConv1d`, for `torch.nn.Conv2d`: (N, C, H, W) or (C, H, W).
    """


class AtrousConv3d(_Atrous, torch.nn.Conv3d):
    """`torch.nn.Conv3d` whose dilation is computed natively or through the batch, whichever is faster here.

    >>> import torch
    >>> AtrousConv3d(2, 4, 3, padding=2, dilation=2, method="batch_space")(torch.ones(1, 2, 4, 5, 6)).shape
    torch.Size([1, 4, 4, 5, 6])

    Args, Shape, Raises: as `AtrousConv1d`, for `torch.nn.Conv3d`: (N, C, D, H, W) or (C, D, H, W).
    """
