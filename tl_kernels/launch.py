"""Calls of the kernels, prepared: all is worked out once but the addresses and the pad value."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import Any, Protocol

import torch
import triton
from torch import Tensor

from spacebatch.reference.arithmetic import NO_OPERANDS, Arithmetic, Operands
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.loops import Direction, nest
from spacebatch.reference.memory_order import dense_strides, memory_order
from spacebatch.reference.prepared import Layout

from .deinterleave import move_deinterleave
from .family import ALWAYS_FIT, Arguments, Config, Plan, candidates, elsewhere, fits
from .granules import move_granules
from .integers import MOST
from .interleave import move_interleave
from .phases import move_phases
from .plan import make_plans
from .row_loops import MAX_LOOPS
from .rows import move_rows
from .runs import move_runs
from .vectors import move_vectors
from .work import Tables, given, worked

KERNELS = {
    "rows": move_rows,
    "vectors": move_vectors,
    "phases": move_phases,
    "runs": move_runs,
    "deinterleave": move_deinterleave,
    "interleave": move_interleave,
    "granules": move_granules,
}
INTERPRETED = not isinstance(move_rows, triton.JITFunction)

_WORDS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.int64}
_ALIGNED = ((True, True), (True, False), (False, True), (False, False))  # source and result, at multiples of 16 bytes
_INTEGERS = {2: triton.language.int16, 4: triton.language.int32, 8: triton.language.int64}
_BY_CHANNEL = ("vectors", "rows")  # families whose kernels count channels in their loops, not by places in the result
Launch = Callable[..., None]  # of the addresses of source and result, the pad words, and addresses for arithmetic


class Tuning(Protocol):
    """Who knows which configuration of a plan is the fastest on a device."""

    def version(self) -> Hashable:
        """Another value whenever `choose` may answer otherwise."""

    def choose(
        self, plans: Sequence[Plan], device: int, measure: Callable[[], Config | None] | None
    ) -> tuple[Config | None, bool]:
        """The configuration for a call on a device, None for the rule's; and whether a later call may rely on it.

        Args:
            measure: finds the fastest one by running the call with each, None if none ran; None where nothing may run.
        """


def prepare(
    direction: Direction,
    geometry: BlockGeometry,
    source: Layout,
    result: Layout,
    tuning: Tuning | None = None,
    arithmetic: Arithmetic | None = None,
) -> PreparedCall | str:
    """A call, or why the kernels cannot take it.

    Args:
        geometry: with at least one element to read and one to write.
        source, result: how the tensors lie. Their device is "cuda", or "meta" for a call that is only described; under
            Triton's interpreter, "cpu" as well.
        tuning: who chooses configurations; the rule alone where none is given.
        arithmetic: on the way.
    """
    if source.device not in ("cuda", "meta") and not (INTERPRETED and source.device == "cpu"):
        return elsewhere(source.device)
    if source.itemsize not in _WORDS:
        return f"{source.dtype} has elements of {source.itemsize} bytes"
    if source.strides is None or result.strides is None:
        return "strides are no whole numbers of elements"
    strides = (source.strides, result.strides) if direction == "space_to_batch" else (result.strides, source.strides)
    # where the addresses are multiples of 16 there are as many loops or fewer, for words may be wider
    if arithmetic is None:
        whole = nest(geometry, *strides, source.itemsize, False, False)
    else:
        whole, _ = worked(direction, geometry, *strides, result.itemsize, arithmetic)
    if len(whole.dims) > MAX_LOOPS + 1:
        return "the geometry takes more nested loops, after merging, than the kernels have"
    if whole.reach > MOST // 8:
        return "the tensors reach further than the kernels can count"
    kind = PreparedCall if arithmetic is None else PreparedWork
    call = kind(direction, geometry, source, result.itemsize, *strides, tuning, arithmetic)
    if math.prod(geometry.batch_shape) > ALWAYS_FIT and not all(call.plans(*aligned) for aligned in _ALIGNED):
        return "the call takes more programs than a launch may have"
    return call


class PreparedCall:
    """One call, with the launches that were made ready; see `reference.prepared.Prepared`."""

    __slots__ = (
        "_arithmetic",
        "_batch_strides",
        "_geometry",
        "_itemsize",
        "_source",
        "_space_strides",
        "_tuning",
        "_variants",
        "direction",
    )

    def __init__(
        self,
        direction: Direction,
        geometry: BlockGeometry,
        source: Layout,
        itemsize: int,
        space_strides: tuple[int, ...],
        batch_strides: tuple[int, ...],
        tuning: Tuning | None,
        arithmetic: Arithmetic | None,
    ) -> None:
        self.direction, self._geometry, self._source, self._itemsize = direction, geometry, source, itemsize
        self._arithmetic = arithmetic
        self._space_strides, self._batch_strides = space_strides, batch_strides
        self._tuning = tuning
        self._variants: dict[tuple[bool, bool], _Variant] = {}

    def ready(self, wait: bool = False) -> bool:
        """True: a kernel that is not compiled yet is compiled by its first call."""
        return True

    def plans(self, source_aligned: bool = True, result_aligned: bool = True) -> tuple[Plan, ...]:
        """The plans of the families that apply, the one to take by rule first.

        Args:
            source_aligned, result_aligned: whether the tensors start at a multiple of 16 bytes.
        """
        return self._variant(source_aligned, result_aligned).plans

    def _variant(self, source_aligned: bool, result_aligned: bool) -> _Variant:
        variant = self._variants.get((source_aligned, result_aligned))
        if variant is None:
            aligned = (source_aligned, result_aligned)
            variant = self._variants[aligned] = _Variant(
                make_plans(
                    self.direction,
                    self._geometry,
                    self._space_strides,
                    self._batch_strides,
                    self._itemsize,
                    *(aligned if self.direction == "space_to_batch" else aligned[::-1]),
                    self._arithmetic,
                )
            )
        return variant

    def __call__(self, source: Tensor, result: Tensor, pad: bytes = b"", operands: Operands = NO_OPERANDS) -> None:
        """Fill the result from the source, with the bits of an element of padding; none stand for zero."""
        read, write = source.data_ptr(), result.data_ptr()
        variant = self._variant(read % 16 == 0, write % 16 == 0)
        words = pad_words(pad, variant.words)
        if INTERPRETED:
            plan = variant.plans[0]
            start(plan, plan.rule, pointers(source, result, plan.words), words)
            return
        device = source.get_device()
        if device != torch.cuda.current_device():
            with torch.cuda.device(device):
                self(source, result, pad)
            return
        # The second call of a kind and all later ones skip Triton's binding of arguments, which takes longer than a launch.
        kept = variant.launches.get(device)
        if kept is not None and (self._tuning is None or kept[0] == self._tuning.version()):
            kept[1](read, write, words)
            return
        self._first(variant, device, pointers(source, result, variant.words), words)

    def _first(
        self, variant: _Variant, device: int, there: tuple[Any, ...], words: tuple[int, int], *kind: Hashable
    ) -> None:
        """Choose a configuration and launch through Triton, which compiles and loads; keep what later launches need.

        Args:
            kind: what else the compiled kernel depends on.
        """
        tuning, plans = self._tuning, variant.plans
        found, final = None, True
        if tuning:
            found, final = tuning.choose(plans, device, lambda: measured(plans, there, words))
        plan, config = taken(plans, found)
        if torch.cuda.is_current_stream_capturing() and not loaded(plan, config, there, words):
            raise RuntimeError(
                f"{self.direction}: a CUDA graph is being captured, and no kernel may be loaded meanwhile; make this call "
                f"once before, or spacebatch.warm_up(spacebatch.{self.direction}, …) with its arguments"
            )
        kernel = start(plan, config, there, words)
        if final and kernel is not None:  # a hook may have kept Triton from compiling it
            launch = launch_of(kernel, plan, config, *there[2:])
            variant.launches[(device, *kind) if kind else device] = tuning.version() if tuning else None, launch

    def __str__(self) -> str:
        plans, found = self.plans(), None
        if self._tuning and self._source.device != "cpu" and torch.cuda.is_available():
            found, _ = self._tuning.choose(plans, torch.cuda.current_device(), None)
        plan, config = taken(plans, found)
        count = plan.programs(config.tile_bytes // plan.words)
        return f"move_{plan.family}: {plan}{plan.work or ''}; {count} programs of {config.tile_bytes} bytes and {config.warps} warps"


class PreparedWork(PreparedCall):
    """One call with arithmetic on the way."""

    __slots__ = ()

    def __call__(self, source: Tensor, result: Tensor, pad: bytes = b"", operands: Operands = NO_OPERANDS) -> None:
        """Fill the result; see `reference.prepared.Prepared`."""
        read, write = source.data_ptr(), result.data_ptr()
        variant = self._variant(read % 16 == 0, write % 16 == 0)
        words = pad_words(pad, variant.words)
        tensors = given(operands)
        if INTERPRETED:
            plan = variant.plans[0]
            start(plan, plan.rule, work_pointers(source, result, tensors), words)
            return
        device = source.get_device()
        if device != torch.cuda.current_device():
            with torch.cuda.device(device):
                self(source, result, pad, operands)
            return
        addresses = tuple([None if x is None else x.data_ptr() for x in tensors])
        kind = tuple([None if address is None else address % 16 == 0 for address in addresses])
        kept = variant.launches.get((device, kind))
        if kept is not None and (self._tuning is None or kept[0] == self._tuning.version()):
            kept[1](read, write, words, addresses)
            return
        self._first(variant, device, work_pointers(source, result, tensors), words, kind)


class _Variant:
    """What depends on the alignment of a call's addresses."""

    __slots__ = ("launches", "plans", "words")

    def __init__(self, plans: tuple[Plan, ...]) -> None:
        self.plans, self.words = plans, plans[0].words if plans else 0
        # by device, and kind of operands where there are any, with the version of the tuning
        self.launches: dict[Hashable, tuple[Hashable, Launch]] = {}


