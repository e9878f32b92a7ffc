"""The launchers: one per direction, for validated tensors."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
import triton
from torch import Tensor

from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.loops import Direction
from spacebatch.reference.memory_order import dense_strides, memory_order

from . import tuning
from .family import Arguments, Config, Plan
from .granules import move_granules
from .phases import move_phases
from .plan import make_plans
from .rows import move_rows
from .vectors import move_vectors

KERNELS = {"rows": move_rows, "vectors": move_vectors, "phases": move_phases, "granules": move_granules}
INTERPRETED = not isinstance(move_rows, triton.JITFunction)

_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.int64}


def can_run(direction: Direction, geometry: BlockGeometry, source: Tensor) -> str | None:
    """None, or why the kernels cannot take this call."""
    if source.device.type != "cuda" and not (INTERPRETED and source.device.type == "cpu"):
        return f"the tensor is on {source.device}, and the kernels run on CUDA and ROCm devices"
    if source.element_size() not in _BITS:
        return f"{source.dtype} has elements of {source.element_size()} bytes"
    if 0 not in source.shape and not plans_of(direction, geometry, source):
        return "the geometry takes more nested loops, after merging, than the kernels have"
    return None


def plans_of(
    direction: Direction, geometry: BlockGeometry, source: Tensor, result: Tensor | None = None
) -> tuple[Plan, ...]:
    """The plans of a call, the one to take by rule first; without `result`, of a call that allocates its result."""
    if result is None:
        shape = geometry.batch_shape if direction == "space_to_batch" else geometry.space_shape
        strides: tuple[int, ...] = tuple(dense_strides(shape, memory_order(source.shape, source.stride())))
        aligned = True
    else:
        strides, aligned = result.stride(), result.data_ptr() % 16 == 0
    source_aligned = source.device.type == "meta" or source.data_ptr() % 16 == 0
    return _call(direction, geometry, source.stride(), strides, source.element_size(), source_aligned, aligned).plans


class Call:
    """What depends on shapes, strides, alignment and arguments alone: the plans, and the launches that were made ready."""

    __slots__ = ("plans", "ready")

    def __init__(self, plans: tuple[Plan, ...]) -> None:
        self.plans = plans
        self.ready: dict[tuple[object, ...], Callable[[int, int, tuple[int, int]], None]] = {}


@lru_cache(maxsize=4096)
def _call(
    direction: Direction,
    geometry: BlockGeometry,
    source_strides: tuple[int, ...],
    result_strides: tuple[int, ...],
    element_bytes: int,
    source_aligned: bool,
    result_aligned: bool,
) -> Call:
    if direction == "space_to_batch":
        strides, aligned = (source_strides, result_strides), (source_aligned, result_aligned)
    else:
        strides, aligned = (result_strides, source_strides), (result_aligned, source_aligned)
    return Call(make_plans(direction, geometry, *strides, element_bytes, *aligned))


def space_to_batch(geometry: BlockGeometry, x: Tensor, y: Tensor, pad_value: bool | int | float | complex) -> None:
    """Fill y, of the geometry's batch shape, from x."""
    run("space_to_batch", geometry, x, y, pad_value)


def batch_to_space(geometry: BlockGeometry, y: Tensor, x: Tensor) -> None:
    """Fill x, of the geometry's space shape, from y."""
    run("batch_to_space", geometry, y, x)


def run(
    direction: Direction,
    geometry: BlockGeometry,
    source: Tensor,
    result: Tensor,
    pad_value: bool | int | float | complex = 0,
    config: Config | None = None,
) -> None:
    """Fill `result` from `source`, with `config` where one is given, else with what tuning says.

    Raises:
        ValueError: the family of `config` does not apply to this call.
    """
    if result.numel() == 0:
        return
    if source.numel() == 0:
        result.fill_(pad_value)
        return
    read, write = source.data_ptr(), result.data_ptr()
    call = _call(
        direction, geometry, source.stride(), result.stride(), source.element_size(), read % 16 == 0, write % 16 == 0
    )
    pad = pad_words(pad_value, source.dtype, call.plans[0].words)
    if INTERPRETED or config is not None:
        plan = call.plans[0] if config is None else _plan_for(call.plans, config)
        pointers = as_words(source, plan.words), as_words(result, plan.words)
        start(plan, config or plan.rule, pointers, pad)
        return
    device = source.device.index
    if device != torch.cuda.current_device():
        with torch.cuda.device(device):
            run(direction, geometry, source, result, pad_value)
        return
    # The second call of a kind and all later ones skip Triton's binding of arguments, which takes longer than a launch.
    # Whether a word of the pad value fits 32 bits is part of a kernel's signature.
    key = (device, tuning.mode(), tuning.generation, pad[0].bit_length() > 31, pad[1].bit_length() > 31)
    launch = call.ready.get(key)
    if launch is not None:
        launch(read, write, pad)
        return
    pointers = as_words(source, call.plans[0].words), as_words(result, call.plans[0].words)
    plan, config, final = _tuned(call.plans, pointers, pad, source.device)
    kernel = start(plan, config, pointers, pad)
    if final:
        call.ready[(*key[:2], tuning.generation, *key[3:])] = ready(kernel, plan, config)


