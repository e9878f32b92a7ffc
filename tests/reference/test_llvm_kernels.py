"""Vector kernels of the CPU, every sort of row in every width: bit by bit what the definition says, and nothing beside it written."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import pytest
import torch

from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.llvm import engine
from spacebatch.reference.llvm.plan import Plan, make_plan
from spacebatch.reference.llvm.spec import KernelSpec
from spacebatch.reference.memory_order import dense_strides
from tests.bits import define_batch, random_tensor, raw, same


@cache
def functions_of(spec: KernelSpec, vector: int) -> engine.Functions:
    return engine.loaded(engine.object_code(spec, vector))


GUARD = 256  # bytes around a result that nobody may write to


class Row(NamedTuple):
    """A geometry that takes one sort of row, and the order of its dims in memory."""

    shape: tuple[int, ...]
    block: tuple[int, ...]
    paddings: tuple[tuple[int, int], ...]
    order: tuple[int, ...] | None = None
    options: dict[str, Any] = {}  # noqa: RUF012 - never written to


CONTIGUOUS = {"arrangement": "contiguous", "batch_order": "batch_major"}
ROWS = {
    # as many positions as fill vectors, with a rest, in less than a vector, in one position
    "deinterleave": Row((2, 3, 4, 2 * 131), (2, 2), ((0, 0), (0, 0))),
    "deinterleave_of_3": Row((1, 2, 3 * 67), (3,), ((0, 0),)),
    "deinterleave_of_5": Row((1, 2, 5 * 9), (5,), ((0, 0),)),
    "deinterleave_of_12": Row((2, 1, 12 * 17), (12,), ((0, 0),)),
    "deinterleave_in_a_border": Row((2, 3, 5, 2 * 67 - 3), (2, 2), ((1, 2), (2, 1))),
    "deinterleave_in_a_wide_border": Row((1, 2, 5), (4,), ((13, 2),)),
    "deinterleave_within_a_block": Row((1, 2, 2), (5,), ((1, 7),)),
    "deinterleave_of_one_row": Row((1, 40_000), (2,), ((0, 0),)),  # in stretches
    "deinterleave_of_one_row_in_a_border": Row((1, 39_996), (3,), ((1, 2),)),
    # blocks too large to deinterleave: transposed tiles, and what is left of them
    "tiles": Row((2, 2, 17 * 40), (17,), ((0, 0),)),
    "tiles_in_a_border": Row((1, 2, 64 * 3 - 5), (64,), ((3, 2),)),
    "tiles_of_one_row": Row((1, 20 * 900), (20,), ((0, 0),)),
    # one position for each phase: channels are neighbours in the batch tensor
    "transpose": Row((1, 37, 24), (24,), ((0, 0),)),
    "transpose_in_a_border": Row((2, 37, 3, 5), (3, 8), ((0, 0), (2, 1))),
    "transpose_of_few": Row((1, 5, 3), (3,), ((0, 0),)),
    # channels last: segments of one to many words, short and long, known and unknown to the kernel
    "strided_segments": Row((2, 16, 6, 6), (2, 3), ((0, 0), (0, 0)), (0, 2, 3, 1)),
    "strided_segments_of_3": Row((1, 3, 8, 6), (2, 2), ((0, 0), (0, 0)), (0, 2, 3, 1)),
    "contiguous_segments_of_many_channels": Row((1, 301, 4, 4), (2, 2), ((0, 0), (0, 0)), (0, 2, 3, 1)),
    "strided_segments_in_a_border": Row((2, 5, 5, 6), (2, 2), ((1, 0), (3, 1)), (0, 2, 3, 1)),
    "strided_segments_within_a_block": Row((1, 5, 2), (5,), ((1, 7),), (0, 2, 1)),
    # neighbours on both sides
    "contiguous_segments": Row((2, 3, 6, 14), (2, 2), ((0, 0), (0, 0)), None, CONTIGUOUS),
    "contiguous_segments_in_a_border": Row((1, 2, 5, 301), (2, 3), ((1, 0), (2, 3)), None, CONTIGUOUS),
    "contiguous_segments_of_pixels": Row((2, 24, 6, 6), (2, 3), ((0, 0), (0, 0)), (0, 2, 3, 1), CONTIGUOUS),
    "contiguous_segments_of_pixels_in_a_border": Row((1, 3, 5, 4), (3, 2), ((1, 0), (3, 1)), (0, 2, 3, 1), CONTIGUOUS),
    "rows_untouched": Row((2, 4, 37), (2,), ((0, 0),)),  # see `dims`
    "rows_in_a_border": Row((1, 2, 3, 5), (1, 1), ((1, 0), (2, 4))),
    "ones": Row((2, 3, 4), (1,), ((0, 0),)),
}
# after a cyclic shift: the row's own dim is cut in two, others jump; whole, and in a border
SHIFTED = {
    "deinterleave": Row((2, 3, 4, 2 * 131), (2, 2), ((0, 0), (0, 0)), None, {"shifts": (1, -85)}),
    "deinterleave_in_a_border": Row((2, 3, 5, 3 * 67 - 5), (2, 3), ((1, 2), (2, 3)), None, {"shifts": (-2, 100)}),
    "deinterleave_of_one_row": Row((1, 40_000), (2,), ((0, 0),), None, {"shifts": 33_002}),
    "tiles_in_a_border": Row((1, 2, 64 * 3 - 5), (64,), ((3, 2),), None, {"shifts": -70}),
    "transpose_in_a_border": Row((2, 37, 3, 5), (3, 8), ((0, 0), (2, 1)), None, {"shifts": (2, 4)}),
    "strided_segments": Row((2, 16, 6, 6), (2, 3), ((0, 0), (0, 0)), (0, 2, 3, 1), {"shifts": (3, -1)}),
    "strided_segments_in_a_border": Row((2, 5, 5, 6), (2, 2), ((1, 0), (3, 1)), (0, 2, 3, 1), {"shifts": (0, 4)}),
    "contiguous_segments": Row((2, 24, 6, 9), (2, 3), ((0, 0),) * 2, (0, 2, 3, 1), {**CONTIGUOUS, "shifts": -1}),
    "contiguous_segments_of_few": Row((2, 2, 6, 14), (2, 2), ((0, 0),) * 2, None, {**CONTIGUOUS, "shifts": (1, 3)}),
    "contiguous_segments_in_a_border": Row(
        (1, 2, 5, 301), (2, 3), ((1, 0), (2, 3)), None, {**CONTIGUOUS, "shifts": 120}
    ),
    "rows_in_a_border": Row((1, 2, 3, 5), (1, 1), ((1, 0), (2, 4)), None, {"shifts": (1, 6)}),
}
DTYPES = (torch.uint8, torch.float16, torch.float32, torch.float64, torch.complex128)


def geometry_of(name: str, row: Row) -> BlockGeometry:
    dims: Any = (1,) if name == "rows_untouched" else tuple(range(len(row.shape) - len(row.block), len(row.shape)))
    return BlockGeometry(row.shape, row.block, row.paddings, spatial_dims=dims, **row.options)  # type: ignore[arg-type]


@pytest.mark.parametrize("vector", [16, 32, 64])
@pytest.mark.parametrize("name", ROWS)
def test_every_row(name: str, vector: int) -> None:
    check(name, ROWS[name], vector, DTYPES if vector == 64 else DTYPES[::2])


@pytest.mark.parametrize("name", SHIFTED)
def test_every_row_after_a_shift(name: str) -> None:
    check(name, SHIFTED[name], 32, [torch.complex64 if "border" in name else torch.float16])


def check(name: str, row: Row, vector: int, dtypes: Sequence[torch.dtype]) -> None:
    geometry = geometry_of(name, row)
    order = row.order or range(len(row.shape))
    rows = set()
    for dtype in dtypes:
        x = random_tensor(geometry.space_shape, dtype).contiguous()
        x = x.new_empty_strided(x.shape, dense_strides(x.shape, order)).copy_(x)
        arguments = {**geometry.arguments, "pad_value": 3}
        y = torch.from_numpy(define_batch(x, **arguments).view("u1").copy()).view(dtype)
        y = y.reshape(geometry.batch_shape)
        y = y.new_empty_strided(y.shape, dense_strides(y.shape, order)).copy_(y)
        for direction, source, wanted in (("space_to_batch", x, y), ("batch_to_space", y, x)):
            space, batch = (x, y)
            plan = make_plan(direction, geometry, space.stride(), batch.stride(), dtype.itemsize)  # type: ignore[arg-type]
            assert isinstance(plan, Plan), plan
            rows.add(plan.spec.row)
            found = moved(plan, vector, direction, source, wanted, raw(torch.tensor([3], dtype=dtype)).tobytes())
            assert raw(found).tobytes() == raw(wanted).tobytes(), (direction, dtype, plan.spec)
    if row.block != (1,):
        assert name.startswith((*rows, "rows")), rows


def moved(
    plan: Plan, vector: int, direction: str, source: torch.Tensor, like: torch.Tensor, pad: bytes
) -> torch.Tensor:
    """What the kernel makes of a source, in poisoned memory whose surroundings are looked at afterwards."""
    memory = torch.full((GUARD + like.nbytes + GUARD,), 0xA5, dtype=torch.uint8)
    result = memory[GUARD:-GUARD].view(like.dtype).as_strided(like.shape, like.stride())
    numbers = struct.pack(f"{len(plan.numbers)}q", *plan.numbers)
    numbers = numbers[:8] + (pad * 16)[:16] + numbers[24:]
    pair = (source, result) if direction == "space_to_batch" else (result, source)
    before = raw(source).tobytes()
    functions_of(plan.spec, vector).long(*(tensor.data_ptr() for tensor in pair), numbers)
    assert (memory[:GUARD] == 0xA5).all()
    assert (memory[-GUARD:] == 0xA5).all()
    assert raw(source).tobytes() == before
    return result


def test_strided_and_expanded_inputs() -> None:
    wide = random_tensor((2, 3, 8, 30), torch.int16)
    for x in (wide[..., 3:27], wide[:, ::2, ::2, :24], wide[:1, :, :, :24].expand(4, 3, 8, 24)):
        geometry = BlockGeometry(x.shape, 2, ((1, 1), (2, 2)))
        y = torch.empty(geometry.batch_shape, dtype=x.dtype)
        plan = make_plan("space_to_batch", geometry, x.stride(), y.stride(), 2)
        assert isinstance(plan, Plan)
        assert plan.spec.row == "deinterleave"
        numbers = struct.pack(f"{len(plan.numbers)}q", *plan.numbers)
        functions_of(plan.spec, 16).short(x.data_ptr(), y.data_ptr(), numbers)
        assert same(y, define_batch(x, **geometry.arguments))


def test_what_no_kernel_takes() -> None:
    geometry = BlockGeometry((1, 2, 4, 4), 2)
    dense = (8, 4, 2, 1)
    assert make_plan("space_to_batch", geometry, (32, 16, -4, 1), dense, 4) == "a stride is negative"
    every_other = make_plan("space_to_batch", geometry, (64, 32, 8, 2), dense, 4)
    assert every_other == "what is next to each other in one tensor is neither near nor far in the other"


def test_rows_that_would_be_scattered() -> None:
    for size, reason in ((64, "rows of 2 positions in 32 phases are scattered"), (128, None)):
        geometry = BlockGeometry((2, 512, 32, size), (1, 32))
        space, batch = (dense_strides(shape, range(4)) for shape in (geometry.space_shape, geometry.batch_shape))
        plan = make_plan("space_to_batch", geometry, space, batch, 4)
        assert (plan if isinstance(plan, str) else None) == reason
        assert isinstance(make_plan("batch_to_space", geometry, space, batch, 4), Plan)


@pytest.mark.parametrize(
    ("shape", "block", "itemsize", "scattered"),
    [
        ((2, 256, 33, 33), 18, 4, True),  # 18 phases, two pages apart
        ((2, 255, 33, 33), 18, 4, False),  # not a whole number of pages
        ((8, 64, 65, 65), 18, 4, True),
        ((8, 64, 72, 72), 18, 4, False),  # one vector has the four positions of a phase
        ((2, 2048, 33, 33), 12, 4, False),
        ((2, 2048, 33, 33), 12, 2, True),
        ((2, 2048, 33, 33), 18, 4, False),  # large: by hand all of it would be padded first
        ((2, 2048, 33, 33), 36, 4, False),  # one position
        ((2, 256, 33, 33), 24, 4, True),
        ((2, 16, 33, 33), 24, 4, False),  # small
    ],
)
def test_rows_whose_lines_crowd_a_set_of_the_cache(
    shape: tuple[int, ...], block: int, itemsize: int, scattered: bool
) -> None:
    geometry = BlockGeometry(shape, block, "auto")
    space, batch = (dense_strides(s, range(4)) for s in (geometry.space_shape, geometry.batch_shape))
    plan = make_plan("space_to_batch", geometry, space, batch, itemsize)
    assert isinstance(plan, str) == scattered
    assert isinstance(make_plan("batch_to_space", geometry, space, batch, itemsize), Plan)


@pytest.mark.parametrize(
    ("cpu", "vector", "registers", "shuffle"),
    [("x86-64-v4", 64, "%zmm", "vperm"), ("x86-64-v3", 32, "%ymm", "vshufps")],
)
def test_machine_code(cpu: str, vector: int, registers: str, shuffle: str) -> None:
    """What a kernel is worth stands in its inner loop: whole vectors are loaded, shuffled and stored."""
    geometry = BlockGeometry((1, 16, 64, 64), 2)
    plan = make_plan("space_to_batch", geometry, (65536, 4096, 64, 1), (16384, 1024, 32, 1), 4)
    assert isinstance(plan, Plan)
    text = engine.assembly(plan.spec, vector, "x86_64-unknown-linux-gnu", cpu)
    lines = [line.strip() for line in text.splitlines()]
    assert any(re.match(rf"vmov\w+\s+{registers}\d+, .*\(", line) for line in lines), "no store of a vector"
    assert any(re.match(rf"v\w+\s+.*\(.*\), .*{registers}\d+", line) for line in lines), "no load of a vector"
    assert any(line.startswith(shuffle) and registers in line for line in lines), "no shuffle of vectors"


@pytest.mark.parametrize("name", ["deinterleave", "strided_segments", "contiguous_segments"])
def test_machine_code_of_non_temporal_stores(name: str) -> None:
    """No vector of the result goes through the cache, and what was written is there before anybody is told."""
    row = {
        "deinterleave": Row((1, 16, 8, 256), (2, 2), ((0, 0), (0, 0))),
        "strided_segments": Row((1, 8, 4, 4), (2, 2), ((0, 0), (0, 0)), (0, 2, 3, 1)),
        "contiguous_segments": Row((1, 16, 4, 256), (2, 2), ((0, 0), (0, 0)), None, CONTIGUOUS),
    }[name]
    geometry = geometry_of(name, row)
    order = row.order or range(4)
    strides = [dense_strides(shape, order) for shape in (geometry.space_shape, geometry.batch_shape)]
    plan = make_plan("space_to_batch", geometry, *strides, 4, stream=True)
    assert isinstance(plan, Plan)
    assert (plan.spec.row, plan.whole) == (name, 32 if name == "strided_segments" else 64)
    text = engine.assembly(plan.spec._replace(stream=True), 32, "x86_64-unknown-linux-gnu", "x86-64-v3")
    assert re.search(r"vmovnt\w+\s+%ymm\d+, .*\(", text)
    assert not re.search(r"vmov[aud]\w+\s+%ymm\d+, .*\((?!%rsp)", text)
    assert re.search(r"mfence|lock\s+or", text)


@pytest.mark.parametrize("direction", ["space_to_batch", "batch_to_space"])
def test_segments_of_pixels_in_order_of_space(direction: Any) -> None:
    """From 64 bytes to 1 KiB, a row of space is walked from end to end, whichever tensor is the result."""
    for channels, in_order in ((8, False), (16, True), (256, True), (257, direction == "batch_to_space")):
        geometry = BlockGeometry((2, channels, 12, 15), (2, 3), batch_order="batch_major")
        strides = [dense_strides(shape, (0, 2, 3, 1)) for shape in (geometry.space_shape, geometry.batch_shape)]
        plan = make_plan(direction, geometry, *strides, 4)
        assert isinstance(plan, Plan)
        steps = [plan.numbers[k] for k in range(5, 4 + 4 * len(plan.spec.axes), 4)]
        assert (steps[-2:] == [3 * 4 * channels, 4 * channels]) == in_order, (channels, steps)


def test_machine_code_of_arm() -> None:
    geometry = BlockGeometry((1, 16, 64, 64), 2)
    plan = make_plan("space_to_batch", geometry, (65536, 4096, 64, 1), (16384, 1024, 32, 1), 4)
    assert isinstance(plan, Plan)
    try:
        text = engine.assembly(plan.spec, 16, "aarch64-unknown-linux-gnu", "generic")
    except RuntimeError as error:
        pytest.skip(f"this LLVM was built without it: {error}")
    assert re.search(r"\buzp1\s+v\d+\.4s", text), "no shuffle of vectors"
    assert re.search(r"\b(str|stp|stur)\s+q\d+", text), "no store of a vector"
