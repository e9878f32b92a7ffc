"""The shapes of real networks, by name.

Sources: DeepLabv3 (arXiv:1706.05587), a crop of 513 x 513 at output stride 8 (65 x 65) and 16 (33 x 33); DRN (arXiv:1705.09914); WaveNet (arXiv:1609.03499) and TCN (arXiv:1803.01271), whose rates double layer by layer;
MaxViT (arXiv:2204.01697), windows and grid of 7; Swin (arXiv:2103.14030), windows of 7; dilated neighbourhood attention
(arXiv:2209.15001).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .cells import Cell, Layout
from .suites import GRID, WINDOWS, both, make

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
    "natten": Preset("dilated neighbourhood attention", (4, 128, 48, 80), (2, 4, 8), 0, "channels_last", GRID),
    "video": Preset("video, 16 frames", (2, 64, 16, 112, 112), ((1, 2, 2), (2, 2, 2)), 0),
    "image-4k": Preset("a photograph of 3840 x 2160", (1, 3, 2160, 3840), (2, 4, 8), 0),
}


def cells_of(name: str, dtype: str = "float16") -> list[Cell]:
    """The cells of a preset, both directions.

    >>> [cell.block for cell in cells_of("aspp-33")][::2]
    [(6, 6), (12, 12), (18, 18)]

    Raises:
        ValueError: no preset of that name.
    """
    if name not in PRESETS:
        raise ValueError(f"preset: there is none called {name!r}; there are {', '.join(PRESETS)}")
    preset = PRESETS[name]
    cells: list[Cell] = []
    for block in preset.blocks:
        paddings: Any = preset.paddings
        if paddings == CAUSAL:
            length = preset.shape[-1] + block
            paddings = ((block, -length % block),)
        cells += both(make(preset.shape, block, paddings, dtype, preset.layout, "network", name, **preset.options))
    return cells
