"""Calls of the vector kernels: pad values, threads, forks, `out`, and what happens without LLVM."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import spacebatch
from spacebatch import openmp as torch_openmp
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.llvm import openmp, prepare, workers
from spacebatch.reference.llvm.engine import vector_bytes
from spacebatch.reference.memory_order import dense_strides
from spacebatch.reference.prepared import Direction, Layout
from tests.bits import define_batch, random_tensor, same

SHARED = (4, 8, 256, 256)  # of float32 8 MiB: shared by threads


def prepared(
    geometry: BlockGeometry, direction: Direction = "space_to_batch", new: bool = True, device: str = "cpu"
) -> prepare.Call:
    """A call of dense float32 in the order of the dims."""
    shapes = geometry.space_shape, geometry.batch_shape
    space, batch = (dense_strides(shape, range(len(shape))) for shape in shapes)
    source, result = (space, batch) if direction == "space_to_batch" else (batch, space)
    dtype = np.dtype("f4") if device == "numpy" else torch.float32
    call = prepare.prepare(direction, geometry, Layout(source, 4, dtype, device), Layout(result, 4, dtype, device, new))
    assert isinstance(call, prepare.Call), call
    return call


@pytest.fixture(params=["openmp", "own"])
def three_threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three threads, PyTorch's or our own."""
    if request.param == "own":
        monkeypatch.setattr(openmp, "loaded", lambda: None)
    elif openmp.loaded() is None:
        pytest.skip("PyTorch's threads are not OpenMP's")
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (torch.float32, 0.0),
        (torch.float32, -0.0),
        (torch.float32, float("nan")),
        (torch.float16, float("-inf")),
        (torch.bfloat16, 1.5),
        (torch.float8_e4m3fn, 2.0),
        (torch.bool, True),
        (torch.uint8, 255),
        (torch.int64, -(2**63)),
        (torch.complex64, 1 - 2j),
        (torch.complex128, complex(-0.0, 3)),
    ],
    ids=str,
)
def test_pad_values(dtype: torch.dtype, value: Any) -> None:
    x = random_tensor((1, 2, 3, 5), dtype)
    for _ in range(2):  # the second time from what is kept
        y = spacebatch.space_to_batch(x, 2, ((1, 2), (0, 1)), pad_value=value)
        assert same(y, define_batch(x, 2, ((1, 2), (0, 1)), pad_value=value))


def test_many_pad_values() -> None:
    x = random_tensor((1, 1, 4, 4), torch.int16)
    for value in [*range(1, 60), *range(1, 60)]:
        y = spacebatch.space_to_batch(x, 2, 1, pad_value=value)
        assert same(y, define_batch(x, 2, 1, pad_value=value))


def test_zeros_of_either_sign_are_told_apart() -> None:
    x = torch.ones(1, 1, 2, 2)
    for value, sign in ((0.0, False), (-0.0, True), (0, False), (-0.0, True)):
        y = spacebatch.space_to_batch(x, 2, 2, pad_value=value)
        assert bool(torch.signbit(y[0, 0, 0, 0])) is sign


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_shared_by_threads(padding: int, layout: torch.memory_format) -> None:
    x = torch.rand(SHARED).to(memory_format=layout)
    y = spacebatch.space_to_batch(x, 2, padding)
    with spacebatch.use_backend("torch"):
        assert torch.equal(y, spacebatch.space_to_batch(x, 2, padding))
    assert torch.equal(spacebatch.batch_to_space(y, 2, padding), x)


