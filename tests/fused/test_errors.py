"""What is refused, before anything is computed: each message names the function and the argument."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from spacebatch import Blocks, fused, patchify, to_blocks
from spacebatch.windows import Windows, window_merge, window_partition

X = torch.zeros(2, 3, 4, 4)
A = X.numpy()
THREE = torch.ones(3)
DEEP = torch.zeros(2, 3, 5, 4, 4)
PLANES: Any = {"spatial_dims": (3, 4)}
S, B = fused.space_to_batch, fused.batch_to_space
B2 = torch.zeros(8, 3, 2, 2)


def blocks() -> Blocks:
    return to_blocks([X[0]], 2)


CASES: dict[str, tuple[Any, type[Exception], str]] = {
    "entries": (lambda: S(X, 2, scale=torch.ones(4)), ValueError, r"scale has 4 entries, but dim 1 has 3 channels"),
    "matrix": (lambda: S(X, 2, bias=torch.ones(3, 1)), ValueError, r"bias is 2-D; it must be a number, or 1-D"),
    "text": (lambda: S(X, 2, scale="2"), TypeError, r"scale must be a number or a torch.Tensor, got '2' of type str"),
    "bool": (lambda: S(X, 2, scale=True), TypeError, r"scale must be a number"),
    "complex": (lambda: S(X, 2, bias=THREE.to(torch.complex64)), TypeError, r"bias has dtype torch.complex64"),
    "several": (
        lambda: S(DEEP, 2, scale=THREE, **PLANES),
        ValueError,
        r"channel_dim is needed: an input of shape .* scale",
    ),
    "none": (
        lambda: S(X[:, 0], 2, bias=THREE, spatial_dims=(1, 2)),
        ValueError,
        r"channel_dim is needed: .* bias runs along",
    ),
    "cut": (lambda: S(X, 2, scale=1, channel_dim=2), ValueError, r"channel_dim 2 is dim 2, which is cut"),
    "batch": (lambda: S(X, 2, scale=THREE, channel_dim=0), ValueError, r"channel_dim 0 is dim 0, which is the batch"),
    "range": (lambda: S(X, 2, scale=1, channel_dim=4), ValueError, r"channel_dim 4 is out of range"),
    "no integer": (
        lambda: S(X, 2, scale=1, channel_dim=True),
        TypeError,
        r"channel_dim must be an integer, got the bool",
    ),
    "activation": (
        lambda: S(X, 2, activation="swish"),
        ValueError,
        r"activation must be one of none, relu, .* got 'swish'",
    ),
    "no word": (lambda: S(X, 2, activation=["relu"]), ValueError, r"activation must be one of"),
    "pad": (lambda: S(X, 2, pad="inside"), ValueError, r'pad must be "before" or "after", got \'inside\''),
    "dtype": (lambda: S(X, 2, dtype=torch.int32), TypeError, r"dtype is int32; it must be one of float8_e4m3fn, "),
    "name": (lambda: S(X, 2, dtype="float16"), TypeError, r"dtype must be a torch.dtype, got 'float16'"),
    "source": (
        lambda: S(X.bool(), 2, scale=1),
        TypeError,
        r"the input has dtype bool; arithmetic is for float8_e4m3fn, ",
    ),
    "pad value": (
        lambda: S(X, 2, 1, pad_value=300, dtype=torch.uint8),
        ValueError,
        r"pad_value 300 is out of range for torch.uint8",
    ),
    "pad before": (
        lambda: S(X.byte(), 2, 1, pad_value=-1, pad="before"),
        ValueError,
        r"pad_value -1 is out of range for torch.uint8",
    ),
    "sizes": (lambda: S(X, 3, scale=2), ValueError, r".*not divisible"),
    "list": (lambda: S([1], 2, scale=2), TypeError, r"the input must be a torch.Tensor or a numpy.ndarray, got list"),
    "sparse": (lambda: S(X.to_sparse(), 2, scale=2), TypeError, r"the input must be a dense tensor"),
    "residual": (
        lambda: B(B2, 2, residual=X[:1]),
        ValueError,
        r"residual has shape \(1, 3, 4, 4\), the result has \(2, 3, 4, 4\)",
    ),
    "residual's dtype": (lambda: B(B2, 2, residual=X.int()), TypeError, r"residual has dtype int32; it must be one of"),
    "residual's type": (lambda: B(B2, 2, residual=A), TypeError, r"residual must be a torch.Tensor, got ndarray"),
    "sparse residual": (
        lambda: B(B2, 2, residual=X.to_sparse()),
        TypeError,
        r"residual: the input must be a dense tensor",
    ),
    "out": (lambda: S(X, 2, scale=2, out=X), ValueError, r"out has shape"),
    "out's dtype": (
        lambda: S(X, 1, dtype=torch.half, out=X),
        ValueError,
        r"out has dtype torch.float32, the result has torch.float16",
    ),
    "out overlaps": (lambda: B(B2, 2, residual=X, out=X), ValueError, r"out overlaps residual in memory"),
    "out's gradient": (
        lambda: S(X, 1, scale=THREE.clone().requires_grad_(), out=X.clone()),
        ValueError,
        r"out= takes no part",
    ),
    "device": (lambda: S(X, 2, scale=THREE.to("meta")), ValueError, r"scale is on meta, the input on cpu"),
    "array": (
        lambda: S(A, 2, scale=THREE),
        TypeError,
        r"scale must be a number or a numpy.ndarray, got .* of type Tensor",
    ),
    "array's dtype": (
        lambda: S(A, 2, dtype="no such"),
        TypeError,
        r"dtype 'no such' is none that NumPy knows; bfloat16",
    ),
    "array's residual": (lambda: B(B2.numpy(), 2, residual=A[:1]), ValueError, r"residual has shape"),
    "array out": (lambda: B(B2.numpy(), 2, residual=A, out=A), ValueError, r"out overlaps residual in memory"),
}
OTHERS: dict[str, tuple[Any, type[Exception], str]] = {
    "windows": (
        lambda: window_partition(X, 2, scale=torch.ones(4)),
        ValueError,
        r"window_partition: scale has 4 entries",
    ),
    "no such word": (
        lambda: window_partition(X, 2, residual=X),
        TypeError,
        r"window_partition: there is no argument 'residual'",
    ),
    "merge": (
        lambda: window_merge(B2, 2, (4, 4), pad="after"),
        TypeError,
        r"window_merge: there is no argument 'pad'; there are scale",
    ),
    "object": (lambda: Windows(X.shape, 2).merge(B2, residual=X[0]), ValueError, r"Windows.merge: residual has shape"),
    "to_blocks": (
        lambda: to_blocks([X[0]], 2, scale=torch.ones(4)),
        ValueError,
        r"to_blocks: scale has 4 entries, but dim 0 has 3",
    ),
    "restore": (lambda: blocks().restore(residual=X), TypeError, r"restore: there is no argument 'residual'"),
    "patchify": (
        lambda: patchify(X[0], 2, mean=1, bias=2),
        ValueError,
        r"patchify: mean and std already say what bias would",
    ),
    "mean": (
        lambda: patchify(X[0], 2, mean=[1, 2]),
        ValueError,
        r"patchify: mean must be a number or one for each of 3 channels",
    ),
    "std": (lambda: patchify(A[0], 2, std=[1, 0, 1]), ValueError, r"patchify: std must not be 0"),
    "a word": (
        lambda: patchify(A[0], 2, mean="x"),
        TypeError,
        r"patchify: mean must be a number or a sequence of numbers",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_fused(name: str) -> None:
    call, kind, message = CASES[name]
    with pytest.raises(kind, match=r"^fused\.(space_to_batch|batch_to_space): " + message):
        call()


@pytest.mark.parametrize("name", OTHERS)
def test_functions_that_take_the_words(name: str) -> None:
    call, kind, message = OTHERS[name]
    with pytest.raises(kind, match="^" + message):
        call()


def test_a_call_that_was_met_is_checked_like_the_first() -> None:
    """What is kept is kept by all that matters: True is not 1, nor is minus zero zero."""
    assert S(X, 2, scale=THREE, channel_dim=1).shape == (8, 3, 2, 2)
    for _ in range(2):
        S(X, 2, scale=1)
        with pytest.raises(TypeError, match="scale must be a number"):
            S(X, 2, scale=True)
        with pytest.raises(TypeError, match="channel_dim must be an integer"):
            S(X, 2, scale=THREE, channel_dim=True)
        with pytest.raises(ValueError, match="4 entries"):
            S(X, 2, scale=torch.ones(4), channel_dim=1)
        strided = torch.arange(6.0)[::2]  # of the shape of one that was met, and not next to each other
        assert S(X + 1, 2, scale=strided, channel_dim=1)[0, :, 0, 0].tolist() == [0, 2, 4]
        for zero in (0.0, -0.0):
            assert np.signbit(S(X, 2, scale=zero)[0, 0, 0, 0].item()) == np.signbit(zero)
            assert np.signbit(S(-X, 2, 1, bias=zero, pad="before")[0, 0, 1, 1].item()) == np.signbit(zero)
            assert np.signbit(S(X, 2, 1, scale=1.0, pad_value=zero)[0, 0, 0, 0].item()) == np.signbit(zero)
