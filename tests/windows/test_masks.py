"""The attention mask of shifted windows: Swin's, by its slices, and what may be seen by the indices of the geometry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from spacebatch import BlockGeometry, windows
from tests.bits import same
from tests.windows import originals

MASKS = {
    "Swin-T": ((56, 56), (7, 7), (3, 3)),
    "H is not W, nothing divides": ((13, 22), (7, 4), (3, 2)),
    "one dim": ((22,), (8,), (4,)),
    "Video Swin": ((8, 9, 14), (4, 7, 7), (2, 3, 3)),
}


@pytest.mark.parametrize("case", MASKS)
def test_swins_mask(case: str) -> None:
    size, window, shift = MASKS[case]
    expected = originals.swin_mask(size, window, shift)
    kept = windows.Windows((1, *size, 1), window, shift=shift, layout="N...C")
    assert same(kept.mask(fill=-100.0), expected.numpy())
    assert same(kept.mask(), (expected == 0).numpy())
    assert same(kept.geometry.window_mask(), kept.mask())
    x = torch.zeros(1, dtype=torch.float16)
    assert same(kept.mask(x, fill=-100.0), expected.half())
    assert same(kept.mask(x), expected == 0)
    assert kept.mask(x) is kept.mask(x)


@pytest.mark.parametrize("covered", ["stay", "fit"])
def test_a_dim_without_shift(covered: Any) -> None:
    """torchvision's mask where one window covers the height: only the width has regions."""
    kept = windows.Windows((1, 6, 21, 1), 7, shift=3, layout="NHWC", covered=covered)
    cells = kept.window_size
    flat = originals.swin_mask((21,), (7,), (3,)) == 0
    expected = flat[:, None, :, None, :].expand(3, cells[0], 7, cells[0], 7).reshape(3, cells[0] * 7, -1)
    assert same(kept.mask(torch.zeros(1)), expected)
    assert windows.Windows((1, 6, 5, 1), 7, shift=3, layout="NHWC", covered=covered).mask() is None


@pytest.mark.parametrize(
    "geometry",
    [
        BlockGeometry.windows((1, 1, 9, 10), (4, 3), shift=(1, 2)),
        BlockGeometry.windows((1, 1, 9, 10), (4, 3)),
        BlockGeometry.grid((1, 1, 9, 10), 4),
        BlockGeometry((1, 1, 4, 5), (2, 3), ((1, 2), (1, 1)), spatial_dims=(3, 2), arrangement="contiguous", shifts=(4, -1)),
    ],
    ids=["shifted", "padded", "grid", "padded before, dims reversed, shifted"],
)  # fmt: skip
def test_by_index(geometry: BlockGeometry) -> None:
    """Two cells see each other if they are as far apart in the image as in the window; padded cells see padded ones."""
    count = geometry.phases
    source = geometry.space_indices().reshape(count, -1)
    places = np.array([geometry.space_index(i) or (-1,) * 4 for i in np.ndindex(geometry.batch_shape)])
    cells = np.array([*np.ndindex(geometry.batch_shape)])
    step = 1 if geometry.arrangement == "contiguous" else np.array([1, 1, *geometry.block_shape])
    offset = (places - cells * step)[:, 2:].reshape(count, -1, 2)
    hidden = source < 0
    near = (offset[:, :, None] == offset[:, None, :]).all(-1)
    mask = geometry.window_mask(padding=True)
    both = ~hidden[:, :, None] & ~hidden[:, None, :]
    assert same(mask & both, near & both)
    assert not (mask & (hidden[:, :, None] ^ hidden[:, None, :])).any()
    assert (mask | ~(hidden[:, :, None] & hidden[:, None, :])).all()
    assert mask.any(-1).all()
    assert same(geometry.window_mask() & both, near & both)


def test_padding_alone() -> None:
    kept = windows.Windows((1, 5, 1), 4, layout="NLC")
    assert kept.mask() is None
    expected = np.array([[1, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1]], dtype=bool)
    assert same(kept.mask(padding=True), np.stack([np.ones((4, 4), dtype=bool), expected]))
    assert same(kept.mask(torch.zeros(1), padding=True), torch.from_numpy(kept.mask(padding=True)))


def test_a_mask_made_in_inference_mode_serves_training() -> None:
    kept = windows.Windows((1, 1, 6), 3, shift=1)
    like = torch.zeros(1)
    with torch.inference_mode():
        mask = kept.mask(like)
    x = torch.ones(2, 3, 3, requires_grad=True)
    x.masked_fill(mask, 0.0).sum().backward()
    assert same(x.grad, (~mask).float())
