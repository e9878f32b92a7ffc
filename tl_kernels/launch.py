"""The launchers: one per direction, for validated tensors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import torch
import triton
from torch import Tensor

from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.memory_order import dense_strides, memory_order

from . import tuning
from .plan import HALF, MAX_DIMS, WHOLE, Direction, LoopDim, Plan, coded, magic, make_plan
from .rows import move_rows

INTERPRETED = not isinstance(move_rows, triton.JITFunction)

_WORDS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.int64}


def can_run(direction: Direction, geometry: BlockGeometry, source: Tensor) -> str | None:
    """None, or why the kernels cannot take this call."""
    if source.device.type != "cuda" and not (INTERPRETED and source.device.type == "cpu"):
        return f"the tensor is on {source.device}, and the kernels run on CUDA and ROCm devices"
    if source.element_size() not in _WORDS:
        return f"{source.dtype} has elements of {source.element_size()} bytes"
    if 0 not in source.shape and plan_of(direction, geometry, source) is None:
        return f"the geometry takes more than {MAX_DIMS} nested loops after merging"
    return None


def plan_of(direction: Direction, geometry: BlockGeometry, source: Tensor, result: Tensor | None = None) -> Plan | None:
    """The plan of a call; without `result`, of one that allocates its result."""
    if result is None:
        shape = geometry.batch_shape if direction == "space_to_batch" else geometry.space_shape
        strides = dense_strides(shape, memory_order(source.shape, source.stride()))
        aligned = True
    else:
        strides, aligned = result.stride(), result.data_ptr() % 16 == 0
    source_aligned = source.device.type == "meta" or source.data_ptr() % 16 == 0
    return _cached_plan(
        direction, geometry, source.stride(), tuple(strides), source.element_size(), source_aligned, aligned
    )


@lru_cache(maxsize=4096)
def _cached_plan(
    direction: Direction,
    geometry: BlockGeometry,
    source_strides: tuple[int, ...],
    result_strides: tuple[int, ...],
    element_bytes: int,
    source_aligned: bool,
    result_aligned: bool,
) -> Plan | None:
    if direction == "space_to_batch":
        strides, aligned = (source_strides, result_strides), (source_aligned, result_aligned)
    else:
        strides, aligned = (result_strides, source_strides), (result_aligned, source_aligned)
    return make_plan(direction, geometry, *strides, element_bytes, *aligned)


def space_to_batch(geometry: BlockGeometry, x: Tensor, y: Tensor, pad_value: bool | int | float | complex) -> None:
    """Fill y, of the geometry's batch shape, from x."""
    if y.numel() == 0:
        return
    if x.numel() == 0:
        y.fill_(pad_value)
        return
    _launch("space_to_batch", geometry, x, y, pad_words(pad_value, x.dtype))


def batch_to_space(geometry: BlockGeometry, y: Tensor, x: Tensor) -> None:
    """Fill x, of the geometry's space shape, from y."""
    if x.numel() == 0:
        return
    _launch("batch_to_space", geometry, y, x, (0, 0))


def pad_words(value: bool | int | float | complex, dtype: torch.dtype) -> tuple[int, int]:
    """The bits of a pad value as signed integers: of the first word, and of the second of a 16-byte element."""
    if type(value) is int and value == 0:
        return 0, 0
    words = torch.tensor([value], dtype=dtype, device="cpu").view(_WORDS[dtype.itemsize]).tolist()
    return words[0], words[-1]


def _launch(
    direction: Direction, geometry: BlockGeometry, source: Tensor, result: Tensor, pad: tuple[int, int]
) -> None:
    plan = plan_of(direction, geometry, source, result)
    assert plan is not None  # can_run has said so
    if source.dtype.is_complex:
        source, result = torch.view_as_real(source), torch.view_as_real(result)
    word = _WORDS[plan.words]
    source, result = source.detach().view(word), result.detach().view(word)
    numbers, flags, key = arguments(plan)
    if INTERPRETED:
        config = tuning.rule(plan)
        _start(plan, config, source, result, numbers, pad, flags)
        return
    if source.device.index == torch.cuda.current_device():
        _tuned(plan, key, source, result, numbers, pad, flags)
    else:
        with torch.cuda.device(source.device):
            _tuned(plan, key, source, result, numbers, pad, flags)


