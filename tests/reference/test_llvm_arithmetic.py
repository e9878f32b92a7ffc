"""Arithmetic in the vector kernels of the CPU, beside PyTorch's own operators one after the other."""

from __future__ import annotations

import math
import random
from functools import cache
from typing import Any, NamedTuple, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

import spacebatch
from spacebatch.reference.arithmetic import ACTIVATIONS, RESULTS, SOURCES, Arithmetic, Operands
from spacebatch.reference.block_grids import BlockGrids
from spacebatch.reference.functions import layout_of as array_layout
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.image_lists import blocks_shape
from spacebatch.reference.image_lists import move_by_kernels as move_blocks
from spacebatch.reference.llvm import engine, openmp
from spacebatch.reference.llvm import prepare as prepare_module
from spacebatch.reference.llvm.prepare import ComputingArrayCall, ComputingCall, prepare
from spacebatch.reference.llvm.spec import Channels, Computation, KernelSpec, Row
from spacebatch.reference.memory_order import dense_strides
from spacebatch.reference.patch_tokens import DIMS, grids_of_images, offsets_of, table_of, token_order
from spacebatch.reference.prepared import Layout, waiting_for_kernels
from tests.bits import raw

GUARD = 256  # bytes around a result that nobody may write to
EXACT = ("none", "relu", "hardswish")


@cache
def functions_of(spec: KernelSpec, vector: int) -> engine.Functions:
    return engine.loaded(engine.object_code(spec, vector))


def dtype_of(name: str) -> torch.dtype:
    found: torch.dtype = getattr(torch, name)
    return found


def layout_of(x: Tensor) -> Layout:
    return Layout(x.stride(), x.element_size(), x.dtype, "cpu")


def run(
    direction: str,
    geometry: BlockGeometry,
    source: Tensor,
    like: Tensor,
    arithmetic: Arithmetic,
    operands: Operands,
    pad: bytes = b"",
    vector: int = 32,
) -> tuple[Tensor, KernelSpec]:
    """What a kernel makes of a source, in poisoned memory whose surroundings are looked at afterwards."""
    memory = torch.full((GUARD + like.nbytes + GUARD,), 0xA5, dtype=torch.uint8)
    result = memory[GUARD:-GUARD].view(like.dtype).as_strided(like.shape, like.stride())
    call = prepare(direction, geometry, layout_of(source), layout_of(result), arithmetic)  # type: ignore[arg-type]
    assert isinstance(call, ComputingCall), call
    call._functions, call._short = functions_of(call.kernel.spec, vector), None
    call(source, result, pad, operands)
    assert (memory[:GUARD] == 0xA5).all()
    assert (memory[-GUARD:] == 0xA5).all()
    return result, call.kernel.spec


# what is compared with


def activated(name: str, x: Tensor) -> Tensor:
    f = torch.nn.functional
    if name in EXACT:
        return {"none": lambda x: x, "relu": torch.relu, "hardswish": f.hardswish}[name](x)
    x = x.double()
    if name == "gelu":
        return x * 0.5 * torch.special.erfc(-x / math.sqrt(2))
    if name == "gelu_tanh":
        return x * torch.sigmoid(math.sqrt(8 / math.pi) * (x + 0.044715 * x**3))
    found: Tensor = {"silu": f.silu, "sigmoid": torch.sigmoid, "tanh": torch.tanh}[name](x)
    return found


def slope(name: str, x: Tensor) -> Tensor:
    """The derivative, in float64."""
    x = x.double().requires_grad_()
    activated(name, x).backward(torch.ones_like(x))
    assert x.grad is not None
    return x.grad


