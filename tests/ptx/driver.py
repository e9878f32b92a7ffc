"""A stand-in for the GPU behind Triton's real launcher: kernels compile to PTX, and every launch is executed here.

It takes over Triton's driver and environment, so a process that has one runs nothing else. `unavailable` says where none
can be had.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .arithmetic import Array
from .machine import Launch, execute
from .memory import Memory
from .program import KernelError, Program

_STREAM = 0x57
_ON_LAUNCH = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_uint64, *(ctypes.c_uint32,) * 7, ctypes.c_uint64, ctypes.POINTER(ctypes.c_void_p)
)


def compiler() -> str | None:
    """The C compiler, as Triton looks for it."""
    return os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")


def unavailable() -> str | None:
    """Why compiled kernels cannot be executed here, or None."""
    if sys.platform != "linux" or sys.byteorder != "little" or sys.maxsize < 2**32:
        return "Triton compiles on 64-bit Linux"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if compiler() is None:
        return "there is no C compiler"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "the headers of Python are missing"
    return None


class StandIn:
    """One for a process.

    Args:
        folder: where the stand-in's library and compiled kernels are kept. Kernels have no machine code, so no other
            user of Triton may share it.
        capability: the compute capability to compile for.

    Attributes:
        launched: what ran last, of the current `running`. issued: how many instructions its warps did.
    """

    def __init__(self, folder: Path, capability: tuple[int, int] = (9, 0)) -> None:
        import triton
        from triton import knobs
        from triton.backends.nvidia import __file__ as backend

        folder = folder / f"triton-{triton.__version__}"
        folder.mkdir(parents=True, exist_ok=True)
        library, source = folder / "libcuda.so.1", Path(__file__).with_name("driver.c")
        mine = folder / f"libcuda-{os.getpid()}.so"  # another process may make it as well
        options = ["-shared", "-fPIC", "-w", f"-Wl,-soname,{library.name}", f"-I{Path(backend).parent / 'include'}"]
        subprocess.run([compiler() or "cc", *options, str(source), "-o", str(mine)], check=True)
        mine.replace(library)
        self._library = ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        self._callback = _ON_LAUNCH(self._on_launch)
        self._library.stand_in_on_launch(self._callback)
        os.environ["TRITON_LIBCUDA_PATH"] = str(folder)
        os.environ["TRITON_CACHE_DIR"] = str(folder / "kernels")
        self._take_over(capability)
        knobs.runtime.kernel_load_end_hook = self._on_load
        self._programs: dict[int, Program] = {}  # by handle
        self._parsed: dict[str, Program] = {}
        self._instead: dict[Program, Program] = {}
        self._memory: Memory | None = None
        self._chosen: Callable[[int], Array] | None = None
        self._launches = 0
        self._fault: BaseException | None = None
        self.launched: Launch | None = None
        self.issued = 0

    @staticmethod
    def _take_over(capability: tuple[int, int]) -> None:
        import torch
        from triton.backends.nvidia.compiler import CUDABackend
        from triton.backends.nvidia.driver import CudaDriver
        from triton.runtime import driver

        CUDABackend.make_cubin = lambda *_: b"nothing reads the machine code"
        active: Any = CudaDriver()
        active.get_device_capability = lambda device=None: capability
        active.get_current_device = lambda: 0
        active.get_current_stream = lambda device=None: _STREAM
        active.set_current_device = lambda device: None
        active.get_active_torch_device = lambda: torch.device("cpu")
        driver.set_active(active)
        torch.cuda.current_device = lambda: -1  # the index of the CPU, which holds the tensors
        torch.cuda.is_current_stream_capturing = lambda: False

    @contextmanager
    def running(self, memory: Memory, chosen: Callable[[int], Array] | None = None) -> Iterator[None]:
        """Launches within are executed on this memory.

        Args:
            chosen: given how many programs a launch has, the numbers of those to run; all, where it is None.

        Raises:
            KernelError: the first one of a launch.
        """
        self._memory, self._chosen = memory, chosen
        self._fault = self.launched = None
        self.issued = 0
        try:
            yield
        finally:
            self._memory = None
        if self._fault is not None:
            raise self._fault

    @contextmanager
    def replaced(self, program: Program, other: Program) -> Iterator[None]:
        """Launches within of the one run the other."""
        self._instead[program] = other
        try:
            yield
        finally:
            del self._instead[program]

    def _on_load(self, module: Any, function: Any, name: str, group: dict[str, str], key: str) -> None:
        ptx = Path(next(path for name, path in group.items() if name.endswith(".ptx"))).read_text()
        if ptx not in self._parsed:
            self._parsed[ptx] = Program(ptx)
        self._programs[int(getattr(function, "value", function))] = self._parsed[ptx]

    def _on_launch(self, function: int, *given: Any) -> int:
        x, y, z, threads, block_y, block_z, shared, stream, values = given
        try:
            program = self._programs[function]
            if (y, z, block_y, block_z, stream) != (1, 1, 1, 1, _STREAM) or self._memory is None:
                raise KernelError("a launch of several dims, on another stream, or out of place")
            sizes = [parameter.size for parameter in program.parameters.values()]
            arguments = b"".join(ctypes.string_at(values[n], size).ljust(8, b"\0") for n, size in enumerate(sizes))
            self.launched = Launch(self._instead.get(program, program), arguments, x, threads, shared)
            chosen = self._chosen(x) if self._chosen else None
            self._launches += 1  # which tells what rubbish unwritten registers hold
            self.issued += execute(self.launched, self._memory, self._launches, chosen)
        except BaseException as error:  # no exception crosses the launcher; `running` raises it
            self._fault = self._fault or error
        return 0
