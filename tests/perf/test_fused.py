"""Cells of the fused operators: what they count and are called, that everybody computes the same, and the table of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spacebatch.perf import fused, page
from spacebatch.perf.__main__ import main
from spacebatch.perf.baselines import PROVIDERS, named
from spacebatch.perf.blocks import naflex_by_hand, tokens_by_hand
from spacebatch.perf.fused_cases import FusedCase, fused_suite
from spacebatch.perf.gpu import made_up_clock
from spacebatch.perf.measure import Bench, agrees, expected
from spacebatch.perf.records import Record, Run
from spacebatch.timing import Timing

CPU = torch.device("cpu")
CASES = list({case.tiny().key: case.tiny() for case in fused_suite()}.values())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.key.replace(" ", "_"))
def test_agree(case: FusedCase) -> None:
    source = case.source(CPU)
    wanted = expected(case, source)
    assert wanted.shape == (case.source_shape if case.mode == "training" else case.result_shape)
    found = PROVIDERS["ours"].prepare(case)(source)
    assert agrees(case, found, wanted)
    other = found.float()
    other[(-1,) * other.dim()] += 1
    assert not agrees(case, other.to(found.dtype), wanted)


@pytest.mark.parametrize("count", [2, 6])
def test_tokens_by_hand_are_those_of_a_list(count: int) -> None:
    case = [case for case in fused_suite() if case.tokens][count].tiny()
    source = case.source(CPU)
    scale, bias, _ = fused.operands(case, CPU)
    assert scale is not None
    assert bias is not None
    images = list(source.float().mul(scale.view(3, 1, 1)).add(bias.view(3, 1, 1)).bfloat16())
    tokens = naflex_by_hand(images, 16) if case.tokens == "HWC" else tokens_by_hand(images, 14, 2, 2)
    assert torch.equal(fused.by_hand(case)(source), tokens)


def test_bytes_are_those_of_source_residual_and_result() -> None:
    merged = next(case for case in fused_suite() if case.residual)
    assert merged.moved_bytes == 3 * 4 * 32 * 96 * 56 * 56
    tokens = fused_suite()[0]
    assert tokens.moved_bytes == 3 * 1008 * 1008 * (1 + 2 * 2)  # bytes read, two frames of bfloat16 written
    trained = replace(merged, mode="training")
    assert trained.moved_bytes == 5 * 4 * 32 * 96 * 56 * 56  # the gradient read and one written besides


def test_records_come_back_and_others_have_nothing(tmp_path: Path) -> None:
    run = Run.begin("sweep", CPU, tmp_path / "fused.json")
    bench = Bench(CPU, made_up_clock, rounds=2, warmup=0)
    run.add(bench.record(CASES[0], named(["ours", "eager", "einops", "transformers"])))
    assert run.cases[0].wrong == []
    assert run.cases[0].refused == {"einops": "no arithmetic is written for it"}
    run.save()
    assert Run.load(tmp_path / "fused.json").cases == run.cases


def test_the_table_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run.begin("sweep", CPU, tmp_path / "some.json")
    timing = Timing(1e-3, 1e-3, 1e-3, 1)
    for case, eager, compiled in zip(fused_suite()[:3], (2.0, 8.0, 4.0), (0.5, 2.0, 1.0), strict=True):
        times = dict.fromkeys(("ours", "eager", "compile"), timing)
        run.add(Record(case, 1, None, times, {"eager": eager, "compile": compiled}))
    run.save()
    assert main(["page", str(run.path)]) == 0
    text = capsys.readouterr().out
    assert "| bytes to tokens | 3 | 4.00 (2.00 - 8.00) | 1.00 (0.50 - 2.00) | 1 |" in text
    assert text.endswith(f"- {fused_suite()[0].key}: compile 0.50\n")
    docs = tmp_path / "page.md"
    docs.write_text("before\n<!-- some: begin -->\nold\n<!-- some: end -->\nafter\n")
    assert main(["page", str(run.path), "--write-docs", str(docs)]) == 0
    assert docs.read_text() == f"before\n<!-- some: begin -->\n{page.page(run)}<!-- some: end -->\nafter\n"
