"""Errors of the TensorFlow and Caffe2 spellings: in the words of the function that was called, and in no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from spacebatch import caffe2, tensorflow, use_backend

NONE = [[0, 0], [0, 0]]
CAFFE2 = {"block_size", "pad", "pad_t", "pad_l", "pad_b", "pad_r"}
TENSORFLOW = {"block_shape", "paddings", "crops", "pad_value"}
OURS = {"spatial_dims", "batch_order", "arrangement", '"auto"', "out"}


TO_ND, TO_SPACE_ND = tensorflow.space_to_batch_nd, tensorflow.batch_to_space_nd
TO, TO_SPACE = tensorflow.space_to_batch, tensorflow.batch_to_space
TO_C2, TO_SPACE_C2 = caffe2.space_to_batch, caffe2.batch_to_space
ELEMENTS = r"has more than 2\*\*63 - 1 elements$"

# (function, the shape of its input, its other arguments, or their names and values, message)
CASES: dict[str, tuple[Callable[..., Any], tuple[int, ...], Any, str]] = {
    "nd divisible": (
        TO_ND,
        (1, 4, 3),
        ([2, 2], NONE),
        r"dim 2 of size 3 with paddings\[1\]=\(0, 0\) is 3, which block_shape\[1\]=2 does not divide; "
        r"add 1 to paddings\[1\], or take what required_space_to_batch_paddings returns$",
    ),
    "2 divisible": (
        TO,
        (1, 5, 4, 1),
        (3, [[0, 0], [2, 0]]),
        r"dim 1 of size 5 with paddings\[0\]=\(0, 0\) is 5, which block_shape=3 does not divide; add 1 to paddings\[0\]",
    ),
    "1 divisible": (
        TO,
        (1, 4, 3, 1),
        ([[0, 0], [1, 1]], 2),
        r"dim 2 of size 3 with paddings\[1\]=\(1, 1\) is 5, which block_size=2 does not divide; add 1 to paddings\[1\]",
    ),
    "caffe2 divisible": (
        TO_C2,
        (1, 1, 4, 3),
        {},
        r"dim 3 of size 3 with \(pad, pad\)=\(0, 0\) is 3, which block_size=2 does not divide; pad_r=1 would do$",
    ),
    "caffe2 divisible, above and below": (
        TO_C2,
        (1, 1, 4, 4),
        {"block_size": 3, "pad": 1, "pad_b": 2},
        r"dim 2 of size 4 with \(pad, pad_b\)=\(1, 2\) is 7, which block_size=3 does not divide; pad_b=4 would do$",
    ),
    "nd batch": (TO_SPACE_ND, (6, 4, 3), ([2, 2], NONE), r"the batch of 6 is no multiple of prod\(block_shape\)=4$"),
    "2 batch": (TO_SPACE, (6, 4, 3), (2, NONE), r"the batch of 6 is no multiple of block_shape\*\*2=4$"),
    "1 batch": (TO_SPACE, (6, 4, 3, 1), (NONE, 2), r"the batch of 6 is no multiple of block_size\*\*2=4$"),
    # the batch of the documentation's own example of BatchToSpace, whose last two samples overwrite the others
    "caffe2 batch": (TO_SPACE_C2, (10, 3, 32, 32), {"pad": 3}, r"the batch of 10 is no multiple of block_size\*\*2=4$"),
    "nd crops": (
        TO_SPACE_ND,
        (2, 4, 3),
        ([1, 2], [[0, 0], [4, 3]]),
        r"crops\[1\]=\(4, 3\) exceed dim 2, which has 3 blocks of block_shape\[1\]=2, 6 elements$",
    ),
    "1 crops": (
        TO_SPACE,
        (4, 1, 3, 1),
        ([[2, 1], [0, 0]], 2),
        r"crops\[0\]=\(2, 1\) exceed dim 1, which has 1 blocks of block_size=2, 2 elements$",
    ),
    "caffe2 crops": (
        TO_SPACE_C2,
        (4, 1, 2, 2),
        {"pad_l": 2, "pad": 3, "pad_t": 0, "pad_b": 0},
        r"\(pad_l, pad\)=\(2, 3\) exceed dim 3, which has 2 blocks of block_size=2, 4 elements$",
    ),
    "nd int64": (TO_ND, (1, 4, 3), ([1], [[2**62] * 2]), r"the result's shape \(1, 9\d+, 3\) " + ELEMENTS),
    "1 int64": (TO, (1, 4, 4, 1), ([[0, 0], [2**61] * 2], 2), r"the result's shape \(4, 2, 2305\d+, 1\) " + ELEMENTS),
    "caffe2 int64": (
        TO_C2,
        (1, 1, 4, 4),
        {"pad": 2**40},
        r"the result's shape \(4, 1, 1099511627778, 1099511627778\) " + ELEMENTS,
    ),
    "nd beyond int64": (TO_SPACE_ND, (1, 4), ([10**5000], [[0, 0]]), r"block_shape\[0\] must be at most 2\*\*63 - 1$"),
    "1 beyond int64": (TO, (1, 4, 4, 1), ([[0, 0], [0, 2**63]], 2), r"paddings\[1\]\[1\] must be at most 2\*\*63 - 1$"),
    "caffe2 beyond int64": (TO_SPACE_C2, (4, 1, 4, 4), {"pad_l": 2**63}, r"pad_l must be at most 2\*\*63 - 1$"),
    "nd a large tensor for pairs": (
        TO_ND,
        (2, 4),
        ([2], torch.zeros(1, 4096)),
        r"paddings\[0\] must be a \(before, after\) pair, got \[(0\.0, )+\.\.\.\]$",
    ),
}
ARGUMENTS = {"nd": {"block_shape"}, "2": {"block_shape"}, "1": {"block_size"}, "caffe2": CAFFE2}


def named(message: str) -> set[str]:
    """The arguments of any function of this library that a message names."""
    words = message.replace("(", " ").replace(")", " ").replace("[", " ").replace("=", " ").replace("*", " ")
    return {word.strip(",.;:'") for word in words.split()} & (CAFFE2 | TENSORFLOW | OURS)


@pytest.mark.parametrize("zeros", [np.zeros, torch.zeros], ids=["numpy", "torch"])
@pytest.mark.parametrize("name", CASES)
def test_own_words(name: str, zeros: Callable[..., Any]) -> None:
    function, shape, arguments, message = CASES[name]
    spelled = name.split()[0]
    op = {TO_C2: "SpaceToBatch", TO_SPACE_C2: "BatchToSpace"}.get(function, function.__name__)
    border = {"paddings", "pad_value"} if op.startswith("space_to") else {"crops"}
    with pytest.raises(ValueError, match=rf"^{op}: {message}") as raised:
        function(zeros(shape), **arguments) if spelled == "caffe2" else function(zeros(shape), *arguments)
    told = str(raised.value)
    assert len(told) < 250
    assert "\n" not in told
    assert named(told) <= ARGUMENTS[spelled] | (border if spelled != "caffe2" else set())


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_what_is_refused_later_has_the_same_name() -> None:
    """Kinds of tensors, pad values and backends are checked by the functions behind, which know no spelling."""
    sparse = torch.zeros(4, 4, 4, 4).to_sparse()
    nested = torch.nested.nested_tensor([torch.zeros(4, 4, 1), torch.zeros(2, 2, 1)])
    for x, message in ((sparse, "the input must be a dense tensor"), (nested, "nested tensors have no common")):
        with pytest.raises(TypeError, match=f"^space_to_batch_nd: {message}"):
            tensorflow.space_to_batch_nd(x, [2, 2], NONE)
        with pytest.raises(TypeError, match=f"^batch_to_space: {message}"):
            tensorflow.batch_to_space(x, NONE, 2)
        with pytest.raises(TypeError, match=f"^BatchToSpace: {message}"):
            caffe2.batch_to_space(x)
    with pytest.raises(
        ValueError, match=r"^batch_to_space: the result's shape \(0, 4294967296, 4294967296, 1\) " + ELEMENTS
    ):
        tensorflow.batch_to_space(torch.zeros(0, 2**31, 2**31, 1), NONE, 2)
    with pytest.raises(TypeError, match=r"^space_to_batch_nd: pad_value 0.5j is complex, but the input's dtype is "):
        tensorflow.space_to_batch_nd(torch.zeros(1, 4, 3), [2], [[0, 0]], pad_value=0.5j)
    with use_backend("llvm"), pytest.raises(RuntimeError, match=r"^SpaceToBatch: the backend 'llvm' was asked for"):
        caffe2.space_to_batch(torch.zeros(1, 1, 2, 2, device="meta"))


def test_what_is_no_array() -> None:
    for function, op in (
        (caffe2.space_to_batch, "SpaceToBatch: the input must be a torch.Tensor or a numpy.ndarray"),
        (caffe2.batch_to_space, "BatchToSpace: the input must be a torch.Tensor or a numpy.ndarray"),
    ):
        for x in ([[1]], None, 3):
            with pytest.raises(TypeError, match=f"^{op}, got {type(x).__name__}$"):
                function(x)  # type: ignore[operator]
    allowed = "the input must be a torch.Tensor, a numpy.ndarray or nested lists, got "
    for function in (tensorflow.space_to_batch_nd, tensorflow.batch_to_space_nd, tensorflow.space_to_batch):
        for x in ({1: 2}, None, 3, "1"):
            with pytest.raises(TypeError, match=f"^{function.__name__}: {allowed}{type(x).__name__}$"):
                function(x, [2], [[0, 0]])
