"""Other hardware: what a call would run on each, found by planning and by compiling for it; only this CPU is timed."""

from __future__ import annotations

from typing import Any

import torch

import spacebatch
from spacebatch import BlockGeometry
from spacebatch.by_hand import by_hand
from spacebatch.reference import prepared
from spacebatch.reference.llvm import engine
from spacebatch.reference.llvm.plan import Plan, make_plan
from spacebatch.reference.memory_order import dense_strides
from spacebatch.reference.prepared import Layout
from spacebatch.timing import interleaved

from ..cases import DIRECTIONS
from ..measure import in_a_line
from ..tiled import processor_clock

# processor: (triple, its name to LLVM, features, bytes of a vector)
PROCESSORS = {
    "x86-64, SSE2": ("x86_64-unknown-linux-gnu", "x86-64", "", 16),
    "x86-64, AVX2": ("x86_64-unknown-linux-gnu", "x86-64-v3", "", 32),
    "x86-64, AVX-512": ("x86_64-unknown-linux-gnu", "x86-64-v4", "", 64),
    "Arm, NEON": ("aarch64-unknown-linux-gnu", "generic", "", 16),
    "Apple M1": ("arm64-apple-macosx", "apple-m1", "", 16),
    "POWER9": ("powerpc64le-unknown-linux-gnu", "pwr9", "", 16),
    "RISC-V, vectors": ("riscv64-unknown-linux-gnu", "generic-rv64", "+m,+a,+f,+d,+c,+v", 16),
}
GPUS = {"sm_80": "NVIDIA A100", "sm_90": "NVIDIA H100", "sm_100": "NVIDIA B200", "gfx942": "AMD MI300"}
SHAPE, BLOCK = (8, 64, 64, 64), 2
DEVICES = ("cpu", "cuda", "mps", "xpu")


def measure(quick: bool) -> dict[str, Any]:
    """Plans, compiled kernels, and times of the backends of the CPU here."""
    names = list(PROCESSORS)[1:4:2] if quick else list(PROCESSORS)
    return {
        "call": f"float32, {'x'.join(map(str, SHAPE))}, blocks of {BLOCK}",
        "planned": _planned(),
        "processors": [_processor(name) for name in names],
        "gpus": [_gpu(target) for target in GPUS],
        "timed": _timed(3 if quick else 15),
        "gpu_here": torch.cuda.is_available(),
    }


def _planned() -> list[dict[str, str]]:
    """The backend that would take the call on each kind of device, asked for a layout there."""
    geometry = BlockGeometry(SHAPE, BLOCK)
    shapes = geometry.space_shape, geometry.batch_shape
    found = []
    for device in DEVICES:
        source, result = (Layout(dense_strides(shape, range(4)), 4, torch.float32, device) for shape in shapes)
        for name, answer in prepared.answers("space_to_batch", geometry, source, result, device=device):
            if not isinstance(answer, str):
                found.append({"device": device, "backend": name, "kernel": str(answer)})
                break
    return found


def _processor(name: str) -> dict[str, Any]:
    """The kernels of both directions as machine code of a processor, and how long that is."""
    triple, cpu, features, vector = PROCESSORS[name]
    geometry = BlockGeometry(SHAPE, BLOCK)
    space, batch = (dense_strides(shape, range(4)) for shape in (geometry.space_shape, geometry.batch_shape))
    counts = []
    for direction in DIRECTIONS:
        plan = make_plan(direction, geometry, space, batch, 4)
        assert isinstance(plan, Plan)
        try:
            text = engine.assembly(plan.spec, vector, triple, cpu, features)
        except RuntimeError as error:
            return {"processor": name, "failed": in_a_line(error)}
        counts.append(sum(line.startswith("\t") and not line.lstrip().startswith(".") for line in text.splitlines()))
    return {"processor": name, "vector": vector, "instructions": counts}


def _gpu(target: str) -> dict[str, Any]:
    """Triton's machine code of both directions, compiled without a GPU."""
    found: dict[str, Any] = {"gpu": f"{GPUS[target]} ({target})"}
    try:
        from .. import static

        case = static.KernelCase("call", SHAPE, BLOCK)
        reports = [static.report(case, direction, 4, target, case.plans(direction, 4)[0]) for direction in DIRECTIONS]
    except (ImportError, RuntimeError, FileNotFoundError) as error:
        return found | {"failed": in_a_line(error)}
    return found | {
        "instructions": [report.instructions_per_byte for report in reports],
        "bits": [min(report.load_bits, report.store_bits) for report in reports],
    }


def _timed(rounds: int) -> list[dict[str, Any]]:
    """The backends of the CPU against eager PyTorch, in this process, each checked to the bit."""
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    geometry = BlockGeometry(SHAPE, BLOCK)
    eager = by_hand("space_to_batch", geometry)
    wanted = eager(x)

    def by(backend: Any) -> torch.Tensor:
        with spacebatch.use_backend(backend):
            return geometry.space_to_batch(x)

    calls: dict[str, Any] = {name: (lambda name=name: by(name)) for name in ("llvm", "numpy", "torch")}
    exact = {name: torch.equal(call(), wanted) for name, call in calls.items()}
    times = interleaved({**calls, "eager": lambda: eager(x)}, x.device, rounds=rounds, clock=processor_clock)
    return [
        {
            "backend": name,
            "exact": exact[name],
            "ms": 1e3 * times[name].median,
            "gain": times["eager"].median / times[name].median,
        }
        for name in calls
    ]


def told(found: dict[str, Any]) -> list[Any]:
    """Four tables."""
    planned: list[Any] = [
        ("device", "backend that takes the call", "what runs"),
        *(tuple(row.values()) for row in found["planned"]),
    ]
    timed: list[Any] = [("backend on this CPU", "exact", "ms", "eager PyTorch's time over it")]
    timed += [
        (row["backend"], "yes" if row["exact"] else "no", f"{row['ms']:.2f}", f"{row['gain']:.2f}x")
        for row in found["timed"]
    ]
    compiled: list[Any] = [("compiled for", "bits at a time", "instructions, to batch, back")]
    for row in found["processors"]:
        counts = row.get("instructions")
        compiled.append(
            (row["processor"], 8 * row["vector"], ", ".join(map(str, counts)))
            if counts
            else (row["processor"], "", row["failed"])
        )
    gpus: list[Any] = [("compiled for", "bits at a time", "instructions per byte, to batch, back")]
    for row in found["gpus"]:
        each = row.get("instructions")
        gpus.append(
            (row["gpu"], ", ".join(map(str, row["bits"])), ", ".join(map(str, each)))
            if each
            else (row["gpu"], "", row["failed"])
        )
    return [
        f"One call: {found['call']}.",
        planned,
        timed,
        "Kernels compiled here for other processors, and not run:",
        compiled,
        gpus,
    ]
