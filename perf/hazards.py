"""What only shows on a real device: several streams at once, capture at the first use of a shape, very large tensors."""

from __future__ import annotations

from dataclasses import replace

import torch

import spacebatch

from .cells import Cell
from .checks import expected, same_bits
from .steps import Deadline, Outcome

HUGE_EDGE = 27648  # 3 * HUGE_EDGE**2 bytes are more than 2**31
HUGE_MEMORY = 16 * 2**30


def hazards(device: torch.device, deadline: Deadline) -> Outcome:
    """All of them; "failed" with the first that went wrong."""
    if device.type != "cuda":
        return "skipped", "streams, graphs and tensors of this size need a GPU"
    notes: list[str] = []
    for name, check in (("streams", streams), ("capture", capture), ("large", large)):
        if deadline.left() <= 0:
            return "incomplete", "; ".join([*notes, f"no time for {name}"])
        reason = check(device)
        if reason.startswith("wrong"):
            return "failed", f"{name}: {reason}"
        notes.append(f"{name}: {reason}")
    return "done", "; ".join(notes)


def streams(device: torch.device, count: int = 4) -> str:
    """Different calls queued on several streams, all at work at once."""
    cells = [Cell("space_to_batch", (4, 16 + i, 256, 256), (2, 2), ((1, 1), (0, 0)), "float16") for i in range(count)]
    sources = [cell.source(device) for cell in cells]
    found: list[torch.Tensor] = []
    queues = [torch.cuda.Stream(device) for _ in cells]  # type: ignore[no-untyped-call]
    torch.cuda.synchronize(device)
    for _ in range(3):
        found.clear()
        for cell, source, queue in zip(cells, sources, queues, strict=True):
            with torch.cuda.stream(queue):
                found.append(spacebatch.space_to_batch(source, cell.block, cell.paddings))
    torch.cuda.synchronize(device)
    for cell, source, result in zip(cells, sources, found, strict=True):
        if not same_bits(result, expected(cell, source)):
            return f"wrong on a stream of its own: {cell.key}"
    return f"{count} at once"


def capture(device: torch.device) -> str:
    """A CUDA graph whose capture is the first call of each shape, replayed on other values."""
    for i, mode in enumerate(("forward", "inverse")):
        cell = Cell(
            "space_to_batch" if mode == "forward" else "batch_to_space",
            (3, 7, 66 + 2 * i, 90),
            (2, 2),
            ((0, 0), (0, 0)),
        )
        operation = getattr(spacebatch, cell.direction)
        operation(replace(cell, shape=(1, *cell.shape[1:])).source(device), 2)  # loads the kernel
        source = cell.source(device)
        torch.cuda.synchronize(device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = operation(source, 2)
        source.copy_(cell.source(device))
        graph.replay()
        if not same_bits(result, expected(cell, source)):
            return f"wrong in a captured graph: {cell.key}"
    return "both directions at first use"


def large(device: torch.device) -> str:
    """More than 2**31 elements, both directions, interleaved and contiguous, padded."""
    if torch.cuda.mem_get_info(device)[0] < HUGE_MEMORY:
        return f"not tried, {HUGE_MEMORY >> 30} GiB of free memory are needed"
    for shape, block, arrangement in (
        ((1, 3, HUGE_EDGE, HUGE_EDGE), (2, 2), "interleaved"),
        ((1, 3, HUGE_EDGE - 1, HUGE_EDGE - 1), (3, 3), "interleaved"),
        ((1, 3, HUGE_EDGE, HUGE_EDGE), (3, 3), "contiguous"),
    ):
        after = HUGE_EDGE - shape[-1]
        for direction in ("space_to_batch", "batch_to_space"):
            cell = Cell(direction, shape, block, ((0, after),) * 2, "uint8", arrangement=arrangement)  # type: ignore[arg-type]
            source = cell.source(device)
            result = getattr(spacebatch, direction)(source, block, cell.paddings, arrangement=arrangement)
            if not same_bits(result, expected(cell, source)):
                return f"wrong beyond 2**31 elements: {cell.key}"
            del source, result
            torch.cuda.empty_cache()
    return f"{3 * HUGE_EDGE**2 / 2**31:.2f} x 2**31 elements"
