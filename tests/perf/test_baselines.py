"""Providers: every one that is installed gives what the definition gives; mistakes and failures are reported."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from spacebatch.perf.baselines import OURS, PROVIDERS, named, split
from spacebatch.perf.cases import Case
from spacebatch.perf.checks import expected, same_bits, same_values
from spacebatch.perf.measure import Bench
from tests.perf_cases import CASES, by_name, letters

CPU = torch.device("cpu")
QUICK = [name for name in PROVIDERS if name != "compile"]  # which takes seconds a case


@pytest.mark.parametrize(
    ("case", "name"),
    [(case, name) for case in CASES for name in QUICK if PROVIDERS[name].offers(case) is None and name != "cupy"],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_agree(case: Case, name: str) -> None:
    provider = PROVIDERS[name]
    reason = provider.missing(CPU)
    if reason is not None:
        pytest.skip(reason)
    source = case.source(CPU)
    function, given = provider.prepare(case), provider.take(case, source)
    function(given)
    result = function(given)
    if provider.wait is not None:
        provider.wait(result)
    same = same_values if provider.peer else same_bits
    assert same(provider.give(case, result), expected(case, source))


@pytest.mark.parametrize("name", ["padded", "gradient"])
def test_compiled(name: str) -> None:
    case = by_name(name)
    source = case.source(CPU)
    assert same_values(PROVIDERS["compile"].prepare(case)(source), expected(case, source))


def test_absent_packages_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    here, absent = split(list(PROVIDERS.values()), CPU)
    assert [provider.name for provider in here] == ["ours", "out", "eager", "compile", "numpy"]
    assert absent["tensorflow"] == "tensorflow is not installed"
    assert absent["cupy"] == "does not run on cpu"


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="provider: no provider is called 'caffe'; there are ours, "):
        named(["ours", "caffe"])


def _provider(name: str, function: object) -> object:
    return dataclasses.replace(PROVIDERS["eager"], name=name, prepare=lambda case: function)


def test_a_wrong_peer_is_not_timed() -> None:
    case = by_name("plain")
    eager = PROVIDERS["eager"].prepare(case)
    cast = _provider("cast", lambda x: eager(x) + 1)
    record = Bench(CPU, letters, 2, 0).record(case, [OURS, cast])  # type: ignore[list-item]
    assert record.wrong == ["cast"]
    assert set(record.times) == {"ours"}


def test_a_failing_peer_is_told() -> None:
    def fails(x: object) -> object:
        raise RuntimeError("no kernel image\nand more")

    record = Bench(CPU, letters, 2, 0).record(by_name("plain"), [OURS, _provider("old", fails)])  # type: ignore[list-item]
    assert record.failed == {"old": "RuntimeError: no kernel image"}
    assert set(record.times) == {"ours"}


def test_what_a_provider_does_not_offer_is_told() -> None:
    record = Bench(CPU, letters, 2, 0).record(by_name("sliced"), named(["ours", "numpy"]))
    assert record.refused == {"numpy": "its arrays are dense"}


def test_an_element_left_unwritten_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours is run into poisoned memory: what was there before must not pass for a result."""
    import spacebatch

    right = spacebatch.space_to_batch

    def forgetful(x: torch.Tensor, *args: object, out: torch.Tensor | None = None, **options: object) -> torch.Tensor:
        result = right(x, *args, **options)  # type: ignore[arg-type]
        if out is None:
            return result
        out.reshape(-1)[:-1] = result.reshape(-1)[:-1]
        return out

    monkeypatch.setattr(spacebatch, "space_to_batch", forgetful)
    record = Bench(CPU, letters, 2, 0).record(by_name("plain"), [OURS])
    assert record.wrong == ["ours"]


def test_ratios_and_shares() -> None:
    record = Bench(CPU, letters, 3, 1).record(by_name("padded"), named(["ours", "eager", "numpy"]))
    assert record.ratios == pytest.approx({"eager": 5 / 4, "numpy": 5 / 4})
    assert record.share == pytest.approx(1.0)  # "copy" has as many letters
    assert record.times["ours"].runs == 3
    assert record.kernel.startswith(("llvm: ", "torch: "))
