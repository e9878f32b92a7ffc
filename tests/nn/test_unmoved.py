"""Dilated convolutions on a CPU that move nothing to the batch. Numbers are small integers, so that sums are exact in any order."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spacebatch
from spacebatch.nn import AtrousConv1d, AtrousConv2d, functional
from spacebatch.nn.batch_space_tensor import is_value
from spacebatch.nn.converted_class import become_atrous


def integers(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randint(-3, 4, shape).to(dtype)


@pytest.fixture
def no_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(*_: Any, **__: Any) -> None:
        raise AssertionError("the image was moved")

    monkeypatch.setattr("spacebatch.functions.space_to_batch", moved)


COLUMNS = {
    "the same padding": (2, 3, 4, 64, 3, {"padding": 8, "dilation": 8}),
    "no padding": (2, 3, 4, 64, 3, {"dilation": 16}),
    "as strings say": (2, 3, 4, 64, 3, {"padding": "same", "dilation": 8}),
    "two taps, padded on one side": (2, 3, 4, 64, 2, {"padding": "same", "dilation": 8}),
    "a size that the rate does not divide": (2, 3, 4, 61, 3, {"padding": 9, "dilation": 9}),
    "padding that the rate does not divide": (2, 3, 4, 64, 3, {"padding": 5, "dilation": 8}),
    "one row": (2, 3, 4, 16, 3, {"padding": 16, "dilation": 16}),
    "depthwise": (2, 4, 8, 64, 5, {"padding": 16, "dilation": 8, "groups": 4}),
    "one channel": (1, 1, 1, 64, 3, {"padding": 8, "dilation": 8}),
    "a stride": (2, 3, 4, 80, 3, {"padding": 8, "dilation": 8, "stride": 3}),
    "reflected": (2, 3, 4, 64, 3, {"padding": 8, "dilation": 8, "padding_mode": "reflect"}),
}


@pytest.mark.usefixtures("no_moves")
@pytest.mark.parametrize("name", COLUMNS)
def test_phases_as_columns(name: str) -> None:
    samples, before, after, size, kernel, options = COLUMNS[name]
    x, weight = integers(samples, before, size), integers(after, before // options.get("groups", 1), kernel)
    bias = integers(after)
    results = []
    for method in ("native", "batch_space"):
        inputs = [t.clone().requires_grad_() for t in (x, weight, bias)]
        y = functional.atrous_conv1d(*inputs, **options, method=method)  # type: ignore[arg-type]
        seed = torch.arange(y.numel(), dtype=y.dtype).remainder(5).view(y.shape)
        results.append((y.detach(), y.stride(), torch.autograd.grad(y, inputs, seed)))
    native, ours = results
    assert torch.equal(ours[0], native[0])
    assert ours[1] == native[1] or "stride" in options  # then the result is a view
    assert all(map(torch.equal, ours[2], native[2]))
    alone = functional.atrous_conv1d(x[0], weight, bias, **options, method="batch_space")
    assert torch.equal(alone, native[0][0])


def test_other_inputs_are_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spacebatch.nn.unmoved.columns", None)  # an error, if it is called
    weight = integers(4, 3, 3)
    for x in (integers(2, 64, 3).transpose(1, 2), integers(2, 3, 64, dtype=torch.double), integers(0, 3, 64)):
        own, options = weight.to(x.dtype), {"padding": 8, "dilation": 8}
        y = functional.atrous_conv1d(x, own, method="batch_space", **options)  # type: ignore[arg-type]
        assert torch.equal(y, nn.functional.conv1d(x, own, **options))  # type: ignore[arg-type]
    y = functional.atrous_conv1d(integers(2, 3, 64), weight, padding=4, dilation=4, method="batch_space")
    assert y.shape == (2, 4, 64)


@pytest.mark.usefixtures("no_moves")
def test_a_module_gives_an_image() -> None:
    x, layer = integers(1, 3, 64), AtrousConv1d(3, 4, 3, padding=8, dilation=8, method="batch_space")
    for _ in range(2):
        assert not is_value(layer(x))
    told = layer.explain(x)
    assert told.columns
    assert "phases are columns, nothing is moved" in str(told)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_channels_last(dims: int) -> None:
    x, weight, bias = integers(2, 3, *(9,) * dims), integers(4, 3, *(3,) * dims), integers(4)
    call = getattr(functional, f"atrous_conv{dims}d")
    results = []
    for method in ("native", "channels_last"):
        inputs = [t.clone().requires_grad_() for t in (x, weight, bias)]
        y = call(*inputs, padding=2, dilation=2, method=method)
        results.append((y.detach(), torch.autograd.grad(y, inputs, torch.ones_like(y))))
        assert y.is_contiguous()
    assert torch.equal(results[0][0], results[1][0])
    assert all(map(torch.equal, results[0][1], results[1][1]))
    if dims == 2:
        kept = call(x.to(memory_format=torch.channels_last), weight, padding=2, dilation=2, method="channels_last")
        native = nn.functional.conv2d(x.to(memory_format=torch.channels_last), weight, padding=2, dilation=2)
        assert kept.stride() == native.stride()


def test_a_converted_convolution_of_a_large_rate_is_channels_last() -> None:
    conv = nn.Conv2d(64, 64, 3, padding=8, dilation=8, bias=False)
    conv.weight.data = integers(64, 64, 3, 3)
    x, layouts = integers(1, 64, 17, 17), []
    converted = copy.deepcopy(conv)
    become_atrous(converted, "batch_space", None)
    assert type(converted) is AtrousConv2d

    class Seen(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is nn.functional.conv2d:
                layouts.append(args[0].is_contiguous(memory_format=torch.channels_last))
            return func(*args, **(kwargs or {}))

    with Seen(), torch.no_grad():
        y = converted(x)
    assert layouts == [True]
    assert converted.explain(x).method == "channels_last"  # type: ignore[operator]
    assert y.is_contiguous()
    assert torch.equal(y, conv(x))
    become_atrous(converted, "batch_space", (2, 2))  # blocks that were asked for
    assert is_value(converted(x))


def test_explained_transposed_convolutions() -> None:
    x, weight = torch.ones(1, 2, 9, 9), torch.ones(2, 4, 3, 3)
    told = spacebatch.explain("atrous_conv_transpose2d", x, weight, None, 1, 2, 0, 1, 2, method="batch_space")
    assert str(told).splitlines() == [
        "atrous_conv_transpose2d: batch_space",
        "  why     asked for",
        "  times   none measured",
        "  blocks  (2, 2), space_to_batch pads",
    ]
    told = functional.explain_atrous(x, weight, stride=2, padding=2, output_padding=1, dilation=2, transposed=True)
    assert (told.method, told.why) == ("native", "no dim with a dilation and a stride of 1")
    with pytest.raises(ValueError, match=r"atrous_conv_transpose2d: output_padding\[0\] .* got 3"):
        functional.explain_atrous(x, weight, output_padding=3, dilation=2, transposed=True)
    with pytest.raises(ValueError, match=r"atrous_conv_transpose2d.*method.*channels_last"):
        functional.explain_atrous(x, weight, dilation=2, transposed=True, method="channels_last")
    with pytest.raises(ValueError, match="output_padding=1"):
        functional.explain_atrous(x, weight.transpose(0, 1), output_padding=1)
