"""Tensors of 2**31 elements and more, which need no memory: addresses are at stake, so some programs of each call run."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from spacebatch import BlockGeometry
from spacebatch.reference.arguments import Arrangement

from .calls import check_virtual, family_configs
from .cases import DIRECTIONS
from .driver import StandIn


class Large(NamedTuple):
    """One geometry; both directions and all families of it are run."""

    name: str
    shape: tuple[int, ...]
    block: int
    paddings: Any
    dtype: torch.dtype
    windows: bool = False
    channels_last: bool = False


LARGE = (
    Large("2**31 words of 2", (8, 64, 2048, 2048), 2, 0, torch.float16),
    Large("just under 2**31 bytes", (1, 127, 4096, 4096), 2, 0, torch.uint8),
    Large("just under 2**31, padded past it", (1, 127, 4094, 4094), 3, ((1, 0), (8, 8)), torch.uint8),
    Large("block 3, odd", (3, 64, 4095, 4093), 3, "auto", torch.uint8),
    Large("2**30 elements of 16 bytes", (4, 64, 2048, 2050), 2, 1, torch.complex128),
    Large("3-D", (2, 64, 256, 256, 258), 2, "auto", torch.float16),
    Large("channels_last", (16, 128, 1024, 1026), 2, 0, torch.float16, channels_last=True),
    Large("windows", (16, 129, 1029, 1029), 7, 0, torch.uint8, windows=True),
    Large("1-D, rate 512", (4, 1, 1 << 30), 512, 0, torch.uint8),
    Large("rows of more than 2**31", (1, 1, 9_000_000_000), 3, 0, torch.uint8),
    Large("rows of more than 2**31, padded", (1, 1, 4_500_000_001), 2, "auto", torch.float16),
    Large("windows of more than 2**31", (1, 1, 9_000_000_000), 2, 0, torch.uint8, windows=True),
    Large("windows of 2**33", (1, 1, 1 << 34), 2, 0, torch.uint8, windows=True),
    Large("nothing but a copy", (8, 512, 1024, 1024), 1, 0, torch.float32),
    Large("nothing but padding", (1, 1, 1 << 32), 1, ((16, 16),), torch.uint8),
)
BY_NAME = {large.name: large for large in LARGE}


def check_large(device: StandIn, large: Large) -> tuple[list[str], list[str]]:
    """All families in both directions: those that ran, and what went wrong."""
    arrangement: Arrangement = "contiguous" if large.windows else "interleaved"
    geometry = BlockGeometry(large.shape, large.block, large.paddings, arrangement=arrangement)
    order = (0, *range(2, len(large.shape)), 1) if large.channels_last else None
    ran, wrong = [], []
    for direction in DIRECTIONS:
        for config in family_configs(device, direction, geometry, large.dtype, order):
            ran.append(f"{config.family} {direction}")
            try:
                check_virtual(device, direction, geometry, large.dtype, 3, config, order)
            except Exception as error:
                cause = str(error.__cause__ or error).strip()
                wrong.append(f"{large.name}, {direction}, {config.family}: {type(error).__name__}: {cause[-300:]}")
    return ran, wrong
