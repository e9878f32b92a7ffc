"""Arithmetic on the way: what a fused operator computes of each element between its load and its store. NumPy alone.

An element x that belongs to channel c becomes

    activation(compute(x) * scale[c] + bias[c] + compute(residual))        converted to the result's dtype

`compute` converts to float32, or to float64 where x is float64; each step is rounded to that type, and none is contracted. Conversion
to the result rounds to nearest, ties to even, as PyTorch's `to` does; to an integer also, then it saturates, and NaN becomes 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

Activation: TypeAlias = Literal["none", "relu", "silu", "gelu", "gelu_tanh", "sigmoid", "tanh", "hardswish"]
PadPlace: TypeAlias = Literal["before", "after"]

ACTIVATIONS = ("none", "relu", "silu", "gelu", "gelu_tanh", "sigmoid", "tanh", "hardswish")
FLOATS = {"float8_e4m3fn": 1, "float8_e5m2": 1, "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}  # bytes
INTEGERS = {"uint8": 1, "int8": 1}  # that may be results, too
SOURCES = {**FLOATS, **INTEGERS, "int16": 2, "int32": 4, "int64": 8}
RESULTS = {**FLOATS, **INTEGERS}


@dataclass(frozen=True)
class Arithmetic:
    """What a fused operator computes; hashable, and all that a kernel is compiled for beside the geometry.

    >>> str(Arithmetic("uint8", "bfloat16", channel_dim=1, scale=True, bias=True))
    'uint8 * scale + bias -> bfloat16'

    Attributes:
        source, result: names of the dtypes, of `SOURCES` and `RESULTS`.
        channel_dim: the dim that scale and bias run along: neither dim 0 nor blocked; None where they are single numbers.
        scale, bias: whether there are such factors and summands.
        residual: the dtype of a tensor in the result's place that is added, of `SOURCES`; None where there is none.
        activation: one of `ACTIVATIONS`; "gelu" by the error function, "gelu_tanh" by its approximation.
        pad: whether the pad value is what the result holds ("after"), or enters the arithmetic ("before").
        gradient: the other way: an element g becomes compute(g) * activation'(compute(residual) * scale[c] + bias[c]) * scale[c],
            where the residual is what entered the fused operator whose gradient this is.
    """

    source: str
    result: str
    channel_dim: int | None = None
    scale: bool = False
    bias: bool = False
    residual: str | None = None
    activation: Activation = "none"
    pad: PadPlace = "after"
    gradient: bool = False

    @property
    def compute(self) -> str:
        """The dtype of the arithmetic, of scale and of bias: "float64" where the source is that, else "float32"."""
        return "float64" if self.source == "float64" else "float32"

    @property
    def plain(self) -> bool:
        """Whether nothing is computed, not even a conversion."""
        return self == Arithmetic(self.source, self.source, self.channel_dim, pad=self.pad)

    def __str__(self) -> str:
        value = self.source
        if self.gradient:
            inner = f"{self.residual}{' * scale' if self.scale else ''}{' + bias' if self.bias else ''}"
            value += f" * {self.activation}'({inner})" if self.activation != "none" else ""
            value += " * scale" if self.scale else ""
        else:
            value += f"{' * scale' if self.scale else ''}{' + bias' if self.bias else ''}"
            value += f" + {self.residual}" if self.residual else ""
            value = f"{self.activation}({value})" if self.activation != "none" else value
        return f"{value} -> {self.result}"


class Operands(NamedTuple):
    """What a fused call is given beside source, result and pad bits: tensors, or arrays, of the source's device.

    Attributes:
        scale, bias: contiguous, of the `compute` dtype, one for each channel, or of one element where there is no channel dim.
        residual: of the result's shape and strides.
        pad: contiguous, of the result's dtype, what the border holds for each channel (or of one element); None where the pad bits
            of the call hold for all.
    """

    scale: Any = None
    bias: Any = None
    residual: Any = None
    pad: Any = None


NO_OPERANDS = Operands()
