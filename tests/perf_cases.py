"""Small cases of every kind, and a clock that is made up, for the tests of the perf room."""

from __future__ import annotations

from spacebatch.perf.cases import Case
from spacebatch.timing import Call

NONE = ((0, 0), (0, 0))
CASES = (
    Case("space_to_batch", (2, 3, 4, 6), (2, 3), NONE, "float32", name="plain"),
    Case("space_to_batch", (2, 3, 5, 7), (2, 3), ((1, 0), (0, 2)), "float16", name="padded"),
    Case("space_to_batch", (2, 16, 5, 7), (2, 3), ((1, 0), (0, 2)), "uint8", "channels_last", name="nhwc"),
    Case("space_to_batch", (2, 4, 9), (4,), ((1, 2),), "complex128", name="1d"),
    Case("space_to_batch", (1, 2, 4, 4, 6), (2, 2, 3), (*NONE, (0, 0)), "bfloat16", name="3d"),
    Case("space_to_batch", (3, 2, 6, 8), (2, 4), NONE, "int32", "sliced", name="sliced"),
    Case("space_to_batch", (3, 2, 6, 8), (2, 4), NONE, "int64", "transposed", name="transposed"),
    Case("space_to_batch", (3, 2, 6, 8), (2, 4), NONE, "float64", "expanded", name="expanded"),
    Case("space_to_batch", (3, 4, 6, 8), (2, 4), NONE, "bool", "channel_slice", name="channel_slice"),
    Case("batch_to_space", (2, 3, 5, 7), (2, 3), ((1, 0), (0, 2)), "float32", name="cropped"),
    Case("batch_to_space", (2, 16, 4, 6), (2, 3), NONE, "float16", "channels_last", name="nhwc_back"),
    Case("batch_to_space", (20, 3, 30, 30), (2, 3), ((1, 1), (3, 3)), "uint8", name="beyond_the_definition"),
    Case(
        "space_to_batch",
        (2, 3, 6, 8),
        (3, 2),
        NONE,
        "float32",
        "contiguous",
        "batch_major",
        "contiguous",
        name="window",
    ),
    Case("batch_to_space", (2, 3, 6, 8), (3, 2), NONE, "float32", "contiguous", "batch_major", name="grid_back"),
    Case("space_to_batch", (2, 3, 5, 7), (2, 3), ((1, 0), (0, 2)), "float32", mode="backward", name="gradient"),
    Case(
        "batch_to_space",
        (2, 3, 5, 7),
        (2, 3),
        ((1, 0), (0, 2)),
        "float64",
        "channels_last",
        mode="backward",
        name="gradient_back",
    ),
)


def by_name(name: str) -> Case:
    """The case of that name."""
    return next(case for case in CASES if case.name == name)


def letters(calls: list[tuple[str, Call]]) -> list[tuple[str, float]]:
    """A clock: runs each call, and says that it took as many milliseconds as its name has letters."""
    for _, call in calls:
        call()
    return [(name, len(name) * 1e-3) for name, _ in calls]