def unfused(a: Arithmetic, x: Tensor, operands: Operands, place: tuple[int, ...]) -> Tensor:
    """The arithmetic, one operator after the other; scale and bias are seen in the shape `place`."""
    compute = dtype_of(a.compute)
    scale, bias, residual = (o if isinstance(o, Tensor) else None for o in operands[:3])
    value = x.to(compute)
    inner = residual.to(compute) if residual is not None else None
    if a.gradient:
        assert inner is not None
        inner = inner if scale is None else inner * scale.view(place)
        inner = inner if bias is None else inner + bias.view(place)
        if a.activation == "relu":
            value = torch.where(inner <= 0, 0, value)
        elif a.activation == "hardswish":
            value = torch.ops.aten.hardswish_backward(value, inner)
        elif a.activation != "none":
            value = value * slope(a.activation, inner).to(compute)
        return value if scale is None else value * scale.view(place)
    value = value if scale is None else value * scale.view(place)
    value = value if bias is None else value + bias.view(place)
    value = value if inner is None else value + inner
    return activated(a.activation, value)


def converted(value: Tensor, name: str) -> Tensor:
    if name in ("uint8", "int8"):
        low, high = (0, 255) if name == "uint8" else (-128, 127)
        return torch.nan_to_num(value.double(), 0.0, math.inf, -math.inf).round().clamp(low, high).to(dtype_of(name))
    return value.to(dtype_of(name))


def steps_apart(a: Tensor, b: Tensor) -> Tensor:
    """How many numbers of a dtype lie between; NaN is as far from NaN as from itself."""
    if not a.dtype.is_floating_point:
        return (a.long() - b.long()).abs()
    bits = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    ordered = []
    for x in (a, b):
        n = x.contiguous().view(bits).long()
        n = torch.where(n < 0, torch.iinfo(bits).min - n, n)
        ordered.append(torch.where(torch.isnan(x.float()), torch.iinfo(bits).max, n))
    return (ordered[0] - ordered[1]).abs()


