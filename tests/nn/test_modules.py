"""spacebatch.nn: modules are the functions with their arguments kept."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch

import spacebatch
from spacebatch.nn import BatchToSpace, SpaceToBatch
from tests.bits import random_tensor, same
from tests.cases import Case, each_of, each_option

REPRS = {
    "SpaceToBatch(block_shape=2, paddings=0)": SpaceToBatch(2),
    "SpaceToBatch(block_shape=(2, 3), paddings='auto')": SpaceToBatch((2, 3), "auto"),
    "SpaceToBatch(block_shape=2, paddings=((1, 0),), spatial_dims=(1,), pad_value=-1.5, batch_order='batch_major', "
    "arrangement='contiguous')": SpaceToBatch(
        2, ((1, 0),), spatial_dims=(1,), pad_value=-1.5, batch_order="batch_major", arrangement="contiguous"
    ),
    "SpaceToBatch(block_shape=2, paddings=0, shifts=(-1, 3))": SpaceToBatch(2, shifts=(-1, 3)),
    "BatchToSpace(block_shape=2, crops=0)": BatchToSpace(2),
    "BatchToSpace(block_shape=[2], crops=[(0, 1)], batch_order='batch_major')": BatchToSpace(
        [2], [(0, 1)], batch_order="batch_major"
    ),
    "BatchToSpace(block_shape=2, crops=1, spatial_dims=3, arrangement='contiguous')": BatchToSpace(
        2, 1, spatial_dims=3, arrangement="contiguous"
    ),
}


@pytest.mark.parametrize("text", REPRS)
def test_repr(text: str) -> None:
    """What is not a default shows, and the text makes the module again."""
    assert repr(REPRS[text]) == text
    assert eval(text).arguments == REPRS[text].arguments


@each_of("each_dim_its_border", "dims_unordered_padded", "auto_each_dim")
@each_option
def test_results_are_the_functions(case: Case, options: dict[str, Any]) -> None:
    inverse = case.geometry(**options).inverse
    x = random_tensor(case.shape, torch.int32)
    y = spacebatch.space_to_batch(x, **case.arguments, pad_value=9, **options)
    assert same(SpaceToBatch(**case.arguments, pad_value=9, **options)(x), y)
    assert same(BatchToSpace(**inverse)(y), x)


def saved(module: torch.nn.Module) -> torch.nn.Module:
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), saved])
@pytest.mark.parametrize("text", REPRS)
def test_copies(text: str, copied: Any) -> None:
    module = copied(REPRS[text])
    assert type(module) is type(REPRS[text])
    assert repr(module) == text
    assert module.state_dict() == {}  # there is nothing to learn
    assert module.load_state_dict({}).missing_keys == []


def test_in_a_network() -> None:
    """A dilated convolution is an ordinary one between the two, and its gradient passes."""
    convolution = torch.nn.Conv2d(1, 1, 1, bias=False)
    torch.nn.init.constant_(convolution.weight, 2.0)
    network = torch.nn.Sequential(SpaceToBatch(2, 1), convolution, BatchToSpace(2, 1))
    x = torch.ones(1, 1, 4, 4, requires_grad=True)
    y = network(x)
    assert torch.equal(y, torch.full((1, 1, 4, 4), 2.0))
    y.sum().backward()
    assert torch.equal(x.grad, torch.full((1, 1, 4, 4), 2.0))
    assert convolution.weight.grad.item() == 16


def test_bad_arguments_are_named_when_called() -> None:
    with pytest.raises(ValueError, match=r"^space_to_batch: block_shape\[0\] must be at least 1, got 0"):
        SpaceToBatch(0)(torch.zeros(1, 1, 2, 2))
    with pytest.raises(ValueError, match=r"^batch_to_space: crops must be integers, got 'auto'"):
        BatchToSpace(2, "auto")(torch.zeros(4, 1, 2, 2))
