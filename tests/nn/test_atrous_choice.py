"""method="auto": what is measured, when, what is remembered, and what explains it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import spacebatch
from spacebatch.nn import AtrousConv1d, AtrousConv2d, functional, method_choice
from spacebatch.nn.method_table import Choice, MethodTable
from spacebatch.timing import Timing
from spacebatch.trials import GAIN

GEOMETRY: dict[str, Any] = {"padding": 2, "dilation": 2}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("SPACEBATCH_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("SPACEBATCH_AUTOTUNE", raising=False)
    method_choice.table_of.cache_clear()
    yield tmp_path
    method_choice.table_of.cache_clear()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Times made up: which method is the faster one, and which calls were measured."""
    record: dict[str, Any] = {"faster": "batch_space", "measured": []}

    def interleaved(calls: Any, device: torch.device, **options: Any) -> dict[str, Any]:
        results = {name: call() for name, call in calls.items()}
        record["measured"].append(results)
        return {name: _Timing(1e-3 if name == record["faster"] else 2e-3) for name in calls}

    monkeypatch.setattr("spacebatch.timing.interleaved", interleaved)
    return record


class _Timing:
    def __init__(self, median: float) -> None:
        self.median = self.lower = self.upper = median


def inputs(gradient: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(1, 2, 8, 8), torch.randn(4, 2, 3, 3, requires_grad=gradient)


def test_channels_last_is_measured_where_it_may_gain(clock: dict[str, Any]) -> None:
    x, weight, clock["faster"] = torch.randn(1, 64, 17, 17), torch.randn(64, 64, 3, 3), "channels_last"
    for _ in range(2):
        functional.atrous_conv2d(x, weight, padding=8, dilation=8)
    assert [list(found) for found in clock["measured"]] == [["native", "batch_space", "channels_last"]]
    told = functional.explain_atrous(x, weight, padding=8, dilation=8)
    assert (told.method, told.native, told.channels_last) == ("channels_last", 2e-3, 1e-3)
    functional.atrous_conv2d(x, weight, padding=4, dilation=4)
    assert list(clock["measured"][1]) == ["native", "batch_space"]


def test_a_geometry_is_measured_once(clock: dict[str, Any]) -> None:
    x, weight = inputs()
    for _ in range(2):
        functional.atrous_conv2d(x, weight, **GEOMETRY)
    assert len(clock["measured"]) == 1
    functional.atrous_conv2d(x, weight, padding=4, dilation=4)
    assert len(clock["measured"]) == 2


@pytest.mark.parametrize("faster", ["native", "batch_space"])
def test_the_faster_method_runs(clock: dict[str, Any], faster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from spacebatch.nn import dilated

    clock["faster"] = faster
    x, weight = inputs()
    functional.atrous_conv2d(x, weight, **GEOMETRY)
    ran: list[str] = []
    convolve = dilated.convolve
    monkeypatch.setattr(dilated, "convolve", lambda *a: (ran.append("batch_space"), convolve(*a))[1])
    functional.atrous_conv2d(x, weight, **GEOMETRY)
    assert ran == ([] if faster == "native" else ["batch_space"])


def test_the_backward_pass_is_measured_where_it_is_wanted(clock: dict[str, Any]) -> None:
    x, weight = inputs(gradient=True)
    functional.atrous_conv2d(x, weight, **GEOMETRY)
    (gradients,) = clock["measured"][0]["native"]
    assert gradients.shape == weight.shape
    assert weight.grad is None
    with torch.inference_mode():
        functional.atrous_conv2d(x, weight, **GEOMETRY)
    assert clock["measured"][1]["native"].shape == (1, 4, 8, 8)
    functional.atrous_conv2d(x, weight, **GEOMETRY).sum().backward()
    assert len(clock["measured"]) == 2
    assert weight.grad is not None


def test_without_a_clock_of_our_own() -> None:
    """Really measured: both times are there, and batch space was taken only if it is faster beyond noise."""
    x, weight = inputs(gradient=True)
    functional.atrous_conv2d(x, weight, **GEOMETRY)
    told = functional.explain_atrous(x, weight, **GEOMETRY)
    assert told.native is not None
    assert told.batch_space is not None
    assert told.method == "native" or told.native >= GAIN * told.batch_space


def test_explain(clock: dict[str, Any]) -> None:
    x, weight = inputs()
    assert "not measured: not called yet" in str(functional.explain_atrous(x, weight, **GEOMETRY))
    assert clock["measured"] == []
    functional.atrous_conv2d(x, weight, **GEOMETRY)
    told = functional.explain_atrous(x, weight, **GEOMETRY)
    assert (told.method, told.native, told.batch_space, told.aligned) == ("batch_space", 2e-3, 1e-3, True)
    assert "native 2.000 ms, batch_space 1.000 ms" in str(told)
    assert "measured on " in str(told)
    assert functional.explain_atrous(x, weight, padding=1, dilation=2).aligned is False
    assert functional.explain_atrous(x, weight, padding=1).why == "no dilation between two elements of the kernel"
    module = AtrousConv2d(2, 4, 3, method="native", **GEOMETRY)
    assert module.explain(x).why == "asked for"
    assert AtrousConv1d(2, 4, 3, dilation=2).explain(torch.zeros(1, 2, 9)).operation == "atrous_conv1d"


def test_deterministic_replays_measure_nothing(clock: dict[str, Any]) -> None:
    """A replay must not hang on a clock: only what the table holds already is taken."""
    x, weight = inputs()
    torch.use_deterministic_algorithms(True)
    try:
        functional.atrous_conv2d(x, weight, **GEOMETRY)
        assert clock["measured"] == []
        told = functional.explain_atrous(x, weight, **GEOMETRY)
        assert (told.method, told.why) == ("native", "not measured: deterministic algorithms are demanded")
        arguments = ((1, 1), (2, 2), (2, 2), (2, 2), 1, "zeros")
        key = method_choice.key_of("atrous_conv2d", (x, weight, None), arguments)
        method_choice.table_of(x.device).add(key, Choice("batch_space", 2.0, 1.0))
        assert functional.explain_atrous(x, weight, **GEOMETRY).method == "batch_space"
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("mode", ["cached", "off", "on"])
def test_the_environment_decides(clock: dict[str, Any], mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = inputs()
    monkeypatch.setenv("SPACEBATCH_AUTOTUNE", mode)
    functional.atrous_conv2d(x, weight, **GEOMETRY)
    assert len(clock["measured"]) == (mode == "on")
    monkeypatch.setenv("SPACEBATCH_AUTOTUNE", "on")
    functional.atrous_conv2d(x, weight, **GEOMETRY)
    monkeypatch.setenv("SPACEBATCH_AUTOTUNE", mode)
    assert functional.explain_atrous(x, weight, **GEOMETRY).method == ("native" if mode == "off" else "batch_space")


def test_what_splits_the_table() -> None:
    """Shapes, strides, types, gradients wanted, autocast and determinism; not the values."""
    x, weight = inputs()

    def key(x: torch.Tensor = x, weight: torch.Tensor = weight) -> str:
        return method_choice.key_of("conv", (x, weight, None), (1,))

    keys = {key(), key(x.double()), key(x.to(memory_format=torch.channels_last)), key(x[:, :, :7])}
    keys |= {key(weight=weight.clone().requires_grad_()), key(x.clone().requires_grad_())}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        keys.add(key())
    torch.use_deterministic_algorithms(True)
    keys.add(key())
    torch.use_deterministic_algorithms(False)
    assert len(keys) == 8
    assert key(x + 1) == key()


def test_a_method_that_runs_out_of_memory_loses(clock: dict[str, Any]) -> None:
    def fails(*_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("too much")

    x, weight = inputs()
    works = torch.nn.functional.conv2d
    clock["faster"] = "batch_space"
    found = method_choice.measure({"native": works, "batch_space": fails}, (x, weight, None), x.device)
    assert found == Choice("native", 2e-3, None)
    found = method_choice.measure({"native": fails, "batch_space": works}, (x, weight, None), x.device)
    assert found == Choice("batch_space", None, 1e-3)


def test_the_table_is_kept_on_disk(folder: Path) -> None:
    MethodTable("Some CPU").add("a", Choice("native", 1.0, None))
    table = MethodTable("Some CPU")
    assert table.get("a") == Choice("native", 1.0, None)
    assert table.get("b") is None
    other = MethodTable("Some CPU")
    table.add("b", Choice("batch_space", 2.0, 1.0))
    other.add("c", Choice("batch_space", 2.0, 1.0))
    assert set(MethodTable("Some CPU").entries) == {"a", "b", "c"}
    assert MethodTable("Another").entries == {}
    assert list(folder.glob("*.tmp")) == []


@pytest.mark.parametrize(
    "text",
    [
        '{"format": 9, "device": "gpu", "entries": {}}',
        '{"format": 2, "device": "gpu", "entries": {"a": ["fast", 1, 2, 3]}}',
        '{"format": 2, "device": "gpu", "entries": {"a": ["native", "x", 2, 3]}}',
    ],
)
def test_damaged_tables_count_as_empty_with_one_warning(folder: Path, text: str) -> None:
    (folder / "gpu.convolutions.json").write_text(text)
    with pytest.warns(UserWarning, match="measured convolutions") as caught:
        table = MethodTable("gpu")
        table.add("a", Choice("native", 1.0, 2.0))
    assert len(caught) == 1
    assert json.loads((folder / "gpu.convolutions.json").read_text())["entries"] == {"a": ["native", 1.0, 2.0, None]}


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPACEBATCH_CACHE_DIR", str(tmp_path / "file" / "folder"))
    with pytest.warns(UserWarning, match="measured convolutions"):
        table = MethodTable("gpu")
        table.add("a", Choice("native", 1.0, 2.0))
    assert table.get("a") == Choice("native", 1.0, 2.0)


def test_explain_takes_atrous_convolutions() -> None:
    x, weight = torch.ones(1, 2, 9, 9), torch.ones(4, 2, 3, 3)

    for operation in ("atrous_conv2d", functional.atrous_conv2d):
        told = spacebatch.explain(operation, x, weight, padding=2, dilation=2, method="native")
        assert isinstance(told, functional.AtrousExplanation)
        assert str(told) == str(functional.explain_atrous(x, weight, padding=2, dilation=2, method="native"))


def test_a_gain_within_the_noise_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than 3%, or quartiles that overlap."""
    times: dict[str, Timing] = {}
    monkeypatch.setattr("spacebatch.timing.interleaved", lambda *_, **__: times)
    x, weight = inputs()
    for native, ours, method in (
        (Timing(1.02, 1.02, 1.02, 7), Timing(1.0, 1.0, 1.0, 7), "native"),
        (Timing(2.0, 1.0, 3.0, 7), Timing(1.5, 1.4, 1.6, 7), "native"),
        (Timing(2.0, 1.9, 3.0, 7), Timing(1.5, 1.4, 1.6, 7), "batch_space"),
    ):
        times.update(native=native, batch_space=ours)
        calls = dict.fromkeys(times, torch.nn.functional.conv2d)
        assert method_choice.measure(calls, (x, weight, None), x.device).method == method
