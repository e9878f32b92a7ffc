"""Huge pages are asked for large results alone, for whole pages within them."""

from __future__ import annotations

import mmap

import pytest
import torch

import spacebatch
from spacebatch import huge_pages


def test_what_is_advised(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int, int]] = []

    def madvise(start: int, length: int, advice: int) -> int:
        asked.append((start, length, advice))
        return -1  # refused: nothing comes of it

    monkeypatch.setattr(huge_pages, "_madvise", madvise)
    monkeypatch.setattr(huge_pages, "HUGE_BYTES", 1 << 16)
    small = torch.arange(1 << 13, dtype=torch.uint8).view(1, 2, -1)
    assert torch.equal(spacebatch.batch_to_space(spacebatch.space_to_batch(small, 2), 2), small)
    assert asked == []
    for padding in (0, 1):
        x = torch.randn(1, 1 << 21)
        y = spacebatch.space_to_batch(x, (2,), padding)
        ((start, length, _),) = asked
        assert start % mmap.PAGESIZE == length % mmap.PAGESIZE == 0
        assert y.data_ptr() <= start
        assert start + length <= y.data_ptr() + y.nbytes
        asked.clear()
        assert torch.equal(spacebatch.batch_to_space(y, (2,), padding), x)
        assert len(asked) == 1
        asked.clear()


def test_where_programs_cannot_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huge_pages, "_madvise", None)
    x = torch.randn(2, 1 << 20)
    assert torch.equal(spacebatch.batch_to_space(spacebatch.space_to_batch(x, (4,)), (4,)), x)
    monkeypatch.setattr(huge_pages.sys, "platform", "win32")
    assert huge_pages._find_madvise() is None
