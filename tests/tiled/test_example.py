"""The documented example runs: a photograph through a network, tile by tile."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")
EXAMPLE = Path(__file__).parents[2] / "docs/examples/photograph_in_tiles.py"


def test_a_photograph_in_tiles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import matplotlib.image

    photograph = np.random.default_rng(0).random((90, 130, 3), np.float32)
    matplotlib.image.imsave(tmp_path / "photograph.png", photograph)
    arguments = ["--image", str(tmp_path / "photograph.png"), "--tile", "48", "--out", str(tmp_path / "tiles.png")]
    runpy.run_path(str(EXAMPLE))["main"](arguments)
    out = capsys.readouterr().out
    assert "spatial dim 0: 12 before, 12 after; spatial dim 1: 12 before, 12 after" in out
    with_halo, without = (float(number) for number in re.findall(r"(\S+) with(?:out| the halo)", out))
    assert with_halo < 1e-5 < 1e-3 < without  # float32
    assert matplotlib.image.imread(tmp_path / "tiles.png").shape[1] == 1200
