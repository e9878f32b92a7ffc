"""Which cases are measured: those that the goals for a GPU speak of, the default ones for a CPU, and shapes of real networks.

Sources of the networks: DeepLabv3 (arXiv:1706.05587), a crop of 513 x 513 at output stride 8 (65 x 65) and 16 (33 x 33);
DRN (arXiv:1705.09914); WaveNet (arXiv:1609.03499) and TCN (arXiv:1803.01271), whose rates double layer by layer; MaxViT
(arXiv:2204.01697), windows and grid of 7; Swin (arXiv:2103.14030), windows of 7; dilated neighbourhood attention
(arXiv:2209.15001).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from spacebatch.reference.geometry import BlockGeometry

from .cases import Case, Layout

# the rows of the goals: the share aimed at, of the bandwidth of a copy of as many bytes in the same run
ROWS: dict[str, float | None] = {
    "aligned": 0.95,  # aligned sizes, elements of 2 to 16 bytes, any block, padded or not
    "aligned, 1 byte": 0.90,
    "odd": 0.85,  # odd widths, paddings, crops and blocks, elements of 2 bytes and more
    "odd, 1 byte": 0.65,
    "strided": 0.85,  # sliced, transposed and expanded inputs, 32 bytes or more in a run
    "small": None,  # up to 1 MB: the host's time, and 80% of a copy inside a CUDA graph
    "cpu": None,  # not slower than any peer
    "network": None,  # shapes of real networks
    "fused": None,  # with arithmetic on the way
    "chosen": None,  # by options
}
WINDOWS = {"batch_order": "batch_major", "arrangement": "contiguous"}
GRID = {"batch_order": "batch_major", "arrangement": "interleaved"}
SHIFTED = {**WINDOWS, "shifts": -3}
GPU_BYTES = 256 << 20  # of an input: far more than any cache, and long enough for the clock


class Kind(NamedTuple):
    """Sizes of a sample, and what is done to it."""

    sample: tuple[int, ...]  # (C, *spatial)
    block: Any
    paddings: Any = 0
    layout: Layout = "contiguous"
    options: dict[str, Any] = {}  # noqa: RUF012 - never written to


ALIGNED = (
    Kind((64, 512, 512), 2),
    Kind((64, 512, 512), 2, 8),
    Kind((64, 512, 512), 2, 0, "channels_last"),
    Kind((64, 512, 512), 4),
    Kind((64, 512, 512), 2, 0, "contiguous", WINDOWS),
    Kind((64, 510, 510), 2, 1, "channels_last"),
    Kind((64, 512, 512), 8),
    Kind((64, 512, 512), 16),
    Kind((64, 512, 512), 32),
    Kind((64, 512, 512), 1),
    Kind((64, 512, 512), (1, 2)),
    Kind((64, 512, 512), (2, 1)),
    Kind((64, 512, 512), 1, 16),
    Kind((64, 512, 512), 8, 0, "channels_last"),
    Kind((64, 512, 512), 32, 0, "contiguous", WINDOWS),
    Kind((64, 512, 512), 32, 0, "channels_last", WINDOWS),
    Kind((64, 512, 512), 8, 0, "contiguous", GRID),
    Kind((64, 65536), 4),
    Kind((64, 65536), 32),
    Kind((64, 64, 128, 128), 2),
    Kind((64, 64, 128, 128), 2, 8),
    Kind((64, 64, 128, 128), 2, 0, "channels_last"),
)
ODD = (
    Kind((64, 507, 509), 2, "auto"),
    Kind((64, 512, 512), 2, 1),
    Kind((64, 509, 511), 3, ((1, 0), (1, 1))),
    Kind((64, 512, 512), 3, "auto"),
    Kind((64, 503, 509), 6, "auto"),
    Kind((64, 505, 511), 5, ((2, 3), (1, 3))),
    Kind((64, 504, 504), 72, 0, "contiguous", WINDOWS),  # windows of 7
    Kind((96, 511, 509), 2, "auto", "channels_last"),
    Kind((3, 511, 509), 2, "auto", "channels_last"),
    Kind((65, 512, 512), 3, "auto", "channels_last"),
    Kind((64, 65531), 12, "auto"),
    Kind((64, 61, 127, 125), 2, "auto"),
)
STRIDED = (
    Kind((64, 512, 480), 2, 0, "sliced"),
    Kind((64, 512, 512), 2, 0, "transposed"),
    Kind((64, 512, 512), 2, 0, "expanded"),
    Kind((64, 512, 512), 2, 0, "channel_slice"),
    Kind((64, 512, 480), 4, 4, "sliced"),
    Kind((64, 510, 510), 2, 1, "transposed"),
)
SMALL = (
    Kind((3, 32, 32), 2),
    Kind((64, 28, 28), 2),
    Kind((64, 27, 29), 2, "auto"),
    Kind((128, 14, 14), 2, 1),
    Kind((64, 56, 56), 2, 0, "channels_last"),
    Kind((64, 512), 8),
)


def gpu_suite() -> list[Case]:
    """The cases of the goals for a GPU, the most informative first.

    >>> sorted({case.row for case in gpu_suite()})
    ['aligned', 'aligned, 1 byte', 'odd', 'odd, 1 byte', 'small', 'strided']
    """
    cases: list[Case] = []
    for kinds, dtype in (
        (ALIGNED, "float16"),
        (ODD, "float16"),
        (ALIGNED[:6], "float32"),
        (ODD[:6], "float32"),
        (ALIGNED[:10], "uint8"),
        (ODD[:8], "uint8"),
        (STRIDED, "float16"),
        (STRIDED[:4], "float32"),
        (ALIGNED[6:14], "float32"),
        (ODD[6:], "float32"),
        (ALIGNED[:5], "float64"),
        (ALIGNED[:3], "complex128"),
        (ODD[:2], "float64"),
        (ALIGNED[14:], "uint8"),
        (ODD[8:], "uint8"),
        (ALIGNED[:3], "bfloat16"),
    ):
        row = "strided" if kinds[0] in STRIDED else "aligned" if kinds[0] in ALIGNED else "odd"
        row += ", 1 byte" if dtype == "uint8" else ""
        for kind in kinds:
            cases += both(of_kind(kind, dtype, GPU_BYTES, row))
    for kind, dtype in itertools.product(SMALL, ("float16", "float32")):
        cases += both(of_kind(kind, dtype, 0, "small"))
    gradients = [case for case in cases if case.row in ("aligned", "odd") and case.dtype == "float16"][:4]
    return [*cases, *(replace(case, mode="backward") for case in gradients)]


CPU_SIZES = (4 << 10, 64 << 10, 1 << 20, 16 << 20, 64 << 20)  # the last is beyond the cache, and all take some minutes
CPU_DTYPES = ("float32", "float16", "bfloat16", "uint8", "float64", "complex64")
CPU_BLOCKS = (2, 3, 4, 8)
CPU_LAYOUTS = ("nchw", "nhwc", "1d", "3d")


def cpu_suite(quick: bool = False) -> list[Case]:
    """The default cases for a CPU: every pair of size, dtype, layout and block, in both directions, padded and not.

    >>> len(cpu_suite(quick=True)), len(cpu_suite())
    (64, 480)

    Args:
        quick: only inputs of 4 and 64 KiB, of float32 and uint8.
    """
    sizes, dtypes = (CPU_SIZES[:2], ("float32", "uint8")) if quick else (CPU_SIZES, CPU_DTYPES)
    grid = itertools.product(enumerate(sizes), enumerate(dtypes), enumerate(CPU_LAYOUTS), (False, True))
    return [
        case
        for (i, size), (j, dtype), (k, layout), padded in grid
        for case in both(_cpu_case(layout, dtype, CPU_BLOCKS[(i + j + k) % 4], padded, size))
    ]


def _cpu_case(layout: str, dtype: str, block: int, padded: bool, size: int) -> Case:
    """A case of about `size` bytes of input whose sizes the block divides, less one on each side where it is padded."""
    elements = size // getattr(torch, dtype).itemsize
    spatial = {"1d": 1, "3d": 3}.get(layout, 2)
    channels = 16 if elements >= 16 * (2 * block) ** spatial else 2
    edge = max(block, round((elements / channels) ** (1 / spatial) / block) * block)
    edge = min(edge, {1: 65536, 2: 1024, 3: 128}[spatial] // block * block)
    samples = max(1, elements // (channels * edge**spatial))
    less = 1 if padded and edge > 2 else 0
    shape = (samples, channels, *[edge - less] * spatial)
    paddings = ((0, less),) * spatial
    return make(shape, block, paddings, dtype, "channels_last" if layout == "nhwc" else "contiguous", "cpu")


CAUSAL = "causal"  # 1-D: the rate's padding before, and whatever makes the length divisible after


class Preset(NamedTuple):
    """One layer: what its input looks like and what is done to it."""

    about: str
    shape: tuple[int, ...]
    blocks: tuple[Any, ...]
    paddings: Any = "auto"
    layout: Layout = "contiguous"
    options: dict[str, Any] = {}  # noqa: RUF012 - never written to


_RATES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
PRESETS = {
    "aspp-65": Preset("DeepLabv3 ASPP on 65 x 65", (2, 2048, 65, 65), (6, 12, 18)),
    "aspp-33": Preset("DeepLabv3 ASPP on 33 x 33", (2, 2048, 33, 33), (6, 12, 18)),
    "drn": Preset("DRN-D-54, stages of rate 2 and 4 on 1/8 of 512 x 512", (4, 512, 64, 64), (2, 4)),
    "dilated-resnet": Preset("ResNet-101 at output stride 8 on 769 x 769", (2, 1024, 97, 97), (2, 4)),
    "wavenet": Preset("WaveNet, residual channels on a second of 16 kHz", (4, 128, 16000), _RATES, CAUSAL),
    "tcn": Preset("TCN on sequences of 4096", (32, 150, 4096), _RATES, CAUSAL),
    "maxvit-window": Preset("MaxViT-T stage 1, block attention", (16, 64, 56, 56), (8,), 0, "channels_last", WINDOWS),
    "maxvit-grid": Preset("MaxViT-T stage 1, grid attention", (16, 64, 56, 56), (8,), 0, "channels_last", GRID),
    "swin": Preset("Swin-T stage 1", (32, 96, 56, 56), (8,), 0, "channels_last", WINDOWS),
    "swin-56x112": Preset("Swin-T stage 1, twice as wide", (16, 96, 56, 112), ((8, 16),), 0, "channels_last", WINDOWS),
    **{
        f"swin-shifted-{size}": Preset(
            f"Swin-T stage {stage}, shifted windows of 7",
            (32, channels, size, size),
            (size // 7,),
            0,
            "channels_last",
            SHIFTED,
        )
        for stage, (size, channels) in enumerate(((56, 96), (28, 192), (14, 384), (7, 768)), 1)
    },
    "natten": Preset("dilated neighbourhood attention", (4, 128, 48, 80), (2, 4, 8), 0, "channels_last", GRID),
    "video": Preset("video, 16 frames", (2, 64, 16, 112, 112), ((1, 2, 2), (2, 2, 2)), 0),
    "image-4k": Preset("a photograph of 3840 x 2160", (1, 3, 2160, 3840), (2, 4, 8), 0),
}


def cases_of(name: str, dtype: str = "float16") -> list[Case]:
    """The cases of a preset, both directions.

    >>> [case.block for case in cases_of("aspp-33")][::2]
    [(6, 6), (12, 12), (18, 18)]

    Raises:
        ValueError: no preset of that name.
    """
    if name not in PRESETS:
        raise ValueError(f"preset: there is none called {name!r}; there are {', '.join(PRESETS)}")
    preset = PRESETS[name]
    cases: list[Case] = []
    for block in preset.blocks:
        paddings: Any = preset.paddings
        if paddings == CAUSAL:
            length = preset.shape[-1] + block
            paddings = ((block, -length % block),)
        cases += both(make(preset.shape, block, paddings, dtype, preset.layout, "network", name, **preset.options))
    return cases


def both(case: Case) -> list[Case]:
    """A case, and its inverse."""
    return [case, replace(case, direction="batch_to_space")]


def of_kind(kind: Kind, dtype: str, input_bytes: int, row: str = "chosen") -> Case:
    """A case of as many samples as make up the bytes, at least one."""
    samples = max(1, input_bytes // (math.prod(kind.sample) * getattr(torch, dtype).itemsize))
    return make((samples, *kind.sample), kind.block, kind.paddings, dtype, kind.layout, row, **kind.options)


def make(
    shape: Sequence[int],
    block: Any,
    paddings: Any,
    dtype: str,
    layout: Layout = "contiguous",
    row: str = "chosen",
    name: str = "",
    **options: Any,
) -> Case:
    """A `space_to_batch` case from arguments as users write them.

    >>> make((1, 3, 5, 5), 2, "auto", "uint8").paddings
    ((0, 1), (0, 1))

    Raises:
        ValueError, TypeError: as the call itself.
    """
    geometry = BlockGeometry(shape, block, paddings, op="case", **options)  # refuses what makes no sense
    sizes = (geometry.space_shape, geometry.block_shape, geometry.paddings)
    options["shifts"] = geometry.shifts if geometry.shifted else ()
    case = Case("space_to_batch", *sizes, dtype, layout, row=row, name=name, **options)
    case.torch_dtype  # noqa: B018 - refuses what is none
    return case
