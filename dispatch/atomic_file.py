"""Files that are there whole or not at all, whoever else reads or writes them, with the permissions of any new file."""

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
    write_bytes_atomically(path, text.encode())


def write_bytes_atomically(path: Path, data: bytes | memoryview) -> None:
    """As `write_text_atomically`, of bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile, whose files nobody else may read: `open` leaves the permissions to the umask.
    partial = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        with open(partial, "xb") as file:
            file.write(data)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