def random_source(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    dtype = dtype_of(name)
    if not dtype.is_floating_point:
        low, high = (torch.iinfo(dtype).min, torch.iinfo(dtype).max) if SOURCES[name] == 1 else (-3000, 3000)
        return torch.randint(low, high + 1, shape, generator=generator).to(dtype)
    return (torch.randn(shape, generator=generator) * 4).to(dtype)


class Case(NamedTuple):
    direction: str
    geometry: BlockGeometry
    arithmetic: Arithmetic
    orders: tuple[list[int], list[int]]  # of space and batch


def random_case(seed: int) -> Case:
    r = random.Random(seed)
    ndim = r.choice((3, 4, 4, 4, 5))
    last = ndim > 3 and r.random() < 0.4  # channels last
    channel = ndim - 1 if last else 1
    dims = [d for d in range(1, ndim) if d != channel][: r.choice((1, 2, 2))]
    if r.random() < 0.7:
        dims = [d for d in range(1, ndim) if d != channel][-len(dims) :]
    shape, block, pads = [r.choice((1, 2))], [], []
    for d in range(1, ndim):
        if d not in dims:
            shape.append(r.choice((1, 3, 3, 4, 5, 24, 70)) if d == channel else r.choice((1, 2, 5)))
            continue
        b = r.choice((1, 2, 2, 3, 4, 5, 8, 17) if d == dims[-1] else (1, 2, 3))
        pad = (r.randrange(4), r.randrange(4)) if r.random() < 0.4 else (0, 0)
        count = r.choice((1, 2, 3, 9, 67 // b + 1))
        size = max(count * b - sum(pad), 1)
        pads.append((pad[0], pad[1] + -(size + sum(pad)) % b))
        shape.append(size)
        block.append(b)
    options: dict[str, Any] = {
        "arrangement": r.choice(("interleaved", "interleaved", "contiguous")),
        "batch_order": r.choice(("block_major", "batch_major")),
        "spatial_dims": tuple(dims),
    }
    if r.random() < 0.25:
        options["shifts"] = tuple(r.randrange(-5, 6) for _ in dims)
    geometry = BlockGeometry(tuple(shape), tuple(block), tuple(pads), **options)
    order = list(range(ndim))
    if r.random() < 0.3:
        order = [d for d in order if d != 1] + [1]
    orders = order, list(order)
    if r.random() < 0.15:
        r.shuffle(orders[1])
    activation = r.choice((*ACTIVATIONS, "none", "relu"))
    source = r.choice([*SOURCES, "uint8", "float32", "bfloat16"])
    if activation not in EXACT and source == "float64":
        source = "float32"
    gradient = r.random() < 0.2
    direction = r.choice(("space_to_batch", "batch_to_space"))
    pad = "before" if r.random() < 0.5 else "after"
    residual = r.choice(list(SOURCES)) if gradient or r.random() < 0.3 else None
    if residual is not None and direction == "space_to_batch":
        pad = "after"
    arithmetic = Arithmetic(
        source,
        r.choice([*RESULTS, "float32", "bfloat16"]),
        r.choice((channel, channel, None)),
        r.random() < 0.7,
        r.random() < 0.7,
        residual,
        activation,
        pad,  # type: ignore[arg-type]
        gradient,
    )
    return Case(direction, geometry, arithmetic, orders)


def strided(x: Tensor, order: list[int]) -> Tensor:
    return x.new_empty_strided(x.shape, dense_strides(x.shape, order)).copy_(x)


def check(case: Case, seed: int, vector: int) -> KernelSpec:
    direction, geometry, a, orders = case
    generator = torch.Generator().manual_seed(seed)
    shapes = geometry.space_shape, geometry.batch_shape
    if direction == "batch_to_space":
        shapes, orders = shapes[::-1], orders[::-1]
    x = random_source(a.source, shapes[0], generator)
    compute, result = dtype_of(a.compute), dtype_of(a.result)
    place = [1] * len(shapes[1])
    channels = 1
    if a.channel_dim is not None:
        channels = place[a.channel_dim] = shapes[1][a.channel_dim]
    scale = torch.randn(channels, generator=generator, dtype=compute) if a.scale else None
    bias = torch.randn(channels, generator=generator, dtype=compute) if a.bias else None
    residual = random_source(a.residual, shapes[1], generator) if a.residual else None
    pads = random_source(a.result, (channels,), generator) if a.pad == "before" else None
    pad = random_source(a.result, (1,), generator)
    operands = Operands(scale, bias, residual, pads)
    with spacebatch.use_backend("torch"):
        arguments = {**geometry.arguments}
        if direction == "space_to_batch":
            moved = spacebatch.space_to_batch(x, **arguments)
            inside = spacebatch.space_to_batch(torch.ones(shapes[0], dtype=torch.bool), **arguments)
        else:
            arguments["crops"] = arguments.pop("paddings")
            moved = spacebatch.batch_to_space(x, **arguments)
            inside = torch.ones(shapes[1], dtype=torch.bool)
    exact = unfused(a, moved, operands, tuple(place))
    wanted = converted(exact, a.result)
    border = pad if pads is None else pads.view([*place])
    wanted = torch.where(inside, wanted.view(_bits(wanted)), border.view(_bits(border)).expand(shapes[1])).view(result)
    like = strided(wanted, orders[1])
    if residual is not None:
        operands = operands._replace(residual=strided(residual, orders[1]))
    found, spec = run(direction, geometry, strided(x, orders[0]), like, a, operands, raw(pad).tobytes(), vector)
    if a.result == "float64" != a.compute:  # each step is one of float32
        found, wanted = found.float(), wanted.float()
    apart = steps_apart(found, wanted)
    near = 0
    if a.activation not in EXACT:
        near = 1
        if a.gradient:  # near where a derivative is 0, what counts is how far from its largest values
            size = moved.double().abs() * (1 if scale is None else scale.double().view(place).abs())
            apart = torch.where(inside & ((found.double() - exact.double()).abs() <= size * 2e-7), 0, apart)
    assert int(apart.max()) <= near, (spec, found[apart > near][:5], wanted[apart > near][:5])
    return spec


def _bits(x: Tensor) -> torch.dtype:
    return {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()]


def planned(case: Case) -> KernelSpec | None:
    """The kernel of a case; None where there is none."""
    direction, geometry, a, orders = case
    shapes = geometry.space_shape, geometry.batch_shape
    sides = [Layout(dense_strides(shape, order), 0, None, "cpu") for shape, order in zip(shapes, orders, strict=True)]
    if direction == "batch_to_space":
        sides.reverse()
    source, result = (
        side._replace(itemsize=size) for side, size in zip(sides, (SOURCES[a.source], RESULTS[a.result]), strict=True)
    )
    call = prepare(direction, geometry, source, result, a)  # type: ignore[arg-type]
    return None if isinstance(call, str) else call.kernel.spec


CASES = 28
SEEDS = 300


@cache
def seeds() -> tuple[int, ...]:
    """Cases that differ in row, place of the channels and direction first; then the first others."""
    known: dict[tuple[Any, ...], int] = {}
    others = []
    for seed in range(SEEDS):
        spec = planned(random_case(seed))
        if spec is None or spec.computed is None:
            continue
        regime = spec.row, spec.computed.channels, spec.to_batch, spec.computed.pads, spec.wrapped
        if regime in known:
            others.append(seed)
        else:
            known[regime] = seed
    return (*known.values(), *others)[:CASES]


def test_random_cases() -> None:
    specs = [check(random_case(seed), seed, (64, 32, 16)[k % 3]) for k, seed in enumerate(seeds())]
    rows, channels = {spec.row for spec in specs}, {spec.computed.channels for spec in specs if spec.computed}
    assert rows == {*get_args(Row)} - {"windows", "lines"}  # which are rows of lists of images
    assert channels == {*get_args(Channels)}
    assert {spec.computed.activation for spec in specs if spec.computed} == {*ACTIVATIONS}


def flat(x: Tensor, a: Arithmetic, operands: Operands = Operands(), vector: int = 64) -> Tensor:  # noqa: B008
    """The arithmetic of the elements of a vector, an even number of them."""
    geometry = BlockGeometry((1, 2, x.numel() // 2), (2,), spatial_dims=(1,))
    like = torch.empty(geometry.batch_shape, dtype=dtype_of(a.result))
    if operands.residual is not None:
        operands = operands._replace(residual=operands.residual.view(like.shape))  # type: ignore[attr-defined]
    return run("space_to_batch", geometry, x.view(geometry.space_shape), like, a, operands, vector=vector)[0].reshape(
        -1
    )


EVERY_16_BITS = torch.arange(65536, dtype=torch.int32).to(torch.int16)


def floats() -> Tensor:
    """All of bfloat16 and of float16, some of all sorts, and what lies around integers and powers of two."""
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(-(2**31), 2**31, (1 << 16,), generator=generator).to(torch.int32).view(torch.float32)
    near = torch.arange(-600, 600).float() / 2 + torch.tensor([0.0, 1e-4, -1e-4]).view(3, 1)
    halves = EVERY_16_BITS.view(torch.bfloat16).float(), EVERY_16_BITS.view(torch.float16).float()
    return torch.cat([*halves, bits, near.reshape(-1)])


@pytest.mark.parametrize("name", RESULTS)
def test_conversions_to(name: str) -> None:
    x = floats()
    assert int(steps_apart(flat(x, Arithmetic("float32", name)), converted(x, name)).max()) == 0


@pytest.mark.parametrize("name", SOURCES)
def test_conversions_from(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    size = SOURCES[name]
    x = EVERY_16_BITS.view(torch.uint8)
    if size > 2:
        x = torch.randint(0, 256, (size << 12,), generator=generator, dtype=torch.uint8)
    x = x.view(dtype_of(name))
    assert int(steps_apart(flat(x, Arithmetic(name, "float32")), x.float()).max()) == 0


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name not in EXACT])
def test_activations_are_right_to_the_last_place(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    special = torch.tensor([0.0, -0.0, math.nan, 1e-30, -1e-30, 1e-40, 3e38, -3e38])
    spread = torch.randn(1 << 14, generator=generator) * torch.tensor([[0.01], [1.0], [5.0], [40.0]])
    x = torch.cat([spread.reshape(-1), special])
    found, wanted = flat(x, Arithmetic("float32", "float32", activation=name)), activated(name, x)  # type: ignore[arg-type]
    # where the exact value is subnormal, float64's own functions are that far off, too
    apart = torch.where(
        wanted.abs() < 2.0**-126, (found.double() - wanted).abs() / 2.0**-149, steps_apart(found, wanted.float())
    )
    assert float(apart.nan_to_num(0).max()) <= 1
    assert bool(torch.isnan(found[-6]))
    infinite = flat(torch.tensor([math.inf, -math.inf]), Arithmetic("float32", "float32", activation=name))  # type: ignore[arg-type]
    assert float(infinite[0]) == (1 if name in ("sigmoid", "tanh") else math.inf)
    assert name in ("silu", "gelu", "gelu_tanh") or float(infinite[1]) == {"sigmoid": 0, "tanh": -1}[name]


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name not in EXACT])
def test_activations_of_short_results(name: str) -> None:
    x = floats()
    x = x[~torch.isinf(x)]
    x = x[: x.numel() // 2 * 2]
    found = flat(x, Arithmetic("float32", "bfloat16", activation=name))  # type: ignore[arg-type]
    assert int(steps_apart(found, activated(name, x).bfloat16()).max()) <= 1


def test_what_is_declined() -> None:
    geometry = BlockGeometry((1, 3, 4, 4), 2, 1)
    space, batch = (
        Layout(dense_strides(s, range(4)), 8, None, "cpu") for s in (geometry.space_shape, geometry.batch_shape)
    )
    for arithmetic, reason in (
        (Arithmetic("float64", "float64", activation="gelu"), "no gelu of float64"),
        (Arithmetic("int64", "float64", residual="float32", pad="before"), "the border differs from place to place"),
    ):
        found = prepare("space_to_batch", geometry, space, batch, arithmetic)
        assert isinstance(found, str)
        assert reason in found
    assert not isinstance(prepare("batch_to_space", geometry, batch, space, arithmetic), str)  # which has no border


def test_a_processor_without_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = KernelSpec(True, 4, False, "deinterleave", 2, 0, False, (), 0)
    halves = Computation("float32", "bfloat16", "float8_e4m3fn", False, False, "none", False, "outer", False)
    monkeypatch.setattr(engine.llvm, "get_host_cpu_features", lambda: {"f16c": False})
    assert engine.lacking(spec) is None
    assert engine.lacking(spec._replace(computed=halves._replace(residual=None))) is None
    assert engine.lacking(spec._replace(computed=halves)) == "the processor does not convert float16"
    assert engine.lacking(spec._replace(computed=halves._replace(residual=None, result="float16"))) is not None


def test_pad_values_of_channels_are_one_or_all() -> None:
    geometry = BlockGeometry((1, 3, 2, 2), 2, 2)
    x = torch.zeros(geometry.space_shape)
    a = Arithmetic("float32", "bfloat16", 1, bias=True, pad="before")
    operands = Operands(None, torch.zeros(3))
    like = torch.empty(geometry.batch_shape, dtype=torch.bfloat16)
    for pads in (torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0]), None):
        given = None if pads is None else pads.bfloat16()
        pad = raw(torch.tensor([5.0]).bfloat16()).tobytes()
        found, _ = run("space_to_batch", geometry, x, like, a, operands._replace(pad=given), pad)
        wanted = [5.0] * 3 if pads is None else pads.expand(3).tolist()
        assert found[:, :, 0, 0].tolist() == [wanted] * 4


@pytest.mark.parametrize("library", [True, False], ids=["openmp", "own"])
def test_shared_by_threads_and_past_the_cache(library: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large calls, whose aligned results are written by non-temporal stores."""
    if not library:
        monkeypatch.setattr(openmp, "loaded", lambda: None)
    monkeypatch.setattr(prepare_module, "STREAM_BYTES", 0)
    geometry = BlockGeometry((4, 8, 256, 256), 2)
    x = torch.randint(0, 256, geometry.space_shape, dtype=torch.uint8)
    scale, bias = torch.rand(8), torch.rand(8)
    memory = torch.empty(math.prod(geometry.batch_shape) + 64)
    offset = -memory.data_ptr() % 64 // 4
    result = memory[offset : offset + math.prod(geometry.batch_shape)].view(geometry.batch_shape)
    call = prepare(
        "space_to_batch", geometry, layout_of(x), layout_of(result), Arithmetic("uint8", "float32", 1, True, True)
    )
    assert isinstance(call, ComputingCall)
    assert call.ready(wait=True)
    assert call.shared
    assert call._streaming is not None
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        call(x, result, b"", Operands(scale, bias))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(result, spacebatch.space_to_batch(x.float() * scale.view(8, 1, 1) + bias.view(8, 1, 1), 2))


def test_arrays() -> None:
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (2, 8, 12, 3)).astype(np.uint8)
    scale, bias = (generator.random(3, np.float32) for _ in range(2))
    geometry = BlockGeometry(x.shape, 2, spatial_dims=(1, 2))
    residual = generator.random(geometry.batch_shape, np.float32)
    result = np.full(geometry.batch_shape, np.nan, np.float32)
    arithmetic = Arithmetic("uint8", "float32", 3, True, True, "float32", "relu")
    call = prepare("space_to_batch", geometry, array_layout(x), array_layout(result), arithmetic)
    assert isinstance(call, ComputingArrayCall)
    assert call.ready(wait=True)
    call(x, result, b"", Operands(scale, bias, residual))
    moved = spacebatch.space_to_batch(x, 2, spatial_dims=(1, 2)).astype(np.float32)
    assert np.array_equal(result, np.maximum(moved * scale + bias + residual, 0))


def addresses(operands: Operands) -> Operands:
    return Operands(
        *[None if x is None else [t.data_ptr() for t in x] if isinstance(x, list) else x.data_ptr() for x in operands]
    )  # type: ignore[attr-defined]


PATCHES = (
    ("CHW", "CHW", Arithmetic("uint8", "bfloat16", 1, True, True)),
    ("HWC", "CHW", Arithmetic("uint8", "float16", 1, True, True, "float32", "hardswish")),
    ("CHW", "HWC", Arithmetic("uint8", "float32", 1, True, True, "bfloat16", "relu")),
    ("TCHW", "HWCT", Arithmetic("float32", "uint8", 1, False, True)),
    ("HWC", "HWC", Arithmetic("int8", "bfloat16", 1, True)),
)


@pytest.mark.parametrize(("layout", "token", "a"), PATCHES, ids=lambda x: x if isinstance(x, str) else "")
@pytest.mark.parametrize("to_tokens", [True, False], ids=["to_tokens", "to_images"])
def test_patches(layout: str, token: str, a: Arithmetic, to_tokens: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    frames = 2 if "T" in layout else 1
    order = token_order("patchify", (4, 14), 1, frames, layout, token)
    sizes = [{"T": frames, "C": 3, "H": h, "W": w} for h, w in ((8, 28), (4, 70))]
    shapes = [tuple(size[letter] for letter in order.layout) for size in sizes]
    grid = grids_of_images("patchify", shapes, order)
    offsets = offsets_of(grid, None)
    inner, strides, width = order.inner(3), {}, 1
    for letter in reversed(order.token):
        strides[letter] = width
        width *= dict(zip(DIMS, inner, strict=True))[letter]

    def tokens_of(image: Tensor) -> Tensor:
        split, permutation, _ = order.split_of(image.shape)
        return image.reshape(split).permute(permutation).reshape(-1, width)

    places = [3 if letter == "C" else 1 for letter in order.layout]
    operands = Operands(
        torch.randn(3, generator=generator) if a.scale else None,
        torch.randn(3, generator=generator) if a.bias else None,
    )
    images = [random_source(a.source, shape, generator) for shape in shapes]
    added = [random_source(a.residual, shape, generator) for shape in shapes] if a.residual else None
    wanted = [
        converted(unfused(a, x, operands._replace(residual=added and added[k]), tuple(places)), a.result)
        for k, x in enumerate(images)
    ]
    results = [torch.full_like(x, 77) for x in wanted]
    tokens = torch.cat([tokens_of(x) for x in images])
    out = torch.full((int(offsets[-1]), width), 77).to(dtype_of(a.result))
    residual: Any = added
    if to_tokens and added is not None:
        residual = torch.cat([tokens_of(x) for x in added])
    side = images if to_tokens else results
    with waiting_for_kernels():
        where = inner, (width, *(strides[letter] for letter in DIMS))
        found = shapes, [x.stride() for x in side]
        table = table_of("patchify", to_tokens, order, found, where, offsets[:-1], SOURCES[a.source], a)
        assert table is not None
        given = addresses(operands._replace(residual=residual))
        assert table.move([x.data_ptr() for x in side], (out if to_tokens else tokens).data_ptr(), 1, None, given)
    pairs = [(out, torch.cat([tokens_of(x) for x in wanted]))] if to_tokens else list(zip(results, wanted, strict=True))
    for found, right in pairs:
        assert int(steps_apart(found, right).max()) == 0


BLOCKS = (
    (False, Arithmetic("uint8", "bfloat16", 1, True, True, None, "relu", "before")),
    (True, Arithmetic("uint8", "bfloat16", 3, True, True, None, "relu", "before")),
    (False, Arithmetic("bfloat16", "float32", 1, True, True, "uint8", "hardswish")),
    (True, Arithmetic("float32", "uint8", None, True, False, "int16")),
)


@pytest.mark.parametrize(("last", "a"), BLOCKS, ids=["border", "border_last", "residual", "residual_last"])
@pytest.mark.parametrize("to_batch", [True, False], ids=["to_blocks", "to_images"])
def test_blocks(last: bool, a: Arithmetic, to_batch: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(h, w, 3) if last else (3, h, w) for h, w in ((9, 21), (5, 70), (1, 1))]
    dims = (0, 1) if last else (1, 2)
    grids = BlockGrids.of_images(tuple(tuple(s[d] for d in dims) for s in shapes), (4, 20), int(to_batch), "to_blocks")
    shape = blocks_shape(shapes[0], dims, grids)
    place = [1] * 4
    channels = 1
    if a.channel_dim is not None:
        channels = place[a.channel_dim] = 3

    def move(images: list[Tensor], blocks: Tensor, size: int, *arithmetic: Any, pad: bytes = b"") -> None:
        sides = shapes, [x.stride() for x in images], [x.data_ptr() for x in images]
        batch = shape, blocks.stride(), blocks.data_ptr()
        with waiting_for_kernels():
            assert not len(
                move_blocks("to_blocks", to_batch, sides, batch, grids, dims, size, pad, 1, None, *arithmetic)
            )

    images = [random_source(a.source, s, generator) for s in shapes]
    blocks = random_source(a.source, shape, generator)
    scale = torch.randn(channels, generator=generator) if a.scale else None
    bias = torch.randn(channels, generator=generator) if a.bias else None
    pads = random_source(a.result, (channels,), generator) if a.pad == "before" else None
    pad = random_source(a.result, (1,), generator)
    operands = Operands(scale, bias, None, pads)
    results, out = (
        [torch.full(s, 77).to(dtype_of(a.result)) for s in shapes],
        torch.full(shape, 77).to(dtype_of(a.result)),
    )
    inside = torch.zeros(shape, dtype=torch.bool)
    if to_batch:
        residual: Any = random_source(a.residual, shape, generator) if a.residual else None
        move(images, blocks, SOURCES[a.source])  # what is moved without arithmetic
        move([torch.ones(s, dtype=torch.bool) for s in shapes], inside, 1)
        right = converted(unfused(a, blocks, operands._replace(residual=residual), tuple(place)), a.result)
        border = (pad if pads is None else pads.view(place)).expand(shape)
        pairs = [(out, torch.where(inside, right.float(), border.float()))]
    else:
        residual = [random_source(a.residual, s, generator) for s in shapes] if a.residual else None
        move(images, blocks, SOURCES[a.source])
        pairs = []
        for k, x in enumerate(images):
            mine = operands._replace(residual=residual and residual[k])
            pairs.append((results[k], converted(unfused(a, x, mine, tuple(place[1:])), a.result)))
    given = addresses(operands._replace(residual=residual))
    move(
        images if to_batch else results,
        out if to_batch else blocks,
        SOURCES[a.source],
        a,
        given,
        pad=raw(pad).tobytes(),
    )
    for found, wanted in pairs:
        assert torch.equal(found.float().nan_to_num(5), wanted.float().nan_to_num(5))
