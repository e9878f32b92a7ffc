"""Cases and suites: inputs as they say, sizes that divide, results that are checked to the bit."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from spacebatch.by_hand import by_hand, is_channels_last
from spacebatch.perf.cases import LAYOUTS, Case, with_layout
from spacebatch.perf.measure import expected, poison_, same_bits, same_values
from spacebatch.perf.suites import PRESETS, ROWS, cases_of, cpu_suite, gpu_suite, make
from tests import cases as calls
from tests.kernel_calls import as_bytes, expected_batch, random_bits
from tests.perf_cases import CASES

CPU = torch.device("cpu")
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@each_case
def test_cases_survive_json(case: Case) -> None:
    assert Case.from_dict(json.loads(json.dumps(asdict(case)))) == case


def test_keys_tell_cases_apart() -> None:
    assert len({case.key for case in CASES}) == len(CASES)


@each_case
def test_sources(case: Case) -> None:
    x = case.source(CPU)
    assert tuple(x.shape) == case.source_shape
    assert x.dtype == case.torch_dtype
    assert x.stride() == case.source(torch.device("meta")).stride()
    assert is_channels_last(x) == (case.layout == "channels_last")


@pytest.mark.parametrize("elements", [1, 1024], ids=["by_hand", "by_definition"])
@pytest.mark.parametrize("case", [case for case in CASES if case.layout == "channels_last"], ids=lambda case: case.name)
def test_what_is_expected_lies_as_the_result_does(case: Case, elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spacebatch.perf.measure.DEFINITION_ELEMENTS", elements)
    assert is_channels_last(expected(case, case.source(CPU)))


def test_layouts_that_are_not_dense() -> None:
    shape = (3, 4, 6, 8)
    dense = {name: with_layout(shape, torch.int16, name, CPU) for name in LAYOUTS}
    assert not any(dense[name].is_contiguous() for name in LAYOUTS if name != "contiguous")
    assert dense["expanded"].stride(0) == 0
    assert dense["sliced"].data_ptr() % 16 == 0  # what was aligned stays so
    assert dense["channel_slice"].stride() == (6 * 8 * 8, 1, 8 * 8, 8)


def test_moved_bytes() -> None:
    assert make((2, 3, 5, 7), (2, 3), ((1, 0), (0, 2)), "float32").moved_bytes == 4 * (2 * 3 * 35 + 2 * 3 * 54)
    back = Case("batch_to_space", (2, 3, 5, 7), (2, 3), ((1, 0), (0, 2)))
    assert back.moved_bytes == 4 * 2 * (2 * 3 * 35)  # what is cropped is not read
    assert make((4, 8), (2,), 0, "uint8", "expanded").moved_bytes == 8 + 32


@pytest.mark.parametrize("options", calls.OPTIONS, ids=calls.option_id)
@pytest.mark.parametrize("case", [case for case in calls.CASES if 0 not in case.shape], ids=lambda case: case.id)
def test_by_hand_is_the_definition(case: calls.Case, options: dict[str, str]) -> None:
    """What large results are compared with must itself be right."""
    geometry = case.geometry(**options)
    x = random_bits(case.shape, torch.int32)
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for y in [x, x.contiguous(memory_format=formats[x.dim()])] if x.dim() in formats else [x]:
        batch = by_hand("space_to_batch", geometry, is_channels_last(y))(y)
        np.testing.assert_array_equal(as_bytes(batch), expected_batch(x, geometry, 0))
        assert torch.equal(by_hand("batch_to_space", geometry, is_channels_last(batch))(batch), x)


def test_bits_and_values() -> None:
    a, b = torch.tensor([0x7FC00000, 0x7FC00001], dtype=torch.int32).view(torch.float32)
    assert not same_bits(a, b)
    assert same_values(a, b)
    assert not same_values(torch.zeros(2), torch.zeros(3))
    assert not same_values(torch.zeros(2), torch.zeros(2, dtype=torch.float64))


def test_poison_fills_all_of_a_strided_tensor() -> None:
    x = poison_(torch.zeros(4, 6)[:, ::2])
    assert set(x.contiguous().view(torch.uint8).unique().tolist()) == {0xA5}


@pytest.mark.parametrize("cases", [gpu_suite(), cpu_suite()], ids=["gpu", "cpu"])
def test_suites_name_each_case_once_and_make_sense(cases: list[Case]) -> None:
    assert len({case.key for case in cases}) == len(cases)
    for case in cases:
        assert case.row in ROWS
        assert case.geometry.batch_shape  # raises where sizes do not divide
        assert case.tiny().geometry.block_shape == case.block
        assert case.tiny().moved_bytes < 16 << 20


def test_the_gpu_suite_covers_the_goals() -> None:
    cases = gpu_suite()
    assert {case.row for case in cases} == {"aligned", "aligned, 1 byte", "odd", "odd, 1 byte", "strided", "small"}
    aligned = [case for case in cases if case.row == "aligned"]
    assert {case.torch_dtype.itemsize for case in aligned} == {2, 4, 8, 16}
    assert {1, 2, 4, 8, 16, 32} <= {case.block[-1] for case in aligned}
    assert {len(case.block) for case in aligned} == {1, 2, 3}
    assert {case.layout for case in cases if case.row == "strided"} == {*LAYOUTS} - {"contiguous", "channels_last"}
    assert all(case.moved_bytes > 256 << 20 for case in cases if case.row not in ("small", "strided"))
    assert all(case.moved_bytes <= 2 << 20 for case in cases if case.row == "small")


def test_the_cpu_suite_covers_what_it_says() -> None:
    cases = [case for case in cpu_suite() if case.direction == "space_to_batch"]
    kinds = [(case.dtype, (case.layout, len(case.block)), case.block[-1]) for case in cases]
    for first, second, count in ((0, 1, 24), (0, 2, 24), (1, 2, 16)):
        assert len({(kind[first], kind[second]) for kind in kinds}) == count
    inputs = [case.moved_bytes / 2 for case in cases]
    assert min(inputs) < 6 << 10
    assert max(inputs) > 60 << 20


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name: str) -> None:
    cases = cases_of(name)
    assert {case.direction for case in cases} == {"space_to_batch", "batch_to_space"}
    assert len(cases) == 2 * len(PRESETS[name].blocks)
    tiny = cases[0].tiny()
    x = tiny.source(CPU)
    assert expected(tiny, x).shape == tiny.result_shape


def test_causal_presets_look_back_by_their_rate() -> None:
    case = cases_of("wavenet")[-1]
    assert (case.block, case.paddings) == ((512,), ((512, 384),))


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="preset: there is none called 'vgg'"):
        cases_of("vgg")
    with pytest.raises(ValueError, match="PyTorch has no dtype called 'float12'"):
        make((1, 4), (2,), 0, "float12")
    with pytest.raises(ValueError, match="divisible"):
        make((1, 5), (2,), 0, "uint8")
    with pytest.raises(ValueError, match="channels_last needs at least 3 dims"):
        with_layout((2, 4), torch.uint8, "channels_last", CPU)
