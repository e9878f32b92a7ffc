"""`AtrousConv1d`, `AtrousConv2d`, `AtrousConv3d`: PyTorch's convolutions, with a say in how a dilation is computed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from spacebatch.reference.arguments import check_choice
from spacebatch.reference.arithmetic import ACTIVATIONS, Activation

from . import chains, functional, method_choice
from .activations import activated
from .batch_space_tensor import Value
from .convolution_arguments import checked
from .convolution_rules import in_cells
from .functional import AtrousExplanation
from .method_choice import CONVOLUTION_METHODS, METHODS, ConvolutionMethod
from .value import copy_of, may_stay


class _Atrous(nn.modules.conv._ConvNd):
    """What the three share: they are made, loaded and saved as their parents; results may stay in batch space."""

    method: ConvolutionMethod = "auto"
    rate: tuple[int, ...] | None = None  # blocks to use instead of the dilation
    otherwise: bool = False  # whether "batch_space" may be another method where that is known to be faster
    _atrous_activation: Activation = (
        "none"  # a name of its own: a convolution that is converted may have an `activation`
    )
    _own_forward = False  # whether a subclass's own forward is around this one, and is recorded

    def __init__(
        self, *arguments: Any, method: ConvolutionMethod = "auto", activation: Activation = "none", **options: Any
    ) -> None:
        methods = METHODS if isinstance(self, nn.modules.conv._ConvTransposeNd) else CONVOLUTION_METHODS
        check_choice(type(self).__name__, "method", method, methods)
        check_choice(type(self).__name__, "activation", activation, ACTIVATIONS)
        super().__init__(*arguments, **options)
        self.method = method
        self._atrous_activation = activation

    def forward(self, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The parent's forward; a leaf to `torch.fx`."""
        if isinstance(input, torch.fx.Proxy):
            result: Tensor = leaf(self, input, *args, **kwargs)
        elif chains.recording() and not self._own_forward:
            result = chains.recorded(self, super().forward, input, *args, **kwargs)
        else:
            result = super().forward(input, *args, **kwargs)
        return result

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """What `forward` of the parent calls."""
        activation = self._atrous_activation
        if isinstance(input, Value):
            if self._fits(input):
                return activated(super()._conv_forward(input, weight, bias), activation)
            chains.called("a convolution of another geometry")
            input = copy_of(input)
        stays = may_stay(input)
        if not stays or torch.compiler.is_compiling() or input.is_meta:
            return functional.convolution(
                input, weight, bias, stays=stays, activation=activation, **self._freedom(), **self._options()
            )
        device = input.device
        table = method_choice.table_of(device)
        key = (
            *(input.shape, input.stride(), input.dtype, input.requires_grad, weight.dtype, weight.requires_grad),
            *(bias is None, self.kernel_size, self.stride, self.padding, self.dilation, self.groups, self.in_channels),
            *(
                self.out_channels,
                self.padding_mode,
                self.method,
                self.rate,
                self.otherwise,
                weight.stride(),
                activation,
            ),
            *method_choice.settings(device.type),
        )
        plan = table.plans.get(key)
        if plan is None:
            plan = functional.plan(
                input, weight, bias, **self._freedom(), activation=activation, options=self._options()
            )
            if plan is None:
                return functional.convolution(
                    input, weight, bias, stays=True, activation=activation, **self._freedom(), **self._options()
                )
            if len(table.plans) >= 4096:
                table.plans.clear()
            table.plans[key] = plan
        result: Tensor = plan(input, weight, bias)
        return result

    def _fits(self, value: Any) -> bool:
        """Whether a value is in the batch space that this convolution would enter."""
        rate = value._memory.rate
        if self.padding_mode != "zeros" or len(rate) != len(self.kernel_size):
            return False
        arguments = self.kernel_size, self.stride, self.padding, self.dilation
        return self._felt(rate) and in_cells(value._sizes, rate, *arguments) is not None

    def _felt(self, rate: tuple[int, ...]) -> bool:
        """Whether a rate is the one of this convolution, along dims where its kernel has several elements."""
        if self.rate is not None:
            return self.rate == rate
        each = zip(self.kernel_size, self.dilation, rate, strict=True)
        return all(d == block for k, d, block in each if k > 1)

    def _options(self) -> dict[str, Any]:
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
            "padding_mode": self.padding_mode,
            "method": self.method,
        }

    def _freedom(self) -> dict[str, Any]:
        return {"rate": self.rate, "otherwise": self.otherwise and self.rate is None}

    def explain(self, input: Tensor) -> AtrousExplanation:
        """Which method this module takes for an input, and the times behind it; see `functional.explain_atrous`."""
        options, weight = self._options(), self.weight
        if self.transposed:
            del options["padding_mode"]  # they have none but zeros
            more: Any = self.output_padding
            return functional.explain_atrous(input, weight, self.bias, **options, transposed=True, output_padding=more)
        x, taps, _ = checked(len(self.kernel_size), input, weight, self.bias, **options)
        free = self._freedom()["otherwise"]
        options["method"] = functional.settled(self.method, x, weight, taps, self.groups, free)
        return functional.explain_atrous(input, weight, self.bias, **options)

    def extra_repr(self) -> str:
        inherited: str = super().extra_repr()  # type: ignore[no-untyped-call]
        given = {"method": (self.method, "auto"), "activation": (self._atrous_activation, "none")}
        return inherited + "".join(f", {name}={own!r}" for name, (own, default) in given.items() if own != default)


def leaf(layer: nn.Module, input: Any, *args: Any, **kwargs: Any) -> Any:
    """The call of a module while `torch.fx` traces what calls it."""
    tracer: Any = input.tracer
    return tracer.create_proxy("call_module", tracer.path_of_module(layer), (input, *args), kwargs)


class AtrousConv1d(_Atrous, nn.Conv1d):
    """`torch.nn.Conv1d` whose dilation is computed natively or through the batch, whichever is faster here.

    >>> import torch
    >>> AtrousConv1d(2, 4, 3, padding=2, dilation=2, method="batch_space")(torch.ones(1, 2, 7)).shape
    torch.Size([1, 4, 7])

    The result is a tensor that may stay in batch space until something needs it as an image: what follows of the same rate, and
    what takes one position at a time, computes there.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype: as in
            `torch.nn.Conv1d`, whose weights and state_dict it has: one can be swapped for the other.
        method: "auto", "native", "batch_space" or "channels_last"; see `spacebatch.nn.functional.atrous_conv1d`.
        activation: of the result, as there.

    Shape:
        As `torch.nn.Conv1d`: (N, C, L) or (C, L).

    Raises:
        ValueError, TypeError: as the parent and `spacebatch.nn.functional.atrous_conv1d`.
    """


class AtrousConv2d(_Atrous, nn.Conv2d):
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


class AtrousConv3d(_Atrous, nn.Conv3d):
    """`torch.nn.Conv3d` whose dilation is computed natively or through the batch, whichever is faster here.

    >>> import torch
    >>> AtrousConv3d(2, 4, 3, padding=2, dilation=2, method="batch_space")(torch.ones(1, 2, 4, 5, 6)).shape
    torch.Size([1, 4, 4, 5, 6])

    Args, Shape, Raises: as `AtrousConv1d`, for `torch.nn.Conv3d`: (N, C, D, H, W) or (C, D, H, W).
    """
