"""Small cases of every kind, for the tests of the perf room."""

from __future__ import annotations

from spacebatch.perf.cases import Case
from spacebatch.perf.suites import WINDOWS

NONE, UNEVEN = ((0, 0), (0, 0)), ((1, 0), (0, 2))
CASES = (
    Case("space_to_batch", (2, 3, 4, 6), (2, 3), NONE, "float32", name="plain"),
    Case("space_to_batch", (2, 3, 5, 7), (2, 3), UNEVEN, "float16", name="padded"),
    Case("space_to_batch", (2, 16, 5, 7), (2, 3), UNEVEN, "uint8", "channels_last", name="nhwc"),
    Case("space_to_batch", (2, 4, 9), (4,), ((1, 2),), "complex128", name="1d"),
    Case("space_to_batch", (1, 2, 4, 4, 6), (2, 2, 3), (*NONE, (0, 0)), "bfloat16", name="3d"),
    Case("space_to_batch", (3, 2, 6, 8), (2, 4), NONE, "int32", "sliced", name="sliced"),
    Case("space_to_batch", (3, 2, 6, 8), (2, 4), NONE, "int64", "transposed", name="transposed"),
    Case("space_to_batch", (3, 2, 6, 8), (2, 4), NONE, "float64", "expanded", name="expanded"),
    Case("space_to_batch", (3, 4, 6, 8), (2, 4), NONE, "bool", "channel_slice", name="channel_slice"),
    Case("batch_to_space", (2, 3, 5, 7), (2, 3), UNEVEN, "float32", name="cropped"),
    Case("batch_to_space", (2, 16, 4, 6), (2, 3), NONE, "float16", "channels_last", name="nhwc_back"),
    Case("batch_to_space", (20, 3, 30, 30), (2, 3), ((1, 1), (3, 3)), "uint8", name="beyond_the_definition"),
    Case("space_to_batch", (2, 3, 6, 8), (3, 2), NONE, **WINDOWS, name="window"),
    Case("space_to_batch", (2, 16, 5, 7), (2, 3), UNEVEN, "float16", "channels_last", shifts=(5, 8), name="shifted"),
    Case("batch_to_space", (2, 3, 6, 8), (3, 2), NONE, **WINDOWS, shifts=(0, 7), name="window_back_shifted"),
    Case("batch_to_space", (2, 3, 6, 8), (3, 2), NONE, "float32", "contiguous", "batch_major", name="grid_back"),
    Case("space_to_batch", (2, 3, 5, 7), (2, 3), UNEVEN, "float32", mode="backward", name="gradient"),
    Case(
        "batch_to_space",
        (2, 3, 5, 7),
        (2, 3),
        UNEVEN,
        "float64",
        "channels_last",
        mode="backward",
        name="gradient_back",
    ),
)


def by_name(name: str) -> Case:
    """The case of that name."""
    return next(case for case in CASES if case.name == name)
