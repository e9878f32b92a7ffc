"""Rectangles of all item sizes, by every way `moves` takes, are the bits that one copy would bring."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import spacebatch
from spacebatch import moves, strided_copy
from spacebatch.reference import BlockGeometry

INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
DTYPES = (
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.float8_e4m3fn,
    torch.int16,
    torch.float16,
    torch.bfloat16,
    torch.int32,
    torch.float32,
    torch.complex32,
    torch.int64,
    torch.float64,
    torch.complex64,
    torch.complex128,
)
# (C, *spatial), block, channels last, offset of the first element
KINDS = (
    ((3, 16, 24), (2, 2), False, 0),
    ((3, 12, 18), (3, 3), False, 1),
    ((2, 16, 16), (4, 4), False, 0),
    ((4, 256), (2,), False, 3),
    ((2, 8, 8, 8), (2, 2, 2), False, 0),
    ((16, 12, 12), (2, 2), True, 0),
    ((16, 12, 12), (2, 2), True, 16),
    ((16, 12, 12), (2, 2), True, 5),
    ((4, 12, 12), (3, 3), True, 0),
    ((2, 16, 16), (4, 4), True, 2),
    ((5, 8, 8), (2, 2), True, 0),
    ((1, 8, 8), (1, 2), False, 0),
    ((1, 8, 8), (2, 1), False, 0),
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every way is open to small tensors."""
    monkeypatch.setattr(moves, "SWIFT_BYTES", 0)
    for name in ("_IN_PLANES", "_LAST", "_OF_4", "_OF_8"):
        monkeypatch.setattr(moves, f"_LEAST_BYTES{name}", 0)
    moves.plan_of.cache_clear()
    yield
    moves.plan_of.cache_clear()


def _bits(shape: tuple[int, ...], dtype: torch.dtype, last: bool, offset: int) -> Tensor:
    """A tensor of random bits, whose first element is not the first of its memory."""
    size = torch.Size(shape).numel()
    if dtype is torch.bool:
        flat = torch.randint(0, 2, (offset + size,)).bool()
    else:
        flat = torch.randint(0, 256, ((offset + size) * dtype.itemsize,), dtype=torch.uint8).view(dtype)
    if not last:
        return flat[offset:].view(shape)
    n, c, *spatial = shape
    return flat[offset:].view(n, *spatial, c).movedim(-1, 1)


def _same_bits(a: Tensor, b: Tensor) -> bool:
    return a.dtype is b.dtype and torch.equal(*(t.contiguous().flatten().view(torch.uint8) for t in (a, b)))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_bits_arrive(kind: int, dtype: torch.dtype) -> None:
    sample, block, last, offset = KINDS[kind]
    shape = (2, *sample)
    for border in (0, 1):
        pads = tuple((border, b - border) if border else (0, 0) for b in block)
        geometry = BlockGeometry(shape, block, pads)
        x = _bits(shape, dtype, last, offset)
        source = torch.from_numpy(geometry.space_indices())
        flat = x.contiguous().flatten().view(torch.uint8).view(-1, dtype.itemsize)
        bits = torch.where(source.flatten()[:, None] < 0, 0, flat[source.flatten().clamp(min=0)])
        expected = bits.to(torch.uint8).flatten().view(dtype).view(geometry.batch_shape)

        y = spacebatch.space_to_batch(x, block, pads)
        assert _same_bits(y, expected)
        assert y._base is None
        assert _same_bits(spacebatch.batch_to_space(y, block, pads), x)
        out = torch.empty_strided(y.shape, y.stride(), dtype=dtype)
        assert _same_bits(spacebatch.space_to_batch(x, block, pads, out=out), expected)


def test_plans() -> None:
    def plan(shape: tuple[int, ...], block: int, last: bool, itemsize: int) -> moves.Plan:
        x = torch.empty(shape, dtype=INTEGERS[itemsize])
        x = x.movedim(-1, 1) if last else x
        geometry = BlockGeometry(x.shape, block)
        batch = strided_copy._batch_strides(geometry, x.stride())
        (part,) = strided_copy.parts_of(geometry, x.stride(), batch).copies
        return moves.plan_of(part.sizes, part.space_strides, part.batch_strides, itemsize)

    planes = plan((1, 4, 16, 16), 2, False, 4)
    assert planes.unit == 1
    assert planes.dtype is torch.int32
    assert planes.phases is not None
    assert planes.sizes[planes.phases] == 2
    assert planes.space_strides[planes.phases] == 1
    bytes_last = plan((1, 16, 16, 16), 2, True, 1)
    assert bytes_last[:2] == (16, torch.complex128)
    halves_last = plan((1, 16, 16, 16), 2, True, 2)
    assert halves_last.unit == 1  # 32 bytes are no number
    assert halves_last.phases is not None
    assert halves_last.space_strides[halves_last.phases] == 16
    assert plan((1, 16, 16, 64), 2, True, 2).phases is None  # a long run


def test_many_phases_stay_together() -> None:
    for itemsize, block in itertools.product((2, 4, 8), (5, 8)):
        space, batch = (block, 1), (1, 64)
        assert moves._phases((64, block), space, batch, itemsize, 1 << 30) is None
    assert moves._phases((64, 8), (8, 1), (1, 64), 1, 1 << 30) == 1


def test_large_planes_of_wide_elements_stay_together() -> None:
    loops = (64, 2), (2, 1), (1, 64)
    assert moves._phases(*loops, 8, 1 << 20) == 1
    assert moves._phases(*loops, 8, 1 << 24) is None
    assert moves._phases(*loops, 4, 1 << 24) == 1


def test_neighbours_in_both_are_no_phases() -> None:
    windows = (4, 8, 2, 2), (32, 2, 16, 1), (16, 2, 8, 1)
    assert moves._phases(*windows, 1, 1 << 30) is None
