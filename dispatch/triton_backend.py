"""The GPU kernels on tensors; Triton is imported when the first call needs it."""

from __future__ import annotations

import importlib.util
from typing import TypeAlias

import torch
from torch import Tensor

from spacebatch.reference.geometry import BlockGeometry

from .backend import Backend, Direction, PadValue, empty_result

_HAS_TRITON = importlib.util.find_spec("triton") is not None
_Call: TypeAlias = "tuple[Direction, BlockGeometry, tuple[int, ...], torch.dtype, str]"
_reasons: dict[_Call, str | None] = {}


def _can_run(direction: Direction, geometry: BlockGeometry, source: Tensor, out: Tensor | None) -> str | None:
    if not _HAS_TRITON:
        return "triton is not installed"
    call = (direction, geometry, source.stride(), source.dtype, source.device.type)
    try:
        return _reasons[call]
    except KeyError:
        from spacebatch.tl_kernels import launch

        if len(_reasons) == 4096:
            _reasons.clear()
        reason = _reasons[call] = launch.can_run(direction, geometry, source)
        return reason


def _run(
    direction: Direction, geometry: BlockGeometry, source: Tensor, pad_value: PadValue, out: Tensor | None
) -> Tensor:
    from spacebatch.tl_kernels import launch

    if direction == "space_to_batch":
        result = empty_result(source, geometry.batch_shape) if out is None else out
        launch.space_to_batch(geometry, source, result, pad_value)
    else:
        result = empty_result(source, geometry.space_shape) if out is None else out
        launch.batch_to_space(geometry, source, result)
    return result


TRITON = Backend("triton", _can_run, _run)
