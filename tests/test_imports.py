"""What an import brings in, and what the environment changes: each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("SPACEBATCH_", "TRITON_", "COV_"))}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def succeeds(code: str, **environment: str) -> str:
    finished = run(code, **environment)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_the_import_is_light() -> None:
    """Arrays never bring in torch, nor does any name that is not about tensors; nothing brings in triton."""
    out = succeeds("""
        import sys
        import numpy as np
        import spacebatch
        from spacebatch import BlockGeometry, required_paddings, reference
        names = ("torch", "triton", "llvmlite")
        print([name for name in names if name in sys.modules])
        assert {"space_to_batch", "convert"} <= set(dir(spacebatch))
        x = np.arange(16).reshape(1, 1, 4, 4)
        y = spacebatch.space_to_batch(x, 2, 1, pad_value=7)
        assert (spacebatch.batch_to_space(y, 2, crops=1) == x).all()
        assert (spacebatch.to_blocks([x[0]], 3).restore()[0] == x[0]).all()
        assert spacebatch.patchify(x[0], 2).tokens.shape == (4, 4)
        assert spacebatch.fused.space_to_batch(x, 2, scale=0.5, activation="gelu").dtype == np.float32
        assert spacebatch.patchify(x[0].astype(np.uint8), 2, mean=0.5, std=0.5).tokens.dtype == np.float32
        assert spacebatch.tensorflow.space_to_batch_nd(x, [1, 2], [[0, 0], [1, 1]]).shape == (2, 1, 3, 4)
        assert spacebatch.windows.window_partition(x, 3, shift=1).shape == (4, 1, 3, 3)
        assert spacebatch.windows.Windows(x.shape, 3, shift=1).mask().shape == (4, 9, 9)
        operator = spacebatch.caffe2.create_operator("SpaceToBatch", ["X"], ["Y"], block_size=2)
        assert operator.run(x.astype(np.float32)).shape == (4, 1, 2, 2)
        with spacebatch.use_backend("numpy"):
            print(spacebatch.explain("space_to_batch", x, 2).backend)
        try:
            spacebatch.space_to_batch([1], 2)
        except TypeError as error:
            print(error)
        print([name for name in names[:2] if name in sys.modules])
        import torch
        z = spacebatch.space_to_batch(torch.from_numpy(x), 2, 1, pad_value=7)
        assert (z.numpy() == y).all()
        torch.ops.spacebatch.space_to_batch, torch.ops.spacebatch.fused_space_to_batch
        assert "spacebatch.tl_kernels.launch" not in sys.modules
    """)
    message = "space_to_batch: the input must be a torch.Tensor or a numpy.ndarray, got list"
    assert out.splitlines() == ["[]", "numpy", message, "[]"]


def test_operators_are_there_when_torch_came_first() -> None:
    succeeds("""
        import torch
        import spacebatch
        assert torch.ops.spacebatch.space_to_batch(torch.zeros(1, 4), [2], [0, 0], [1]).shape == (2, 2)
    """)


def test_torch_after_spacebatch_in_a_compiled_function() -> None:
    """The module of tensors is loaded by the first call, also where a compiler traces it."""
    succeeds("""
        import spacebatch
        from spacebatch import space_to_batch
        import torch
        f = torch.compile(lambda x: space_to_batch(x, 2), backend="eager", fullgraph=True)
        assert torch.equal(f(torch.ones(1, 1, 4, 4)), space_to_batch(torch.ones(1, 1, 4, 4), 2))
    """)


def test_the_reference_needs_only_numpy() -> None:
    out = succeeds("""
        import sys
        sys.modules["torch"] = sys.modules["triton"] = sys.modules["llvmlite"] = None
        before = set(sys.modules)
        import numpy
        numpys = {name.partition(".")[0] for name in set(sys.modules) - before}
        from spacebatch import reference
        y = reference.space_to_batch(numpy.arange(5).reshape(1, 5), 2, "auto", spatial_dims=1)
        assert y.tolist() == [[0, 2, 4], [1, 3, 0]]
        assert reference.batch_to_space(y, (2,), ((0, 1),)).tolist() == [[0, 1, 2, 3, 4]]
        roots = {name.partition(".")[0] for name in set(sys.modules) - before} - numpys
        print(sorted(roots - sys.stdlib_module_names))
        import spacebatch
        assert spacebatch.space_to_batch(numpy.zeros((1, 4)), (2,)).shape == (2, 2)
        try:
            spacebatch.convert
        except ImportError as error:
            print(error.name)
    """)
    assert out.splitlines() == ["['spacebatch']", "torch"]


def test_without_triton() -> None:
    out = succeeds("""
        import sys
        sys.modules["triton"] = None
        import torch, spacebatch
        x = torch.arange(16).view(1, 1, 4, 4)
        assert torch.equal(spacebatch.batch_to_space(spacebatch.space_to_batch(x, 2), 2), x)
        with spacebatch.use_backend("triton"):
            print(spacebatch.explain("space_to_batch", x, 2).reasons["triton"])
            try:
                spacebatch.space_to_batch(x, 2)
            except RuntimeError as error:
                print(error)
    """)
    reason = "triton is not installed"
    assert out.splitlines() == [reason, f"space_to_batch: the backend 'triton' was asked for, but {reason}"]


def test_triton_without_a_gpu() -> None:
    pytest.importorskip("triton")
    pytest.importorskip("spacebatch.tl_kernels.launch")
    out = succeeds("""
        import torch, spacebatch
        with spacebatch.use_backend("triton"):
            try:
                spacebatch.space_to_batch(torch.zeros(1, 1, 4, 4), 2)
            except RuntimeError as error:
                print(error)
    """)
    assert out.startswith("space_to_batch: the backend 'triton' was asked for, but ")


def test_the_backend_of_the_environment() -> None:
    out = succeeds(
        """
        import torch, spacebatch
        x = torch.zeros(1, 4)
        print(spacebatch.explain("space_to_batch", x, (2,)).backend)
        with spacebatch.use_backend("torch"):
            print(spacebatch.explain("space_to_batch", x, (2,)).backend)
        print(spacebatch.explain("space_to_batch", x, (2,)).backend, spacebatch.space_to_batch(x, (2,)).shape)
        """,
        SPACEBATCH_BACKEND="numpy",
    )
    assert out.splitlines() == ["numpy", "torch", "numpy torch.Size([2, 2])"]


def test_an_unknown_backend_of_the_environment() -> None:
    finished = run("import spacebatch", SPACEBATCH_BACKEND="cuda")
    assert finished.returncode == 1
    assert (
        "ValueError: SPACEBATCH_BACKEND: no backend is called 'cuda'; there are llvm, numpy, torch, triton"
        in finished.stderr
    )


def test_an_empty_backend_of_the_environment_is_none() -> None:
    out = succeeds("from spacebatch.reference import prepared; print(prepared.demanded)", SPACEBATCH_BACKEND="")
    assert out == "None\n"


def test_public_hooks() -> None:
    """With no private hook of PyTorch, all calls go the careful way; that bits and gradients are the same, test_torch_private says."""
    out = succeeds(
        """
        import torch, spacebatch
        from spacebatch import torch_private
        assert not torch_private.PRIVATE
        assert torch_private.functorch_level() and torch_private.mode_active() and torch_private.forward_ad_active()
        assert torch_private.dispatch_modes is None and torch_private.has_storage is torch_private._reads_storage
        out = torch.empty(4, 1, 2, 2)
        assert spacebatch.space_to_batch(torch.ones(1, 1, 4, 4), 2, out=out) is out and out.eq(1).all()
        try:
            spacebatch.space_to_batch(torch.ones(1, 1, 4, 4), 2, out=torch.empty(5, 4, 1, 2, 2))
        except ValueError as error:
            print(error)
        from torch._subclasses.fake_tensor import FakeTensorMode
        with FakeTensorMode():
            assert spacebatch.space_to_batch(torch.ones(1, 3, 4, 4), 2).shape == (4, 3, 2, 2)
        print(spacebatch.explain("space_to_batch", torch.ones(1, 4), (2,)).route)
        """,
        SPACEBATCH_PUBLIC_HOOKS="1",
    )
    assert out.splitlines() == ["space_to_batch: out has shape (5, 4, 1, 2, 2), the result has (4, 1, 2, 2)", "aten"]
