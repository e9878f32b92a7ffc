"""The way of small CPU tensors: one gather by a kept index map, with the bits of every other way."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import spacebatch
from spacebatch import BlockGeometry, front_door, gather
from tests.bits import define_batch, define_space, random_tensor, same
from tests.cases import Case, each_case, each_of, each_option


@each_case
@each_option
def test_every_case(case: Case, options: dict[str, Any]) -> None:
    x = random_tensor(case.shape)
    inverse = case.geometry(**options).inverse
    y = spacebatch.space_to_batch(x, **case.arguments, pad_value=-1, **options)
    assert same(y, define_batch(x, **case.arguments, pad_value=-1, **options))
    assert same(spacebatch.batch_to_space(y, **inverse), define_space(y, **inverse))


@pytest.mark.parametrize("dtype", sorted(gather.DTYPES, key=str), ids=str)
@each_of("1d", "asymmetric_border", "inside_one_block")
def test_every_dtype(dtype: torch.dtype, case: Case) -> None:
    x = random_tensor(case.shape, dtype)
    call = front_door.Call(case.geometry())
    assert call.gathered(x)
    y = spacebatch.space_to_batch(x, **case.arguments, pad_value=1)
    assert same(y, define_batch(x, **case.arguments, pad_value=1))
    assert same(spacebatch.batch_to_space(y, **case.geometry().inverse), x)


def test_where_it_serves() -> None:
    call = front_door.Call(BlockGeometry((2, 3, 4, 4), 2))
    x = torch.zeros(2, 3, 4, 4)
    assert call.gathered(x)
    assert "gather" in spacebatch.explain("space_to_batch", x, 2).kernel
    for other in (
        x.transpose(2, 3),
        x.to(memory_format=torch.channels_last),
        x.to(torch.float8_e5m2),
        x.to(torch.uint32),
        x.to("meta"),
    ):
        assert not call.gathered(other)
    with spacebatch.use_backend("torch"):
        assert not call.gathered(x)
    side = int(gather.MOST_ELEMENTS**0.5)
    assert gather.maps_of(BlockGeometry((1, 1, side, side), 2)) is not None
    assert gather.maps_of(BlockGeometry((1, 1, side, side), 2, 1)) is None
    assert gather.maps_of(BlockGeometry((2, 1, side, side), 2)) is None
    assert gather.maps_of(BlockGeometry((0, 1, 4, 4), 2)) is None


@pytest.mark.parametrize("part", ["conj", "imag"])
def test_lazy_conjugation_and_negation(part: str) -> None:
    z = random_tensor((1, 2, 4, 4), torch.complex64)
    x = z.conj() if part == "conj" else z.conj().imag
    assert x.is_conj() or x.is_neg()
    plain = x.clone(memory_format=torch.contiguous_format).resolve_conj().resolve_neg()
    assert same(spacebatch.space_to_batch(x, 2, 1), spacebatch.space_to_batch(plain, 2, 1))


def test_maps_first_made_in_inference_mode_serve_training() -> None:
    front_door._space_call.cache_clear()
    x = torch.rand(1, 2, 4, 4)
    with torch.inference_mode():
        spacebatch.space_to_batch(x, 2)
    leaf = x.clone().requires_grad_()
    spacebatch.space_to_batch(leaf, 2).sum().backward()
    assert leaf.grad is not None
    assert torch.equal(leaf.grad, torch.ones_like(x))


def test_arguments_that_are_equal_but_not_the_same_kind() -> None:
    """What is kept for 2 is not found under 2.0 or True."""
    x = torch.zeros(1, 1, 4, 4)
    spacebatch.space_to_batch(x, 1, 1 - 1)
    spacebatch.space_to_batch(x, (2, 2), ((0, 0), (0, 0)))
    for wrong in (True, 2.0, (2.0, 2), (2, True), [2, 2.0]):
        with pytest.raises(TypeError, match=r"^space_to_batch: block_shape.* must be an integer"):
            spacebatch.space_to_batch(x, wrong)  # type: ignore[arg-type]
    for wrong in (False, 0.0, ((0, 0), (0, False)), ((0, 0.0), (0, 0))):
        with pytest.raises(TypeError, match=r"^space_to_batch: paddings.* must be an integer"):
            spacebatch.space_to_batch(x, (2, 2), wrong)  # type: ignore[arg-type]


def test_few_maps_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    before = gather._kept
    geometry = BlockGeometry((1, 1, 4, 4), 2)
    maps = gather.maps_of(geometry)
    assert gather._kept == before + 16
    monkeypatch.setattr(gather, "MOST_KEPT", before + 16)
    assert gather.maps_of(geometry) is None
    del maps
    assert gather._kept == before
    assert gather.maps_of(geometry) is not None
