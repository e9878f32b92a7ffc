"""The examples of images of several sizes run, and print what they promise."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "docs/examples"


def test_varying_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "varying_sizes.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert "64 x 64 blocks with a halo of ((3, 3), (3, 3)) of 4 images" in out
    assert out.endswith("sequences start at [0, 12, 14, 15, 18]\n")


def test_vlm_patches(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "vlm_patches.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert "Qwen2-VL   (60, 1176) grids [[1, 4, 6], [1, 8, 4], [1, 2, 2]] starts [0, 24, 56, 60]" in out
    assert "SigLIP2    (3, 40, 588) tokens [24, 32, 4]" in out
    assert "from bytes (48, 1176) torch.bfloat16" in out
    assert "restored   True" in out
