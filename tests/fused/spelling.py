"""The fused operators spelled apart from the library: an index for each element of the result, and the arithmetic of what it names."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from spacebatch import BlockGeometry
from spacebatch.reference import definition

CURVED = ("silu", "gelu", "gelu_tanh", "sigmoid", "tanh", "hardswish")


def exact(z: torch.Tensor, activation: str) -> torch.Tensor:
    """The activation of a float64 tensor, by its textbook formula."""
    return {
        "none": lambda: z,
        "relu": lambda: torch.where(z > 0, z, torch.where(z.isnan(), z, 0.0)),
        "silu": lambda: z / (1 + torch.exp(-z)),
        "gelu": lambda: 0.5 * z * torch.erfc(-z / 2**0.5),
        "gelu_tanh": lambda: 0.5 * z * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (z + 0.044715 * z**3))),
        "sigmoid": lambda: 1 / (1 + torch.exp(-z)),
        "tanh": lambda: torch.tanh(z),
        "hardswish": lambda: z * (z + 3).clamp(0, 6) / 6,
    }[activation]()


class Spelled(NamedTuple):
    """What a result must be: before the activation in the dtype of the arithmetic, and where the border has the pad value itself."""

    z: torch.Tensor
    border: torch.Tensor


def spelled(
    direction: str,
    geometry: BlockGeometry,
    x: torch.Tensor,
    scale: Any = None,
    bias: Any = None,
    residual: torch.Tensor | None = None,
    channel_dim: int | None = None,
    pad: str = "after",
    pad_value: float = 0,
) -> Spelled:
    """What enters the activation of each element of a result."""
    numbers = np.arange(x.numel()).reshape(x.shape)
    options = {"spatial_dims": geometry.spatial_dims, "batch_order": geometry.batch_order}
    options |= {"arrangement": geometry.arrangement, "shifts": geometry.shifts}
    if direction == "space_to_batch":
        index = definition.space_to_batch(numbers, geometry.block_shape, geometry.paddings, pad_value=-1, **options)
    else:
        index = definition.batch_to_space(numbers, geometry.block_shape, geometry.paddings, **options)
    places = torch.from_numpy(index)
    outside = places < 0
    compute = torch.float64 if x.dtype is torch.float64 else torch.float32
    flat = torch.cat([x.reshape(-1), torch.tensor([pad_value], dtype=torch.float64).to(x.dtype)])
    z = flat[places].to(compute)  # -1 names the last, the pad value
    of_channel = [1] * x.dim()
    if channel_dim is not None:
        of_channel[channel_dim] = -1
    for factor, step in ((scale, torch.mul), (bias, torch.add)):
        if factor is not None:
            value = (factor if isinstance(factor, torch.Tensor) else torch.tensor(factor, dtype=torch.float64)).to(
                compute
            )
            z = step(z, value.reshape(of_channel) if value.dim() else value)
    if residual is not None:
        z = z + residual.to(compute)
    return Spelled(z, outside if pad == "after" else torch.zeros_like(outside))


def converted(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """To a dtype, as arithmetic does it."""
    if dtype.is_floating_point:
        return value.to(dtype)
    low, high = torch.iinfo(dtype).min, torch.iinfo(dtype).max
    found = [0 if v != v else int(min(max(v, low), high)) for v in value.double().round().reshape(-1).tolist()]
    return torch.tensor(found, dtype=dtype).reshape(value.shape)


def check(result: torch.Tensor, expected: Spelled, activation: str, pad_value: float) -> None:
    """A result is what was spelled: its bits where there is no curved activation, else within the error of one in float32."""
    z, border = expected
    dtype = result.dtype
    assert result.shape == z.shape
    inside = ~border
    if border.any():
        assert (result[border].double() == pad_value).all()
    curve = exact(z.double(), activation)
    if activation not in CURVED:
        assert_bits(result[inside], converted(curve.to(z.dtype), dtype)[inside], zeros=activation == "none")
        return
    precise = z.dtype is torch.float64
    slack = (1e-13 if precise else 1e-6) * torch.where(z.isfinite(), z, 0).double().abs().clamp(min=1)
    low, high = (
        converted((curve - slack).to(z.dtype), dtype).double(),
        converted((curve + slack).to(z.dtype), dtype).double(),
    )
    found = result.double()
    right = (
        (found >= low) & (found <= high) | (found.isnan() & low.isnan()) | z.isinf()
    )  # PyTorch's own gelu of infinity is NaN on some CPUs
    wrong = inside & ~right
    assert right[inside].all(), (
        z.dtype,
        dtype,
        (found - curve)[wrong][:4],
        found[wrong][:4],
        low[wrong][:4],
        high[wrong][:4],
    )


def assert_bits(a: torch.Tensor, b: torch.Tensor, zeros: bool = True) -> None:
    """The same bits, but for those of NaN, and for the sign of a zero unless `zeros`: which one relu gives is open."""
    assert a.dtype is b.dtype
    assert torch.equal(a.double().isnan(), b.double().isnan())
    number = ~a.double().isnan()
    if not zeros:
        number &= a.double() != 0
        assert torch.equal(a.double() == 0, b.double() == 0)
    width = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[a.itemsize]
    mine, other = a.contiguous().view(width)[number], b.contiguous().view(width)[number]
    assert torch.equal(mine, other), (a[number][mine != other][:4], b[number][mine != other][:4])
