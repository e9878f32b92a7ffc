"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spacebatch.atomic_file import write_text_atomically


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_the_umask_decides_who_may_read(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_text_atomically(tmp_path / "file.json", "new")
    finally:
        os.umask(before)
    assert (tmp_path / "file.json").stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    file = tmp_path / "file.json"
    write_text_atomically(file, "before")

    def fails(source: object, target: object) -> None:
        raise error

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(error):
        write_text_atomically(file, "after")
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]
    assert file.read_text() == "before"


def test_it_is_replaced_and_written_in_utf_8(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "file.txt"
    for text in ("longer than the next, ×", "…"):
        write_text_atomically(file, text)
        assert file.read_bytes() == text.encode()
