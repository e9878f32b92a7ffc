"""What is refused, before anything is computed where that can be known; and how a model's own failure reads."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from spacebatch import receptive_field, tiled
from tests.tiled.models import Counting, image

X = torch.zeros(1, 2, 20, 14)

REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no model": ({"model": 3}, TypeError, "model must be callable, got int"),
    "a list": ({"image": [[1]]}, TypeError, "image must be a tensor, an array"),
    "sparse": ({"image": X.to_sparse()}, TypeError, "the input must be a dense tensor"),
    "text": ({"image": np.zeros((1, 1, 4), "U3")}, TypeError, "the image has dtype <U3, which PyTorch has not"),
    "no spatial dims": ({"image": X[0, 0]}, ValueError, "image has shape (20, 14); (N, C, *spatial) is needed"),
    "tile too long": ({"tile": (1, 2, 3, 4, 5)}, ValueError, "image has shape (1, 2, 20, 14)"),
    "tile too short": ({"tile": (4,)}, ValueError, "nothing before 1 spatial dims"),
    "empty image": ({"image": X[:, :, :0]}, ValueError, "image has size 0 along dim 2"),
    "no samples": ({"image": X[:0]}, ValueError, "image has size 0 along dim 0"),
    "tile 0": ({"tile": (8, 0)}, ValueError, "tile[1] must be positive, or -1 for all of the image, got 0"),
    "tile a float": ({"tile": 8.0}, TypeError, "tile must be an integer"),
    "tile a bool": ({"tile": (8, True)}, TypeError, "tile[1] must be an integer, got the bool True"),
    "halo negative": ({"halo": (1, -1)}, ValueError, "halo[1] must not be negative, got -1"),
    "halo too long": ({"halo": (1, 1, 1)}, ValueError, "halo has 3 entries for 2 spatial dims"),
    "both": ({"halo": 1, "overlap": 0.5}, ValueError, "halo (1) and overlap (0.5) exclude each other"),
    "overlap 1.0": (
        {"overlap": 1.0},
        ValueError,
        "overlap[0] must be from 0 to less than 1, a share of the tile; got 1.0",
    ),
    "overlap 8": ({"overlap": (0, 8)}, ValueError, "overlap[1] must be from 0 to less than the tile, 8; got 8"),
    "overlap nan": ({"overlap": float("nan")}, ValueError, "overlap[0] must be from 0"),
    "overlap too long": ({"overlap": (0.5,) * 3}, ValueError, "overlap has 3 entries for 2 spatial dims"),
    "no such blend": ({"overlap": 0.5, "blend": "cubic"}, ValueError, "blend must be one of none, constant, linear"),
    "blend alone": ({"blend": "linear"}, ValueError, "blend='linear' needs an overlap"),
    "blend and halo": ({"halo": 1, "blend": "gaussian"}, ValueError, "blend='gaussian' needs an overlap"),
    "sigma": ({"overlap": 0.5, "sigma_scale": 0}, ValueError, "sigma_scale must be positive, got 0"),
    "batch 0": ({"batch": 0}, ValueError, "batch must be at least 1, got 0"),
    "finish": ({"finish": "argmax"}, TypeError, "finish must be callable, got str"),
    "progress": ({"progress": 3}, TypeError, "progress must be a bool or a callable, got 3"),
    "group": ({"group": "world"}, TypeError, "group must be a ProcessGroup"),
    "out a list": ({"out": [1]}, TypeError, "a list has no shape"),
    "out the image": ({"out": X}, ValueError, "out overlaps the image in memory"),
    "out a part of it": ({"out": X[:, :1]}, ValueError, "out overlaps the image in memory"),
    "resume alone": ({"resume": "r.json"}, ValueError, "resume= needs out= on disk"),
    "resume in memory": (
        {"resume": "r.json", "out": np.zeros((1, 2, 20, 14))},
        ValueError,
        "resume= needs out= on disk",
    ),
    "grad and out": ({"grad": True, "out": X.clone()}, ValueError, "grad=True needs a tensor as image, no out"),
    "grad of arrays": ({"grad": True, "image": X.numpy()}, ValueError, "grad=True needs a tensor as image"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_is_computed(name: str) -> None:
    changed, kind, message = REFUSED[name]
    model = Counting(lambda t: t)
    with pytest.raises(kind, match=f"^tiled: {'.*' if name == 'sparse' else ''}.*{re.escape(message)}"):
        tiled(**{"model": model, "image": X, "tile": 8, **changed})
    assert model.calls == 0


AFTER: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "a tuple": (lambda t: (t, t), {}, TypeError, "the model must return one tensor, got tuple; choose one in a lambda"),
    "other batch": (
        lambda t: t[:1].repeat(3, 1, 1, 1),
        {"batch": 2},
        ValueError,
        "made (3, 2, 8, 8) of 2 tiles of (8, 8)",
    ),
    "flat": (lambda t: t.flatten(1), {}, ValueError, "the model made (1, 128) of 1 tiles of (8, 8)"),
    "valid": (
        lambda t: t[..., 1:-1, 1:-1],
        {},
        ValueError,
        "along spatial dim 1 the model's result has 3/4 of the size",
    ),
    "odd size": (lambda t: t[..., ::4, ::4], {}, ValueError, "element 14, where the image is cut, has no place in it"),
    "changing": (
        lambda t: t[:, : t.shape[-1] // 4],
        {},
        ValueError,
        "after its first batch, (1, 2, 8, 6) in torch.float32",
    ),
    "integers": (lambda t: t.int(), {"overlap": 0.5}, ValueError, "are averaged, but the model's are torch.int32"),
    "finish": (
        lambda t: t,
        {"finish": lambda t: t.argmax(1)},
        ValueError,
        "finish must keep all dims but the channels",
    ),
    "out's shape": (
        lambda t: t,
        {"out": torch.zeros(1, 3, 20, 14)},
        ValueError,
        "out has shape (1, 3, 20, 14), the result",
    ),
    "out's dtype": (
        lambda t: t,
        {"out": np.zeros((1, 2, 20, 14))},
        ValueError,
        "out has dtype torch.float64, the result has",
    ),
    "no such array": (
        lambda t: t.bfloat16(),
        {"image": X.numpy()},
        TypeError,
        "dtype torch.bfloat16, which NumPy has not",
    ),
}


@pytest.mark.parametrize("name", AFTER)
def test_refused_after_the_first_batches(name: str) -> None:
    model, options, kind, message = AFTER[name]
    with pytest.raises(kind, match=f"^tiled: .*{re.escape(message)}"):
        tiled(model, options.pop("image", X), 8, **options)


def test_the_tile_of_a_failure_is_named() -> None:
    def model(t: Tensor) -> Tensor:
        if (t == 5).any():
            raise FloatingPointError("a five")
        return t

    x = torch.zeros(2, 1, 30, 30)
    x[1, 0, 15, 25] = 5
    with pytest.raises(RuntimeError, match=r"sample 1, 9:21, 19:30.*FloatingPointError: a five") as raised:
        tiled(model, x, 10, halo=1)
    assert isinstance(raised.value.__cause__, FloatingPointError)


def test_receptive_field_refuses() -> None:
    for arguments, kind, message in (
        ((3, (1, 1, 8)), TypeError, "model must be callable, got int"),
        ((abs, (1, 8)), ValueError, "shape must be (N, C, *spatial), all positive, got (1, 8)"),
        ((abs, (1, 1, 0)), ValueError, "all positive, got (1, 1, 0)"),
        ((abs, (1, 1, 8.0)), TypeError, "shape[2] must be an integer"),
        ((lambda t: t.sum(), (1, 1, 8)), ValueError, "the model made () of (1, 1, 8)"),
    ):
        with pytest.raises(kind, match=f"^receptive_field: .*{re.escape(message)}"):
            receptive_field(*arguments)
    with pytest.raises(ValueError, match="trials must be at least 1, got 0"):
        receptive_field(abs, (1, 1, 8), trials=0)
    with pytest.raises(ValueError, match=r"^receptive_field: spatial dim 0: global, or wider than"):
        _ = receptive_field(lambda t: t - t.mean(2, True), image(1, 1, 40).shape).halo
