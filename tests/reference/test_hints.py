"""Pictures of another layout than the call takes them for: what errors and explanations say, and where they say nothing."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest
import torch

from spacebatch import batch_to_space, explain, reference, space_to_batch

ADD_A_BATCH = r"dim 0 of size 3 is the batch; if it is the channels, add a batch: x\[None\]$"
ONE_PICTURE = (
    r"dim 2 of size 3 is blocked; if it is the channels of one picture, .* x\[None\] and spatial_dims=\"NHWC\"$"
)
NHWC = r"dim 3 of size 3 is blocked; if it is the channels, say spatial_dims=\"NHWC\"$"
NDHWC = r"dim 4 of size 1 is blocked; if it is the channels, say spatial_dims=\"NDHWC\"$"
# name: (function, shape, arguments, what the error ends with)
MISTAKES: dict[str, tuple[Any, tuple[int, ...], tuple[Any, ...], str]] = {
    "CHW, odd width": (space_to_batch, (3, 50, 71), (2,), ADD_A_BATCH),
    "CHW, blocks": (batch_to_space, (3, 25, 36), (2,), ADD_A_BATCH),
    "CHW, two borders": (
        space_to_batch,
        (3, 50, 70),
        (2, ((1, 1), (1, 1))),
        r"dim 0 is the batch: an image \(C, H, W\) needs one, x\[None\]$",
    ),
    "HWC": (space_to_batch, (50, 70, 3), (2,), ONE_PICTURE),
    "HW": (space_to_batch, (50, 70), (2,), r"an image \(H, W\) a batch and channels: x\[None, None\]$"),
    "NHWC": (space_to_batch, (8, 50, 70, 3), (2,), NHWC),
    "NHWC, odd width": (space_to_batch, (8, 50, 71, 3), ((2, 2),), NHWC),
    "NHWC, crops": (batch_to_space, (8, 25, 35, 3), (2, 4), NHWC),
    "NDHWC": (space_to_batch, (2, 16, 32, 32, 1), (2,), NDHWC),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_errors_name_the_layout(name: str) -> None:
    function, shape, arguments, message = MISTAKES[name]
    for x in (np.zeros(shape), torch.zeros(shape)):
        with pytest.raises(ValueError, match=message):
            function(x, *arguments)


@pytest.mark.parametrize(
    ("shape", "block", "options", "note"),
    [
        ((3, 50, 70), 2, {}, ADD_A_BATCH),
        ((50, 70, 3), 3, {}, ONE_PICTURE),
        ((8, 50, 72, 3), 3, {}, NHWC),
        ((8, 50, 70, 3), (2, 3), {}, NHWC),
        ((8, 50, 70, 3), 1, {"spatial_dims": (2, 3)}, None),  # as was said
        ((8, 50, 70, 3), 2, {"spatial_dims": "NHWC"}, None),
        ((3, 50, 70), (2, 2), {}, None),  # every channel a sample
        ((4, 64, 128), 2, {}, None),  # signals
        ((1, 64, 128), 2, {}, None),
        ((3, 2, 64), 2, {}, None),
        ((8, 64, 4, 4), 2, {}, None),  # small images
        ((8, 3, 50, 70), 2, {}, None),
        ((1, 3, 600, 4), 2, {}, None),
        ((2, 50, 70, 6), 2, {}, None),
    ],
)
def test_explanations_note_the_layout(shape: tuple[int, ...], block: Any, options: Any, note: str | None) -> None:
    for x in (np.zeros(shape), torch.zeros(shape)):
        told = explain("space_to_batch", x, block, **options)
        assert str(told).count("  note     ") == (note is not None)
        assert re.search(note, told.note) if note else not told.note
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            space_to_batch(x, block, **options)  # a call says nothing


def test_errors_of_other_shapes_have_no_hint() -> None:
    with pytest.raises(ValueError, match=r'paddings="auto" pads the end as needed$'):
        reference.space_to_batch(np.zeros((8, 3, 51, 70)), 2)
    with pytest.raises(ValueError, match=r'paddings="auto" pads the end as needed$'):
        reference.space_to_batch(np.zeros((8, 51, 70, 3)), 2, spatial_dims="NHWC")
    with pytest.raises(ValueError, match=r"\(product of block_shape\)$"):
        reference.batch_to_space(np.zeros((6, 3, 50, 70)), 2)
