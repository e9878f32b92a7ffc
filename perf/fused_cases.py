"""The cells of the fused operators: elements that are moved, and on the way scaled, activated, added to and converted.

Shapes are those of vision-language models (Qwen2-VL: patches of 14 in groups of 2 x 2, two frames; ViT: patches of 16), of dilated
blocks (DRN, DeepLabv3, WaveNet) on their way out of batch space, and of Swin's windows that are merged with what they are added to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spacebatch.reference.arithmetic import Activation, Arithmetic
from spacebatch.reference.geometry import BlockGeometry

from .cases import Case, with_layout


@dataclass(frozen=True)
class FusedCase(Case):
    """A call with arithmetic on the way.

    >>> case = FusedCase("batch_to_space", (2, 8, 6, 6), (2, 2), ((0, 0), (0, 0)), bias=True, activation="relu")
    >>> case.key, case.moved_bytes
    ('batch_to_space float32 2x8x6x6 b2,2: relu(float32 + bias) -> float32', 4608)

    Attributes:
        result: the dtype of the result, by default that of the source.
        scale, bias: whether there is one for each channel. residual: whether a tensor like the result is added.
        activation: as in the call.
        tokens: the order inside a token where images become tokens, else "". merge, temporal: of those tokens.
        mode: "training" is a call and the gradients of its input and its bias.
    """

    result: str = ""
    scale: bool = False
    bias: bool = False
    residual: bool = False
    activation: Activation = "none"
    tokens: str = ""
    merge: int = 1
    temporal: int = 1

    @property
    def result_dtype(self) -> torch.dtype:
        return replace(self, dtype=self.result).torch_dtype if self.result else self.torch_dtype

    @property
    def key(self) -> str:
        moved = super().key
        if self.tokens:
            moved = f"patchify {moved.partition(' ')[2]} {self.tokens} m{self.merge} t{self.temporal}"
        result = self.result or self.dtype
        return f"{moved}: {Arithmetic(self.dtype, result, None, self.scale, self.bias, self._added, self.activation)}"

    @property
    def _added(self) -> str | None:
        return (self.result or self.dtype) if self.residual else None

    @property
    def moves(self) -> Any:
        return self.direction

    @property
    def result_shape(self) -> tuple[int, ...]:
        if not self.tokens:
            return super().result_shape
        patches = self.shape[0] * math.prod(s // p for s, p in zip(self.shape[2:], self.block, strict=True))
        return patches, self.shape[1] * self.temporal * math.prod(self.block)

    @property
    def result_bytes(self) -> int:
        return math.prod(self.result_shape) * self.result_dtype.itemsize

    @property
    def moved_bytes(self) -> int:
        """Source and residual read, result written; in training a gradient read and one written, and the source read where it tells."""
        source = math.prod(self.source_shape) * self.torch_dtype.itemsize
        forward = source + self.result_bytes * (2 if self.residual else 1)
        backward = self.result_bytes + source * (1 if self.activation == "none" else 2)
        return forward + (backward if self.mode == "training" else 0)

    def source(self, device: torch.device) -> Tensor:
        """Random bytes, or numbers of about -2.5 to 2.5, in the case's layout."""
        found = with_layout(self.source_shape, torch.uint8, self.layout, device)
        return found if self.dtype == "uint8" else found.to(torch.float32).sub_(127.5).mul_(0.02).to(self.torch_dtype)

    def tiny(self) -> FusedCase:
        """The same arithmetic on small sizes, for a rehearsal."""
        if not self.tokens:
            return super().tiny()  # type: ignore[return-value]
        sizes = (block * self.merge for block in self.block)
        return replace(self, shape=(min(self.shape[0], 2), self.shape[1], *sizes))


class _Group(NamedTuple):
    """Cells of one kind: sizes, and what they have in common."""

    name: str
    cells: tuple[tuple[Any, ...], ...]  # shape, block, border, and further words
    words: dict[str, Any]


