"""When kernels are compiled, what is kept on disk, and who may have written it; forks, exits and threads meanwhile."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.llvm import compiler, engine, object_cache
from spacebatch.reference.llvm.prepare import Call, prepare
from spacebatch.reference.prepared import Layout

KEY, CODE = b"a spec", b"machine code" * 50
posix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="files have no owners here")


@pytest.fixture(autouse=True)
def nothing_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder, and no kernels in this process; the folder of native code."""
    monkeypatch.setenv("SPACEBATCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("SPACEBATCH_COMPILE", "behind")
    monkeypatch.setattr(compiler, "_kernels", {})
    return tmp_path / "cache" / "native"


def call(block: int = 2) -> Call | str:
    """Of a row of 8 blocks, which takes a kernel of its own for each block."""
    layouts = (Layout(strides, 4, np.dtype("f4"), "numpy", True) for strides in ((8 * block, 1), (8, 1)))
    return prepare("space_to_batch", BlockGeometry((1, 8 * block), (block,)), *layouts)


def right(found: Call | str, block: int = 2) -> bool:
    assert isinstance(found, Call), found
    x, y = np.arange(8.0 * block, dtype="f4").reshape(1, -1), np.empty((block, 8), "f4")
    found(x, y, b"")
    return np.array_equal(y, x.reshape(8, block).T)


def until_ready(found: Call | str) -> None:
    assert isinstance(found, Call), found
    end = time.monotonic() + 60
    while not found.ready():
        assert time.monotonic() < end
        time.sleep(0.001)


def only_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def test_compiled_behind_and_found_on_disk(nothing_compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = call()
    assert isinstance(found, Call)
    assert not found.ready()
    until_ready(found)
    assert right(found)
    end = time.monotonic() + 60
    while not nothing_compiled.exists() or only_file(nothing_compiled).suffix != ".o":  # written after it is ready
        assert time.monotonic() < end
    monkeypatch.setattr(compiler, "_kernels", {})
    monkeypatch.setattr(engine, "object_code", None)  # not compiled again
    again = call()
    until_ready(again)
    assert right(again)


def test_wait_and_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACEBATCH_COMPILE", "off")
    absent = call()
    assert isinstance(absent, Call)
    with pytest.raises(RuntimeError, match="SPACEBATCH_COMPILE is off, and its kernel is not on disk"):
        right(absent)
    assert not absent.ready()
    assert call() == "SPACEBATCH_COMPILE is off, and its kernel is not on disk"
    monkeypatch.setattr(compiler, "_kernels", {})
    monkeypatch.setenv("SPACEBATCH_COMPILE", "wait")
    found = call()
    assert isinstance(found, Call)
    assert found.ready()
    monkeypatch.setattr(compiler, "_kernels", {})
    monkeypatch.setenv("SPACEBATCH_COMPILE", "off")
    kept = call()
    until_ready(kept)
    assert right(kept)


def test_a_mode_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACEBATCH_COMPILE", "never")
    found = call()
    assert isinstance(found, Call)
    with pytest.raises(ValueError, match=r"^SPACEBATCH_COMPILE: 'never' is none of behind, wait, off$"):
        found.ready()
    with pytest.raises(ValueError, match="SPACEBATCH_COMPILE"):
        right(found)


@pytest.mark.parametrize("mode", ["behind", "wait"])
def test_a_kernel_that_cannot_be_compiled_is_told_once(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> bytes:
        raise RuntimeError("no registers left")

    monkeypatch.setenv("SPACEBATCH_COMPILE", mode)
    monkeypatch.setattr(engine, "object_code", fails)
    found = call()
    assert isinstance(found, Call)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(3):
            assert not found.ready()
        end = time.monotonic() + 60
        while isinstance(call(), Call):
            assert time.monotonic() < end
        compiler._one_kernel.acquire()  # the thread has told it
        compiler._one_kernel.release()
        assert not found.ready()
    assert call() == "its kernel cannot be compiled: no registers left"
    assert [str(w.message) for w in told] == [
        "spacebatch: deinterleave 2 phases, words of 4 bytes: its kernel cannot be compiled: no registers left"
    ]
    with pytest.raises(RuntimeError, match="no registers left"):
        right(found)


def test_an_llvmlite_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise OSError("its library is not there")

    monkeypatch.setattr(compiler, "import_gently", fails)
    found = call()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeError, match=r"^llvmlite cannot be loaded: its library is not there$"):
            right(found)
    assert call() == "llvmlite cannot be loaded: its library is not there"


def test_a_damaged_file_is_replaced(nothing_compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACEBATCH_COMPILE", "wait")
    assert right(call())
    file = only_file(nothing_compiled)
    good = file.read_bytes()
    file.write_bytes(good[:-1])
    monkeypatch.setattr(compiler, "_kernels", {})
    assert right(call())
    assert only_file(nothing_compiled).read_bytes() == good


def test_threads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kernel is compiled once."""
    compiled: list[Any] = []
    real = engine.object_code
    monkeypatch.setattr(engine, "object_code", lambda spec, *rest: (compiled.append(spec), real(spec, *rest))[1])
    results: list[bool] = []

    def work(mine: int) -> None:
        for k in range(3):
            block = 2 + (mine + k) % 3
            found = call(block)
            if mine % 2:
                until_ready(found)
            results.append(right(found, block))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 24
    assert len(compiled) == len(set(compiled)) == 3


# files


def test_what_is_kept(nothing_compiled: Path) -> None:
    assert object_cache.read(KEY) is None
    object_cache.write(KEY, CODE)
    assert object_cache.read(KEY) == CODE
    assert object_cache.read(b"another") is None
    assert [file.suffix for file in nothing_compiled.iterdir()] == [".o"]


@pytest.mark.parametrize("damage", ["cut", "longer", "changed", "empty", "text", "renamed"])
def test_files_that_are_damaged(damage: str, nothing_compiled: Path) -> None:
    object_cache.write(KEY, CODE)
    file = only_file(nothing_compiled)
    whole = file.read_bytes()
    if damage == "renamed":  # whole, but of another key
        object_cache.write(b"another", CODE)
        (other,) = set(nothing_compiled.iterdir()) - {file}
        other.replace(file)
    else:
        middle = len(whole) // 2
        changed = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        texts = {"cut": whole[:-1], "longer": whole + b"\0", "changed": changed, "empty": b"", "text": b"hello\n" * 99}
        file.write_bytes(texts[damage])
    assert object_cache.read(KEY) is None
    object_cache.write(KEY, CODE)
    assert object_cache.read(KEY) == CODE


@posix
@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_nobody_else_may_write(mask: int, nothing_compiled: Path) -> None:
    before = os.umask(mask)
    try:
        object_cache.write(KEY, CODE)
    finally:
        os.umask(before)
    assert stat.S_IMODE(only_file(nothing_compiled).stat().st_mode) == 0o644 & ~mask
    for folder in (nothing_compiled, nothing_compiled.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@posix
@pytest.mark.parametrize("what", ["folder", "file", "link to a folder", "link to a file", "other user", "pipe"])
def test_files_that_others_may_have_written(what: str, nothing_compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    object_cache.write(KEY, CODE)
    file, elsewhere = only_file(nothing_compiled), nothing_compiled.parent.parent / "elsewhere"
    if what == "folder":
        nothing_compiled.chmod(0o770)
    elif what == "file":
        file.chmod(0o646)
    elif what == "link to a folder":
        nothing_compiled.rename(elsewhere)
        nothing_compiled.symlink_to(elsewhere)
    elif what == "link to a file":
        file.rename(elsewhere)
        file.symlink_to(elsewhere)
    elif what == "pipe":
        file.unlink()
        os.mkfifo(file)
    else:
        another = os.geteuid() + 1
        monkeypatch.setattr(os, "geteuid", lambda: another)
    assert object_cache.read(KEY) is None
    object_cache.write(KEY, CODE + CODE)
    written = what in ("file", "link to a file", "pipe")  # is replaced, by one that is ours alone
    assert object_cache.read(KEY) == (CODE + CODE if written else None)
    if what == "link to a file":
        assert elsewhere.read_bytes().endswith(CODE)
        assert not elsewhere.read_bytes().endswith(CODE + CODE)


@pytest.mark.parametrize("where", ["a file", "nothing to make it in"])
def test_folders_that_cannot_be_used(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" if where == "a file" else tmp_path / "file" / "below" / "it"
    monkeypatch.setenv("SPACEBATCH_CACHE_DIR", str(folder))
    monkeypatch.setenv("SPACEBATCH_COMPILE", "wait")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        object_cache.write(KEY, CODE)
        assert object_cache.read(KEY) is None
        assert right(call())


def test_the_oldest_are_deleted(nothing_compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [bytes([k]) for k in range(4)]
    for age, key in enumerate(keys[:3]):
        object_cache.write(key, CODE)
        os.utime(nothing_compiled / object_cache._name(key), (1000 + age, 1000 + age))
    assert object_cache.read(keys[0]) == CODE  # and is the youngest now
    monkeypatch.setattr(object_cache, "MOST_BYTES", 3 * (len(CODE) + object_cache.HEADER_BYTES))
    object_cache.write(keys[3], CODE)
    assert [object_cache.read(key) for key in keys] == [CODE, None, CODE, CODE]


# processes


def ran(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    head = """
import os, sys, threading, time
import numpy as np
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.llvm.prepare import Call, prepare
from spacebatch.reference.prepared import Layout

def call(block):
    layouts = (Layout(strides, 4, np.dtype("f4"), "numpy", True) for strides in ((8 * block, 1), (8, 1)))
    return prepare("space_to_batch", BlockGeometry((1, 8 * block), (block,)), *layouts)

def right(block, found=None):
    found = found or call(block)
    while not found.ready():
        time.sleep(0.0005)
    x, y = np.arange(8.0 * block, dtype="f4").reshape(1, -1), np.empty((block, 8), "f4")
    found(x, y, b"")
    return np.array_equal(y, x.reshape(8, block).T)
"""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", head + program],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )


def succeeded(done: subprocess.CompletedProcess[str]) -> bool:
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return True


def test_processes_at_once(nothing_compiled: Path) -> None:
    done: list[subprocess.CompletedProcess[str]] = []
    run = "assert all(right(block) for block in (2, 3, 4))"
    threads = [threading.Thread(target=lambda: done.append(ran(run))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([d for d in done if succeeded(d)]) == 3
    assert len([file for file in nothing_compiled.iterdir() if file.suffix == ".o"]) == 3
    assert succeeded(ran(run, SPACEBATCH_COMPILE="off"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forks_while_compiling() -> None:
    """Each child compiles, what its parent had begun and what it had not; and so does the parent."""
    program = """
import signal
calls = {block: call(block) for block in range(2, 9)}
for found in calls.values():
    assert not found.ready()
children = []
for k in range(6):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(0 if right(2 + k, calls[2 + k]) and right(9 + k % 2) else 1)
    children.append(child)
    time.sleep(0.007 * k)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 6
assert all(right(block, found) for block, found in calls.items())
"""
    assert succeeded(ran(program))


@pytest.mark.parametrize("delay", [0, 0.02, 0.05, 0.08, 0.11, 0.15, 0.2, 0.3])
def test_exit_while_compiling(delay: float) -> None:
    program = """
import atexit
atexit.register(lambda: print(right(2) if call(2).ready() else "not ready"))
for block in range(2, 17):
    call(block).ready()
"""
    done = ran(program + f"time.sleep({delay})")
    assert succeeded(done)
    assert done.stdout in ("True\n", "not ready\n")


def test_exit_waits_for_llvm_and_then_nothing_is_begun() -> None:
    """But a call at the very end, which waits, compiles for itself."""
    program = """
import atexit
from spacebatch.reference.llvm import compiler, engine  # else llvmlite would not notice the exit
atexit.unregister(compiler._at_exit)
work = []

def slow():
    work.append("begun")
    time.sleep(0.3)
    work.append("done")

def late():
    print(*work)
    time.sleep(0.1)
    compiler.load_library = lambda: None
    x, y = np.arange(8, dtype="f4").reshape(1, -1), np.empty((2, 4), "f4")
    layouts = (Layout(strides, 4, np.dtype("f4"), "numpy", True) for strides in ((8, 1), (4, 1)))
    prepare("space_to_batch", BlockGeometry((1, 8), (2,)), *layouts)(x, y, b"")
    print(y.tolist(), *work, [block for block, found in calls.items() if found.ready()])

atexit.register(late)
atexit.register(compiler._at_exit)
compiler.load_library = slow
calls = {block: call(block) for block in range(3, 17)}
for found in calls.values():
    found.ready()
while not work:
    time.sleep(0.001)
"""
    done = ran(program)
    assert succeeded(done)
    assert done.stdout == "begun done\n[[0.0, 2.0, 4.0, 6.0], [1.0, 3.0, 5.0, 7.0]] begun done []\n"


def test_llvm_is_imported_by_the_thread() -> None:
    program = """
found = call(2)
assert "llvmlite.binding" not in sys.modules
before = list(sys.meta_path)
assert right(2, found)
assert "llvmlite.binding" in sys.modules
assert sys.meta_path == before
assert "torch" not in sys.modules
"""
    assert succeeded(ran(program))