def _tuned(plan: Plan, key: str, source: Tensor, result: Tensor, numbers: Any, pad: Any, flags: dict[str, Any]) -> None:
    """Launch with what the table or the rule says, or measure first where that is wanted and allowed."""
    mode = tuning.mode()
    config = None
    if mode != "off":
        table = tuning.table(torch.cuda.get_device_name(source.device))
        config = table.get(key)
        if config is None and mode == "on" and not torch.cuda.is_current_stream_capturing():
            tuner = _autotuners(plan.words)
            tuner[lambda meta: (programs(plan, meta["TILE"]),)](
                source, result, plan.rows, *numbers, *pad, tuning.bucket_number(key), **flags
            )
            best = tuner.best_config
            table.add(key, tuning.Config(best.kwargs["TILE"] * plan.words, best.num_warps))
            return
    _start(plan, config or tuning.rule(plan), source, result, numbers, pad, flags)


def _start(plan: Plan, config: tuning.Config, source: Tensor, result: Tensor, numbers: Any, pad: Any, flags: Any) -> None:
    tile = config.tile_bytes // plan.words
    move_rows[(programs(plan, tile),)](
        source, result, plan.rows, *numbers, *pad, 0, **flags, TILE=tile, num_warps=config.warps
    )


@cache
def _autotuners(words: int) -> Any:
    """Triton's autotuner over the space of `tuning`, whose tiles count bytes; the kernel's count elements."""
    configs = [triton.Config({"TILE": c.tile_bytes // words}, num_warps=c.warps) for c in tuning.SPACE]
    return triton.autotune(configs=configs, key=["bucket"])(move_rows)


def programs(plan: Plan, tile: int) -> int:
    """How many programs a launch with tiles of so many elements takes."""
    k = min(triton.next_power_of_2(plan.length), tile)
    return int(triton.cdiv(plan.rows, tile // k) * triton.cdiv(plan.length, k))


@lru_cache(maxsize=4096)
def arguments(plan: Plan) -> tuple[tuple[Any, Any], dict[str, Any], str]:
    """(the kernel's `dims` and `inner`, its constexprs but the tile, the tuning key)."""
    inner, s, b = plan.inner, plan.space_unit, plan.batch_unit
    dims = tuple(_dim_numbers(dim, s, b) for dim in plan.dims)
    half, whole = plan.mode == HALF, plan.mode == WHOLE
    numbers = (
        plan.length // plan.length_unit,
        plan.halves,
        None,
        (inner.inner_stride if whole else plan.half_stride) // b,
        plan.half_step // s,
        plan.step,
        plan.space_step,
        inner.outer_stride if whole else plan.batch_step,
        inner.before // s if half else inner.before,
        inner.covered // s,
        inner.extent,
        inner.space_stride,
    )
    divisor = inner.extent if whole else plan.halves
    coded_inner = tuple(
        (magic(divisor) if divisor > 1 else coded(0)) if value is None else coded(value) for value in numbers
    )
    flags = {
        "KINDS": tuple(dim.kind for dim in plan.dims),
        "MASKED": tuple(dim.masked for dim in plan.dims),
        "ND": len(plan.dims),
        "MODE": plan.mode,
        "HALVES": plan.halves > 1,
        "INNER_MASKED": half and inner.masked,
        "SPACE_UNIT": s,
        "BATCH_UNIT": b,
        "LENGTH_UNIT": plan.length_unit,
        "SPACE_DENSE": plan.space_step == 1,
        "BATCH_DENSE": plan.batch_step == 1,
        "TO_SPACE": plan.direction == "batch_to_space",
        "WIDE": plan.wide,
        "LONG": plan.long_rows,
        "PAIR": plan.pair,
        "LONGEST": triton.next_power_of_2(plan.length),
    }
    return (dims, coded_inner), flags, tuning.bucket(plan)


def _dim_numbers(dim: LoopDim, space_unit: int, batch_unit: int) -> tuple[int, ...]:
    values: Sequence[int | None] = (
        dim.size,
        None,
        dim.space_stride // space_unit,
        dim.outer_stride // batch_unit,
        dim.inner_stride // batch_unit,
        dim.extent,
        None,
        dim.before,
        dim.covered,
    )
    magics = iter((magic(dim.size), magic(dim.extent) if dim.extent > 1 else coded(0)))
    return tuple(next(magics) if value is None else coded(value) for value in values)


def describe(direction: Direction, geometry: BlockGeometry, source: Tensor) -> str:
    """The kernel and its plan in a line, for `explain`."""
    plan = plan_of(direction, geometry, source)
    if plan is None or source.numel() == 0:
        return "none: there is nothing to move"
    config = tuning.rule(plan)
    row = ("run", "half", "whole")[plan.mode]
    return (
        f"move_rows: {plan.rows} rows of {plan.length} words of {plan.words} bytes ({row}), units {plan.space_unit} in space "
        f"and {plan.batch_unit} in batch, {programs(plan, config.tile_bytes // plan.words)} programs of "
        f"{config.tile_bytes} bytes by rule"
    )
