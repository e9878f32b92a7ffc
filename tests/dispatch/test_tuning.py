"""Tuning: buckets, the rule, the table on disk, what a call takes, and when measuring is allowed."""

from __future__ import annotations

import json
import os
import stat
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from spacebatch import BlockGeometry, tuning
from spacebatch.perf.static import CASES, DIRECTIONS, KernelCase
from spacebatch.reference import cache_folder
from spacebatch.tl_kernels import launch
from spacebatch.tl_kernels.family import Config, candidates
from spacebatch.tuning import Table
from tests.kernel_calls import layout_of


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
                    assert plan.rule in candidates(plans), plan.rule
    assert KernelCase("", (1, 1, 4, 4), 2).plans("space_to_batch", 4)[0].rule.tile_bytes == 1024


def test_candidates_are_of_every_family_that_applies() -> None:
    plans = KernelCase("", (8, 64, 64, 64), 2).plans("space_to_batch", 4)
    assert {config.family for config in candidates(plans)} == {"vectors", "phases", "granules", "rows"}


def test_table_keeps_what_was_measured(folder: Path) -> None:
    Table("Some GPU / 80 GB").add("a", Config("rows", 8192, 4))
    table = Table("Some GPU / 80 GB")
    assert table.get("a") == Config("rows", 8192, 4)
    assert table.get("b") is None
    table.add("b", Config("rows", 2048, 1))
    assert set(Table("Some GPU / 80 GB").entries) == {"a", "b"}
    assert Table("Another GPU").entries == {}
    assert list(folder.glob("*.tmp")) == []


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_the_file_follows_the_umask(folder: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        for key in "ab":
            Table("gpu").add(key, Config("rows", 8192, 4))
            assert stat.S_IMODE((folder / "gpu.json").stat().st_mode) == 0o666 & ~umask
    finally:
        os.umask(before)


def test_what_cannot_be_written_leaves_the_file_as_it_was(folder: Path) -> None:
    table = Table("gpu")
    table.add("a", Config("rows", 8192, 4))
    with pytest.raises(TypeError):
        table.add("b", object())  # type: ignore[arg-type]
    assert {path.name for path in folder.iterdir()} == {"gpu.json"}
    assert set(Table("gpu").entries) == {"a"}


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
    assert (tuning.mode(), tuning.mode(unset="on")) == ("cached", "on")
    monkeypatch.setenv("SPACEBATCH_AUTOTUNE", "")
    assert (tuning.mode(), tuning.mode(unset="on")) == ("cached", "on")
    monkeypatch.setenv("SPACEBATCH_AUTOTUNE", "off")
    assert (tuning.mode(), tuning.mode(unset="on")) == ("off", "off")
    monkeypatch.setenv("SPACEBATCH_AUTOTUNE", "yes")
    for unset in ("cached", "on"):
        with pytest.raises(ValueError, match=r"SPACEBATCH_AUTOTUNE must be one of .*, got 'yes'"):
            tuning.mode(unset=unset)  # type: ignore[arg-type]


def test_cache_folder_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPACEBATCH_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    monkeypatch.setattr(cache_folder.sys, "platform", "linux")
    assert cache_folder.cache_folder() == Path("/somewhere/spacebatch")
    monkeypatch.setattr(cache_folder.sys, "platform", "darwin")
    assert cache_folder.cache_folder().parts[-3:] == ("Library", "Caches", "spacebatch")


PLANS = KernelCase("", (8, 64, 64, 64), 2).plans("space_to_batch", 4)


@pytest.fixture
def device(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A GPU called "fake", whose index is a CPU tensor's."""
    monkeypatch.delenv("SPACEBATCH_AUTOTUNE", raising=False)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: -1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "fake")
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    tuning.table.cache_clear()
    yield
    tuning.table.cache_clear()


@pytest.mark.usefixtures("device")
class TestChoice:
    """Which configuration a call takes."""

    def test_cached_takes_the_rule_then_the_table(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def never() -> Config:
            raise AssertionError("nothing is measured")

        assert tuning.choose(PLANS, 0, never) == (None, True)
        before, kept = tuning.version(), Config("rows", 32768, 8)
        tuning.table("fake").add(PLANS[0].bucket, kept)
        assert tuning.version() != before
        assert tuning.choose(PLANS, 0, never) == (kept, True)
        before = tuning.version()
        monkeypatch.setenv("SPACEBATCH_AUTOTUNE", "off")
        assert tuning.version() != before
        assert tuning.choose(PLANS, 0, never) == (None, True)

    def test_on_measures_once_and_never_during_capture(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SPACEBATCH_AUTOTUNE", "on")
        best, count = Config("granules", 4096, 8), 0

        def measure() -> Config:
            nonlocal count
            count += 1
            return best

        assert tuning.choose(PLANS, 0, None) == (None, True)  # what is only described
        with monkeypatch.context() as capture:
            capture.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
            assert tuning.choose(PLANS, 0, measure) == (None, False)
        assert count == 0
        assert tuning.choose(PLANS, 0, measure) == tuning.choose(PLANS, 0, measure) == (best, True)
        assert count == 1

    def test_a_family_that_does_not_apply_is_not_taken(self) -> None:
        plans = KernelCase("", (8, 64, 65, 65), 2, "auto").plans("batch_to_space", 4)
        assert "phases" not in {plan.family for plan in plans}
        assert launch.taken(plans, Config("phases", 4096, 4)) == (plans[0], plans[0].rule)
        with pytest.raises(ValueError, match="'phases' does not apply"):
            launch.plan_for(plans, Config("phases", 4096, 4))

    def test_what_is_described_is_what_the_device_would_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        geometry = BlockGeometry((1, 1, 4, 6), 2)
        meta = (torch.empty(shape, device="meta") for shape in (geometry.space_shape, geometry.batch_shape))
        call = launch.prepare("space_to_batch", geometry, *map(layout_of, meta), tuning)
        assert not isinstance(call, str)
        assert str(call).endswith("programs of 1024 bytes and 1 warps")
        tuning.table("fake").add(call.plans()[0].bucket, Config("rows", 8192, 8))
        assert str(call).endswith("programs of 1024 bytes and 1 warps")  # there is no GPU here
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        assert str(call).startswith("move_rows: ")
        assert str(call).endswith("programs of 8192 bytes and 8 warps")


@pytest.mark.usefixtures("device")
class TestReadyLaunches:
    """What later calls of a kind skip; device, compilation and launch are fakes."""

    @pytest.fixture
    def log(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        seen: list[str] = []

        def start(plan: object, config: Config, there: object, pad: object) -> object:
            seen.append(f"start {config.tile_bytes}")
            return object()

        def launch_of(kernel: object, plan: object, config: object) -> Callable[..., None]:
            return lambda read, write, pad: seen.append(f"ready {pad[0]}")

        monkeypatch.setattr(launch, "INTERPRETED", False)
        monkeypatch.setattr(launch, "start", start)
        monkeypatch.setattr(launch, "launch_of", launch_of)
        monkeypatch.setattr(launch, "loaded", lambda *_: True)
        return seen

    @staticmethod
    def prepared(
        monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
    ) -> tuple[launch.PreparedCall, torch.Tensor, torch.Tensor]:
        x = torch.zeros(1, 1, 4, 6, dtype=dtype)
        geometry = BlockGeometry(x.shape, 2)
        y = torch.zeros(geometry.batch_shape, dtype=dtype)
        there = (layout_of(t)._replace(device="cuda") for t in (x, y))
        call = launch.prepare("space_to_batch", geometry, *there, tuning)
        assert not isinstance(call, str)
        return call, x, y

    def test_the_second_call_is_ready(self, log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        call, x, y = self.prepared(monkeypatch, torch.float32)
        for value in (b"", b"", 1.0, -1.0):  # the sign bit is set: still 32 bits
            call(x, y, value if isinstance(value, bytes) else torch.tensor(value).numpy().tobytes())
        assert log == ["start 1024", "ready 0", "ready 1065353216", "ready -1082130432"]
        del log[:]
        tuning.table("fake").add(call.plans()[0].bucket, Config("rows", 2048, 1))
        for _ in range(2):
            call(x, y, b"")
        assert log == ["start 2048", "ready 0"]  # what was measured since counts

    def test_what_was_measured_is_ready(self, log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SPACEBATCH_AUTOTUNE", "on")
        monkeypatch.setattr(launch, "measured", lambda plans, there, pad: Config("rows", 2048, 1))
        call, x, y = self.prepared(monkeypatch, torch.float32)
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
        call(x, y)
        call(x, y)
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
        call(x, y)
        call(x, y)
        assert log == ["start 1024", "start 1024", "start 2048", "ready 0"]

    def test_a_pad_value_of_any_width_is_the_same_kernel(self, log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """`test_kernels_launch.py` tells why it may be: pad words are passed in 64 bits."""
        call, x, y = self.prepared(monkeypatch, torch.int64)
        for value in (-(2**31), 2**40 + 5, -(2**63)):
            call(x, y, torch.tensor(value).numpy().tobytes())
        assert log == ["start 1024", f"ready {2**40 + 5}", f"ready {-(2**63)}"]

    def test_a_kernel_that_a_hook_kept_from_being_compiled_is_asked_for_again(
        self, log: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        call, x, y = self.prepared(monkeypatch, torch.float32)
        with monkeypatch.context() as hook:
            hook.setattr(launch, "start", lambda *_: log.append("kept"))
            call(x, y)
            hook.setenv("SPACEBATCH_AUTOTUNE", "on")
            hook.setattr(launch.triton.runtime.driver, "_active", SimpleNamespace(get_benchmarker=lambda: None))
            call(x, y)
        assert {*log} == {"kept"}
        assert not tuning.table("fake").entries  # nothing was measured
        del log[:]
        call(x, y)
        call(x, y)
        assert log == ["start 1024", "ready 0"]

    def test_no_kernel_is_loaded_into_a_cuda_graph(self, log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        call, x, y = self.prepared(monkeypatch, torch.float32)
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
        monkeypatch.setattr(launch, "loaded", lambda *_: False)
        with pytest.raises(RuntimeError, match=r"space_to_batch: a CUDA graph is being captured.*spacebatch\.warm_up"):
            call(x, y)
        monkeypatch.setattr(launch, "loaded", lambda *_: True)  # by a call of another shape
        call(x, y)
        monkeypatch.setattr(launch, "loaded", lambda *_: False)
        call(x, y)
        assert log == ["start 1024", "ready 0"]

    def test_another_alignment_is_another_launch(self, log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        call, x, y = self.prepared(monkeypatch, torch.float32)
        moved = torch.zeros(1 + x.numel())[1:].view(x.shape)
        for source in (x, moved, x, moved):
            call(source, y)
        assert [line.split()[0] for line in log] == ["start", "start", "ready", "ready"]


def test_no_warning_without_a_table(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Table("new").entries == {}