def pad_words(pad: bytes, words: int) -> tuple[int, int]:
    """The bits of a pad value as signed integers of the words that are moved: of the first one of an element, and of the last.

    Where several elements travel in a word, they are repeated.

    >>> pad_words(b"", 4), pad_words(bytes([255]), 4), pad_words(bytes([1, 0]), 4)
    ((0, 0), (-1, -1), (65537, 65537))
    """
    if not pad:
        return 0, 0
    bits = pad * max(words // len(pad), 1)
    first, last = bits[:words], bits[-words:]
    return int.from_bytes(first, sys.byteorder, signed=True), int.from_bytes(last, sys.byteorder, signed=True)


def pointers(source: Tensor, result: Tensor, words: int) -> tuple[Any, Any]:
    """What Triton takes as pointers to integers of so many bytes."""
    return _pointer(source, words), _pointer(result, words)


def work_pointers(source: Tensor, result: Tensor, tensors: Sequence[Any]) -> tuple[Any, ...]:
    """The same of a call with arithmetic: elements are bits, but for those of scale and bias."""
    scale, bias, residual, pad = tensors
    bits = [None if x is None else _pointer(x, x.element_size()) for x in (source, result, residual, pad)]
    return *bits[:2], *(None if x is None else x.detach() for x in (scale, bias)), *bits[2:]


def _pointer(x: Tensor, words: int) -> Any:
    x = torch.view_as_real(x.detach()) if x.dtype.is_complex else x.detach()
    if x.element_size() >= words:
        return x.view(_WORDS[words])
    return triton.reinterpret(x.view(_WORDS[x.element_size()]), _INTEGERS[words])


def plan_for(plans: Sequence[Plan], config: Config) -> Plan:
    """The plan of a configuration's family.

    Raises:
        ValueError: there is none.
    """
    for plan in plans:
        if plan.family == config.family:
            return plan
    names = ", ".join(plan.family for plan in plans)
    raise ValueError(f"launch: the family {config.family!r} does not apply to this call; {names} do")


def taken(plans: Sequence[Plan], found: Config | None) -> tuple[Plan, Config]:
    """What was chosen, where its family applies to this call and a launch may have its programs, else the rule."""
    for plan in plans:
        if found is not None and plan.family == found.family and fits(plan, found):
            return plan, found
    return plans[0], plans[0].rule


@lru_cache(maxsize=4096)
def arguments(plan: Plan, tile: int) -> Arguments:
    """`plan.arguments(tile)`, remembered."""
    return plan.arguments(tile)


def constants_of(plan: Plan, tile: int, pad_table: Any) -> dict[str, Any]:
    """The constexprs of a launch; where there is arithmetic, with a table of what the border holds, or with None."""
    flags = {**arguments(plan, tile).flags, "TILE": tile}
    if plan.work is not None:
        rows = plan.family in _BY_CHANNEL
        place = plan.work.loop_of(plan.dims) if rows else plan.work.spread(plan.lanes)  # type: ignore[attr-defined]
        flags["WORK"] = plan.work.constants(place, pad_table is not None)
    return flags


def start(plan: Plan, config: Config, there: tuple[Any, ...], pad: tuple[int, int]) -> Any:
    """One launch through Triton; the compiled kernel."""
    return _handed(KERNELS[plan.family][(plan.programs(config.tile_bytes // plan.words),)], plan, config, there, pad)


def _handed(take: Any, plan: Plan, config: Config, there: tuple[Any, ...], pad: tuple[int, int], **options: Any) -> Any:
    """What Triton makes of the arguments of a launch: it starts it, or compiles its kernel."""
    tile = config.tile_bytes // plan.words
    a = arguments(plan, tile)
    if plan.work is not None:  # whose steps are rounded one by one
        options |= {"tables": plan.work.tables(there[2:]), "enable_fp_fusion": False}
    flags = constants_of(plan, tile, there[-1])
    return take(*there[:2], a.items, a.loops, a.inner, *pad, **flags, num_warps=config.warps, **options)


def loaded(plan: Plan, config: Config, there: tuple[Any, ...], pad: tuple[int, int]) -> bool:
    """Whether a device has the kernel of a launch; it may be compiled to tell, but is not loaded."""
    kernel = _handed(KERNELS[plan.family].warmup, plan, config, there, pad, grid=(1,))
    return kernel is not None and kernel.module is not None


def launch_of(kernel: Any, plan: Plan, config: Config, *tensors: Any) -> Launch:
    """Launches of a compiled kernel, given addresses and pad words: all else is put together here, once.

    Args:
        tensors: of arithmetic; those that are None are so in all launches.
    """
    if hasattr(kernel, "result"):  # it was compiled in a thread of Triton's
        kernel = kernel.result()
    tile = config.tile_bytes // plan.words
    a = arguments(plan, tile)
    constants = constants_of(plan, tile, tensors[-1] if tensors else None)
    numbers = (a.items, a.loops, a.inner)
    # where bits are moved the last ones, `WORK` and `tables`, are None
    after = tuple(constants.get(p.name) for p in KERNELS[plan.family].params[7:])
    runner = kernel[(plan.programs(tile), 1, 1)]

    def launch(read: int, write: int, pad: tuple[int, int]) -> None:
        runner(read, write, *numbers, *pad, *after)

    if plan.work is None:
        return launch
    *before_tables, _ = after
    *_, stride, channels, period = plan.work.tables(tensors)

    def launch_work(read: int, write: int, pad: tuple[int, int], addresses: tuple[Any, Any, Any, Any]) -> None:
        runner(read, write, *numbers, *pad, *before_tables, Tables(*addresses, stride, channels, period))

    return launch_work


def measured(plans: Sequence[Plan], there: tuple[Any, ...], pad: tuple[int, int]) -> Config | None:
    """The fastest configuration of all families that apply, by Triton's own benchmark of this very call, if any ran."""
    bench = triton.runtime.driver.active.get_benchmarker()
    times = {}
    for config in candidates(plans):
        plan = plan_for(plans, config)
        try:
            if start(plan, config, there, pad) is not None:
                times[config] = bench(
                    lambda plan=plan, config=config: start(plan, config, there, pad), quantiles=(0.5,)
                )
        except (triton.OutOfResources, triton.CompilationError):
            continue
    return min(times, key=lambda config: times[config], default=None)


def precompile(plan: Plan, config: Config) -> None:
    """Compile a kernel into Triton's cache without running it."""
    word = _WORDS[plan.words]
    _handed(KERNELS[plan.family].warmup, plan, config, (word, word), (0, 0), grid=(1,))


# One call at once, for measurements and tests


def plans_of(
    direction: Direction, geometry: BlockGeometry, source: Tensor, result: Tensor | None = None
) -> tuple[Plan, ...]:
    """The plans of a call on tensors; without `result`, of a call that allocates its result. Empty where there are none."""
    shape = geometry.batch_shape if direction == "space_to_batch" else geometry.space_shape
    order = memory_order(source.shape, source.stride())
    there = _layout(source)._replace(device="meta")
    new = there._replace(strides=tuple(dense_strides(shape, order)))
    call = prepare(direction, geometry, there, new if result is None else _layout(result))
    return () if isinstance(call, str) else call.plans(_aligned(source), result is None or _aligned(result))


def run(direction: Direction, geometry: BlockGeometry, source: Tensor, result: Tensor, config: Config) -> None:
    """Fill `result` from `source` with a configuration of one's own; padding is zero bits.

    Raises:
        ValueError: the family of the configuration does not apply to this call.
    """
    plan = plan_for(plans_of(direction, geometry, source, result), config)
    start(plan, config, pointers(source, result, plan.words), (0, 0))


def _layout(x: Tensor) -> Layout:
    return Layout(x.stride(), x.element_size(), x.dtype, x.device.type)


def _aligned(x: Tensor) -> bool:
    return x.device.type == "meta" or x.data_ptr() % 16 == 0
