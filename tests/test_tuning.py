"""Tuning: buckets, the rule, the table on disk, and when measuring is allowed."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

from spacebatch.perf.static import CASES, DIRECTIONS, KernelCase
from spacebatch.tl_kernels import tuning
from spacebatch.tl_kernels.tuning import Config, Table


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPACEBATCH_CACHE_DIR", str(tmp_path))
    return tmp_path


def test_buckets_do_not_split_by_image_size() -> None:
    keys = {KernelCase("", (8, 64, h, 100), 2).plan("space_to_batch", 4) for h in range(80, 120, 2)}
    assert len({tuning.bucket(plan) for plan in keys}) <= 2


def test_buckets_part_what_is_accessed_differently() -> None:
    keys = {tuning.bucket(case.plan(direction, size)) for case in CASES for direction in DIRECTIONS for size in (1, 2, 4)}
    assert len(keys) > 40
    assert len({tuning.bucket_number(key) for key in keys}) == len(keys)
    assert all(0 <= tuning.bucket_number(key) < 2**31 for key in keys)


def test_rule_is_in_the_space_and_fills_a_gpu() -> None:
    for case in CASES:
        for direction in DIRECTIONS:
            for size in (1, 2, 4, 8, 16):
                config = tuning.rule(case.plan(direction, size))
                assert 1024 <= config.tile_bytes <= 8192
    assert tuning.rule(KernelCase("", (1, 1, 4, 4), 2).plan("space_to_batch", 4)).tile_bytes == 1024


def test_table_keeps_what_was_measured(folder: Path) -> None:
    Table("Some GPU / 80 GB").add("a", Config(8192, 4))
    table = Table("Some GPU / 80 GB")
    assert table.get("a") == Config(8192, 4)
    assert table.get("b") is None
    table.add("b", Config(2048, 1))
    assert set(Table("Some GPU / 80 GB").entries) == {"a", "b"}
    assert Table("Another GPU").entries == {}
    assert list(folder.glob("*.tmp")) == []


def test_two_processes_keep_each_others_entries(folder: Path) -> None:
    first, second = Table("gpu"), Table("gpu")
    first.add("a", Config(8192, 4))
    second.add("b", Config(4096, 2))
    assert set(Table("gpu").entries) == {"a", "b"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format": 1, "device": "gpu"}',
        '{"format": 1, "device": "gpu", "entries": [1]}',
        '{"format": 1, "device": "gpu", "entries": {"a": 7}}',
        '{"format": 99, "device": "gpu", "entries": {}}',
        '{"format": 1, "device": "other", "entries": {"a": [8192, 4]}}',
    ],
)
def test_damaged_and_foreign_tables_count_as_empty_with_one_warning(folder: Path, text: str) -> None:
    (folder / "gpu.json").write_text(text)
    with pytest.warns(UserWarning, match="tuning table") as caught:
        table = Table("gpu")
        table.add("a", Config(8192, 4))
    assert len(caught) == 1
    assert Table("gpu").get("a") == Config(8192, 4)


def test_configurations_out_of_the_space_are_dropped(folder: Path) -> None:
    entries = {"a": [3, 4], "b": [8192, 64], "c": [8192, 4]}
    (folder / "gpu.json").write_text(json.dumps({"format": 1, "device": "gpu", "entries": entries}))
    assert Table("gpu").entries == {"c": Config(8192, 4)}


def test_unwritable_folder_costs_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("SPACEBATCH_CACHE_DIR", str(blocked / "folder"))
    with pytest.warns(UserWarning, match="tuning table") as caught:
        table = Table("gpu")
        table.add("a", Config(8192, 4))
        table.add("b", Config(8192, 4))
    assert len(caught) == 1
    assert table.get("a") == Config(8192, 4)


def test_mode_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPACEBATCH_AUTOTUNE", raising=False)
    assert tuning.mode() == "cached"
    monkeypatch.setenv("SPACEBATCH_AUTOTUNE", "on")
    assert tuning.mode() == "on"
    monkeypatch.setenv("SPACEBATCH_AUTOTUNE", "yes")
    with pytest.raises(ValueError, match="SPACEBATCH_AUTOTUNE"):
        tuning.mode()


def test_cache_folder_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPACEBATCH_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    monkeypatch.setattr(tuning.sys, "platform", "linux")
    assert tuning.cache_folder() == Path("/somewhere/spacebatch")
    monkeypatch.setattr(tuning.sys, "platform", "darwin")
    assert tuning.cache_folder().parts[-3:] == ("Library", "Caches", "spacebatch")


class TestLaunchChoice:
    """Which configuration a launch takes; the device is faked, the launch recorded."""

    @pytest.fixture
    def launched(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
        import torch

        from spacebatch.tl_kernels import launch

        record: dict[str, object] = {"capturing": False, "tuned": 0}

        class Tuner:
            best_config = type("Best", (), {"kwargs": {"TILE": 1024}, "num_warps": 8})()

            def __getitem__(self, grid: object) -> object:
                return lambda *a, **k: record.__setitem__("tuned", int(record["tuned"]) + 1)  # type: ignore[call-overload]

        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "fake")
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: record["capturing"])
        monkeypatch.setattr(launch, "_start", lambda plan, config, *rest: record.__setitem__("config", config))
        monkeypatch.setattr(launch, "_autotuners", lambda words: Tuner())
        tuning.table.cache_clear()

        def go() -> object:
            record.pop("config", None)
            plan = KernelCase("", (8, 64, 64, 64), 2).plan("space_to_batch", 4)
            x = torch.zeros(1)
            launch._tuned(plan, tuning.bucket(plan), x, x, (), (0, 0), {})
            return record.get("config")

        record["go"] = go
        yield record
        tuning.table.cache_clear()

    def test_cached_takes_the_rule_then_the_table(
        self, launched: dict[str, object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SPACEBATCH_AUTOTUNE", raising=False)
        go = launched["go"]
        plan = KernelCase("", (8, 64, 64, 64), 2).plan("space_to_batch", 4)
        assert go() == tuning.rule(plan)  # type: ignore[operator]
        tuning.table("fake").add(tuning.bucket(plan), Config(32768, 8))
        assert go() == Config(32768, 8)  # type: ignore[operator]
        monkeypatch.setenv("SPACEBATCH_AUTOTUNE", "off")
        assert go() == tuning.rule(plan)  # type: ignore[operator]
        assert launched["tuned"] == 0

    def test_on_measures_once_and_never_during_capture(
        self, launched: dict[str, object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SPACEBATCH_AUTOTUNE", "on")
        go = launched["go"]
        launched["capturing"] = True
        assert go() is not None  # type: ignore[operator]
        assert launched["tuned"] == 0
        launched["capturing"] = False
        assert go() is None  # type: ignore[operator]
        assert launched["tuned"] == 1
        assert go() == Config(4096, 8)  # type: ignore[operator]
        assert launched["tuned"] == 1


def test_no_warning_without_a_table(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Table("new").entries == {}
