"""Kernels by spec: loaded from disk or compiled, behind the calls that ask for them, or while they wait.

SPACEBATCH_COMPILE=behind (a thread compiles, and calls that need the kernel are served by somebody else meanwhile), wait (the call that
asks first compiles) or off (only what is on disk is used).
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from . import object_cache
from .gentle_import import import_gently, load_library
from .spec import KernelSpec, Spec

if TYPE_CHECKING:
    from .engine import Functions

MODES = ("behind", "wait", "off")
PAUSE = 1e-4  # seconds of sleep, in which another thread gets the interpreter; without it that waits for the switch interval of 5 ms

GRACE = 1e-3  # seconds in which the call that asked goes on with its work


class Kernel:
    """A kernel, from the first question for it on.

    Attributes:
        spec: what it is compiled for. functions: once it is loaded. refused: why it never will be.
    """

    __slots__ = ("asked", "functions", "refused", "spec")

    def __init__(self, spec: KernelSpec) -> None:
        self.spec = spec
        self.functions: Functions | None = None
        self.refused: str | None = None
        self.asked = False  # of the thread


_kernels: dict[Spec, Kernel] = {}
_queue: SimpleQueue[Kernel] = SimpleQueue()
_thread: threading.Thread | None = None
_starting = threading.Lock()
_one_kernel = threading.RLock()  # held while a kernel is made
_llvm = threading.RLock()  # held while LLVM works or is imported: no process forks or ends meanwhile
_ended = False


def kernel_of(spec: Spec) -> Kernel:
    """The one kernel of a spec, given as such or by its fields alone."""
    return _kernels.get(spec) or _kernels.setdefault(spec, Kernel(KernelSpec(*spec)))


def mode() -> str:
    """How kernels are compiled: SPACEBATCH_COMPILE.

    Raises:
        ValueError: it is none of the modes.
    """
    found = os.environ.get("SPACEBATCH_COMPILE") or "behind"
    if found not in MODES:
        raise ValueError(f"SPACEBATCH_COMPILE: {found!r} is none of {', '.join(MODES)}")
    return found


def ask(kernel: Kernel) -> bool:
    """Whether a kernel is loaded; if not, that is begun, or done at once where callers wait."""
    how = mode()
    if kernel.functions is None and kernel.refused is None:
        if how == "wait":
            finish(kernel)
        elif not kernel.asked and not _ended:
            kernel.asked = _started()
            if kernel.asked:
                _queue.put(kernel)
    return kernel.functions is not None


def finish(kernel: Kernel, turn: Any = None) -> None:
    """Load a kernel, in this thread; afterwards it has functions or is refused."""
    how = mode()
    with _one_kernel:
        if kernel.functions is not None or kernel.refused is not None:
            return
        try:
            kernel.functions = _found(kernel.spec, how, turn or _turn)
        except _AbsentError as reason:
            kernel.refused = str(reason)
        except Exception as error:
            kernel.refused = f"its kernel cannot be compiled: {error}"
            warnings.warn(f"spacebatch: {kernel.spec}: {kernel.refused}", stacklevel=2)


def vector_bytes() -> int:
    """Bytes of a vector of this processor; the first question loads LLVM."""
    with _turn():
        found: int = importlib.import_module(".engine", __package__).vector_bytes()
        return found


class _AbsentError(Exception):
    """A kernel is not to be had, and that is no fault."""


def _found(spec: KernelSpec, how: str, turn: Any) -> Functions:
    pause = _pause if turn is _polite_turn else _no_pause
    with turn():
        try:
            load_library()
            engine = import_gently(f"{__package__}.engine", pause)
        except (ImportError, OSError) as error:
            raise _AbsentError(f"llvmlite cannot be loaded: {error}") from error
    with turn():
        reason = engine.missing() or engine.lacking(spec)
        if reason is not None:
            raise _AbsentError(reason)
        try:
            key = engine.identity() + repr(tuple(spec)).encode()
        except OSError:
            key = None
        code = object_cache.read(key) if key else None
    if code is not None:
        with turn(), contextlib.suppress(RuntimeError):  # it is no object file: compiled and replaced
            found: Functions = engine.loaded(code)
            return found
    if how == "off":
        raise _AbsentError("SPACEBATCH_COMPILE is off, and its kernel is not on disk")
    with turn():
        import_gently(f"{__package__}.kernel", pause)
    code = engine.object_code(spec, engine.vector_bytes(), pause, turn)
    with turn():
        found = engine.loaded(code)
    if key:
        object_cache.write(key, code)
    return found


@contextmanager
def _turn() -> Iterator[None]:
    with _llvm:
        yield


@contextmanager
def _polite_turn() -> Iterator[None]:
    """A turn of the thread, with a pause for others afterwards."""
    with _llvm:
        yield
    _pause()


def _pause() -> None:
    time.sleep(PAUSE)


def _no_pause() -> None:
    pass


def _started() -> bool:
    """Whether the thread runs; it is started by the first question."""
    global _thread
    with _starting:
        if _thread is None:
            thread = threading.Thread(target=_work, args=(_queue,), name="spacebatch-compiler", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads, or the interpreter is ending
                return False
            _thread = thread
    return True


def _work(queue: SimpleQueue[Kernel]) -> None:
    while True:
        kernel = queue.get()
        time.sleep(GRACE)
        try:
            finish(kernel, _polite_turn)
        except Exception:  # a warning where these are errors, or the mode has changed: the next question tells
            kernel.asked = False


def _before_fork() -> None:
    _llvm.acquire()


def _after_fork_in_parent() -> None:
    _llvm.release()


def _after_fork_in_child() -> None:
    """A child has no thread, and nobody who would release its locks."""
    global _queue, _thread, _starting, _one_kernel, _llvm
    _queue, _thread = SimpleQueue(), None
    _starting, _one_kernel, _llvm = threading.Lock(), threading.RLock(), threading.RLock()
    for kernel in list(_kernels.values()):
        kernel.asked = False


def _at_exit() -> None:
    """Wait for what LLVM is at, and begin nothing more: a process must not end under its feet."""
    global _ended, _one_kernel
    _ended = True
    _llvm.acquire(timeout=10)  # and keep it; the thread waits for it until the process has ended
    _one_kernel = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