_WINDOWS = {"arrangement": "contiguous", "batch_order": "batch_major", "shifts": -3, "layout": "channels_last"}
_BYTES = {"direction": "space_to_batch", "dtype": "uint8", "scale": True, "bias": True}
_BACK = {"direction": "batch_to_space", "bias": True}
_BF16, _NHWC = {"dtype": "bfloat16"}, {"layout": "channels_last"}
_QWEN = {"tokens": "CTHW", "merge": 2, "temporal": 2}
_GROUPS = (
    _Group(
        "bytes to tokens",
        (
            ((1, 3, 1008, 1008), 14, 0, _QWEN),
            ((8, 3, 1008, 1008), 14, 0, _QWEN),
            ((1, 3, 1008, 1008), 14, 0, _QWEN | _NHWC),
            ((16, 3, 336, 336), 14, 0, _QWEN),
            ((1, 3, 224, 224), 14, 0, _QWEN),
            ((32, 3, 224, 224), 16, 0, {"tokens": "CTHW"}),
            ((16, 3, 224, 224), 16, 0, {"tokens": "HWC"}),
        ),
        _BYTES | {"result": "bfloat16"},
    ),
    _Group(
        "bytes to blocks",
        (
            ((1, 3, 224, 224), 2, 0, {"result": "float32"}),
            ((8, 3, 512, 512), 2, 0, {"result": "float32"}),
            ((8, 3, 512, 512), 2, 0, {"result": "bfloat16"}),
            ((8, 3, 512, 512), 2, 0, {"result": "float32"} | _NHWC),
            ((8, 3, 512, 512), 2, 0, {"result": "bfloat16"} | _NHWC),
            ((16, 3, 1024, 1024), 4, 0, {"result": "bfloat16"}),
        ),
        _BYTES,
    ),
    _Group(
        "bias and activation on the way back",
        (
            ((1, 32, 32, 32), 2, 0, {"activation": "relu"}),
            ((2, 128, 64, 64), 2, 0, {"activation": "relu"}),
            ((2, 128, 64, 64), 2, 0, {"activation": "silu"}),
            ((2, 128, 64, 64), 2, 0, {"activation": "gelu"}),
            ((2, 128, 65, 65), 4, "auto", {"activation": "relu"}),
            ((2, 128, 64, 64), 2, 0, {"activation": "relu"} | _BF16),
            ((2, 128, 64, 64), 2, 0, {"activation": "silu"} | _BF16),
            ((2, 128, 64, 64), 2, 0, {"activation": "gelu"} | _BF16),
            ((4, 128, 16000), 16, 0, {"activation": "relu"}),
            ((8, 512, 64, 64), 2, 0, {"activation": "relu"}),
        ),
        _BACK,
    ),
    _Group(
        "batch norm and relu on the way back",
        (
            ((2, 128, 64, 64), 2, 0, {}),
            ((2, 128, 65, 65), 4, "auto", _BF16),
            ((4, 512, 64, 64), 2, 0, _NHWC),
        ),
        _BACK | {"scale": True, "activation": "relu"},
    ),
    _Group(
        "windows merged with a residual",
        (
            ((32, 96, 56, 56), 8, 0, {}),
            ((32, 96, 56, 56), 8, 0, _BF16),
            ((32, 384, 14, 14), 2, 0, {}),
        ),
        {"direction": "batch_to_space", "residual": True} | _WINDOWS,
    ),
    _Group(
        "casts on the way",
        (
            ((8, 64, 128, 128), 2, 0, {"dtype": "float32", "result": "bfloat16"}),
            ((8, 64, 128, 128), 2, 0, {"dtype": "bfloat16", "result": "float8_e4m3fn"}),
            ((32, 96, 56, 56), 8, 0, {"dtype": "float32", "result": "bfloat16"} | _WINDOWS),
        ),
        {"direction": "space_to_batch"},
    ),
    _Group(
        "training: forward and backward",
        (
            ((2, 128, 64, 64), 2, 0, {"direction": "batch_to_space", "bias": True, "activation": "relu"}),
            ((2, 128, 64, 64), 2, 0, {"direction": "batch_to_space", "bias": True, "activation": "silu"} | _BF16),
            ((8, 64, 128, 128), 2, 0, {"direction": "space_to_batch", "result": "bfloat16"}),
            ((32, 96, 56, 56), 8, 0, {"direction": "batch_to_space", "residual": True} | _WINDOWS),
        ),
        {"mode": "training"},
    ),
)


def fused_suite() -> list[FusedCase]:
    """All cells, group by group.

    >>> len(fused_suite()), len({case.key for case in fused_suite()})
    (36, 36)
    """
    return [
        _case(shape, block, border, group.name, group.words | own)
        for group in _GROUPS
        for shape, block, border, own in group.cells
    ]


def _case(shape: tuple[int, ...], block: int, border: Any, name: str, words: dict[str, Any]) -> FusedCase:
    cut = {word: value for word, value in words.items() if word in ("arrangement", "batch_order", "shifts")}
    geometry = BlockGeometry(shape, block, border, op="case", **cut)
    shifts = geometry.shifts if geometry.shifted else ()
    given: dict[str, Any] = {**words, "block": geometry.block_shape, "paddings": geometry.paddings, "shifts": shifts}
    return FusedCase(shape=shape, row="fused", name=name, **given)
