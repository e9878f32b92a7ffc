"""Launch plans: pure numbers, held against the geometry without running a kernel."""

from __future__ import annotations

import functools
import itertools
import random
from typing import Any

import numpy as np
import pytest

from spacebatch import BlockGeometry
from spacebatch.perf.static import CASES, DIRECTIONS
from spacebatch.reference import loops
from spacebatch.reference.loops import nest
from spacebatch.reference.memory_order import dense_strides
from spacebatch.tl_kernels.family import LEAST_SPANS, SPANNING
from spacebatch.tl_kernels.granules import ANY, ONE, WITHIN
from spacebatch.tl_kernels.integers import Divisor, divisor, encode, encoded, magic
from spacebatch.tl_kernels.plan import make_plans
from spacebatch.tl_kernels.rows import HALF, RUN, WHOLE, RowsPlan
from spacebatch.tl_kernels.runs import RunsPlan
from spacebatch.tl_kernels.steps import Axis, Steps, steps_of


@pytest.mark.parametrize("d", [2, 3, 5, 7, 10, 16, 127, 128, 641, 65535, 65536, 2**30, 2**31 - 1])
def test_magic_divides_every_31_bit_number(d: int) -> None:
    code = magic(d)
    multiplier, shift = code >> 8, code >> 2 & 63
    assert multiplier < 2**32
    numbers = {0, 1, d - 1, d, d + 1, 2**31 - 1, 2**31 - 2, (2**31 - 1) // d * d}
    numbers |= {(2**31 - 1) // d * d - 1, *(random.Random(d).randrange(2**31) for _ in range(2000))}
    for n in numbers:
        assert (n * multiplier >> 32) >> shift == n // d


def test_magic_refuses_one() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        magic(1)


@pytest.mark.parametrize("value", [0, 1, 16, -3, 2**40, 2**29])
def test_encoded_integers_are_not_specialised(value: int) -> None:
    code = encode(value)
    assert code != 1
    assert code % 16 != 0
    assert code >> 2 == value


def test_numbers_that_cannot_be_encoded_are_refused() -> None:
    for value in (2**61 - 1, -(2**61)):
        assert -(2**63) <= encode(value) < 2**63
    for value in (2**61, -(2**61) - 1):
        with pytest.raises(OverflowError, match="more than 62 bits"):
            encode(value)


def _pairs(nest: list[loops.LoopDim]) -> set[tuple[int, int]]:
    """Every (space offset, batch offset) that the loops meet inside the border."""
    found = set()
    for index in itertools.product(*(range(loop.size) for loop in nest)):
        space = batch = 0
        inside = True
        for loop, i in zip(nest, index, strict=True):
            coordinate = (i - loop.wrap) % loop.size - loop.before if loop.kind != loops.PLAIN else i
            if loop.kind != loops.PLAIN:
                inside = inside and 0 <= coordinate < loop.covered
            space += coordinate * loop.space_stride
            if loop.kind == loops.SPLIT:
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
        shifts=[rng.randint(-5, 5) * (seed % 3 == 0) for _ in dims],
    )
    order = rng.sample(range(rank), rank)
    space, batch = dense_strides(geometry.space_shape, order), dense_strides(geometry.batch_shape, order)
    places = geometry.batch_indices()
    wanted = set()
    for index in np.ndindex(*geometry.space_shape):
        there = np.unravel_index(places[index], geometry.batch_shape)
        wanted.add((sum(np.multiply(index, space)), sum(np.multiply(there, batch))))
    dims = loops.loop_dims(geometry, space, batch)
    assert _pairs(dims) == wanted
    assert _pairs(loops.merged(dims)) == wanted
    whole = nest(geometry, space, batch, 4)
    for direction in () if geometry.shifted else DIRECTIONS:
        steps = steps_of(direction, whole)
        if steps is not None:  # more than three borders are not taken
            assert _gathered(steps, whole.words // 4, direction) == wanted


def _gathered(steps: Steps, factor: int, direction: str) -> set[tuple[int, int]]:
    """Every (space offset, batch offset), in elements, that the steps of a result meet inside the border."""
    found = set()
    for word in range(steps.total):
        rest, source, inside = word, steps.base, True
        along = [-axis.before for axis in steps.axes]
        for step in steps.steps:
            rest, index = divmod(rest, step.size)
            if step.extent:
                outer, inner = divmod(index + step.before, step.extent)
                source += outer * step.source_stride + inner * step.inner_stride
            else:
                source += index * step.source_stride
            if step.axis >= 0:
                along[step.axis] += index * step.pace
        inside = all(0 <= u < axis.covered for u, axis in zip(along, steps.axes, strict=True))
        if inside:
            pair = (source, word) if direction == "space_to_batch" else (word, source)
            found |= {(factor * pair[0] + i, factor * pair[1] + i) for i in range(factor)}
    return found


def test_every_family_writes_the_whole_result_once() -> None:
    for case, direction, size in itertools.product(CASES, DIRECTIONS, (1, 2, 4, 8, 16)):
        geometry = BlockGeometry(case.shape, case.block, case.paddings, **dict(case.options))
        result = geometry.batch_shape if direction == "space_to_batch" else geometry.space_shape
        for plan in case.plans(direction, size):
            if plan.family in ("phases", "runs", "deinterleave", "interleave", "granules"):
                assert plan.payload == np.prod(result) * size
            elif isinstance(plan, RowsPlan) and plan.mode == WHOLE:
                assert plan.rows * plan.inner.size * plan.words == np.prod(geometry.batch_shape) * size
            else:
                assert plan.payload == np.prod(geometry.batch_shape) * size
            for tile_bytes in (1024, 8192, 32768):
                tile = tile_bytes // plan.words
                most = max(tile_bytes, 32 * LEAST_SPANS if plan.family in SPANNING else 512)
                if isinstance(plan, RunsPlan):  # whose tiles hold a row of windows
                    most = max(most, plan.positions(tile) * plan.phases * plan.words)
                assert plan.programs(tile) * most * 2 >= plan.payload
                arguments = plan.arguments(tile)
                assert arguments.items > 0
                assert all(n & 3 == 3 for n in _numbers((arguments.loops, arguments.inner)))


def _plans(shape: Any, block: Any, pads: Any = 0, order: Any = None, size: int = 4, **options: Any) -> tuple[Any, ...]:
    direction = options.pop("direction", "space_to_batch")
    geometry = BlockGeometry(shape, block, pads, **options)
    order = order or range(len(shape))
    strides = [dense_strides(sizes, order) for sizes in (geometry.space_shape, geometry.batch_shape)]
    return make_plans(direction, geometry, *strides, size)


def _plan(family: str, *arguments: Any, **options: Any) -> Any:
    """The plan of that family, or None."""
    return next((plan for plan in _plans(*arguments, **options) if plan.family == family), None)


_rows = functools.partial(_plan, "rows")
NHWC = (0, 2, 3, 1)


@pytest.mark.parametrize(
    ("family", "arguments", "options"),
    [
        ("vectors", ((2, 8, 32, 32), 2), {}),
        ("vectors", ((2, 8, 32, 32), 2), {"direction": "batch_to_space"}),
        ("vectors", ((2, 8, 32, 64), (2, 8), ((0, 0), (0, 0)), None, 2), {}),
        ("vectors", ((1, 2, 2**16), 512, 0, None, 1), {}),
        ("vectors", ((2, 4, 32, 32), 2, 0, NHWC, 2), {}),  # a pixel of four halves is one word
        ("phases", ((2, 8, 31, 31), 2, "auto"), {}),
        ("phases", ((2, 8, 30, 30), 3), {}),
        ("phases", ((2, 8, 30, 30), 2, 1), {}),
        ("deinterleave", ((2, 8, 31, 31), 2, "auto", None, 1), {}),
        ("deinterleave", ((2, 8, 30, 62), 4, 1, None, 1), {}),
        ("interleave", ((2, 8, 31, 31), 2, "auto", None, 1), {"direction": "batch_to_space"}),
        ("interleave", ((2, 8, 62, 62), 4, 1, None, 1), {"direction": "batch_to_space"}),
        ("runs", ((2, 8, 31, 31), 2, "auto"), {"direction": "batch_to_space"}),
        ("runs", ((2, 8, 30, 30), 3), {"direction": "batch_to_space"}),
        ("runs", ((2, 8, 28, 28), 4), {"direction": "batch_to_space", "arrangement": "contiguous"}),
        ("runs", ((2, 8, 26, 26), 4, 1), {"direction": "batch_to_space", "arrangement": "contiguous"}),
        ("granules", ((2, 8, 31, 31), 3, "auto", None, 1), {"direction": "batch_to_space"}),
        ("granules", ((2, 8, 80, 80), 40), {"direction": "batch_to_space"}),  # more phases than a tile weaves
        ("phases", ((2, 8, 28, 28), 4), {"arrangement": "contiguous"}),
        ("phases", ((2, 8, 26, 26), 4, 1), {"arrangement": "contiguous"}),
        ("phases", ((1, 4, 62, 62), 2, 2, None, 2), {}),  # planes of 4 * 33 * 33 halves: stores of 8 bytes
        ("granules", ((1, 3, 28, 28), 4, 0, None, 2), {"arrangement": "contiguous"}),  # planes of 3 * 7 * 7
        ("phases", ((2, 3, 32, 32), 2, 0, NHWC), {}),
        ("runs", ((2, 3, 32, 32), 2, 0, NHWC, 2), {"direction": "batch_to_space"}),
        ("rows", ((2, 8, 32, 32), 2, 0, NHWC), {}),
        ("rows", ((2, 8, 32, 32), 2, 0, NHWC), {"direction": "batch_to_space"}),
        ("rows", ((2, 8, 64, 64), 4), {"arrangement": "contiguous"}),
        ("rows", ((2, 8, 64, 64), (2, 1)), {}),
        ("rows", ((2, 1, 64, 64), 2, 0, None, 16), {}),
    ],
    ids=str,
)
def test_the_family_that_suits(family: str, arguments: tuple[Any, ...], options: dict[str, str]) -> None:
    plans = _plans(*arguments, **options)
    assert plans[0].family == family
    assert plans[0].access[1] >= 64


def test_a_result_that_is_not_dense_is_written_by_rows_or_vectors() -> None:
    geometry = BlockGeometry((1, 2, 8, 63), 2, "auto")
    space = dense_strides(geometry.space_shape, range(4))
    batch = (2 * 4 * 40, 4 * 40, 40, 1)  # rows of 32 in a pitch of 40
    assert {p.family for p in make_plans("space_to_batch", geometry, space, batch, 4)} == {"rows", "vectors"}
    assert {p.family for p in make_plans("space_to_batch", geometry, space, batch, 4, True, False)} == {"rows"}


def test_vectors() -> None:
    plan = _plan("vectors", (2, 8, 32, 64), 2, size=2)
    assert (plan.lanes, plan.phases, plan.granules, plan.chunks, plan.space_unit) == (8, 2, 4, 1, 8)
    padded = ((2, 8, 32, 64), (1, 8), ((0, 0), (2, 62)))
    assert _plans(*padded, size=2)[0].family == "phases"  # loads of 4 bytes
    assert _plan("vectors", *padded, size=2).space_unit == 2  # a border of 2 elements
    plan = _plan("vectors", (2, 1, 4096), 128)
    assert (plan.phases, plan.chunks) == (16, 8)  # runs of 64 bytes in space


def test_phases() -> None:
    plan = _plan("phases", (2, 8, 65, 65), 6, "auto")
    assert (plan.shared.size, [s.size for s in plan.plane], plan.plane_size) == (6, [11, 11, 16], 11 * 11 * 16)
    plan = _plan("phases", (2, 8, 48 * 20), 48)
    assert (plan.shared.size, [s.size for s in plan.near]) == (8, [6])  # the largest divisor up to 8


def test_runs() -> None:
    plan = _plan("runs", (2, 8, 97, 97), 2, "auto", size=2, direction="batch_to_space")
    assert (plan.windows, plan.length, plan.before, plan.run, plan.phases) == (False, 97, 0, 49, 2)
    plan = _plan("runs", (2, 8, 97, 98), 3, ((1, 1), (4, 3)), size=2, direction="batch_to_space")
    assert (plan.length, plan.before, plan.run, plan.phases) == (98, 1, 33, 3)
    plan = _plan("runs", (2, 8, 28, 27), 4, ((0, 0), (8, 1)), direction="batch_to_space", arrangement="contiguous")
    assert (plan.windows, plan.length, plan.before, plan.run, plan.phases) == (True, 27, 8, 9, 4)


@pytest.mark.parametrize("windows", [False, True])
def test_what_a_program_reads_of_runs_serves_its_stretch(windows: bool) -> None:
    rng = random.Random(0)
    for _ in range(200):
        block, pads = rng.randint(2, 9), (rng.randint(0, 9), rng.randint(0, 9))
        width = rng.choice((1, 2, 3, rng.randint(1, 30))) * block - sum(pads)
        options = {"arrangement": "contiguous"} if windows else {}
        if width < 1:
            continue
        shape = (2, 3, 5, width)
        plan = _plan("runs", shape, (1, block), ((0, 0), pads), size=2, direction="batch_to_space", **options)
        if plan is None:
            continue
        for tile in (512, 4096):
            stretch, most, rows = plan.stretch(tile), plan.positions(tile), plan.arguments(tile).flags["ROWS"]
            assert stretch % plan.lanes == 0 < stretch
            assert stretch <= most * plan.phases
            for first in range(0, min(plan.steps.total, 40 * stretch), stretch):
                word = np.arange(first, first + stretch)
                row, place = word // plan.length, word % plan.length + plan.before
                turn = place % plan.run if plan.windows else place // plan.phases
                position = (row - row[0]) * plan.run + turn - (0 if plan.windows else turn[0])
                assert position.min() >= 0
                assert position.max() < most
                assert row[-1] - row[0] < rows


def test_granules() -> None:
    for width, breaks in ((63, ONE), (64, WITHIN), (6, ANY)):
        plan = _plan("granules", (1, 3, 8, width), (2, 3), "auto", size=1, direction="batch_to_space")
        assert (plan.breaks, plan.lanes) == (breaks, 16)
    halves = _plan("granules", (1, 2, 56, 56), 8, size=1, arrangement="contiguous")
    assert (halves.lanes, halves.breaks) == (8, ONE)  # rows of 7 bytes: stores of 8


def test_spans_of_single_bytes() -> None:
    for width, span in ((31, 32), (29, 16)):  # rows of 16 and of 15 in each phase
        plan = _plan("deinterleave", (2, 8, 31, width), 2, "auto", size=1)
        assert (plan.span, plan.size) == (span, 2 * 8 * 31 * width)
        plan = _plan("interleave", (2, 8, 31, width), 2, "auto", size=1, direction="batch_to_space")
        assert (plan.span, plan.size) == (span, 4 * 2 * 8 * 16 * ((width + 1) // 2))
    assert _plan("deinterleave", (2, 8, 31, 13), 2, "auto", size=1) is None
    assert _plan("interleave", (2, 8, 31, 13), 2, "auto", size=1, direction="batch_to_space") is None
    assert _plan("deinterleave", (2, 8, 32, 16), 4, "auto", size=1) is None
    assert _plan("deinterleave", (1, 1, 2**30), 2, size=1) is not None
    assert _plan("deinterleave", (1, 1, 2**31), 2, size=1) is None  # places along a row take more than 31 bits


def test_spans_need_a_source_that_is_one_run_of_memory() -> None:
    geometry = BlockGeometry((2, 8, 31, 31), 2, "auto")
    batch = dense_strides(geometry.batch_shape, range(4))
    space = dense_strides(geometry.space_shape, range(4))
    wide = (8 * 31 * 32, 31 * 32, 32, 1)

    def families(*arguments: Any) -> set[str]:
        return {plan.family for plan in make_plans(*arguments)} & set(SPANNING)

    assert families("space_to_batch", geometry, space, batch, 1) == {"deinterleave"}
    assert families("space_to_batch", geometry, space, batch, 2) == set()
    assert families("space_to_batch", geometry, space, batch, 1, False, True) == set()
    assert families("space_to_batch", geometry, wide, batch, 1) == set()
    assert families("space_to_batch", geometry, (0, 31 * 31, 31, 1), batch, 1) == set()
    assert families("batch_to_space", geometry, space, batch, 1) == {"interleave"}
    assert families("batch_to_space", geometry, space, batch, 1, True, False) == set()
    assert families("batch_to_space", geometry, space, wide, 1) == set()


@pytest.mark.parametrize("order", ["block_major", "batch_major"])
def test_places_of_the_batch_tensor_in_space(order: str) -> None:
    geometry = BlockGeometry((2, 3, 5, 7), (2, 3), ((1, 2), (0, 2)), batch_order=order)
    loops_of = nest(geometry, *(dense_strides(s, range(4)) for s in (geometry.space_shape, geometry.batch_shape)), 1)
    wanted = geometry.space_indices().ravel().tolist()
    assert (loops_of.space_words, loops_of.batch_words) == (2 * 3 * 5 * 7, len(wanted))
    found = [loops_of.place_in_space(n) for n in range(len(wanted))]
    assert [-1 if n is None else n for n in found] == wanted


def test_words_are_as_wide_as_the_innermost_dim_allows() -> None:
    def words(channels: int, size: int) -> int:
        strides = [dense_strides(shape, NHWC) for shape in ((2, channels, 4, 4), (8, channels, 2, 2))]
        return nest(BlockGeometry((2, channels, 4, 4), 2), *strides, size).words

    assert [words(c, 1) for c in (1, 2, 3, 4, 6, 8, 16)] == [1, 2, 1, 4, 2, 8, 8]
    assert [words(c, 2) for c in (1, 2, 3, 4, 64)] == [2, 4, 2, 8, 8]
    assert words(3, 16) == 8


def test_modes_of_rows() -> None:
    shape = (2, 8, 32, 32)
    assert _rows(shape, 2).mode == HALF
    assert _rows(shape, 2, direction="batch_to_space").mode == WHOLE
    assert _rows(shape, 2, direction="batch_to_space", arrangement="contiguous").mode == HALF
    assert _rows(shape, 2, order=NHWC).mode == RUN
    assert _rows(shape, (2, 1)).mode == RUN


def test_units_promise_only_what_strides_and_borders_keep() -> None:
    contiguous = {"arrangement": "contiguous"}
    assert _rows((1, 2, 4, 64), (1, 4), **contiguous).space_unit == 4
    assert _rows((1, 2, 4, 64), (1, 4), ((0, 0), (4, 4)), **contiguous).space_unit == 2  # windows of 18
    assert _rows((1, 2, 4, 64), (1, 4), ((0, 0), (8, 8)), **contiguous).space_unit == 4  # windows of 20
    assert _rows((1, 2, 4, 64), (1, 4), ((0, 0), (1, 15)), **contiguous).space_unit == 1
    assert _rows((1, 2, 4, 63), (1, 3), **contiguous).space_unit == 1
    geometry = BlockGeometry((1, 8, 4, 4), 2)
    strides = [dense_strides(s, NHWC) for s in (geometry.space_shape, geometry.batch_shape)]
    (unaligned,) = (p for p in make_plans("space_to_batch", geometry, *strides, 4, False, True) if p.family == "rows")
    assert (unaligned.words, unaligned.space_unit, unaligned.batch_unit) == (4, 1, 4)


def test_wide_offsets_where_they_are_needed() -> None:
    for family in ("rows", "vectors", "phases", "granules"):
        assert not _plan(family, (1, 1, 2**16, 2**15), 2).wide  # the last offset is 2**31 - 1
        assert _plan(family, (1, 1, 2**16 + 2, 2**15), 2).wide
        assert _plan(family, (1, 1, 2**16, 2**15), 2, ((8, 8), (8, 8))).wide
    assert _rows((1, 2**31, 2), (1, 2)).long
    assert _rows((1, 1, 2**16, 2**15), 2, size=16).wide


def test_records_are_encoded_field_by_field() -> None:
    assert divisor(1) == Divisor(encode(1), encode(0))  # a division by one is never asked for
    assert divisor(3) == Divisor(encode(3), magic(3))
    assert encoded(Axis(2, 5)) == Axis(encode(2), encode(5))


def _numbers(value: object) -> list[int]:
    if isinstance(value, tuple):
        return [n for part in value for n in _numbers(part)]
    assert type(value) is int
    return [value]
