"""The committed pictures are what their script draws."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "docs/pictures"


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch) -> object:
    """The script, imported as it runs: beside its canvas."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import draw

    yield draw
    del sys.modules["draw"], sys.modules["canvas"]


def test_the_pictures(draw: object, tmp_path: Path) -> None:
    draw.main(tmp_path)
    drawn = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert drawn == {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.svg")}


def test_what_they_show(draw: object) -> None:
    """The numbers of a picture from left to right: an image, then its four phases, row by row."""
    texts = [
        element.text or ""
        for element in ElementTree.fromstring(draw.interleaved().svg()).iter()
        if element.tag.endswith("text")
    ]
    numbers = [int(text) for text in texts if re.fullmatch(r"\d+", text)]
    assert numbers == [*range(16), 0, 2, 8, 10, 1, 3, 9, 11, 4, 6, 12, 14, 5, 7, 13, 15]
    assert draw.colours_of(np.array([[[2, -1]], [[0, 1]]]), 3).tolist() == [1, 1, 0]
