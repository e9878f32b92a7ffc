"""Object code of kernels on disk, which other processes of the same user find.

Native code from a file is code: the folder and the files in it must belong to the user, and nobody else may write them; else they are
neither read nor written. On Windows the user's profile sees to that. A file that is cut off, damaged or of something else counts as
none, and so does a folder that cannot be used: nothing here raises an OSError.
Files are written by the descriptor of the folder that was found to be the user's, which `spacebatch.atomic_file` knows nothing of.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from spacebatch.reference.cache_folder import cache_folder

MAGIC = b"spacebatch object code 1\n"
HEADER_BYTES = len(MAGIC) + 8 + 32  # then the length and the digest of key and code
MOST_BYTES = 64 << 20  # of all files

_OURS_ALONE = stat.S_IWGRP | stat.S_IWOTH
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_HAS_OWNERS = hasattr(os, "geteuid") and os.open in os.supports_dir_fd


class _Folder(NamedTuple):
    """An open folder, and what stands before the names of files in it, which is empty where there is a descriptor."""

    descriptor: int | None
    prefix: str


def read(key: bytes) -> bytes | None:
    """The code that was written for a key, if it is there and whole."""
    with contextlib.suppress(OSError), _folder() as folder:
        if folder is None:
            return None
        file = os.open(folder.prefix + _name(key), _READ, dir_fd=folder.descriptor)
        with os.fdopen(file, "rb") as stream:
            if not _trusted(os.fstat(file), stat.S_ISREG):
                return None
            data = stream.read(MOST_BYTES)
            code = data[HEADER_BYTES:]
            if data[:HEADER_BYTES] != _header(key, code):
                return None
            with contextlib.suppress(OSError, TypeError, NotImplementedError):
                os.utime(file if os.utime in os.supports_fd else folder.prefix + _name(key))  # the oldest are deleted
            return code
    return None


def write(key: bytes, code: bytes) -> None:
    """Keep the code for a key, where that is possible."""
    with contextlib.suppress(OSError), _folder(create=True) as folder:
        if folder is None:
            return
        at = folder.descriptor
        name = folder.prefix + _name(key)
        new = f"{name}.{os.urandom(8).hex()}.tmp"
        try:
            with os.fdopen(os.open(new, _WRITE, 0o644, dir_fd=at), "wb") as stream:  # less what the umask takes
                stream.write(_header(key, code) + code)
            os.replace(new, name, src_dir_fd=at, dst_dir_fd=at)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(new, dir_fd=at)
            raise
        _delete_oldest(folder)


def _name(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()[:40] + ".o"


def _header(key: bytes, code: bytes) -> bytes:
    return MAGIC + len(code).to_bytes(8, "little") + hashlib.sha256(key + b"\0" + code).digest()


@contextmanager
def _folder(create: bool = False) -> Iterator[_Folder | None]:
    """The open folder; None where somebody else could write to it."""
    path = cache_folder() / "native"
    if create:
        _make(path)
    if not _HAS_OWNERS:
        yield _Folder(None, os.path.join(path, ""))
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield _Folder(descriptor, "") if _trusted(os.fstat(descriptor), stat.S_ISDIR) else None
    finally:
        os.close(descriptor)


def _make(path: Path) -> None:
    """Make a folder and those above it, which nobody else may write to."""
    if not path.parent.exists():
        _make(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)


def _trusted(state: os.stat_result, is_kind: object) -> bool:
    assert callable(is_kind)
    if not is_kind(state.st_mode):
        return False
    return not _HAS_OWNERS or (state.st_uid == os.geteuid() and not state.st_mode & _OURS_ALONE)


def _delete_oldest(folder: _Folder) -> None:
    """Delete what was not used for longest, until the rest is within the bound."""
    with os.scandir(folder.prefix or folder.descriptor) as entries:
        files = sorted(
            (state.st_mtime, state.st_size, entry.name)
            for entry in entries
            if (state := entry.stat(follow_symlinks=False))
        )
    total = sum(size for _, size, _ in files)
    for _, size, name in files:
        if total <= MOST_BYTES:
            break
        os.unlink(folder.prefix + name, dir_fd=folder.descriptor)
        total -= size
