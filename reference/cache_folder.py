"""Where the package keeps files between processes. Not by platformdirs: what is here needs NumPy alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """SPACEBATCH_CACHE_DIR, else a folder in the user's cache folder; it need not exist.

    >>> cache_folder() == Path(os.environ.get("SPACEBATCH_CACHE_DIR") or cache_folder())
    True
    """
    override = os.environ.get("SPACEBATCH_CACHE_DIR")
    if override:
        return Path(override)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", str(Path.home())))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")))
    return base / "spacebatch"
