"""`spacebatch.warm_up`: the call after it finds everything ready, and nothing of the caller's has changed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import spacebatch
from spacebatch import BlockGeometry
from spacebatch.reference import prepared
from spacebatch.tl_kernels import launch
from tests.bits import using


def made_ready(call: Callable[..., Any], *arguments: Any, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    """The result of a call that may prepare nothing."""
    spacebatch.warm_up(call, *arguments, **options)

    def fail(*_: object) -> None:
        raise AssertionError("something was not ready")

    with monkeypatch.context() as patch:
        patch.setattr(prepared, "find", fail)
        return call(*arguments, **options)


X = torch.arange(2 * 3 * 6 * 12.0).view(2, 3, 6, 12)


@pytest.mark.parametrize("name", ["torch", "numpy", "chosen"])
@pytest.mark.parametrize("x", [X, X.numpy(), X.to(memory_format=torch.channels_last), X[..., ::2]], ids=type)
def test_the_next_call_prepares_nothing(name: str, x: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "torch" and not isinstance(x, torch.Tensor):
        pytest.skip("arrays have no such backend")
    with using(name):
        y = made_ready(spacebatch.space_to_batch, x, 2, [[1, 1], [0, 0]], pad_value=7, monkeypatch=monkeypatch)
        back = made_ready(spacebatch.batch_to_space, y, 2, crops=((1, 1), (0, 0)), monkeypatch=monkeypatch)
    np.testing.assert_array_equal(np.asarray(back), np.asarray(x))


def test_every_spelling(monkeypatch: pytest.MonkeyPatch) -> None:
    x = X[..., :8, :]
    for call, arguments in (
        (spacebatch.nn.SpaceToBatch(3, "auto"), (x,)),
        (BlockGeometry(x.shape, 3, "auto").space_to_batch, (x,)),
        (spacebatch.tensorflow.space_to_batch_nd, (x, [3], [[0, 0]])),
    ):
        made_ready(call, *arguments, monkeypatch=monkeypatch)


@pytest.mark.parametrize("start", [0, 1])
def test_out_lies_as_the_caller_s_and_is_not_written(start: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.rand(1, 2 + start, 4, 6)
    memory = torch.full((500,), 3.0)
    out = memory.as_strided((4, 2 + start, 2, 3), (120, 40, 10, 2), start)
    seen = []
    found = prepared.find

    def find(*arguments: Any) -> Any:
        call, keep = found(*arguments)

        def watched(source: torch.Tensor, result: torch.Tensor, pad: bytes) -> None:
            seen.append((result.data_ptr() % 16, result.stride()))
            call(source, result, pad)

        return watched, keep

    monkeypatch.setattr(prepared, "find", find)
    spacebatch.warm_up(spacebatch.space_to_batch, x, 2, out=out)
    assert seen == [(out.data_ptr() % 16, out.stride())] * 2
    assert (memory == 3).all()
    assert spacebatch.space_to_batch(x, 2, out=out) is out


@pytest.mark.parametrize("step", [1, -2])
def test_out_of_an_array(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, memory = np.arange(24.0).reshape(1, 1, 4, 6), np.full((4, 1, 2, 6), 3.0)
    out = memory[..., ::step][..., :3]
    spacebatch.warm_up(spacebatch.space_to_batch, x, 2, out=out)
    assert (memory == 3).all()
    assert made_ready(spacebatch.space_to_batch, x, 2, out=out, monkeypatch=monkeypatch) is out
    np.testing.assert_array_equal(out, spacebatch.space_to_batch(x, 2))


def test_the_gradient_is_ready_and_none_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.rand(1, 2, 10, 6, requires_grad=True)
    hooked: list[object] = []
    x.register_hook(hooked.append)
    y = made_ready(spacebatch.space_to_batch, x, 2, 1, monkeypatch=monkeypatch)
    assert x.grad is None
    assert not hooked

    def fail(*_: object) -> None:
        raise AssertionError("something was not ready")

    monkeypatch.setattr(prepared, "find", fail)
    y.backward(torch.ones_like(y))
    assert x.grad is not None
    assert len(hooked) == 1
    with torch.no_grad():
        spacebatch.warm_up(spacebatch.space_to_batch, x, 2, 1)


def test_mistakes_are_those_of_the_call() -> None:
    with pytest.raises(ValueError, match="space_to_batch: "):
        spacebatch.warm_up(spacebatch.space_to_batch, X, 4)
    with pytest.raises(TypeError, match="out must be a"):
        spacebatch.warm_up(spacebatch.space_to_batch, X, 2, out=3)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="paddings"):
        spacebatch.warm_up(spacebatch.batch_to_space, X, 2, paddings=1)  # type: ignore[call-arg]


def test_not_while_a_graph_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(RuntimeError, match="warm_up: a CUDA graph is being captured"):
        spacebatch.warm_up(spacebatch.space_to_batch, X, 2)


@pytest.mark.skipif(not launch.INTERPRETED, reason="Triton's interpreter is off")
def test_a_launch_is_made_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a call on the CPU that is taken for one on a GPU; compilation and launch are fakes."""
    log: list[str] = []
    x = torch.rand(1, 3, 10, 14)
    with spacebatch.use_backend("triton"):
        spacebatch.space_to_batch(x, 2)
        monkeypatch.setattr(launch, "INTERPRETED", False)
        monkeypatch.setattr(launch, "start", lambda *_: log.append("start") or log)
        monkeypatch.setattr(launch, "launch_of", lambda *_: lambda *_: log.append("ready"))
        monkeypatch.setattr(torch.cuda, "current_device", lambda: -1)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "fake")
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
        spacebatch.warm_up(spacebatch.space_to_batch, x, 2)
        assert log == ["start", "ready"]
        spacebatch.space_to_batch(x, 2)
        assert log == ["start", "ready", "ready"]


COLD = """
import numpy as np, torch, spacebatch
from spacebatch.reference import prepared

tensors = [torch.rand(1, 1, 4, size) for size in (4, 6, 8, 10)]  # the later ones by a recipe, at first
for x in (*tensors, torch.rand(2, 3, 8, 8).numpy(), torch.rand(64, 16, 64, 64)):
    spacebatch.warm_up(spacebatch.space_to_batch, x, 2, 1)
    calls = spacebatch.reference.kept_geometries.space_geometry(x.shape, 2, 1, None, "block_major", "interleaved")._prepared
    for call in calls.values():
        call = getattr(call, "fill", call)
        print(type(call).__name__, call._functions is not None, call._streaming is None or call._streaming.functions is not None)
"""


def test_kernels_are_waited_for_on_the_cpu(tmp_path: Path) -> None:
    environment = {**os.environ, "SPACEBATCH_COMPILE": "behind", "SPACEBATCH_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", COLD], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    calls = ["Call"] * 4 + ["ArrayCall", "Call"]
    assert done.stdout.splitlines() == [f"{name} True True" for name in calls]
