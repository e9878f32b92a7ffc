"""Calls of 2**30 to 2**40 words: single programs of every family move what the definition says, and all of them are launched."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from spacebatch import BlockGeometry
from spacebatch.perf.cases import DIRECTIONS
from spacebatch.reference.memory_order import dense_strides
from spacebatch.reference.prepared import Direction, Layout
from spacebatch.tl_kernels import family, launch
from spacebatch.tl_kernels.family import Config
from tests.virtual_kernels import expected, moved

pytestmark = pytest.mark.skipif(not launch.INTERPRETED, reason="Triton's interpreter is off")

CONTIGUOUS = {"arrangement": "contiguous"}
WINDOWS = {"arrangement": "contiguous", "batch_order": "batch_major"}
NHWC = (0, 2, 3, 1)
CALLS = {  # shape, block, paddings, bytes of an element, options
    "block 1, 16 GiB": ((8, 512, 1024, 1024), 1, 0, 4, {}),
    "block 1, a long row, padded": ((1, 1, 2**32), 1, ((16, 16),), 1, {}),
    "block 1, an odd long row, padded": ((1, 1, 2**31 + 11), 1, ((1, 5),), 2, {}),
    "block 1, a terabyte": ((2**20, 2**20), (1,), 0, 1, {}),
    "block 1, 2 TiB": ((2**12 + 1, 2**29), (1,), 0, 1, {}),
    "a row": ((1, 1, 2**33), 2, 0, 2, {}),
    "a row, padded": ((1, 1, 2**32 - 2), 2, 1, 2, {}),
    "a row, many odd phases": ((1, 1, 3 * 2**31), 3, 3, 4, {}),
    "a row of as many phases": ((1, 1, 2**33), 2**28, 0, 1, {}),
    "a row of more phases": ((1, 1, 2**34), 2**31 + 2**30, "auto", 1, {}),
    "windows of long rows": ((1, 1, 2**34), 2, 0, 8, CONTIGUOUS),
    "windows of long rows, padded": ((1, 1, 2**34 - 8), 2, 4, 1, CONTIGUOUS),
    "windows of odd long rows": ((1, 1, 2**33 + 6), 2, 0, 2, CONTIGUOUS),
    "many windows": ((1, 2, 2**34), 2**31, 0, 1, CONTIGUOUS),
    "planes": ((1, 1, 2**17 + 2, 2**16), 2, 0, 2, {}),
    "planes, padded": ((1, 3, 2**17, 2**16 - 2), 2, 1, 2, {}),
    "odd planes": ((3, 5, 2**15 + 1, 2**16 + 1), 2, "auto", 1, {}),
    "odd planes, block 3": ((1, 2**10, 3 * 2**12, 3 * 2**10), 3, 0, 4, {}),
    "tiny planes": ((2**30, 2, 4, 16), 2, 0, 1, {}),
    "tiny odd planes": ((2**30, 2, 3, 5), 2, "auto", 1, {}),
    "a large border": ((1, 1, 2**31 + 4, 2), (2, 1), ((2**32, 0), (0, 0)), 1, {}),
    "a crop that leaves little": ((1, 2, 4, 1001), (1, 3), ((0, 0), (2**33, 2**33 - 1001 + 2)), 1, {}),
    "a large crop": ((1, 2, 2**32 + 1), (1,), ((2**31, 2**31),), 1, {}),
    "a shifted crop that leaves little": ((1, 2, 1001), (1,), ((2**33, 2**32),), 1, {}),
    "channels last": ((2, 96, 2**16, 2**15), 2, 0, 2, {"order": NHWC}),
    "channels last, padded": ((2, 3, 2**16 - 2, 2**15 - 2), 2, 1, 1, {"order": NHWC}),
    "long channels last": ((2, 2**32, 4, 4), 2, 0, 1, {"order": NHWC}),
    "windows": ((64, 96, 2**10, 2**10), 8, 0, 2, WINDOWS),
    "windows of 7": ((64, 96, 7 * 2**7, 7 * 2**7), 2**7, 0, 1, WINDOWS),
    "wide elements": ((1, 1, 2**16, 2**15), 2, 1, 16, {}),
    "a long row of wide elements": ((1, 1, 2**31 + 2), 2, 0, 16, {}),
}


TOO_MANY = "the call takes more programs than a launch may have"
TOO_FAR = "the tensors reach further than the kernels can count"


def prepared(
    direction: Direction, shape: tuple[int, ...], block: Any, pads: Any, size: int, options: dict[str, Any]
) -> Any:
    """The prepared call, its geometry, and the strides of both tensors, which are dense in the memory order given."""
    order = options.get("order", range(len(shape)))
    geometry = BlockGeometry(shape, block, pads, **{name: o for name, o in options.items() if name != "order"})
    strides = tuple(tuple(dense_strides(s, order)) for s in (geometry.space_shape, geometry.batch_shape))
    layouts = [Layout(s, size, None, "meta") for s in strides]
    source, result = layouts if direction == "space_to_batch" else layouts[::-1]
    return launch.prepare(direction, geometry, source, result), geometry, strides


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", CALLS)
def test_programs(name: str, direction: Direction) -> None:
    check(direction, *CALLS[name], seed=0)


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4, 5, 6, 10, 11])  # 7 to 9 take ten times as long as these
def test_programs_of_random_calls(seed: int) -> None:
    rng = random.Random(seed)
    rank = rng.randint(2, 4)
    shape = [1] * rank
    huge = rng.random() < 0.3  # a border, or the block; beside it the sizes are smaller
    for _ in range(rng.randint(20, 28) if huge else rng.randint(30, 40)):
        shape[rng.choice([0, *range(1, rank)] * 2 + [rank - 1] * 4)] *= 2
    shape = [max(size + rng.choice([0, 0, -1, 1, 2, 5, 16]), 1) for size in shape]
    dims = sorted(rng.sample(range(1, rank), rng.randint(1, rank - 1)))
    blocks = [rng.choice([1, 2, 2, 3, 4, 7, 16, 2**9]) for _ in dims]
    pads = [rng.choice([(0, 0), (0, 0), (1, 1), (16, 16), (3, 0)]) for _ in dims]
    if huge and rng.random() < 0.5:
        blocks[-1] = 2**29 + rng.choice([0, 1])
    elif huge:
        pads[-1] = rng.choice([(2**31, 5), (16, 2**32), (2**30 + 1, 2**30 + 1)])
    pads = [(p, q + -(shape[d] + p + q) % b) for (p, q), d, b in zip(pads, dims, blocks, strict=True)]
    options = {
        "spatial_dims": dims,
        "order": (0, *rng.sample(range(1, rank), rank - 1)),
        "arrangement": rng.choice(["interleaved", "contiguous"]),
        "batch_order": rng.choice(["batch_major", "block_major"]),
        "shifts": [rng.choice([0, 1, -(2**31) - 7]) * (seed % 2) for _ in dims],
    }
    for direction in DIRECTIONS:
        check(direction, tuple(shape), blocks, pads, rng.choice([1, 1, 2, 4, 8, 16]), options, seed)


def check(
    direction: Direction, shape: tuple[int, ...], block: Any, pads: Any, size: int, options: Any, seed: int
) -> None:
    """Some programs of each plan of a call move what the definition says, no word is written twice, and all may be."""
    call, geometry, strides = prepared(direction, shape, block, pads, size, options)
    if isinstance(call, str):
        assert call in (TOO_MANY, TOO_FAR)
        assert np.prod(geometry.batch_shape, dtype=object) * size >= 2**41
        return
    rng = random.Random(seed)
    total = int(np.prod(geometry.batch_shape if direction == "space_to_batch" else geometry.space_shape, dtype=object))
    for aligned in (True, False):
        plans = call.plans(aligned, aligned)
        assert plans
        for plan in plans:
            if (
                plan.family in family.SPANNING
            ):  # words of several sizes, taken apart: `tests/ptx/large.py` executes them
                continue
            tile = plan.rule.tile_bytes // plan.words
            programs = plan.programs(tile)
            assert 0 < programs < 2**31
            chosen = {0, 1, programs // 2, programs - 2, programs - 1, *(rng.randrange(programs) for _ in range(3))}
            met: list[Any] = []
            for program in sorted(p for p in chosen if 0 <= p < programs):
                places, values = moved(plan, tile, program)
                some = {0, len(places) - 1, *(rng.randrange(len(places)) for _ in range(30))} if len(places) else ()
                for at in some:
                    place, value = int(places[at]), int(values[at])
                    assert 0 <= place < total * size // plan.words, (plan, program)
                    wanted = expected(direction, geometry, strides, size, plan.words, place)
                    assert value == wanted, (plan, program, place, value, wanted)
                met.append(places)
            all_met = np.concatenate(met)
            assert len(np.unique(all_met)) == len(all_met), f"{plan}: a word is written twice"
            if (
                direction == "space_to_batch" or not geometry.padded or plan.family == "granules"
            ):  # else many write nothing
                assert max(map(len, met)) * programs >= total * size // plan.words, f"{plan}: too few programs"


def test_rows_that_end_inside_a_granule_of_far_apart_words() -> None:
    """Offsets fit 32 bits, but not those of a granule's last lanes, counted from before the row that they belong to."""
    geometry = BlockGeometry((3, 15), (1,))
    strides = (1, 150_000_000), (15, 1)
    call = launch.prepare("space_to_batch", geometry, *(Layout(s, 1, None, "meta") for s in strides))
    (plan,) = (plan for plan in call.plans() if plan.family == "granules")
    places, values = moved(plan, 64, 0)
    assert sorted(places) == list(range(45))
    for place, value in zip(places, values, strict=True):
        assert value == expected("space_to_batch", geometry, strides, 1, 1, int(place))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_what_no_launch_can_do_is_refused(direction: Direction, monkeypatch: pytest.MonkeyPatch) -> None:
    def reason(shape: tuple[int, ...], strides: tuple[int, ...] | None = None) -> str | None:
        geometry = BlockGeometry(shape, 1, spatial_dims=1)
        space, batch = strides or dense_strides(shape, range(len(shape))), dense_strides(shape, range(len(shape)))
        layouts = [Layout(tuple(s), 1, None, "meta") for s in (space, batch)]
        call = launch.prepare(direction, geometry, *layouts[:: 1 if direction == "space_to_batch" else -1])
        return call if isinstance(call, str) else None

    far = 2**57
    assert reason((2, 2, 3), (far, 7, 1)) is None
    assert reason((2, 2, 3), (2 * far + 1, 7, 1)) == TOO_FAR
    assert reason((2**20, 2**21 - 1)) is None
    assert reason((2**27, 2**29 - 1)) == TOO_MANY
    # AMD's driver takes as many programs as make 2**32 - 1 threads
    assert reason((2**14, 2**22 - 1)) is None
    monkeypatch.setattr(family, "COUNTS_THREADS", True)
    monkeypatch.setattr(launch, "ALWAYS_FIT", 2**23 - 1)
    assert reason((2**14, 2**18 - 1)) is None
    assert reason((2**14, 2**22 - 1)) == TOO_MANY


def test_configurations_of_too_many_for_a_launch_are_neither_measured_nor_taken() -> None:
    call, *_ = prepared("space_to_batch", *CALLS["block 1, 2 TiB"])
    plans = call.plans(False, False)
    assert all(family.fits(plan, plan.rule) for plan in plans)
    small = Config("rows", 1024, 1)
    assert not family.fits(plans[0], small)
    assert small not in family.candidates(plans)
    assert launch.taken(plans, small) == (plans[0], plans[0].rule)
