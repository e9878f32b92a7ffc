"""`tune`, under the interpreter with a clock that is made up: what is measured, what wins, and where it is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from spacebatch import BlockGeometry, tuning
from spacebatch.perf import tune as perf_tune
from spacebatch.perf.tune import TuneCall, default_calls, tune
from spacebatch.tl_kernels import family

launch = pytest.importorskip("spacebatch.tl_kernels.launch")
pytestmark = pytest.mark.skipif(
    torch.cuda.is_available() or not launch.INTERPRETED, reason="under the interpreter, where the clock can be made up"
)

CALL: TuneCall = ("space_to_batch", BlockGeometry((1, 2, 4, 32), 2), torch.int16, "contiguous")
BACK: TuneCall = ("batch_to_space", BlockGeometry((1, 8, 6, 10), 2, 1), torch.float32, "channels_last")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("SPACEBATCH_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(perf_tune, "candidates", candidates)
    tuning.table.cache_clear()
    yield tmp_path
    tuning.table.cache_clear()


def candidates(plans: Sequence[family.Plan]) -> tuple[family.Config, ...]:
    """A seventh of the configurations: the interpreter is slow."""
    return family.candidates(plans)[::7]


class Clock:
    """A configuration takes a second, the favourite less."""

    def __init__(self, favourite: object = None, seconds: float = 0.5) -> None:
        self.favourite, self.seconds = str(favourite), seconds
        self.rounds: list[list[str]] = []

    def __call__(self, calls: list[tuple[str, object]]) -> list[tuple[str, float]]:
        self.rounds.append([name for name, _ in calls])
        return [(name, self.seconds if name == self.favourite else 1.0) for name, _ in calls]


def plans(call: TuneCall) -> tuple[family.Plan, ...]:
    shape = call[1].space_shape if call[0] == "space_to_batch" else call[1].batch_shape
    x = torch.empty(shape, dtype=call[2], device="meta")
    return launch.plans_of(call[0], call[1], x.to(memory_format=torch.channels_last) if call[3] != "contiguous" else x)


@pytest.mark.parametrize("call", [CALL, BACK], ids=["to_batch", "to_space"])
def test_the_fastest_is_kept(call: TuneCall) -> None:
    found = plans(call)
    favourite = candidates(found)[-1]
    assert favourite != found[0].rule
    clock = Clock(favourite)
    (tuned,) = tune([call], clock=clock)
    assert tuned.config == favourite
    assert (tuned.seconds, tuned.rule_seconds, tuned.speedup) == (0.5, 1.0, 2.0)
    assert tuned.rule == found[0].rule
    assert {*tuned.every} == {*candidates(found), tuned.rule}
    assert json.loads(json.dumps(tuned.as_dict()))["config"] == "/".join(map(str, favourite))
    assert {*clock.rounds[0]} == {str(config) for config in {*candidates(found), tuned.rule}}
    assert all(sorted(names) == sorted(clock.rounds[0]) for names in clock.rounds)  # interleaved
    tuning.table.cache_clear()
    assert tuning.table("interpreter").get(tuned.bucket) == favourite


def test_the_rule_stays_unless_another_is_clearly_better() -> None:
    favourite = candidates(plans(CALL))[-1]
    (tuned,) = tune([CALL], clock=Clock(favourite, 0.995))
    assert tuned.config == tuned.rule
    assert tuned.seconds == tuned.rule_seconds == 1.0


def test_a_bucket_is_measured_once() -> None:
    assert len(tune([CALL, CALL, BACK], clock=Clock())) == 2


def test_a_wrong_configuration_is_never_kept(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    right = launch.run

    def wrong(direction: object, geometry: object, x: object, y: torch.Tensor, config: object) -> None:
        right(direction, geometry, x, y, config=config)
        y.reshape(-1)[0] ^= 1

    monkeypatch.setattr(launch, "run", wrong)
    with pytest.raises(RuntimeError, match=r"tune: Config.* gives a wrong result for space_to_batch"):
        tune([CALL], clock=Clock())
    assert list(folder.iterdir()) == []


def test_a_configuration_that_the_device_has_no_room_for_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    from triton.runtime.errors import OutOfResources

    right, favourite = launch.run, candidates(plans(CALL))[-1]

    def full(direction: object, geometry: object, x: object, y: object, config: object) -> None:
        if config == favourite:
            raise OutOfResources(300_000, 232_448, "shared memory")
        right(direction, geometry, x, y, config=config)

    monkeypatch.setattr(launch, "run", full)
    (tuned,) = tune([CALL], clock=Clock(favourite))
    assert tuned.config == tuned.rule
    assert {*tuned.every} == {*candidates(plans(CALL)), tuned.rule} - {favourite}


def test_no_bucket_is_begun_after_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.0, 1.0, 99.0])
    monkeypatch.setattr("spacebatch.perf.tune.time.monotonic", lambda: next(seconds))
    assert len(tune([CALL, BACK], clock=Clock(), budget_seconds=10)) == 1


def test_default_calls_are_checked_ones() -> None:
    for call in default_calls():
        assert call[1].space_shape[0] >= 1
    sizes = {dtype.itemsize for _, _, dtype, _ in default_calls()}
    assert sizes == {1, 2, 4, 8}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (("forward", CALL[1], torch.int16, "contiguous"), ValueError, "direction must be .* got 'forward'"),
        (
            ("space_to_batch", (1, 2), torch.int16, "contiguous"),
            TypeError,
            "geometry must be a BlockGeometry, got tuple",
        ),
        (("space_to_batch", CALL[1], "int16", "contiguous"), TypeError, "dtype must be a torch.dtype, got 'int16'"),
        (("space_to_batch", CALL[1], torch.int16, "nhwc"), ValueError, "layout must be .* got 'nhwc'"),
        (("space_to_batch", CALL[1]), TypeError, "a call is"),
        (
            ("space_to_batch", BlockGeometry((0, 2, 4, 4), 2), torch.int16, "contiguous"),
            ValueError,
            "nothing to measure",
        ),
    ],
)
def test_mistakes(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        tune([call])  # type: ignore[list-item]


@pytest.mark.parametrize("budget", [0, -1.0, "60", True])
def test_budgets(budget: object) -> None:
    with pytest.raises(ValueError, match="budget_seconds must be a positive number, got"):
        tune([CALL], budget_seconds=budget)  # type: ignore[arg-type]


def test_devices() -> None:
    with pytest.raises(RuntimeError, match="no CUDA or ROCm device, and 'cuda' was asked for"):
        tune([CALL], device="cuda")
    with pytest.raises(RuntimeError, match="not on meta"):
        tune([CALL], device="meta")
