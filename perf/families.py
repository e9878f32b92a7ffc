"""Every family of kernels that applies to a call, forced in turn, whatever the rule would take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from .cells import Cell
from .checks import expected, poison_, same_bits
from .precompile import compile_all
from .steps import Deadline, Outcome


def force(cells: Sequence[Cell], device: torch.device, deadline: Deadline) -> Outcome:
    """Run each family's kernels into poisoned memory: with the rule's tile, the smallest and the largest.

    Returns:
        "failed" with the first that gave a wrong result, else how many launches of which families were right.
    """
    from triton.runtime.errors import TritonError

    from spacebatch.tl_kernels import launch

    todo = [(cell, plan, config) for cell in cells for plan, config in configurations(cell)]
    if device.type == "cuda":
        compile_all([("kernel", plan, config) for _, plan, config in todo], 0.6 * deadline.left())
    right: dict[str, int] = {}
    large = 0
    current: Cell | None = None
    for cell, plan, config in todo:
        if deadline.left() <= 0:
            break
        if cell is not current:
            current, source = cell, cell.source(device)
            wanted = expected(cell, source)
        result = poison_(torch.empty_like(wanted))
        try:
            launch.run(cell.moves, cell.geometry, source, result, config=config)
        except TritonError:  # more than this device has room for
            large += 1
            continue
        if not same_bits(result, wanted):
            return "failed", f"{config} is wrong for {cell.key}"
        right[plan.family] = right.get(plan.family, 0) + 1
    count = sum(right.values())
    text = f"{count} of {len(todo)} launches right: {', '.join(f'{n} {name}' for name, n in sorted(right.items()))}"
    if large:
        text += f"; {large} too large for the device"
    return ("done" if count + large == len(todo) else "incomplete"), text


def configurations(cell: Cell) -> Iterator[tuple[Any, Any]]:
    """(plan, configuration) of every family that applies to a cell: its rule's, its smallest and its largest tile."""
    from spacebatch.tl_kernels import launch
    from spacebatch.tl_kernels.family import candidates

    for plan in launch.plans_of(cell.moves, cell.geometry, cell.source(torch.device("meta"))):
        every = sorted(candidates([plan]), key=lambda config: (config.tile_bytes, config.warps))
        for config in dict.fromkeys([plan.rule, every[0], every[-1]]):
            yield plan, config
