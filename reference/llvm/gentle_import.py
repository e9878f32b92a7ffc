"""Import llvmlite in one thread without keeping others waiting for the interpreter's lock.

An ordinary import holds the lock while the system loads LLVM's library, 15 ms and more, and else gives it away only every 5 ms.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
import os
import sys
import threading
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any


class _Pausing(MetaPathFinder):
    """The first of Python's finders: it finds nothing, but pauses before each module that one thread imports."""

    def __init__(self, pause: Callable[[], object]) -> None:
        self._pause, self._thread = pause, threading.get_ident()

    def find_spec(self, *_: Any) -> None:
        if threading.get_ident() == self._thread:
            self._pause()


def import_gently(name: str, pause: Callable[[], object]) -> Any:
    """The module of this name; `pause` lets others have the interpreter for a moment."""
    if name in sys.modules:
        return importlib.import_module(name)
    pausing = _Pausing(pause)
    sys.meta_path.insert(0, pausing)
    try:
        return importlib.import_module(name)
    finally:
        sys.meta_path.remove(pausing)


def load_library() -> None:
    """Load LLVM's library with the interpreter's lock given away; llvmlite then finds it loaded."""
    if "llvmlite.binding" in sys.modules:
        return
    found = importlib.util.find_spec("llvmlite")
    suffix = {"linux": ".so", "darwin": ".dylib"}.get(sys.platform)
    if found is None or not found.submodule_search_locations or suffix is None:
        return
    path = Path(found.submodule_search_locations[0], "binding", f"libllvmlite{suffix}")
    with contextlib.suppress(OSError, AttributeError):
        load = ctypes.CDLL(None).dlopen
        load.restype, load.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
        load(os.fsencode(path), os.RTLD_NOW | os.RTLD_LOCAL)
