"""The Triton kernels as a backend; triton is imported when the first tensor of a GPU needs it."""

from __future__ import annotations

import importlib.util
import os

from spacebatch.reference.arithmetic import Arithmetic
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.prepared import Backend, Direction, Layout, Prepared
from spacebatch.tl_kernels.family import elsewhere

_HAS_TRITON = importlib.util.find_spec("triton") is not None


def prepare(
    direction: Direction,
    geometry: BlockGeometry,
    source: Layout,
    result: Layout,
    arithmetic: Arithmetic | None = None,
) -> Prepared | str:
    """A call of the kernels, or why they cannot take it; see `tl_kernels.launch.prepare`."""
    if not _HAS_TRITON:
        return "triton is not installed"
    interpreted = source.device == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"
    if source.device not in ("cuda", "meta") and not interpreted:
        return elsewhere(source.device)
    from spacebatch.tl_kernels import launch

    from . import tuning

    return launch.prepare(direction, geometry, source, result, tuning, arithmetic)


TRITON = Backend("triton", prepare)
