"""What a type checker tells the users of the package: a file of theirs under `mypy --strict`, one line per case."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")

PREAMBLE = """\
from typing import Any, assert_type
import numpy as np
import torch
from numpy.typing import NDArray
import spacebatch
from spacebatch import BlockGeometry, caffe2, fused, reference, tensorflow
x = torch.zeros(1, 3, 5, 5)
a: NDArray[np.uint8] = np.zeros((1, 3, 4, 4), np.uint8)
g = BlockGeometry(x.shape, 2, "auto")
P = [[0, 0], [0, 0]]
"""

# name: (a line of the file, what is said of it; None: nothing)
CASES = {
    "tensor": ("assert_type(spacebatch.space_to_batch(x, 2), torch.Tensor)", None),
    "parameter": ("assert_type(spacebatch.space_to_batch(torch.nn.Parameter(x), 2), torch.Tensor)", None),
    "fused, tensor": ("assert_type(fused.space_to_batch(x, 2, scale=0.5, dtype=torch.half), torch.Tensor)", None),
    "fused, array": ("assert_type(fused.batch_to_space(a, 1, bias=1, activation='silu'), NDArray[Any])", None),
    "fused, no such activation": ("fused.space_to_batch(x, 2, activation='swish')", r"swish|\[call-overload\]"),
    "fused, no residual there": ("fused.space_to_batch(x, 2, residual=x)", r"residual|\[call-overload\]"),
    "fused, windows": ("assert_type(spacebatch.windows.window_partition(x, 5, scale=2.0), torch.Tensor)", None),
    "no text": ('spacebatch.space_to_batch("x", 2)', r"\[type-var\]|\[call-overload\]"),
    "no such option": ("spacebatch.space_to_batch(x, 2, padding=1)", r"padding"),
    "no such order": (
        'spacebatch.space_to_batch(x, 2, batch_order="major")',
        r'"Literal\[\'major\'\]"|\[call-overload\]',
    ),
    "choose_block": ("assert_type(spacebatch.choose_block(torch.nn.ReLU(), x).block, int)", None),
    "convert": ("assert_type(spacebatch.convert(torch.nn.ReLU()), torch.nn.ReLU)", None),
    "convert, dry": ("assert_type(spacebatch.convert(torch.nn.ReLU(), dry_run=True), spacebatch.Conversion)", None),
    "tiled, no such blend": ('spacebatch.tiled(torch.nn.ReLU(), x, 4, blend="cubic")', r"Literal\['cubic'\]"),
    "receptive_field": (
        "assert_type(spacebatch.receptive_field(torch.nn.ReLU(), x.shape).halo, tuple[int, ...])",
        None,
    ),
    "tensorflow, array": ("assert_type(tensorflow.space_to_batch_nd(a, [2, 2], P), NDArray[np.uint8])", None),
    "tensorflow, tensor": ("assert_type(tensorflow.space_to_batch(x, P, 2), torch.Tensor)", None),
    "tensorflow, lists": ("assert_type(tensorflow.batch_to_space([[[1]]], [1, 1], P), NDArray[Any])", None),
    "tensorflow, no text": ('tensorflow.space_to_batch(x, P, 2, pad_value="0")', r"\[call-overload\]"),
    "caffe2, array": ("assert_type(caffe2.space_to_batch(a), NDArray[np.uint8])", None),
    "caffe2, tensor": ("assert_type(caffe2.batch_to_space(x, block_size=1), torch.Tensor)", None),
    "warm_up, tensor": ("spacebatch.warm_up(spacebatch.space_to_batch, x, 2, paddings=1)", None),
    "warm_up, array": ("spacebatch.warm_up(spacebatch.batch_to_space, a, 1)", None),
    "warm_up, module": ("spacebatch.warm_up(spacebatch.nn.SpaceToBatch(2), x)", None),
    "warm_up, no such option": (
        "spacebatch.warm_up(spacebatch.batch_to_space, x, 2, paddings=1)",
        r"incompatible type",
    ),
    "array": ("assert_type(spacebatch.space_to_batch(a, 2), NDArray[np.uint8])", None),
    "reference, array": ("assert_type(reference.batch_to_space(a, 1), NDArray[np.uint8])", None),
    "arguments": ("assert_type(spacebatch.space_to_batch(x, **g.arguments), torch.Tensor)", None),
    "inverse": ("assert_type(spacebatch.batch_to_space(x, **g.inverse), torch.Tensor)", None),
    "misspelt": ("spacebatch.space_to_batchh(x, 2)", r"has no attribute \"space_to_batchh\""),
    "a geometry's there": ("assert_type(g.space_to_batch(x), torch.Tensor)", None),
    "a geometry's back, array": ("assert_type(g.batch_to_space(a), NDArray[np.uint8])", None),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What mypy says, by the name of the case."""
    file = tmp_path_factory.mktemp("typing") / "user.py"
    file.write_text(PREAMBLE + "".join(f"{line}\n" for line, _ in CASES.values()))
    # in the root of the repository, so that its cache serves
    finished = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(file)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode in (0, 1), finished.stderr
    first = PREAMBLE.count("\n") + 1
    said = dict.fromkeys(CASES, "")
    for number, message in re.findall(rf"{re.escape(file.name)}:(\d+): error: (.*)", finished.stdout):
        assert int(number) >= first, finished.stdout
        said[[*CASES][int(number) - first]] += message
    return said


@pytest.mark.parametrize("name", CASES)
def test_a_users_line(told: dict[str, str], name: str) -> None:
    _, expected = CASES[name]
    if expected is None:
        assert told[name] == ""
    else:
        assert re.search(expected, told[name]), told[name] or "mypy says nothing"
