"""Random calls with arithmetic on the way, and what they must give: PyTorch's operators one after the other, in exact arithmetic or the same."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from spacebatch import BlockGeometry
from spacebatch.reference.arithmetic import ACTIVATIONS, FLOATS, RESULTS, SOURCES, Arithmetic, Operands
from spacebatch.reference.memory_order import dense_strides
from spacebatch.reference.prepared import Direction
from tests import bits

GEOMETRIES = (  # each of a regime that the kernels treat apart; shapes are (N, C, *spatial)
    ((2, 3, 6, 32), (2, 2), 0, "interleaved", 0),
    ((1, 5, 3, 48), (1, 2), ((0, 0), (8, 8)), "interleaved", 0),
    ((2, 3, 4, 32), (2, 2), ((1, 1), (8, 24)), "interleaved", (1, 16)),
    ((2, 3, 7, 9), (2, 3), ((1, 0), (2, 1)), "interleaved", 0),
    ((2, 3, 21, 23), (2, 2), "auto", "interleaved", (0, 3)),
    ((1, 2, 14, 28), (2, 4), 0, "contiguous", 0),
    ((1, 3, 11, 27), (2, 4), ((2, 1), (3, 6)), "contiguous", (-3, 5)),
    ((1, 16, 6, 7), (2, 3), 1, "contiguous", 0),
    ((1, 1, 5, 40), (5, 4), 0, "interleaved", 0),
    ((3, 4, 33), (2,), "auto", "interleaved", 0),
    ((1, 6, 4, 3, 5), (2, 1, 2), "auto", "interleaved", 0),
)
EXACT = ("none", "relu")  # of which every step is an operation that IEEE 754 defines
ACTIVATED: dict[str, Any] = {
    "none": lambda z: z,
    "relu": torch.relu,
    "silu": functional.silu,
    "gelu": functional.gelu,
    "gelu_tanh": lambda z: functional.gelu(z, approximate="tanh"),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hardswish": functional.hardswish,
}


class WorkCase(NamedTuple):
    """A call, its tensors, and what it must give."""

    direction: Direction
    geometry: BlockGeometry
    arithmetic: Arithmetic
    source: torch.Tensor
    result: torch.Tensor  # poisoned
    pad: bytes
    operands: Operands

    def wanted(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The result, and by how much each element may differ from it: nothing, where every step is the same."""
        a, moved = self.arithmetic, self._moved()
        same = a.activation in EXACT
        compute = getattr(torch, a.compute) if same else torch.float64
        scale, bias = (self._along(x, compute) for x in self.operands[:2])
        other = None if self.operands.residual is None else self.operands.residual.to(compute)
        value = moved.to(compute)
        slack = torch.zeros_like(value, dtype=torch.float64)
        if a.gradient:
            z = other * (1 if scale is None else scale) + (0 if bias is None else bias) if other is not None else None
            if z is not None and a.activation != "none":
                z = z.detach().requires_grad_()
                ACTIVATED[a.activation](z).backward(value)
                value, z = z.grad, z.detach()
                slack = self._slack(z) * moved.to(torch.float64).abs()
            if scale is not None:
                value, slack = value * scale, slack * scale.double().abs()
        else:
            value = value if scale is None else value * scale
            value = value if bias is None else value + bias
            value = value if other is None else value + other
            slack = self._slack(value)
            value = ACTIVATED[a.activation](value)
        found = rounded(value, a.result)
        slack = torch.zeros_like(slack) if same else slack + ulp(found)
        if self.direction == "space_to_batch" and self.geometry.padded:
            border = torch.from_numpy(~self.geometry.valid_mask())
            found = torch.where(border, self._pad(found), found)
            slack = slack.masked_fill(border, 0.0)
        return found, slack

    def to(self, device: str) -> WorkCase:
        """The same on a device."""
        if device == "cpu":
            return self
        moved = (None if x is None else _moved_to(x, device) for x in self.operands)
        source, result = (_moved_to(x, device) for x in (self.source, self.result))
        return self._replace(source=source, result=result, operands=Operands(*moved))

    def differences(self) -> int:
        """How many elements of the result are not what they must be."""
        wanted, slack = self.wanted()
        exact = (self.result.double() - wanted.double()).abs() <= slack
        return int((~(exact | (self.result.double() == wanted.double()) | (both_nan(self.result, wanted)))).sum())

    def _slack(self, z: torch.Tensor) -> torch.Tensor:
        """Rounding of what activations are made of: sums of numbers of about 1, and of z itself."""
        compute = torch.finfo(getattr(torch, self.arithmetic.compute)).eps
        return 4 * compute * (1 + z.double().abs())

    def _along(self, value: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
        if value is None:
            return None
        c = self.arithmetic.channel_dim
        return value.to(dtype).reshape(-1, *[1] * (self.result.dim() - 1 - c) if c is not None else ())

    def _moved(self) -> torch.Tensor:
        """The source where the result's elements are; the border holds anything."""
        flat = self.source.reshape(-1)
        if self.direction == "batch_to_space":
            return flat[torch.from_numpy(self.geometry.batch_indices())]
        return flat[torch.from_numpy(self.geometry.space_indices()).clamp(min=0)]

    def _pad(self, like: torch.Tensor) -> torch.Tensor:
        if self.operands.pad is not None:
            table: torch.Tensor = self.operands.pad
            c = self.arithmetic.channel_dim
            return table.reshape(-1, *[1] * (like.dim() - 1 - c) if c is not None else ())
        return torch.frombuffer(bytearray(self.pad or bytes(like.itemsize)), dtype=like.dtype)[0]


def rounded(value: torch.Tensor, kind: str) -> torch.Tensor:
    """Numbers in a dtype, as the contract says."""
    dtype = getattr(torch, kind)
    if dtype.is_floating_point:
        return value.to(torch.float32).to(dtype) if dtype.itemsize < 4 else value.to(dtype)
    limits = torch.iinfo(dtype)
    return value.nan_to_num(0, limits.max, limits.min).round().clamp(limits.min, limits.max).to(dtype)


def ulp(value: torch.Tensor) -> torch.Tensor:
    """The distance of neighbouring numbers there."""
    if not value.dtype.is_floating_point:
        return torch.ones(value.shape, dtype=torch.float64)
    info = torch.finfo(value.dtype)
    return torch.maximum(value.double().abs() * info.eps, torch.tensor(info.smallest_normal * info.eps)).nan_to_num(0)


def both_nan(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Where both are no numbers."""
    return a.double().isnan() & b.double().isnan()


def work_case(seed: int, number: int) -> WorkCase:
    """Geometry and activation go round with the number, all else is drawn."""
    random = np.random.default_rng([seed, number])
    shape, block, paddings, arrangement, shifts = GEOMETRIES[number % len(GEOMETRIES)]
    geometry = BlockGeometry(
        shape,
        block,
        paddings,
        arrangement=arrangement,  # type: ignore[arg-type]
        batch_order=_one(random, ("block_major", "batch_major")),
        shifts=shifts,
    )
    direction: Direction = _one(random, ("space_to_batch", "batch_to_space"))
    gradient = bool(random.random() < 0.25)
    activation = ACTIVATIONS[number % len(ACTIVATIONS)]
    source = _one(random, tuple(FLOATS) if gradient else tuple(SOURCES))
    residual = _one(random, (*FLOATS, *FLOATS, *SOURCES)) if random.random() < 0.4 or gradient else None
    table = direction == "space_to_batch" and geometry.padded and residual is None and random.random() < 0.3
    arithmetic = Arithmetic(
        source,
        _one(random, tuple(FLOATS) if gradient else tuple(RESULTS)),
        _one(random, (1, 1, 1, None)),
        bool(random.random() < 0.7),
        bool(random.random() < 0.6),
        residual,
        activation,
        "before" if table else "after",
        gradient,
    )
    order = (0, *range(2, len(shape)), 1) if random.random() < 0.4 else tuple(range(len(shape)))
    from_, to = geometry.space_shape, geometry.batch_shape
    if direction == "batch_to_space":
        from_, to = to, from_
    channels = 1 if arithmetic.channel_dim is None else shape[1]
    compute = getattr(torch, arithmetic.compute)
    result = bits.poisoned(_placed(to, getattr(torch, arithmetic.result), order, random.random() < 0.15))
    operands = Operands(
        _numbers(random, (channels,), compute) if arithmetic.scale else None,
        _numbers(random, (channels,), compute) if arithmetic.bias else None,
        None
        if residual is None
        else _filled(random, torch.empty_strided(to, result.stride(), dtype=getattr(torch, residual))),
        _filled(random, torch.empty(channels, dtype=result.dtype)) if table else None,
    )
    source_tensor = _filled(random, _placed(from_, getattr(torch, source), order, random.random() < 0.3))
    pad = bits.raw(_filled(random, torch.empty(1, dtype=result.dtype))).tobytes() if random.random() < 0.5 else b""
    return WorkCase(direction, geometry, arithmetic, source_tensor, result, pad, operands)


def _placed(shape: Any, dtype: torch.dtype, order: tuple[int, ...], apart: bool) -> torch.Tensor:
    """A tensor in this memory order; `apart`: with a gap after each row, and an address that is no multiple of 16."""
    if not apart:
        return torch.empty_strided(shape, dense_strides(shape, order), dtype=dtype)
    wide = [size + (d == order[-1]) for d, size in enumerate(shape)]
    strides = dense_strides(wide, order)
    size = 2 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    return torch.empty(size, dtype=dtype).as_strided(tuple(shape), strides, 1)


def _filled(random: np.random.Generator, x: torch.Tensor) -> torch.Tensor:
    """Numbers of about 1, and those that round to the ends of narrow dtypes; integers from all over."""
    if not x.dtype.is_floating_point:
        high = min(torch.iinfo(x.dtype).max, 2**40)
        return x.copy_(torch.from_numpy(random.integers(0 if x.dtype is torch.uint8 else -high, high, x.shape)))
    return x.copy_(_numbers(random, tuple(x.shape), torch.float64))


def _numbers(random: np.random.Generator, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    wide = random.standard_normal(shape) * random.choice([0.01, 1.0, 1.0, 4.0], shape)
    return torch.from_numpy(wide).to(dtype)


def _moved_to(x: torch.Tensor, device: str) -> torch.Tensor:
    """The same on a device, with the same strides and as far from a multiple of 16 bytes."""
    storage = torch.empty(x.untyped_storage().nbytes(), dtype=torch.uint8, device=device)
    storage.copy_(torch.empty(0, dtype=torch.uint8).set_(x.untyped_storage()))
    return storage.view(x.dtype).as_strided(x.shape, x.stride(), x.storage_offset())


def _one(random: np.random.Generator, choices: Any) -> Any:
    return choices[int(random.integers(len(choices)))]
