"""`tune`, under the interpreter with a clock that is made up: what is measured, what wins, and where it is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from spacebatch import tuning
from spacebatch.perf import tune as perf_tune
from spacebatch.perf.cases import Case
from spacebatch.perf.suites import make
from spacebatch.perf.tune import Tuned, default_cases
from spacebatch.tl_kernels import family

launch = pytest.importorskip("spacebatch.tl_kernels.launch")
pytestmark = pytest.mark.skipif(
    torch.cuda.is_available() or not launch.INTERPRETED, reason="under the interpreter, where the clock can be made up"
)

CASE = make((1, 2, 4, 32), 2, 0, "int16")
BACK = Case("batch_to_space", (1, 8, 6, 10), (2, 2), ((1, 1), (1, 1)), "float32", "channels_last")


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


def tune(*cases: Case, clock: Clock | None = None, budget_seconds: float = 300.0) -> list[Tuned]:
    return perf_tune.tune(cases, torch.device("cpu"), clock=clock or Clock(), budget_seconds=budget_seconds)


def plans(case: Case) -> tuple[family.Plan, ...]:
    return launch.plans_of(case.moves, case.geometry, case.source(torch.device("meta")))


@pytest.mark.parametrize("case", [CASE, BACK], ids=["to_batch", "to_space"])
def test_the_fastest_is_kept(case: Case) -> None:
    found = plans(case)
    favourite = candidates(found)[-1]
    assert favourite != found[0].rule
    clock = Clock(favourite)
    (tuned,) = tune(case, clock=clock)
    assert tuned.config == favourite
    assert (tuned.seconds, tuned.rule_seconds) == (0.5, 1.0)
    assert tuned.rule == found[0].rule
    assert {*tuned.every} == {*candidates(found), tuned.rule}
    assert json.loads(json.dumps(tuned.as_dict()))["config"] == "/".join(map(str, favourite))
    assert {*clock.rounds[0]} == {str(config) for config in {*candidates(found), tuned.rule}}
    assert all(sorted(names) == sorted(clock.rounds[0]) for names in clock.rounds)  # interleaved
    tuning.table.cache_clear()
    assert tuning.table("interpreter").get(tuned.bucket) == favourite


def test_the_rule_stays_unless_another_is_clearly_better() -> None:
    favourite = candidates(plans(CASE))[-1]
    (tuned,) = tune(CASE, clock=Clock(favourite, 0.995))
    assert tuned.config == tuned.rule
    assert tuned.seconds == tuned.rule_seconds == 1.0


def test_a_bucket_is_measured_once() -> None:
    assert len(tune(CASE, CASE, BACK)) == 2


def test_a_wrong_configuration_is_never_kept(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    right = launch.run

    def wrong(direction: object, geometry: object, x: object, y: torch.Tensor, config: object) -> None:
        right(direction, geometry, x, y, config=config)
        y.reshape(-1)[0] ^= 1

    monkeypatch.setattr(launch, "run", wrong)
    with pytest.raises(RuntimeError, match=r"tune: Config.* gives a wrong result for space_to_batch"):
        tune(CASE)
    assert list(folder.iterdir()) == []


def test_a_configuration_that_the_device_has_no_room_for_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    from triton.runtime.errors import OutOfResources

    right, favourite = launch.run, candidates(plans(CASE))[-1]

    def full(direction: object, geometry: object, x: object, y: object, config: object) -> None:
        if config == favourite:
            raise OutOfResources(300_000, 232_448, "shared memory")
        right(direction, geometry, x, y, config=config)

    monkeypatch.setattr(launch, "run", full)
    (tuned,) = tune(CASE, clock=Clock(favourite))
    assert tuned.config == tuned.rule
    assert {*tuned.every} == {*candidates(plans(CASE)), tuned.rule} - {favourite}


def test_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.0, 1.0, 99.0])
    monkeypatch.setattr("spacebatch.perf.tune.time.monotonic", lambda: next(seconds))
    assert len(tune(CASE, BACK, budget_seconds=10)) == 1  # the second bucket would begin too late
    for budget in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="the budget must be a positive number of seconds, got"):
            tune(CASE, budget_seconds=budget)


def test_a_case_is_compiled_ahead_as_it_was_tuned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "interpreter")
    seen: list[object] = []
    monkeypatch.setattr(launch, "precompile", lambda plan, config: seen.append((plan, config)))
    first, other = (plan for plan in plans(CASE)[:2])
    assert first.family != other.family
    for config, plan in ((first.rule, first), (other.rule, other)):
        perf_tune._call(CASE)  # by rule, then by the table
        assert seen.pop() == (plan, config)
        tuning.table("interpreter").add(first.bucket, other.rule)


def test_default_cases() -> None:
    assert {case.torch_dtype.itemsize for case in default_cases()} == {1, 2, 4, 8}
    assert all(case.geometry.space_shape[0] >= 1 for case in default_cases())
