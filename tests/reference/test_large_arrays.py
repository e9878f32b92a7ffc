"""Arrays large enough for tiles, long runs and threads: the same results as the index maps give."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from spacebatch import BlockGeometry, reference
from spacebatch.reference import prepared, strided_copies, threads
from tests.bits import same, using
from tests.cases import OPTIONS, option_id

SHAPES = {
    "nchw": ((3, 8, 130, 258), {"block_shape": 2, "paddings": ((1, 1), (3, 3))}),
    "nchw_block_5": ((2, 7, 121, 243), {"block_shape": 5, "paddings": "auto"}),
    "nhwc": ((2, 96, 130, 24), {"block_shape": (2, 3), "paddings": ((0, 0), (1, 1)), "spatial_dims": (1, 2)}),
    "1d": ((2, 300_000), {"block_shape": (3,)}),
    "1d_rate_512": ((1, 4, 120_000), {"block_shape": 512, "paddings": "auto"}),
}


@pytest.mark.parametrize(
    ("dtype", "limit", "backend"),
    [("u1", "1", "llvm"), ("f4", "3", "llvm"), ("u1", "3", "numpy"), ("f2", "2", "numpy"), ("c16", "1", "numpy")],
)
@pytest.mark.parametrize("options", OPTIONS, ids=option_id)
@pytest.mark.parametrize("name", SHAPES)
def test_equal_to_the_index_maps(
    name: str, options: dict[str, str], dtype: str, limit: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    shape, arguments = SHAPES[name]
    geometry = BlockGeometry(shape, **arguments, **options)
    bits = np.random.default_rng(0).integers(0, 256, (*shape, np.dtype(dtype).itemsize), dtype=np.uint8)
    x = bits.view(dtype).reshape(shape)
    with using(backend):
        y = reference.space_to_batch(x, **geometry.arguments)
        back = reference.batch_to_space(y, **geometry.inverse)
    opaque = x.reshape(-1).view(f"V{x.itemsize}")
    expected = np.append(opaque, np.zeros(1, opaque.dtype))[geometry.space_indices()]  # the last one: padding
    assert y.tobytes() == expected.tobytes()
    assert same(back, x)


def test_tiles_cover_every_element_once() -> None:
    target = np.zeros((5, 3, 64, 200, 2)).transpose(4, 0, 3, 1, 2)
    source = np.zeros(target.shape)
    tiles = list(strided_copies._tiles(target, source))
    assert len(tiles) > 10
    for part, values in tiles:
        assert part.shape == values.shape
        for piece, _ in strided_copies._long_runs(part, values):
            piece += 1
    assert (target == 1).all()


def test_threads_take_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    seen = set()
    copy_tiles = strided_copies._copy_tiles
    monkeypatch.setattr(
        strided_copies, "_copy_tiles", lambda tiles: (seen.add(threading.get_ident()), copy_tiles(tiles))
    )
    with prepared.use_backend("numpy"):
        reference.space_to_batch(np.zeros((4, 8, 256, 256), np.float32), 2)
        assert len(seen) == 2
        seen.clear()
        reference.space_to_batch(np.zeros((4, 8, 16, 16), np.float32), 2)
    assert seen == {threading.get_ident()}


@pytest.mark.parametrize(("value", "limit"), [("1", 1), ("3", 3), ("4,2", 4), ("0", None), ("many", None), ("", None)])
def test_limit_from_the_environment(value: str, limit: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert threads.thread_limit() == (limit if limit is not None else cores)


def test_errors_of_a_thread_are_raised_when_all_are_done() -> None:
    done = []

    def fail() -> None:
        raise ValueError("in a thread")

    with pytest.raises(ValueError, match="in a thread"):
        threads.run_in_threads([(done.append, (1,)), (fail, ()), (done.append, (2,))])
    assert sorted(done) == [1, 2]
    threads.run_in_threads([])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_after_a_fork_and_at_exit() -> None:
    program = """
import atexit, os
os.environ["OMP_NUM_THREADS"] = "2"
import numpy as np
from spacebatch import reference
x = np.arange(4 * 8 * 256 * 256, dtype=np.float32).reshape(4, 8, 256, 256)
def same():
    assert (reference.batch_to_space(reference.space_to_batch(x, 2), 2) == x).all()
same()
child = os.fork()
if child == 0:
    same()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
atexit.register(lambda: (same(), print("done")))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "done\n"


def test_many_callers_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    x = np.arange(2 * 8 * 256 * 256, dtype=np.float32).reshape(2, 8, 256, 256)
    right: list[bool] = []

    def work() -> None:
        right.append((reference.batch_to_space(reference.space_to_batch(x, 2), 2) == x).all())

    callers = [threading.Thread(target=work) for _ in range(8)]
    with using("numpy"):
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert right == [True] * 8
