"""Text files that are there whole or not at all, whoever else reads or writes them, with the permissions of any new file."""

from __future__ import annotations

import os
from pathlib import Path


def write_text_atomically(path: Path, text: str) -> None:
    """Write a file by way of a temporary one beside it; folders that are missing are made.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_text_atomically(Path(folder, "new", "a.txt"), "all of it")
    ...     Path(folder, "new", "a.txt").read_text()
    'all of it'

    Args:
        path: the file; an earlier one is replaced. text: what it holds afterwards, in UTF-8.

    Raises:
        OSError: the folder cannot be written to; an earlier file is then as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile, whose files nobody else may read: `open` leaves the permissions to the umask.
    partial = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        with open(partial, "x", encoding="utf-8") as file:
            file.write(text)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