def test_who_is_asked(three_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    found, give = openmp.loaded(), workers._Worker.give
    if found is not None:
        watched = found._replace(parallel=lambda *job: (asked.append(job[2]), found.parallel(*job)))
        monkeypatch.setattr(openmp, "loaded", lambda: watched)
    monkeypatch.setattr(workers._Worker, "give", lambda self, *job: (asked.append(1), give(self, *job))[1])
    spacebatch.space_to_batch(torch.rand(SHARED), 2)
    assert asked == ([3] if found is not None else [1, 1])
    asked.clear()
    spacebatch.space_to_batch(torch.rand(1, 16, 64, 64), 2)  # too small
    assert asked == []
    torch.set_num_threads(1)
    spacebatch.space_to_batch(torch.rand(SHARED), 2)
    assert asked == []


def test_there_is_no_openmp(monkeypatch: pytest.MonkeyPatch) -> None:
    handed = openmp._library, openmp._process, openmp.threads
    monkeypatch.setattr(openmp, "_process", -1)  # as after a fork
    assert openmp.loaded() is None
    monkeypatch.setattr(torch_openmp.ctypes, "CDLL", lambda *_, **__: object())
    assert torch_openmp.find() is None
    for name, value in zip(("_library", "_process", "threads"), handed, strict=True):  # put back at the end
        monkeypatch.setattr(openmp, name, value)
    torch_openmp.hand_over()
    assert openmp.loaded() is None
    assert openmp.threads() == torch.get_num_threads()
    monkeypatch.setattr(torch_openmp.sys, "platform", "darwin")
    assert torch_openmp.find() is None


def test_a_worker_that_is_late_touches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """All is done before a worker wakes: it finds no range left."""
    late = []
    monkeypatch.setattr(openmp, "loaded", lambda: None)
    monkeypatch.setattr(openmp, "threads", lambda: 3)
    monkeypatch.setattr(workers._Worker, "give", lambda self, *job: (late.append((self, job)), False)[1])
    x = torch.rand(SHARED)
    y = spacebatch.space_to_batch(x, 2)
    wanted = y.clone()
    y.fill_(7)
    for _, (share, job, _, first) in late:
        assert share(workers.ctypes.addressof(job), first, 0) == 1
    assert (y == 7).all()
    with spacebatch.use_backend("torch"):
        assert torch.equal(wanted, spacebatch.space_to_batch(x, 2))
    assert len(late) == 2


def test_one_thread_alone_takes_all_ranges() -> None:
    """What a busy worker has not begun, others do: here by one call of `share` for a job of five ranges."""
    geometry = BlockGeometry(SHARED, 2)
    x = torch.rand(SHARED)
    call, y = prepared(geometry), torch.zeros(geometry.batch_shape)
    assert call.ready()
    numbers = np.frombuffer(call._numbers, np.int64)
    steps = int(numbers[0])
    ranges = [n for k in range(5) for n in (steps * k // 5, steps * (k + 1) // 5)]
    table = (workers.ctypes.c_int64 * 8)(0, x.data_ptr(), y.data_ptr(), numbers.ctypes.data, steps)
    array = (workers.ctypes.c_int64 * (len(workers.JOB) + 10))(
        workers.ctypes.addressof(table), 1, steps, 3, 0, 0, 5, *ranges
    )
    assert call.functions(y.data_ptr()).share(workers.ctypes.addressof(array), 3, 0) == 1
    assert torch.equal(y, spacebatch.space_to_batch(x, 2))


@pytest.mark.usefixtures("three_threads")
def test_many_callers_at_once() -> None:
    x = torch.rand(SHARED)
    right = []

    def work() -> None:
        for _ in range(5):
            right.append(torch.equal(spacebatch.batch_to_space(spacebatch.space_to_batch(x, 2), 2), x))

    callers = [threading.Thread(target=work) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert right == [True] * 40


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_after_a_fork_and_at_exit() -> None:
    program = """
import atexit, os
import numpy as np, torch, spacebatch
torch.set_num_threads(2)
a = np.random.default_rng(0).random((4, 8, 256, 256), dtype=np.float32)
x = torch.from_numpy(a)
def same():  # by NumPy: PyTorch's own threads do not outlive a fork
    assert (spacebatch.batch_to_space(spacebatch.space_to_batch(x, 2), 2).numpy() == a).all()
assert spacebatch.explain("space_to_batch", x, 2).kernel.endswith("shared by threads")
same()
child = os.fork()
if child == 0:
    same()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
atexit.register(lambda: (same(), print("done")))
"""
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "done\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_arrays_leave_the_threads_of_torch_to_a_child() -> None:
    """PyTorch's OpenMP waits for ever in a child whose parent has used it; calls of NumPy arrays do not."""
    program = """
import os, signal
import numpy as np, torch, spacebatch
spacebatch.space_to_batch(np.zeros((8, 16, 512, 512), np.float32), 2)
child = os.fork()
if child == 0:
    signal.alarm(30)
    torch.set_num_threads(2)
    os._exit(0 if float((torch.ones(1 << 22) + 1)[0]) == 2 else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr


STREAMED = {
    "deinterleave": ((4, 3, 8, 128), 2, None, {}),
    "segments_of_pixels": ((2, 32, 4, 4), 2, torch.channels_last, {}),
    "contiguous_segments": ((2, 3, 4, 64), 2, None, {"arrangement": "contiguous"}),
}


@pytest.mark.parametrize("name", STREAMED)
def test_non_temporal_stores(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an `out=` is aligned; elsewhere, and in new memory, usual stores of the same bits."""
    monkeypatch.setattr(prepare, "STREAM_BYTES", 0)
    shape, block, layout, options = STREAMED[name]
    geometry = BlockGeometry(shape, block, **options)
    x = torch.rand(shape)
    x = x if layout is None else x.to(memory_format=layout)
    with spacebatch.use_backend("torch"):
        y = spacebatch.space_to_batch(x, block, **options)
    for direction, source, wanted in (("space_to_batch", x, y), ("batch_to_space", y, x)):
        read, written = (Layout(t.stride(), 4, t.dtype, "cpu") for t in (source, wanted))
        assert "non-temporal" not in str(prepare.prepare(direction, geometry, read, written._replace(new=True)))
        call = prepare.prepare(direction, geometry, read, written)
        assert isinstance(call, prepare.Call)
        assert str(call).endswith("an aligned out= by non-temporal stores")
        assert call.ready()
        ways = set()
        for skipped in range(0, 128, 32):
            memory = torch.zeros(wanted.nbytes + 192, dtype=torch.uint8)
            start = -memory.data_ptr() % 64 + skipped
            result = memory[start : start + wanted.nbytes].view(torch.float32).as_strided(wanted.shape, wanted.stride())
            ways.add(call.functions(result.data_ptr()).join)
            call(source, result, b"")
            assert torch.equal(result, wanted)
        assert len(ways) == (2 if vector_bytes() > 32 else 1)


def test_where_stores_are_usual_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "STREAM_BYTES", 0)
    for shape, block, padding in (
        ((1, 2, 4, 120), 2, 0),
        ((1, 2, 4, 127), 2, ((0, 0), (0, 1))),
        ((1, 2, 20 * 64), 20, 0),
    ):
        assert "non-temporal" not in str(prepared(BlockGeometry(shape, block, padding), new=False))
    monkeypatch.undo()
    large = BlockGeometry((2, 64, 512, 512), 2)
    assert "non-temporal" in str(prepared(large, new=False))
    assert "non-temporal" not in str(prepared(large))


@pytest.mark.parametrize("device", ["cpu", "numpy"])
def test_arrays_and_tensors(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both directions, short and long, with and without a pad value, and read-only sources."""
    for short_bytes in (0, 1 << 16):
        monkeypatch.setattr(prepare, "SHORT_BYTES", short_bytes)
        geometry = BlockGeometry((2, 3, 5), (2,), ((0, 1),))
        x = torch.rand(geometry.space_shape)
        y, back = torch.full(geometry.batch_shape, 7.0), torch.full_like(x, 7)
        for pad, value in ((b"", 0.0), (np.float32(1.5).tobytes(), 1.5)):
            to_batch = prepared(geometry, device=device)
            to_space = prepared(geometry, "batch_to_space", device=device)
            tensors = (x, y, back)
            source, between, result = tensors if device == "cpu" else (t.numpy() for t in tensors)
            if device == "numpy":
                source = source.view()
                source.flags.writeable = False
            to_batch(source, between, pad)
            assert same(y, define_batch(x, (2,), ((0, 1),), pad_value=value))
            to_space(between, result, b"")
            assert torch.equal(back, x)


def test_addresses_of_arrays() -> None:
    whole = np.zeros((4, 6), np.int16)
    for array in (whole, whole[1:, 2:], whole[::-1], np.zeros(0), np.broadcast_to(whole[:1], (3, 6))):
        assert prepare.address(array) == array.ctypes.data


def test_what_is_refused() -> None:
    geometry = BlockGeometry((1, 4), (2,))
    plain = Layout((4, 1), 4, np.dtype("f4"), "numpy")
    for change, reason in (
        ({"device": "cuda", "dtype": torch.float32}, "the tensor is on cuda, not on the CPU"),
        ({"dtype": np.dtype(object)}, "dtype object is not one of plain numbers"),
        ({"strides": None}, "a stride is no whole number of elements"),
        ({"strides": (4, -1)}, "a stride is negative"),
        ({"itemsize": 3}, "no word has the 3 bytes of an element"),
    ):
        layout = plain._replace(**change)
        assert prepare.prepare("space_to_batch", geometry, layout, layout._replace(strides=(2, 1))) == reason


def test_out_of_other_strides() -> None:
    x = random_tensor((2, 3, 8, 16), torch.int32)
    wanted = spacebatch.space_to_batch(x, 2)
    beside = torch.zeros(8, 3, 4, 12, dtype=torch.int32)
    across = torch.zeros(8, 4, 8, 3, dtype=torch.int32).permute(0, 3, 1, 2)  # channels last, which the input is not
    for out in (beside[..., 2:10], across):
        assert spacebatch.space_to_batch(x, 2, out=out) is out
        assert torch.equal(out, wanted)
    assert beside[..., :2].count_nonzero() == beside[..., 10:].count_nonzero() == 0
    assert torch.equal(spacebatch.batch_to_space(across, 2, out=torch.empty_like(x)), x)


def test_autograd_knows_of_a_result_in_place() -> None:
    weight = torch.ones(4, 1, 1, 1, requires_grad=True)
    kept = torch.zeros(4, 1, 2, 2)
    product = weight * kept
    spacebatch.space_to_batch(torch.ones(1, 1, 4, 4), 2, out=kept)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()
    with torch.inference_mode():
        spacebatch.space_to_batch(torch.ones(1, 1, 4, 4), 2, out=torch.zeros(4, 1, 2, 2))


def test_arrays_whose_strides_fit_no_kernel() -> None:
    x = np.arange(96, dtype=np.int32).reshape(1, 2, 6, 8)
    for view in (x[..., ::-1], x[..., ::2], np.frombuffer(bytes(97), np.uint8)[1:].view(np.int32).reshape(1, 2, 3, 4)):
        geometry = BlockGeometry(view.shape, (1, 2), "auto")
        y = spacebatch.space_to_batch(view, **geometry.arguments)
        assert np.array_equal(y, spacebatch.reference.definition.space_to_batch(view, **geometry.arguments))
        assert np.array_equal(spacebatch.batch_to_space(y, **geometry.inverse), view)


def test_large_arrays_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    asked = []
    run = workers.run
    monkeypatch.setattr(prepare.workers, "run", lambda *job: (asked.append(job[-2:]), run(*job)))
    x = np.random.default_rng(0).random(SHARED, dtype=np.float32)
    assert np.array_equal(spacebatch.batch_to_space(spacebatch.space_to_batch(x, 2), 2), x)
    assert asked == [(2, None), (2, None)]


def test_without_llvm() -> None:
    program = """
import sys
sys.modules["llvmlite"] = None
import numpy as np, torch, spacebatch
x = torch.arange(16).view(1, 1, 4, 4)
y = spacebatch.space_to_batch(x, 2, 1)
assert torch.equal(spacebatch.batch_to_space(y, 2, 1), x)
assert (spacebatch.space_to_batch(x.numpy(), 2, 1) == y.numpy()).all()
for z in (x, x.numpy()):
    told = spacebatch.explain("space_to_batch", z, 2)
    print(told.backend, told.reasons["llvm"])
with spacebatch.use_backend("llvm"):
    try:
        spacebatch.space_to_batch(x, 2)
    except RuntimeError as error:
        print(error)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    reason = "llvmlite is not installed"
    wanted = [f"torch {reason}", f"numpy {reason}", f"space_to_batch: the backend 'llvm' was asked for, but {reason}"]
    assert ran.stdout.splitlines() == wanted


def test_llvm_is_loaded_by_the_first_call_alone() -> None:
    program = """
import sys, torch, spacebatch
before = "llvmlite" in sys.modules
spacebatch.space_to_batch(torch.zeros(1, 4), (2,))
print(before, "llvmlite" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert ran.stdout == "False True\n", ran.stderr


def test_an_llvm_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from spacebatch.reference.llvm import engine

    def unknown() -> None:
        raise RuntimeError("no such processor")

    monkeypatch.setattr(engine, "_machine", unknown)
    assert engine.missing() == "LLVM does not know this processor: no such processor"
    monkeypatch.delattr(engine.llvm, "create_pass_builder")
    assert "or later is needed" in str(engine.missing())
