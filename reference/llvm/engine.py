"""From the text of a kernel to object code, and from object code to functions that can be called. Importing this loads LLVM."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite
import llvmlite.binding as llvm

from .spec import KernelSpec

_POINTERS = (ctypes.c_void_p,) * 3
_Holding = ctypes.PYFUNCTYPE(None, *_POINTERS)  # keeps the interpreter to itself, for what is short
_Releasing = ctypes.CFUNCTYPE(None, *_POINTERS)  # lets other threads run meanwhile
_Sharing = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)

_FUNCTIONS = ("whole", "share", "join")

Turn = Callable[[], AbstractContextManager[Any]]  # entered around each part of a compilation


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


def lacking(spec: KernelSpec) -> str | None:
    """None, or what this processor lacks for a spec: LLVM would call a function that is not there."""
    computed = spec.computed
    if computed is None or "f16c" not in (features := llvm.get_host_cpu_features()) or features["f16c"]:
        return None
    halves = {"float16", "float8_e4m3fn", "float8_e5m2"} & {computed.source, computed.residual}
    return "the processor does not convert float16" if halves or computed.result == "float16" else None


@lru_cache(maxsize=1)
def _target() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple()


@lru_cache(maxsize=1)
def _processor() -> tuple[str, str]:
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def _machine() -> Any:
    """A description of this processor; an engine takes it over."""
    name, features = _processor()
    return _target().create_target_machine(cpu=name, features=features, opt=2, jit=True)


@lru_cache(maxsize=1)
def vector_bytes() -> int:
    """Bytes of a vector of this processor: 64 with AVX-512, 32 with AVX2, else 16."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512bw"):
        return 64
    return 32 if features.get("avx2") else 16


@lru_cache(maxsize=1)
def rounds_to_bfloat16() -> bool:
    """Whether this processor has an instruction for it that this LLVM surely takes."""
    return llvm.llvm_version_info[0] >= 20 and bool(llvm.get_host_cpu_features().get("avx512bf16"))


@lru_cache(maxsize=1)
def identity() -> bytes:
    """All that object code depends on beside the spec: this package's writers of kernels, LLVM, and the processor.

    Raises:
        OSError: the package's sources cannot be read.
    """
    sources = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        sources.update(path.read_bytes())
    versions = llvmlite.__version__, llvm.llvm_version_info
    return repr((sources.hexdigest(), *versions, *_processor(), llvm.get_process_triple())).encode()


def object_code(
    spec: KernelSpec, vector: int, pause: Callable[[], object] = lambda: None, turn: Turn = nullcontext
) -> bytes:
    """The machine code of a spec for this processor, in an object file: 15 to 150 ms.

    Args:
        spec, vector: what is compiled, with vectors of so many bytes.
        pause: called now and then while the text is written. turn: entered around each part.
    """
    with turn():
        from .kernel import source_text  # which code from disk does without

        text = source_text(spec, vector, pause, rounds_to_bfloat16())
    with turn():
        machine = _machine()
        module = _parsed(text, machine)
    with turn():
        _optimize(module, machine, unroll=spec.computed is None)
    with turn():
        return bytes(machine.emit_object(module))


def loaded(code: bytes) -> Functions:
    """The functions in an object file."""
    empty = llvm.parse_assembly("", context=llvm.create_context())
    engine = llvm.create_mcjit_compiler(empty, _machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    whole, share, join = (engine.get_function_address(name) for name in _FUNCTIONS)
    if not (whole and share and join):
        raise RuntimeError(f"no {', '.join(_FUNCTIONS)} in the object code")
    return Functions(_Holding(whole), _Releasing(whole), _Sharing(share), join, engine)


def _parsed(text: str, machine: Any) -> Any:
    module = llvm.parse_assembly(
        text, context=llvm.create_context()
    )  # its own, which nobody else is at when a process forks
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    return module


def _optimize(module: Any, machine: Any, unroll: bool) -> None:
    """`unroll`: also the loops that were not written down step by step; where there is arithmetic, they are long enough."""
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = False  # the kernel is made of vectors already
    options.loop_unrolling = unroll
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)


def assembly(spec: KernelSpec, vector: int, triple: str, cpu: str = "", features: str = "") -> str:
    """The machine code of a spec as text, for a named processor with vectors of so many bytes.

    Raises:
        RuntimeError: this LLVM does not know the triple.
    """
    from .kernel import source_text

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features, opt=2)
    module = _parsed(source_text(spec, vector), machine)
    _optimize(module, machine, unroll=spec.computed is None)
    return str(machine.emit_assembly(module))
