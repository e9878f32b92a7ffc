"""Results worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import spacebatch
from spacebatch.reference import definition

BLOCK, BATCH = "block_major", "batch_major"
INTERLEAVED, CONTIGUOUS = "interleaved", "contiguous"

PLANES = [[[0, 1, 2, 3], [4, 5, 6, 7]], [[8, 9, 10, 11], [12, 13, 14, 15]]]
SOLID = [[[[0, 1, 2, 3], [4, 5, 6, 7]], [[8, 9, 10, 11], [12, 13, 14, 15]]]]
PIXELS = [[[[0, 1], [2, 3]], [[4, 5], [6, 7]]]]  # (N, H, W, C)

# id: (space, batch, arguments); space_to_batch goes from the first to the second, batch_to_space back.
TABLE: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "2d-block_major-interleaved": (
        PLANES,
        [[[0, 2]], [[8, 10]], [[1, 3]], [[9, 11]], [[4, 6]], [[12, 14]], [[5, 7]], [[13, 15]]],
        {"block_shape": (2, 2), "batch_order": BLOCK, "arrangement": INTERLEAVED},
    ),
    "2d-batch_major-interleaved": (
        PLANES,
        [[[0, 2]], [[1, 3]], [[4, 6]], [[5, 7]], [[8, 10]], [[9, 11]], [[12, 14]], [[13, 15]]],
        {"block_shape": (2, 2), "batch_order": BATCH, "arrangement": INTERLEAVED},
    ),
    "2d-block_major-contiguous": (
        PLANES,
        [[[0, 1]], [[8, 9]], [[2, 3]], [[10, 11]], [[4, 5]], [[12, 13]], [[6, 7]], [[14, 15]]],
        {"block_shape": (2, 2), "batch_order": BLOCK, "arrangement": CONTIGUOUS},
    ),
    "2d-batch_major-contiguous": (
        PLANES,
        [[[0, 1]], [[2, 3]], [[4, 5]], [[6, 7]], [[8, 9]], [[10, 11]], [[12, 13]], [[14, 15]]],
        {"block_shape": (2, 2), "batch_order": BATCH, "arrangement": CONTIGUOUS},
    ),
    "3d-interleaved": (
        SOLID,
        [[[[0, 2]]], [[[1, 3]]], [[[4, 6]]], [[[5, 7]]], [[[8, 10]]], [[[9, 11]]], [[[12, 14]]], [[[13, 15]]]],
        {"block_shape": (2, 2, 2), "arrangement": INTERLEAVED},
    ),
    "padded-interleaved": (
        [[1, 2, 3]],
        [[9, 1, 3], [9, 2, 9]],
        {"block_shape": (2,), "borders": ((2, 1),), "pad_value": 9, "arrangement": INTERLEAVED},
    ),
    "padded-contiguous-block_major": (
        [[1], [2]],
        [[9, 9], [9, 9], [9, 1], [9, 2], [9, 9], [9, 9]],
        {"block_shape": (3,), "borders": ((3, 2),), "pad_value": 9, "arrangement": CONTIGUOUS},
    ),
    "a-block-longer-than-the-line": (
        [[1, 2]],
        [[9], [1], [2], [9]],
        {"block_shape": (4,), "borders": ((1, 1),), "pad_value": 9},
    ),
    "border-as-one-int": ([[1, 2]], [[9, 2], [1, 9]], {"block_shape": (2,), "borders": 1, "pad_value": 9}),
    "dims-reversed": (
        [[[0, 1, 2], [3, 4, 5]]],
        [[[0]], [[3]], [[1]], [[4]], [[2]], [[5]]],
        {"block_shape": (3, 2), "spatial_dims": (2, 1)},
    ),
    "dims-in-order": (
        [[[0, 1, 2], [3, 4, 5]]],
        [[[0]], [[1]], [[2]], [[3]], [[4]], [[5]]],
        {"block_shape": (2, 3), "spatial_dims": (1, -1)},
    ),
    "dims-channels-last": (
        PIXELS,
        [[[[0, 1]]], [[[2, 3]]], [[[4, 5]]], [[[6, 7]]]],
        {"block_shape": (2, 2), "spatial_dims": (1, 2)},
    ),
    "dims-the-first-only": ([[[0, 1], [2, 3]]], [[[0, 1]], [[2, 3]]], {"block_shape": 2, "spatial_dims": 1}),
    "borders-follow-the-order-of-dims": (
        [[[1, 2], [3, 4]]],
        [[[9, 1, 2]], [[9, 3, 4]]],
        {"block_shape": (1, 2), "spatial_dims": (2, 1), "borders": ((1, 0), (0, 0)), "pad_value": 9},
    ),
    # 9 1 2 3 4 9, moved by two to the left: 2 3 4 9 9 1
    "shifted-contiguous": (
        [[1, 2, 3, 4]],
        [[2, 3, 4], [9, 9, 1]],
        {"block_shape": (2,), "borders": 1, "pad_value": 9, "arrangement": CONTIGUOUS, "shifts": -2},
    ),
    "shifted-interleaved": (
        [[1, 2, 3, 4]],
        [[2, 9], [3, 9], [4, 1]],
        {"block_shape": (3,), "borders": 1, "pad_value": 9, "shifts": (4,)},
    ),
    "shifted-2d": (
        PLANES,
        [[[5, 6]], [[7, 4]], [[1, 2]], [[3, 0]], [[13, 14]], [[15, 12]], [[9, 10]], [[11, 8]]],
        {"block_shape": (2, 2), "batch_order": BATCH, "arrangement": CONTIGUOUS, "shifts": (1, -1)},
    ),
}


# The definition, which every backend is held to, and the front door for arrays and for tensors.
each_kind = pytest.mark.parametrize(
    ("functions", "make"),
    [(definition, np.array), (spacebatch, np.array), (spacebatch, torch.tensor)],
    ids=["definition", "array", "tensor"],
)


@each_kind
@pytest.mark.parametrize("name", TABLE)
def test_table(functions: Any, make: Any, name: str) -> None:
    space, batch, arguments = TABLE[name]
    arguments = dict(arguments)
    borders, pad_value = arguments.pop("borders", 0), arguments.pop("pad_value", 0)
    y = functions.space_to_batch(make(space), paddings=borders, pad_value=pad_value, **arguments)
    x = functions.batch_to_space(make(batch), crops=borders, **arguments)
    assert y.tolist() == batch
    assert x.tolist() == space


@each_kind
def test_block_3_padding_2(functions: Any, make: Any) -> None:
    """Rows and columns of phase 0 come from coordinates -2, 1, 4; of phase 1 from -1, 2, 5; of phase 2 from 0, 3, 6."""
    first_channel = [
        [[0, 0, 0], [0, 7, 10], [0, 22, 25]],
        [[0, 0, 0], [0, 8, 0], [0, 23, 0]],
        [[0, 0, 0], [6, 9, 0], [21, 24, 0]],
        [[0, 0, 0], [0, 12, 15], [0, 0, 0]],
        [[0, 0, 0], [0, 13, 0], [0, 0, 0]],
        [[0, 0, 0], [11, 14, 0], [0, 0, 0]],
        [[0, 2, 5], [0, 17, 20], [0, 0, 0]],
        [[0, 3, 0], [0, 18, 0], [0, 0, 0]],
        [[1, 4, 0], [16, 19, 0], [0, 0, 0]],
    ]
    image = [[5 * h + w + 1 for w in range(5)] for h in range(5)]
    space = [[[[25 * c + v for v in row] for row in image] for c in range(3)]]
    batch = [[[[v and 25 * c + v for v in row] for row in plane] for c in range(3)] for plane in first_channel]
    assert functions.space_to_batch(make(space), 3, 2).tolist() == batch
    assert functions.batch_to_space(make(batch), 3, 2).tolist() == space


@each_kind
def test_crops_drop_what_they_cover(functions: Any, make: Any) -> None:
    y = make([[0, 3, 6], [1, 4, 7], [2, 5, 8]])
    for crops, expected in ((((4, 3),), [[4, 5]]), (((4, 5),), [[]]), (1, [[1, 2, 3, 4, 5, 6, 7]])):
        assert functions.batch_to_space(y, (3,), crops).tolist() == expected


@each_kind
def test_auto_pads_the_end(functions: Any, make: Any) -> None:
    x = make([[1, 2, 3, 4]])
    assert functions.space_to_batch(x, (3,), "auto").tolist() == [[1, 4], [2, 0], [3, 0]]
    windows = functions.space_to_batch(x, (3,), "auto", arrangement="contiguous")
    assert windows.tolist() == [[1, 2], [3, 4], [0, 0]]
