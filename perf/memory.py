"""How much memory a call takes beside its input and its result, measured."""

from __future__ import annotations

from pathlib import Path

import torch

from .timing import Call

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def extra_bytes(call: Call, result_bytes: int, device: torch.device) -> int | None:
    """The most memory that was in use during a call, less that before it and less its result; None where unknown.

    >>> found = extra_bytes(lambda: torch.zeros(4 << 20, dtype=torch.uint8), 4 << 20, torch.device("cpu"))
    >>> found is None or found < 1 << 20
    True

    On a GPU PyTorch's allocator tells. On the CPU the kernel keeps the high-water mark of the process, which only Linux
    lets a process reset; the process should do nothing else meanwhile.
    """
    if device.type == "cuda":
        call()
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before - result_bytes
    if not _RESET.exists():
        return None
    call()
    _give_back()
    try:
        _RESET.write_text("5")  # the high-water mark falls to what is in use
        before = _kilobytes("VmHWM")
        call()
        return (_kilobytes("VmHWM") - before) * 1024 - result_bytes
    except (OSError, ValueError):
        return None


def _give_back() -> None:
    """Have the C library give its free memory back, so that a result's pages are counted where they come from it."""
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _kilobytes(name: str) -> int:
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise ValueError(f"{_STATUS} has no {name}")
