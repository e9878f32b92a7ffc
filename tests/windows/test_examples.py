"""The examples of windows run, and the Swin block equals one of torchvision's where that is installed."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.windows import originals

ELSEWHERE = ("photograph_in_tiles", "varying_sizes", "vlm_patches")  # with tests of their own
FOLDER = Path(__file__).parents[2] / "docs/examples"
EXAMPLES = [path for path in sorted(FOLDER.glob("*.py")) if path.stem not in ELSEWHERE]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = runpy.run_path(str(path))
    assert found["__doc__"]
    found["main"](**({"workers": 0} if path.stem == "video_frames_nhwc" else {}))  # processes take seconds to start
    assert capsys.readouterr().out


@pytest.mark.parametrize(("size", "shifted"), [((14, 21), False), ((16, 23), True), ((5, 16), True)])
def test_the_swin_block_written_out(size: tuple[int, int], shifted: bool) -> None:
    found = runpy.run_path(str(next(path for path in EXAMPLES if path.stem == "swin_block")))
    torch.manual_seed(0)
    block = found["SwinBlock"](8, 2, shifted=shifted)
    nn.init.normal_(block.bias)
    x = torch.randn(2, *size, 8)
    shift = tuple(3 if shifted and n > 7 else 0 for n in size)
    y = originals.swin_partition(block.norm1(x), (7, 7), shift).flatten(1, 2)
    q, k, v = block.qkv(y).view(len(y), 49, 3, 2, 4).permute(2, 0, 3, 1, 4)
    scores = q @ k.transpose(-2, -1) / 2 + block.bias[block.relative].permute(2, 0, 1)
    if any(shift):
        # a slice of [-0:] would be everything: where a dim is not shifted, its regions are those of a whole window
        cut = tuple(s or 7 for s in shift)
        scores = scores + originals.swin_mask(size, (7, 7), cut).repeat(2, 1, 1)[:, None]
    seen = (functional.softmax(scores, -1) @ v).transpose(1, 2).reshape(-1, 7, 7, 8)
    z = x + originals.swin_reverse(block.projection(seen), (7, 7), size, shift)
    torch.testing.assert_close(block(x), z + block.mlp(block.norm2(z)))
