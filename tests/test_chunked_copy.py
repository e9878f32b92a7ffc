"""Padding and cropping in chunks: the same bits, whatever the chunks, and a buffer no larger than said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from spacebatch import BlockGeometry, chunked_copy, strided_copy
from spacebatch.reference import definition
from tests.cases import OPTIONS, option_id

GEOMETRIES: list[tuple[tuple[int, ...], Any, Any, Any]] = [
    ((3, 5, 7, 6), (2, 3), ((1, 0), (2, 1)), None),
    ((2, 3, 4, 5, 6), (2, 2), ((3, 1), (0, 2)), (2, 4)),
    ((4, 7, 5), (4,), ((2, 7),), (1,)),
    ((1, 6), (3,), ((1, 2),), None),
    ((3, 4, 6, 4), (2, 2), 0, None),
    ((2, 6, 4, 3), (2,), 0, (2,)),
]


@pytest.fixture(params=[1 << 30, 1 << 11, 760])
def limits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    chunked_copy.chunks_of.cache_clear()
    monkeypatch.setattr(chunked_copy, "CHUNK_BYTES", request.param)
    monkeypatch.setattr(strided_copy, "TWO_PASS_BYTES", 0)
    monkeypatch.setattr(strided_copy, "CHUNKED_BYTES", 0)
    yield
    chunked_copy.chunks_of.cache_clear()


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize("options", OPTIONS, ids=option_id)
@pytest.mark.parametrize(("shape", "block", "paddings", "dims"), GEOMETRIES)
@pytest.mark.parametrize("turned", [False, True])
def test_same_bits(
    shape: tuple[int, ...], block: Any, paddings: Any, dims: Any, options: dict[str, Any], turned: bool
) -> None:
    g = BlockGeometry(shape, block, paddings, spatial_dims=dims, **options)
    x = torch.arange(torch.Size(shape).numel(), dtype=torch.float64).view(shape)
    if turned:
        x = x.transpose(-1, 1).contiguous().transpose(-1, 1)
    wanted = torch.from_numpy(definition.space_to_batch(x.numpy(), pad_value=-1.0, **g.arguments))
    y = torch.full_like(wanted, 7.0)
    assert turned or dims or chunked_copy.chunks_of(g, x.stride(), y.stride(), 8) is not None
    strided_copy.space_to_batch(g, x, -1.0, y)
    assert torch.equal(y, wanted)
    assert torch.equal(strided_copy.space_to_batch(g, x, -1.0), wanted)
    back = torch.full_like(x, 7.0)
    strided_copy.batch_to_space(g, wanted, back)
    assert torch.equal(back, x)


def test_chunks_hold_no_more_than_they_may() -> None:
    for shape in ((8, 64, 126, 126), (64, 3, 30, 30), (1, 1, 500, 500)):
        g = BlockGeometry(shape, 2, 1)
        strides = [torch.empty(s, device="meta").stride() for s in (g.space_shape, g.batch_shape)]
        chunks = chunked_copy.chunks_of(g, strides[0], strides[1], 4)
        assert chunks is not None
        assert chunks.buffer * 4 <= chunked_copy.CHUNK_BYTES
        places = list(chunks.places())
        assert (
            sum(torch.Size(chunks.chunk(parts).inside).numel() for parts, _, _ in places) == torch.Size(shape).numel()
        )


def test_a_channel_too_large_for_a_chunk() -> None:
    g = BlockGeometry((1, 1, 4096, 4096), 2, 1)
    assert chunked_copy.chunks_of(g, (4096**2, 4096**2, 4096, 1), (2049**2, 2049**2, 2049, 1), 4) is None


def test_channels_last_is_cut_by_samples_alone() -> None:
    shapes = (8, 16, 64, 64), (32, 16, 32, 32)
    strides = [torch.empty(s, device="meta").to(memory_format=torch.channels_last).stride() for s in shapes]
    g = BlockGeometry(shapes[0], 2)
    chunks = chunked_copy.chunks_of(g, strides[0], strides[1], 4)
    assert chunks is not None
    assert [(size, part) for size, part, _, _ in chunks.dims] == [(8, 4), (16, 16)]
    assert chunked_copy.chunks_of(g, strides[0], strides[1], 32) is None
