"""From the text of a kernel to functions that can be called."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from threading import Lock
from typing import Any, NamedTuple

import llvmlite.binding as llvm

from .kernel import source_text
from .plan import Kind

_POINTERS = (ctypes.c_void_p,) * 3
_Holding = ctypes.PYFUNCTYPE(None, *_POINTERS)  # keeps the interpreter to itself, for what is short
_Releasing = ctypes.CFUNCTYPE(None, *_POINTERS)  # lets other threads run meanwhile
_Sharing = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


class Functions(NamedTuple):
    """A compiled kernel, see `kernel`: `whole` of (space, batch, numbers) in two ways, `share` of (job, first, spins), and the
    address of `join`."""

    short: Any
    long: Any
    share: Any
    join: int
    engine: Any  # which owns their code


def missing() -> str | None:
    """None, or what this llvmlite lacks."""
    if not hasattr(llvm, "create_pass_builder") or llvm.llvm_version_info[0] < 16:
        return f"llvmlite has LLVM {llvm.llvm_version_info[0]}, and 16 or later is needed"
    try:
        _machine()
    except RuntimeError as error:
        return f"LLVM does not know this processor: {error}"
    return None


@lru_cache(maxsize=1)
def _target() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple()


def _machine() -> Any:
    """A description of this processor; an engine takes it over."""
    features = llvm.get_host_cpu_features().flatten()
    return _target().create_target_machine(cpu=llvm.get_host_cpu_name(), features=features, opt=2, jit=True)


@lru_cache(maxsize=1)
def vector_bytes() -> int:
    """Bytes of a vector of this processor: 64 with AVX-512, 32 with AVX2, else 16."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512bw"):
        return 64
    return 32 if features.get("avx2") else 16


def optimized(kind: Kind, machine: Any) -> Any:
    """The module of a kind, ready to be turned into machine code."""
    module = llvm.parse_assembly(source_text(kind))
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = False  # the kernel is made of vectors already
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    return module


_functions: dict[Kind, Functions] = {}
_compiling = Lock()


def compiled(kind: Kind) -> Functions:
    """The functions of a kind, compiled once in a process: 15 to 150 ms."""
    found = _functions.get(kind)
    if found is None:
        with _compiling:
            found = _functions.get(kind)
            if found is None:
                found = _functions[kind] = _compile(kind)
    return found


def _compile(kind: Kind) -> Functions:
    machine = _machine()
    engine = llvm.create_mcjit_compiler(optimized(kind, machine), machine)
    engine.finalize_object()
    whole, share, join = (engine.get_function_address(name) for name in ("whole", "share", "join"))
    return Functions(_Holding(whole), _Releasing(whole), _Sharing(share), join, engine)


def assembly(kind: Kind, triple: str | None = None, cpu: str = "", features: str = "") -> str:
    """The machine code of a kind as text, for this processor or for a named one.

    Raises:
        RuntimeError: this LLVM does not know the triple.
    """
    if triple is None:
        machine = _machine()
    else:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features, opt=2)
    return str(machine.emit_assembly(optimized(kind, machine)))
