"""Tuning: buckets, the rule, the table on disk, and when measuring is allowed."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

from spacebatch.perf.static import CASES, DIRECTIONS, KernelCase
from spacebatch.tl_kernels import device_table, tuning
from spacebatch.tl_kernels.family import Config
from spacebatch.tl_kernels.tuning import Table


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPACEBATCH_CACHE_DIR", str(tmp_path))
    return tmp_path


def test_buckets_do_not_split_by_image_size() -> None:
    keys = {KernelCase("", (8, 64, h, 100), 2).plans("space_to_batch", 4)[0].bucket for h in range(80, 120, 2)}
    assert len(keys) <= 2


def test_buckets_part_what_is_accessed_differently() -> None:
    keys = {case.plans(direction, size)[0].bucket for case in CASES for direction in DIRECTIONS for size in (1, 2, 4)}
    assert len(keys) > 60


def test_rule_is_a_candidate_and_fills_a_gpu() -> None:
    for case in CASES:
        for direction in DIRECTIONS:
            for size in (1, 2, 4, 8, 16):
                plans = case.plans(direction, size)
                for plan in plans:
                    assert plan.rule in tuning.candidates(plans), plan.rule
    assert KernelCase("", (1, 1, 4, 4), 2).plans("space_to_batch", 4)[0].rule.tile_bytes == 1024


def test_candidates_are_of_every_family_that_applies() -> None:
    plans = KernelCase("", (8, 64, 64, 64), 2).plans("space_to_batch", 4)
    assert {config.family for config in tuning.candidates(plans)} == {"vectors", "phases", "granules", "rows"}


def test_table_keeps_what_was_measured(folder: Path) -> None:
    Table("Some GPU / 80 GB").add("a", Config("rows", 8192, 4))
    table = Table("Some GPU / 80 GB")
    assert table.get("a") == Config("rows", 8192, 4)
    assert table.get("b") is None
    table.add("b", Config("rows", 2048, 1))
    assert set(Table("Some GPU / 80 GB").entries) == {"a", "b"}
    assert Table("Another GPU").entries == {}
    assert list(folder.glob("*.tmp")) == []


def test_two_processes_keep_each_others_entries(folder: Path) -> None:
    first, second = Table("gpu"), Table("gpu")
    first.add("a", Config("rows", 8192, 4))
    second.add("b", Config("rows", 4096, 2))
    assert set(Table("gpu").entries) == {"a", "b"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format": 2, "device": "gpu"}',
        '{"format": 2, "device": "gpu", "entries": [1]}',
        '{"format": 2, "device": "gpu", "entries": {"a": 7}}',
        '{"format": 99, "device": "gpu", "entries": {}}',
        '{"format": 2, "device": "other", "entries": {"a": ["rows", 8192, 4]}}',
    ],
)
def test_damaged_and_foreign_tables_count_as_empty_with_one_warning(folder: Path, text: str) -> None:
    (folder / "gpu.json").write_text(text)
    with pytest.warns(UserWarning, match="tuning table") as caught:
        table = Table("gpu")
        table.add("a", Config("rows", 8192, 4))
    assert len(caught) == 1
    assert Table("gpu").get("a") == Config("rows", 8192, 4)


def test_configurations_out_of_the_space_are_dropped(folder: Path) -> None:
    entries = {"a": ["rows", 3, 4], "b": ["rows", 8192, 64], "c": ["rows", 8192, 4], "d": ["other", 8192, 4]}
    (folder / "gpu.json").write_text(json.dumps({"format": 2, "device": "gpu", "entries": entries}))
    assert Table("gpu").entries == {"c": Config("rows", 8192, 4)}


def test_unwritable_folder_costs_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("SPACEBATCH_CACHE_DIR", str(blocked / "folder"))
    with pytest.warns(UserWarning, match="tuning table") as caught:
        table = Table("gpu")
        table.add("a", Config("rows", 8192, 4))
        table.add("b", Config("rows", 8192, 4))
    assert len(caught) == 1
    assert table.get("a") == Config("rows", 8192, 4)


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
    monkeypatch.setattr(device_table.sys, "platform", "linux")
    assert device_table.cache_folder() == Path("/somewhere/spacebatch")
    monkeypatch.setattr(device_table.sys, "platform", "darwin")
    assert device_table.cache_folder().parts[-3:] == ("Library", "Caches", "spacebatch")


PLANS = KernelCase("", (8, 64, 64, 64), 2).plans("space_to_batch", 4)


class TestLaunchChoice:
    """Which configuration a launch takes; the device is faked, the launch recorded."""

    @pytest.fixture
    def launched(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
        import torch

        from spacebatch.tl_kernels import launch

        record: dict[str, object] = {"capturing": False, "tuned": 0}

        def measured(*arguments: object) -> Config:
            record["tuned"] = int(record["tuned"]) + 1  # type: ignore[call-overload]
            return Config("granules", 4096, 8)

        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "fake")
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: record["capturing"])
        monkeypatch.setattr(launch, "measured", measured)
        tuning.table.cache_clear()

        def go() -> object:
            plan, config, record["final"] = launch._tuned(PLANS, (None, None), (0, 0), torch.device("cpu"))
            assert plan.family == config.family
            return config

        record["go"] = go
        yield record
        tuning.table.cache_clear()

    def test_cached_takes_the_rule_then_the_table(
        self, launched: dict[str, object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SPACEBATCH_AUTOTUNE", raising=False)
        go = launched["go"]
        assert go() == PLANS[0].rule  # type: ignore[operator]
        tuning.table("fake").add(PLANS[0].bucket, Config("rows", 32768, 8))
        assert go() == Config("rows", 32768, 8)  # type: ignore[operator]
        monkeypatch.setenv("SPACEBATCH_AUTOTUNE", "off")
        assert go() == PLANS[0].rule  # type: ignore[operator]
        tuning.table("fake").add(PLANS[0].bucket, Config("rows", 32768, 8))
        assert launched["tuned"] == 0

    def test_on_measures_once_and_never_during_capture(
        self, launched: dict[str, object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SPACEBATCH_AUTOTUNE", "on")
        go = launched["go"]
        launched["capturing"] = True
        assert go() == PLANS[0].rule  # type: ignore[operator]
        assert launched["tuned"] == 0
        assert launched["final"] is False
        launched["capturing"] = False
        assert go() == Config("granules", 4096, 8)  # type: ignore[operator]
        assert launched["tuned"] == 1
        assert launched["final"] is True
        assert go() == Config("granules", 4096, 8)  # type: ignore[operator]
        assert launched["tuned"] == 1


class TestReadyLaunches:
    """What later calls of a kind skip; device, compilation and launch are fakes."""

    @pytest.fixture
    def log(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        import torch

        from spacebatch.tl_kernels import launch

        seen: list[str] = []
        monkeypatch.delenv("SPACEBATCH_AUTOTUNE", raising=False)
        monkeypatch.setattr(launch, "INTERPRETED", False)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: None)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "fake")
        monkeypatch.setattr(
            launch, "start", lambda plan, config, pointers, pad: seen.append(f"start {config.tile_bytes}")
        )
        monkeypatch.setattr(
            launch, "ready", lambda kernel, plan, config: lambda read, write, pad: seen.append(f"ready {pad[0]}")
        )
        tuning.table.cache_clear()
        launch._call.cache_clear()
        yield seen
        tuning.table.cache_clear()
        launch._call.cache_clear()

    def test_the_second_call_is_ready(self, log: list[str]) -> None:
        import torch

        from spacebatch import BlockGeometry
        from spacebatch.tl_kernels import launch

        x = torch.zeros(1, 1, 4, 6)
        geometry = BlockGeometry(x.shape, 2)
        y = torch.zeros(geometry.batch_shape)
        for value in (0, 0, 1.0, -1.0):  # the sign bit is set: still 32 bits
            launch.run("space_to_batch", geometry, x, y, value)
        assert log == ["start 1024", "ready 0", "ready 1065353216", "ready -1082130432"]
        del log[:]
        tuning.table("fake").add(launch.plans_of("space_to_batch", geometry, x, y)[0].bucket, Config("rows", 2048, 1))
        for _ in range(2):
            launch.run("space_to_batch", geometry, x, y)
        assert log == ["start 2048", "ready 0"]  # what was measured since counts

    def test_a_pad_value_of_another_width_is_another_kernel(self, log: list[str]) -> None:
        import torch

        from spacebatch import BlockGeometry
        from spacebatch.tl_kernels import launch

        x = torch.zeros(1, 1, 4, 6, dtype=torch.float64)
        geometry = BlockGeometry(x.shape, 2)
        y = torch.zeros(geometry.batch_shape, dtype=torch.float64)
        for value in (0, 1.0, 0):
            launch.run("space_to_batch", geometry, x, y, value)
        assert log == ["start 1024", "start 1024", "ready 0"]


def test_a_family_that_does_not_apply_is_not_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from spacebatch.tl_kernels import launch

    monkeypatch.delenv("SPACEBATCH_AUTOTUNE", raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "fake")
    tuning.table.cache_clear()
    plans = KernelCase("", (8, 64, 65, 65), 2, "auto").plans("batch_to_space", 4)
    assert "phases" not in {plan.family for plan in plans}
    tuning.table("fake").add(plans[0].bucket, Config("phases", 4096, 4))
    assert launch._tuned(plans, (None, None), (0, 0), torch.device("cpu")) == (plans[0], plans[0].rule, True)
    tuning.table.cache_clear()
    with pytest.raises(ValueError, match="'phases' does not apply"):
        launch._plan_for(plans, Config("phases", 4096, 4))


def test_shipped_tables_come_second(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path_factory.mktemp("shipped")
    monkeypatch.setattr(device_table, "SHIPPED", shipped)
    entries = {"a": ["rows", 4096, 2], "b": ["rows", 4096, 2]}
    (shipped / "gpu.json").write_text(json.dumps({"format": 2, "device": "gpu", "entries": entries}))
    table = Table("gpu")
    table.add("a", Config("vectors", 8192, 4))
    assert table.get("a") == Config("vectors", 8192, 4)
    assert table.get("b") == Config("rows", 4096, 2)
    assert list(json.loads((folder / "gpu.json").read_text())["entries"]) == ["a"]


def test_no_warning_without_a_table(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Table("new").entries == {}