def pad_words(value: bool | int | float | complex, dtype: torch.dtype, words: int) -> tuple[int, int]:
    """The bits of a pad value as signed integers of the words that are moved: of the first one of an element, and of the last.

    Where several elements travel in a word, it is the value repeated.
    """
    if type(value) is int and value == 0:
        return 0, 0
    repeats = max(words // dtype.itemsize, 1)
    bits = torch.tensor([value] * repeats, dtype=dtype, device="cpu").view(_BITS[words]).tolist()
    return bits[0], bits[-1]


def as_words(x: Tensor, words: int) -> Any:
    """What Triton takes as a pointer to `words`-byte integers."""
    x = torch.view_as_real(x.detach()) if x.dtype.is_complex else x.detach()
    if x.element_size() >= words:
        return x.view(_BITS[words])
    return triton.reinterpret(x.view(_BITS[x.element_size()]), _INTEGERS[words])


_INTEGERS = {2: triton.language.int16, 4: triton.language.int32, 8: triton.language.int64}


def _plan_for(plans: tuple[Plan, ...], config: Config) -> Plan:
    for plan in plans:
        if plan.family == config.family:
            return plan
    names = ", ".join(plan.family for plan in plans)
    raise ValueError(f"launch: the family {config.family!r} does not apply to this call; {names} do")


def _tuned(
    plans: tuple[Plan, ...], pointers: tuple[Any, Any], pad: tuple[int, int], device: torch.device
) -> tuple[Plan, Config, bool]:
    """What to launch by the table or the rule, measured first where that is wanted and allowed; whether that stays so."""
    mode = tuning.mode()
    if mode == "off":
        return plans[0], plans[0].rule, True
    table = tuning.table(torch.cuda.get_device_name(device))
    found = table.get(plans[0].bucket)
    final = True
    if found is None and mode == "on":
        final = not torch.cuda.is_current_stream_capturing()
        if final:
            found = measured(plans, pointers, pad)
            table.add(plans[0].bucket, found)
    return (*_taken(plans, found), final)


def _taken(plans: tuple[Plan, ...], found: Config | None) -> tuple[Plan, Config]:
    """What was measured, where its family applies to this call, else the rule."""
    if found is not None and any(plan.family == found.family for plan in plans):
        return _plan_for(plans, found), found
    return plans[0], plans[0].rule


def start(plan: Plan, config: Config, pointers: tuple[Any, Any], pad: tuple[int, int]) -> Any:
    """One launch through Triton; the compiled kernel."""
    tile = config.tile_bytes // plan.words
    a = arguments(plan, tile)
    return KERNELS[plan.family][(plan.programs(tile),)](
        *pointers, a.number, a.dims, a.inner, *pad, **a.flags, TILE=tile, num_warps=config.warps
    )


def ready(kernel: Any, plan: Plan, config: Config) -> Callable[[int, int, tuple[int, int]], None]:
    """Launches of a compiled kernel, given addresses and pad words: all else is put together here, once."""
    tile = config.tile_bytes // plan.words
    a = arguments(plan, tile)
    constants = {**a.flags, "TILE": tile}
    names = KERNELS[plan.family].arg_names
    middle = (a.number, a.dims, a.inner)
    after = tuple(constants[name] for name in names[7:])
    runner = kernel[(plan.programs(tile), 1, 1)]

    def launch(read: int, write: int, pad: tuple[int, int]) -> None:
        runner(read, write, *middle, *pad, *after)

    return launch


def measured(plans: tuple[Plan, ...], pointers: tuple[Any, Any], pad: tuple[int, int]) -> Config:
    """The fastest configuration of all families that apply, by Triton's own benchmark of this very call."""
    bench = triton.runtime.driver.active.get_benchmarker()
    times = {}
    for config in tuning.candidates(plans):
        plan = _plan_for(plans, config)
        try:
            times[config] = bench(lambda plan=plan, config=config: start(plan, config, pointers, pad), quantiles=(0.5,))
        except (triton.OutOfResources, triton.CompilationError):
            continue
    return min(times, key=lambda config: times[config])


@lru_cache(maxsize=4096)
def arguments(plan: Plan, tile: int) -> Arguments:
    """`plan.arguments(tile)`, remembered."""
    return plan.arguments(tile)


def precompile(plan: Plan, config: Config) -> None:
    """Compile a kernel into Triton's cache without running it."""
    tile = config.tile_bytes // plan.words
    a = arguments(plan, tile)
    word = _BITS[plan.words]
    KERNELS[plan.family].warmup(
        word, word, a.number, a.dims, a.inner, 0, 0, **a.flags, TILE=tile, num_warps=config.warps, grid=(1,)
    )


def describe(direction: Direction, geometry: BlockGeometry, source: Tensor) -> str:
    """The kernel and its plan in a line, for `explain`."""
    plans = plans_of(direction, geometry, source)
    if not plans or source.numel() == 0:
        return "none: there is nothing to move"
    found = None
    if source.device.type == "cuda" and tuning.mode() != "off":
        found = tuning.table(torch.cuda.get_device_name(source.device)).get(plans[0].bucket)
    plan, config = _taken(plans, found)
    return (
        f"move_{plan.family}: {plan}; {plan.programs(config.tile_bytes // plan.words)} programs of {config.tile_bytes} bytes "
        f"and {config.warps} warps"
    )
