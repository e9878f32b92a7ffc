"""A layout's letters name the blocked dims of the operators, for tensors, arrays, geometries, modules and graphs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import spacebatch
from spacebatch import BlockGeometry, batch_to_space, nn, space_to_batch
from spacebatch.reference.data_layout import layout_dims
from tests.bits import random_tensor, same


@pytest.mark.parametrize(
    ("layout", "ndim", "dims"),
    [
        *(("NHWC", 4, (1, 2)), ("NCHW", 4, (2, 3)), ("NDHWC", 5, (1, 2, 3)), ("NCL", 3, (2,)), ("NHW", 3, (1, 2))),
        *(("NC...", 4, (2, 3)), ("N...C", 5, (1, 2, 3)), ("N...", 3, (1, 2)), ("NT...C", 4, (1, 2)), ("N...CX", 5, (1, 2, 4))),
    ],
)  # fmt: skip
def test_dims(layout: str, ndim: int, dims: tuple[int, ...]) -> None:
    assert layout_dims("layout", layout, ndim) == dims


def test_a_scalar_block_leaves_the_channels_alone() -> None:
    x = random_tensor((2, 4, 6, 3))
    expected = space_to_batch(x, 2, spatial_dims=(1, 2))
    y = space_to_batch(x, 2, spatial_dims="NHWC")
    assert same(y, expected)
    assert same(batch_to_space(y, 2, spatial_dims="N...C"), x)
    assert same(space_to_batch(x.numpy(), 2, spatial_dims="NHWC"), expected.numpy())
    assert same(nn.SpaceToBatch(2, spatial_dims="NHWC")(x), expected)
    assert same(torch.compile(lambda x: space_to_batch(x, 2, spatial_dims="NHWC"), backend="eager")(x), expected)
    assert BlockGeometry(x.shape, 2, spatial_dims="NHWC") == BlockGeometry(x.shape, 2, spatial_dims=(1, 2))
    assert spacebatch.explain("space_to_batch", x, 2, spatial_dims="NHWC").geometry.spatial_dims == (1, 2)
    for k in range(5):  # new sizes, which recipes serve
        z = np.ones((1, 4 + 2 * k, 6, 3))
        assert space_to_batch(z, 2, spatial_dims="NHWC").shape == (4, 2 + k, 3, 3)
