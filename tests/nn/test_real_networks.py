"""Published networks, converted: outputs, gradients and buffers, and how far chains reached; what is not installed is skipped."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_structure

from spacebatch import Conversion, convert
from spacebatch.nn.converted_class import dilation_of
from tests.nn.real_networks import CASES
from tests.same_networks import all_results, assert_close_beside_the_largest


def seeded(network: nn.Module, *inputs: Tensor, **options: Any) -> Any:
    torch.manual_seed(0)
    return network(*inputs, **options)


def without_dropout(network: nn.Module) -> nn.Module:
    """In double precision; dropout draws other numbers in batch space."""
    for part in network.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):
            part.p = 0.0
    return network.double()


@pytest.mark.parametrize("training", [True, False], ids=("training", "inference"))
@pytest.mark.parametrize("name", CASES)
def test_equal_in_batch_space(name: str, training: bool) -> None:
    case = CASES[name]
    pytest.importorskip(case.package)
    torch.manual_seed(0)
    network = without_dropout(case.make()).train(training)
    inputs, options = case.inputs()
    converted = convert(copy.deepcopy(network), *inputs, method="batch_space", **options)
    report = converted.conversion
    assert isinstance(report, Conversion)
    assert report.notes == case.notes
    assert sum(dilation_of(part) is not None for part in network.modules()) >= case.dilated
    assert sum(row.kind == "chain" for row in report.rows) >= case.chains
    assert case.ends <= {end.split(" in ")[0] for row in report.rows for end in row.ended}
    if not training:
        with torch.no_grad():
            expected, found = (seeded(part, *inputs, **options) for part in (network, converted))
        assert tree_structure(found) == tree_structure(expected)
        assert [type(leaf) for leaf in tree_leaves(found)] == [type(leaf) for leaf in tree_leaves(expected)]
        assert_close_beside_the_largest(tree_leaves(found), tree_leaves(expected))
    for found, expected in zip(
        all_results(converted, *inputs, **options), all_results(network, *inputs, **options), strict=True
    ):
        assert_close_beside_the_largest(found, expected)
