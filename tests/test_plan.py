"""Launch plans: pure numbers, held against the geometry without running a kernel."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from spacebatch import BlockGeometry
from spacebatch.perf.static import CASES, DIRECTIONS
from spacebatch.reference.memory_order import dense_strides
from spacebatch.tl_kernels import plan as plans
from spacebatch.tl_kernels.plan import HALF, RUN, WHOLE, magic, make_plan


@pytest.mark.parametrize("divisor", [2, 3, 5, 7, 10, 16, 127, 128, 641, 65535, 65536, 2**30, 2**31 - 1])
def test_magic_divides_every_31_bit_number(divisor: int) -> None:
    code = magic(divisor)
    multiplier, shift = code >> 8, code >> 2 & 63
    assert multiplier < 2**32
    numbers = {0, 1, divisor - 1, divisor, divisor + 1, 2**31 - 1, 2**31 - 2, (2**31 - 1) // divisor * divisor}
    numbers |= {(2**31 - 1) // divisor * divisor - 1, *(random.Random(divisor).randrange(2**31) for _ in range(2000))}
    for n in numbers:
        assert (n * multiplier >> 32) >> shift == n // divisor


def test_magic_refuses_one() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        magic(1)


@pytest.mark.parametrize("value", [0, 1, 16, -3, 2**40, 2**29])
def test_coded_numbers_are_not_specialised(value: int) -> None:
    coded = plans.coded(value)
    assert coded != 1
    assert coded % 16 != 0
    assert coded >> 2 == value


def _pairs(loops: list[plans.LoopDim]) -> set[tuple[int, int]]:
    """Every (space offset, batch offset) that the loops meet inside the border."""
    found = set()
    for index in itertools.product(*(range(loop.size) for loop in loops)):
        space = batch = 0
        inside = True
        for loop, i in zip(loops, index, strict=True):
            coordinate = i - loop.before if loop.kind != plans.PLAIN else i
            if loop.kind != plans.PLAIN:
                inside = inside and 0 <= coordinate < loop.covered
            space += coordinate * loop.space_stride
            if loop.kind == plans.SPLIT:
                batch += i // loop.extent * loop.outer_stride + i % loop.extent * loop.inner_stride
            else:
                batch += i * loop.outer_stride
        if inside:
            found.add((space, batch))
    return found


@pytest.mark.parametrize("seed", range(30))
def test_loops_meet_the_pairs_of_the_geometry(seed: int) -> None:
    rng = random.Random(seed)
    rank = rng.randint(2, 5)
    shape = [rng.randint(1, 4) for _ in range(rank)]
    dims = rng.sample(range(1, rank), rng.randint(1, rank - 1))
    blocks = [rng.randint(1, 3) for _ in dims]
    pads = [(rng.randint(0, 2), rng.randint(0, 2)) for _ in dims]
    pads = [(a, b + -(shape[d] + a + b) % k) for (a, b), d, k in zip(pads, dims, blocks, strict=True)]
    geometry = BlockGeometry(
        shape,
        blocks,
        pads,
        spatial_dims=dims,
        batch_order=rng.choice(["block_major", "batch_major"]),
        arrangement=rng.choice(["interleaved", "contiguous"]),
    )
    order = rng.sample(range(rank), rank)
    space, batch = dense_strides(geometry.space_shape, order), dense_strides(geometry.batch_shape, order)
    places = geometry.batch_indices()
    wanted = set()
    for index in np.ndindex(*geometry.space_shape):
        there = np.unravel_index(places[index], geometry.batch_shape)
        wanted.add((sum(np.multiply(index, space)), sum(np.multiply(there, batch))))
    loops = plans.loop_dims(geometry, space, batch)
    assert _pairs(loops) == wanted
    assert _pairs(plans.merged(loops)) == wanted


def test_rows_times_length_is_the_padded_space() -> None:
    for case, direction, size in itertools.product(CASES, DIRECTIONS, (1, 2, 4, 8, 16)):
        plan = case.plan(direction, size)
        geometry = BlockGeometry(case.shape, case.block, case.paddings, **dict(case.options))
        elements = np.prod(geometry.batch_shape) * (2 if size == 16 else 1)
        if plan.mode == WHOLE:
            assert plan.rows * plan.inner.size == elements
            assert plan.length == plan.inner.covered
        else:
            assert plan.rows * plan.length == elements


def _plan(shape: tuple[int, ...], block: object, pads: object = 0, order: object = None, size: int = 4, **options: str):  # type: ignore[no-untyped-def]
    direction = options.pop("direction", "space_to_batch")
    geometry = BlockGeometry(shape, block, pads, **options)  # type: ignore[arg-type]
    order = order or range(len(shape))
    return make_plan(
        direction,  # type: ignore[arg-type]
        geometry,
        dense_strides(geometry.space_shape, order),  # type: ignore[arg-type]
        dense_strides(geometry.batch_shape, order),  # type: ignore[arg-type]
        size,
    )


def test_modes() -> None:
    shape = (2, 8, 32, 32)
    assert _plan(shape, 2).mode == HALF
    assert _plan(shape, 2, direction="batch_to_space").mode == WHOLE
    assert _plan(shape, 2, direction="batch_to_space", arrangement="contiguous").mode == HALF
    assert _plan(shape, 2, order=(0, 2, 3, 1)).mode == RUN
    assert _plan(shape, (2, 1)).mode == RUN


def test_units_promise_only_what_strides_and_borders_keep() -> None:
    contiguous = {"arrangement": "contiguous"}
    assert _plan((1, 2, 4, 64), (1, 4), **contiguous).space_unit == 4
    assert _plan((1, 2, 4, 64), (1, 4), ((0, 0), (4, 4)), **contiguous).space_unit == 2  # windows of 18
    assert _plan((1, 2, 4, 64), (1, 4), ((0, 0), (8, 8)), **contiguous).space_unit == 4  # windows of 20
    assert _plan((1, 2, 4, 64), (1, 4), ((0, 0), (1, 15)), **contiguous).space_unit == 1
    assert _plan((1, 2, 4, 63), (1, 3), **contiguous).space_unit == 1
    assert _plan((1, 6, 4, 4), 2, order=(0, 2, 3, 1)).space_unit == 2  # six channels
    geometry = BlockGeometry((1, 8, 4, 4), 2)
    strides = [dense_strides(s, (0, 2, 3, 1)) for s in (geometry.space_shape, geometry.batch_shape)]
    unaligned = make_plan("space_to_batch", geometry, *strides, 4, False, True)
    assert unaligned is not None
    assert (unaligned.space_unit, unaligned.batch_unit) == (1, 4)


def test_wide_offsets_where_they_are_needed() -> None:
    assert not _plan((1, 1, 2**16, 2**15), 2).wide  # the last offset is 2**31 - 1
    assert _plan((1, 1, 2**16 + 2, 2**15), 2).wide
    assert _plan((1, 1, 2**16, 2**15), 2, 2).wide
    assert _plan((1, 1, 2**16, 2**15), 2, size=16).wide
    assert _plan((1, 2**31, 2), (1, 2)).long_rows
