"""The Triton kernels against the definition: every case, dtype size, layout, arrangement and batch order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import spacebatch
from spacebatch import BlockGeometry
from spacebatch.tl_kernels import launch
from spacebatch.tl_kernels.family import Config
from tests.cases import CASES, OPTIONS, Case, each_of, each_option, option_id
from tests.kernel_calls import DEVICE, as_bytes, call_of, check_both_ways, expected_batch, layout_of, random_bits

pytestmark = pytest.mark.skipif(
    DEVICE == "cpu" and not launch.INTERPRETED, reason="no GPU, and Triton's interpreter is off"
)

DTYPES = ["bool", "uint8", "float8_e4m3fn", "int16", "bfloat16", "float32", "int64", "complex64", "complex128"]


@each_option
@each_of(*(case.id for case in CASES if 0 not in case.shape))  # where there is nothing to read no kernel is asked
def test_every_case(case: Case, options: dict[str, str]) -> None:
    check_both_ways(random_bits(case.shape, torch.float32), case.geometry(**options), 1.5)


@pytest.mark.parametrize("dtype", DTYPES)
@each_of("dims_unordered_padded", "wide_row")
def test_every_dtype(case: Case, dtype: str) -> None:
    for options in (OPTIONS[0], OPTIONS[3]):
        check_both_ways(random_bits(case.shape, getattr(torch, dtype)), case.geometry(**options), 1)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (torch.float32, float("nan")),
        (torch.float32, -0.0),
        (torch.int64, 2**63 - 1),
        (torch.uint8, 255),
        (torch.float8_e5m2, 0.75),
        (torch.complex64, 1 - 2j),
    ],
    ids=str,
)
def test_pad_values(dtype: torch.dtype, value: complex) -> None:
    check_both_ways(random_bits((1, 2, 3, 5), dtype), BlockGeometry((1, 2, 3, 5), (2, 4), ((1, 2), (3, 4))), value)


def _layouts(x: torch.Tensor) -> dict[str, torch.Tensor]:
    n, c, h, w = x.shape
    wide = torch.cat([x, x], dim=3)
    return {
        "channels_last": x.contiguous(memory_format=torch.channels_last),
        "transposed": x.transpose(2, 3).contiguous().transpose(2, 3),
        "batch_innermost": x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
        "sliced": wide[..., :w],
        "every_other": torch.stack([x, x], dim=-1).reshape(n, c, h, 2 * w)[..., ::2],
        "offset": torch.cat([x.reshape(-1)[:1], x.reshape(-1)])[1:].view(x.shape),
        "expanded_channels": x[:, :1].expand(n, c, h, w),
        "expanded_width": x[..., :1].expand(n, c, h, w),
    }


LAYOUTS = tuple(_layouts(torch.zeros(2, 3, 4, 6)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str) -> None:
    """Each width with one batch order and arrangement: which kernel moves an element does not depend on its width alone."""
    for dtype, options in zip((torch.uint8, torch.float32, torch.complex128, torch.float32), OPTIONS, strict=True):
        x = _layouts(random_bits((2, 3, 4, 6), dtype))[layout]
        check_both_ways(x, BlockGeometry(x.shape, (2, 3), ((1, 1), (1, 2)), **options), 1)


@pytest.mark.parametrize(
    (
        "dtype",
        "channels",
        "words",
    ),  # several elements are moved as one word of so many bytes where they lie side by side
    [
        *((torch.uint8, 4, 4), (torch.uint8, 6, 2), (torch.float32, 2, 8)),
        *((torch.float16, channels, words) for channels, words in ((1, 2), (2, 4), (3, 2), (4, 8), (40, 8))),
    ],
)
def test_channels_last_of_every_width(dtype: torch.dtype, channels: int, words: int) -> None:
    x = random_bits((2, channels, 4, 6), dtype).contiguous(memory_format=torch.channels_last)
    for geometry in (
        BlockGeometry(x.shape, 2, ((1, 1), (2, 0))),
        BlockGeometry(x.shape, 3, ((1, 1), (2, 1)), arrangement="contiguous"),
    ):
        assert launch.plans_of("space_to_batch", geometry, x)[0].words == words
        check_both_ways(x, geometry, 3)


@pytest.mark.parametrize("width", [16, 48, 64])
@pytest.mark.parametrize("padding", [(0, 0), (8, 8), (1, 7), (16, 0)], ids=str)
@pytest.mark.parametrize("options", OPTIONS[:2], ids=option_id)  # within a row batch orders do not differ
def test_aligned_rows(width: int, padding: tuple[int, int], options: dict[str, str]) -> None:
    # where loads, stores or both are vectors: units above one
    pads = ((0, 0), padding)
    geometry = BlockGeometry((1, 2, 2, width), (1, 2), pads, **options)
    check_both_ways(random_bits((1, 2, 2, width), torch.int16), geometry, 3)


@pytest.mark.parametrize(
    ("shape", "block", "pads", "options"),
    [
        ((2, 8, 7, 35), 2, "auto", {}),  # rows of 18, and back of 35: they end within a span
        ((1, 16, 5, 62), (1, 2), ((0, 0), (1, 1)), {}),  # whole spans
        ((2, 8, 9, 17), 2, "auto", {"batch_order": "batch_major"}),  # rows of 9: shorter spans
        ((1, 16, 6, 41), (3, 2), ((1, 2), (2, 1)), {}),  # a border on every side
        ((1, 8, 5, 61), 4, ((1, 2), (2, 1)), {}),
        ((1, 8, 501), 2, ((16, 15),), {}),  # a border that takes a whole vector
        ((1, 3, 9, 33), 2, ((0, 1), (0, 1)), {}),  # planes that are no whole granules; the last span is short
    ],
    ids=str,
)
def test_single_bytes_at_any_address(shape: tuple[int, ...], block: Any, pads: Any, options: dict[str, str]) -> None:
    # the families that read whole words, with and without the flags that tensors of 2**31 elements set
    geometry = BlockGeometry(shape, block, pads, **options)
    x = random_bits(shape, torch.uint8)
    for change in (None, of_large_tensors):
        assert "interleave" in check_both_ways(x, geometry, 77, tile=4096, change=change)


def of_large_tensors(plan: Any) -> Any:
    """The plan with the flags that tensors of 2**31 elements set; some families decline numbers that are `long`."""
    return replace(plan, **{name: True for name in ("wide", "long") if hasattr(plan, name)})


def test_rows_longer_than_a_tile() -> None:
    check_both_ways(random_bits((1, 1, 9001), torch.uint8), BlockGeometry((1, 1, 9001), (2,), "auto"), 7, tile=1024)
    check_both_ways(
        random_bits((1, 9001, 2), torch.uint8), BlockGeometry((1, 9001, 2), (2,), spatial_dims=(2,)), 7, tile=1024
    )


@pytest.mark.parametrize("tile", [256, 2048])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("shape", "block", "paddings", "arrangement"),
    [
        ((2, 3, 21, 23), 2, "auto", "interleaved"),
        ((1, 3, 16, 19), 3, ((1, 1), (2, 3)), "interleaved"),
        ((1, 2, 9, 33), (3, 5), ((0, 0), (3, 4)), "interleaved"),
        ((2, 2, 3, 41), (1, 7), ((0, 0), (1, 0)), "interleaved"),
        ((1, 2, 1500), 2, 1, "interleaved"),  # rows longer than a tile
        ((3, 5, 9), 8, ((3, 4),), "interleaved"),  # rows of two rounds
        ((2, 5, 2, 9), (1, 3), "auto", "interleaved"),  # rows shorter than a granule
        ((1, 3, 14, 28), (2, 4), 0, "contiguous"),
        ((1, 3, 11, 27), (2, 4), ((2, 1), (3, 6)), "contiguous"),
        ((2, 2, 13, 16), (2, 4), ((0, 1), (9, 7)), "contiguous"),  # a window that is all border
    ],
    ids=str,
)
def test_runs_of_every_kind(
    shape: tuple[int, ...], block: int, paddings: str, arrangement: str, dtype: torch.dtype, tile: int
) -> None:
    geometry = BlockGeometry(shape, block, paddings, arrangement=arrangement)
    assert "runs" in check_both_ways(random_bits(shape, dtype), geometry, 1, tile=tile)


SHIFTED = [  # a geometry's arguments, the elements, and the families besides rows and granules
    # windows: cut through by the end of a row, and of whole granules, which stay wide
    (((1, 4, 14, 28), (2, 4), 0), "contiguous", (-3, -3), torch.float16, ("phases", "runs")),
    (((1, 1, 2, 64), (1, 2), ((0, 0), (0, 0))), "contiguous", (0, -8), torch.float16, ("runs",)),
    (((1, 2, 11, 26), (3, 4), ((1, 0), (3, 3))), "contiguous", (4, 11), torch.float32, ("phases", "runs")),
    # interleaved: rows that end within a granule, and vectors
    (((1, 2, 11, 29), (3, 2), ((1, 0), (3, 2))), "interleaved", (-1, 5), torch.float32, ("phases", "runs")),
    (((1, 2, 3, 48), (1, 2), ((0, 0), (8, 8))), "interleaved", (1, 16), torch.int16, ("vectors", "runs")),
    # a copy that goes round
    (((2, 3, 9), (1,), ((0, 2),)), "interleaved", (4,), torch.float64, ("runs",)),
    # single bytes, put together where only rows move, and else one by one
    (((1, 8, 6, 64), 2, 0), "interleaved", (1, 0), torch.uint8, ("interleave",)),
    (((1, 8, 4, 66), 2, 0), "interleaved", 1, torch.uint8, ("phases", "runs")),
]


@pytest.mark.parametrize(("arguments", "arrangement", "shifts", "dtype", "families"), SHIFTED, ids=str)
def test_cyclic_shifts(
    arguments: Any, arrangement: Any, shifts: Any, dtype: torch.dtype, families: tuple[str, ...]
) -> None:
    geometry = BlockGeometry(*arguments, arrangement=arrangement, shifts=shifts)
    x = random_bits(geometry.space_shape, dtype)
    for change in (None, of_large_tensors) if dtype is torch.float32 else (None,):
        ran = check_both_ways(x, geometry, 1, change=change, tile=1024)
        assert ran >= set(families)
        assert not (ran - set(families)) & {"deinterleave", "interleave"}  # which decline


def test_rate_512() -> None:
    check_both_ways(random_bits((1, 2, 1500), torch.float32), BlockGeometry((1, 2, 1500), (512,), "auto"))


def test_non_contiguous_out() -> None:
    x = random_bits((1, 2, 4, 6), torch.float32).to(DEVICE)
    geometry = BlockGeometry(x.shape, 2, ((1, 1), (0, 0)))
    storage = torch.zeros(*geometry.batch_shape[:3], 2 * geometry.batch_shape[3], device=DEVICE)
    y = storage[..., ::2]
    call_of("space_to_batch", geometry, x, y)(x, y, b"")
    np.testing.assert_array_equal(as_bytes(y), expected_batch(x, geometry, 0))
    assert not storage[..., 1::2].any()


def test_64_bit_offsets_and_row_numbers() -> None:
    # the same kernels with the flags that tensors of 2**31 elements set
    ran = set()
    for options in OPTIONS:
        for shape, block in (((2, 3, 5, 7), (2, 3)), ((2, 3, 6, 32), 2)):
            geometry = BlockGeometry(shape, block, "auto", **options)
            x = random_bits(shape, torch.float32)
            ran |= check_both_ways(x, geometry, 1, change=of_large_tensors)
    assert ran == {"rows", "vectors", "phases", "runs", "granules"}


def test_a_configuration_of_a_family_that_does_not_apply() -> None:
    x = torch.zeros(1, 1, 4, 6, device=DEVICE)
    with pytest.raises(ValueError, match="'phases' does not apply"):
        launch.run("batch_to_space", BlockGeometry((1, 1, 4, 6), 1), x, x.clone(), config=Config("phases", 1024, 4))


def test_more_loops_than_the_kernels_take() -> None:
    shape = (1, *(4,) * 10)
    x = torch.zeros(shape, device=DEVICE)
    geometry = BlockGeometry(shape, (2,) * 10)
    y = torch.zeros(geometry.batch_shape, device=DEVICE)
    assert "nested loops" in str(launch.prepare("space_to_batch", geometry, layout_of(x), layout_of(y)))
    told = spacebatch.explain("space_to_batch", x, (2,) * 10)
    assert told.backend != "triton"


def test_through_the_routes() -> None:
    x = random_bits((2, 3, 5, 7), torch.float32).nan_to_num().to(DEVICE).requires_grad_()
    with spacebatch.use_backend("triton"):
        y = spacebatch.space_to_batch(x, 2, "auto")
        y.backward(torch.ones_like(y))
        assert spacebatch.explain("space_to_batch", x, 2, "auto").kernel.startswith("move_")
    assert x.grad is not None
    assert torch.equal(x.grad, torch.ones_like(x))
