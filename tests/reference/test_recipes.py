"""Recipes of small calls: they compute what the planner does, serve what they are made for, and leave the rest to it."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable
from struct import Struct
from typing import Any

import numpy as np
import pytest
import torch

import spacebatch
from spacebatch import BlockGeometry
from spacebatch.reference import definition, kept_geometries
from spacebatch.reference.kept_geometries import key_of
from spacebatch.reference.llvm import recipe_writer, recipes
from spacebatch.reference.llvm.plan import make_plan
from spacebatch.reference.llvm.prepare import SHORT_BYTES
from spacebatch.reference.llvm.recipe_writer import Kind, Recipe, written
from spacebatch.reference.loops import PLAIN, SPLIT, widened
from spacebatch.reference.memory_order import dense_strides, result_layout
from spacebatch.reference.open_sizes import Lines, Size, UndecidedError
from spacebatch.reference.prepared import Direction
from tests.bits import define_batch, define_space, random_tensor, same

DIRECTIONS: tuple[Direction, ...] = ("space_to_batch", "batch_to_space")
DEFAULTS = (0, None, "block_major", "interleaved")


def forget() -> None:
    for kept in (recipes._known, kept_geometries._met_space, kept_geometries._met_batch):
        kept.clear()
    kept_geometries._kept.cache_clear()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """The recipes that ran; nothing is known when the test begins, and a class is met once before it has a recipe."""
    ran: list[Recipe] = []
    run = recipes.run
    forget()
    monkeypatch.setattr(recipes, "MET_BEFORE", 1)
    monkeypatch.setattr(recipes, "run", lambda recipe, *rest: (ran.append(recipe), run(recipe, *rest)))
    return ran


def planned(direction: Direction, shape: tuple[int, ...], itemsize: int, last: bool, arguments: tuple[Any, ...]) -> Any:
    """Shape and strides of the result, spec and packed numbers of a dense source by the public planner, or why there are none."""
    block, borders, dims, order, arrangement = arguments
    make = BlockGeometry if direction == "space_to_batch" else BlockGeometry.from_batch
    geometry = make(shape, block, borders, spatial_dims=dims, batch_order=order, arrangement=arrangement)
    order = (0, *range(2, len(shape)), 1) if last else range(len(shape))
    source = dense_strides(shape, order)
    size, result = result_layout(direction, geometry, source)
    strides = (source, result) if direction == "space_to_batch" else (result, source)
    plan = make_plan(direction, geometry, *strides, itemsize)
    if isinstance(plan, str):
        return plan
    return size, result if last else None, plan.spec, Struct(f"{len(plan.numbers)}q").pack(*plan.numbers)


def random_kind(draw: random.Random) -> tuple[Kind, tuple[Any, ...]]:
    ndim = draw.randint(2, 5)
    dims = tuple(draw.sample(range(1, ndim), draw.randint(1, ndim - 1)))
    borders = tuple((draw.randint(0, 3), draw.randint(0, 3)) for _ in dims)
    arguments = (
        tuple(draw.choice((1, 2, 2, 3, 4, 5, 17)) for _ in dims),
        draw.choice((0, 0, 1, borders)),
        dims,
        draw.choice(("block_major", "batch_major")),
        draw.choice(("interleaved", "interleaved", "contiguous")),
    )
    return Kind(
        draw.choice(DIRECTIONS), ndim, draw.choice((1, 2, 4, 8, 16)), draw.random() < 0.3, key_of(*arguments)
    ), arguments


def shapes_of(kind: Kind, draw: random.Random, count: int) -> list[tuple[int, ...]]:
    """Shapes that the blocks divide, small sizes and large ones mixed."""
    most = [draw.choice((1, 3, 8, 20)) for _ in kind.dims]
    shapes = [
        tuple(draw.randint(1, m) * dim.factor - dim.margin for m, dim in zip(most, kind.dims, strict=True))
        for _ in range(count)
    ]
    return [shape for shape in shapes if min(shape) > 0]


@pytest.mark.parametrize("seed", range(4))
def test_recipes_compute_what_the_planner_does(seed: int) -> None:
    draw = random.Random(seed)
    seen: Counter[Any] = Counter()
    for _ in range(120):
        kind, arguments = random_kind(draw)
        by_class: dict[Any, Recipe | None] = {}
        for shape in shapes_of(kind, draw, 25):
            of_shape = kind.class_of(*shape)
            if of_shape not in by_class:
                recipe = by_class[of_shape] = written(kind, of_shape, shape) if None in of_shape else None
                seen["open" if None in of_shape else "closed", "recipe" if recipe else "none", kind.last] += 1
            recipe = by_class[of_shape]
            if recipe is None:
                continue
            expected = planned(kind.direction, shape, kind.itemsize, kind.last, arguments)
            computed = recipe.compute(*shape)
            if computed is None:
                if not isinstance(expected, str):  # large, and a strided copy is faster
                    sizes = np.prod(shape) + np.prod(expected[0])
                    assert sizes * kind.itemsize >= SHORT_BYTES
                seen["large"] += 1
                continue
            assert (*computed[:2], recipe.kernel.spec, computed[2]) == expected, (kind.direction, arguments, shape)
            seen[recipe.kernel.spec.row] += 1
    assert seen["large"] > 20
    assert all(seen["open", "none", last] < seen["open", "recipe", last] / 2 for last in (False, True)), seen
    assert all(seen[row] > 20 for row in ("deinterleave", "strided_segments", "contiguous_segments")), seen


@pytest.mark.parametrize("borders", [0, 1, ((2, 0), (0, 2)), "auto"], ids=str)
@pytest.mark.parametrize(
    ("block", "shapes"),
    [
        (2, [(n, 3, h, w) for n in (1, 2) for h in (2, 6, 8) for w in (4, 10, 14)]),
        ((2,), [(n, c, 2 * length) for n in (1, 2) for c in (1, 3) for length in (1, 4, 9, 30)]),
    ],
    ids=["4d", "1d"],
)
def test_new_sizes_are_bit_exact(block: Any, shapes: list[Any], borders: Any, served: list[Recipe]) -> None:
    """Tensors and arrays, both directions, with pad values, NaNs and negative zeros."""
    if block == (2,) and isinstance(borders, tuple):
        borders = borders[:1]
    crops = 0 if borders == "auto" else borders
    for dtype in (torch.float32, torch.int8, torch.bfloat16, torch.complex128):
        forget()
        for k, shape in enumerate(shapes):
            x, pad = random_tensor(shape, dtype), k % 3 - 1
            y = spacebatch.space_to_batch(x, block, borders, pad_value=pad)
            assert same(y, define_batch(x, block, borders, pad_value=pad))
            assert y.stride() == torch.empty(y.shape).stride()
            back = spacebatch.batch_to_space(y, block, crops)
            assert same(back, define_space(y, block, crops))
            assert back.is_contiguous()
        assert len(served) >= len(shapes) // 2
        assert {recipe.kernel.spec.to_batch for recipe in served} == {True, False}
        del served[:]
    forget()
    for shape in shapes:
        a = np.arange(np.prod(shape), dtype=">i4").reshape(shape)
        b = spacebatch.space_to_batch(a, block, borders, pad_value=-7)
        assert same(b, definition.space_to_batch(a, block, borders, pad_value=-7))
        assert same(spacebatch.batch_to_space(b, block, crops), definition.batch_to_space(b, block, crops))
    assert len(served) >= len(shapes) // 2


@pytest.mark.parametrize("borders", [0, 1])
@pytest.mark.parametrize("ndim", [4, 5])
def test_new_sizes_of_channels_last(
    ndim: int, borders: int, served: list[Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result has the memory order that the planner gives it, samples of one and channels of one included."""
    memory_format = torch.channels_last if ndim == 4 else torch.channels_last_3d
    sizes = [(n, c, *(4,) * (ndim - 4), h, w) for n, c, h, w in itertools.product((1, 2), (1, 3, 4), (4, 6), (6, 8))]
    for dtype in (torch.float32, torch.int8):
        results = []
        for most in (1, 10**9):  # with recipes, and without
            monkeypatch.setattr(recipes, "MET_BEFORE", most)
            forget()
            for shape in sizes:
                x = random_tensor(shape, dtype).to(memory_format=memory_format)
                y = spacebatch.space_to_batch(x, 2, borders, pad_value=1)
                back = spacebatch.batch_to_space(y, 2, borders)
                assert same(y, define_batch(x, 2, borders, pad_value=1))
                assert same(back, define_space(y, 2, borders))
                results.append((y.stride(), back.stride()))
            assert len(served) > len(sizes) // 2
        assert results[: len(sizes)] == results[len(sizes) :]
        del served[:]


def small(h: int = 8, w: int = 8) -> torch.Tensor:
    return random_tensor((2, 3, h, w))


@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_the_second_time_is_kept(kind: str, served: list[Recipe]) -> None:
    def call(w: int) -> None:
        x = small(w=w)
        y = spacebatch.space_to_batch(x if kind == "tensor" else x.numpy(), 2)
        assert same(torch.as_tensor(y), define_batch(x, 2))

    counts = []
    for w in (6, 8, 10, 10, 10, 12, 8):
        call(w)
        counts.append(len(served))
    assert counts == [0, 1, 2, 2, 2, 3, 3]
    geometry = kept_geometries.met("space_to_batch", (2, 3, 8, 10), 2, 0, None, "block_major", "interleaved")
    assert geometry is not None
    assert len(geometry._prepared) == 1


GUARDS: dict[str, Callable[[], torch.Tensor]] = {
    "a size of one": lambda: random_tensor((1, 3, 8, 8)),
    "one block": lambda: small(h=2),
    "many bytes": lambda: random_tensor((2, 3, 256, 192)),
    "another itemsize": lambda: random_tensor((2, 3, 8, 8), torch.int16),
    "channels_last": lambda: small().to(memory_format=torch.channels_last),
    "transposed": lambda: small().mT,
    "a stride": lambda: small(w=16)[..., ::2],
    "expanded": lambda: random_tensor((1, 3, 8, 8)).expand(2, 3, 8, 8),
    "a gradient": lambda: random_tensor((2, 3, 8, 8)).requires_grad_(),
    "negated": lambda: torch._neg_view(small()),
    "conjugated": lambda: torch.view_as_complex(random_tensor((2, 3, 8, 4, 2))).conj(),
    "empty": lambda: random_tensor((2, 0, 8, 8)),
}


@pytest.mark.parametrize("guard", GUARDS)
def test_what_a_recipe_is_not_made_for(guard: str, served: list[Recipe]) -> None:
    x = GUARDS[guard]()
    for h in (4, 6, 8):
        for dtype in (torch.float32, torch.complex64):
            spacebatch.space_to_batch(random_tensor((2, 3, h, 12), dtype), 2)
    assert len(served) == 3
    assert same(spacebatch.space_to_batch(x, 2), define_batch(x, 2))
    assert len(served) == 3
    y = spacebatch.space_to_batch(small(w=14), 2)  # the recipe still serves
    assert same(y, define_batch(small(w=14), 2))
    assert len(served) == 4


@pytest.mark.parametrize("guard", ["objects", "strings", "reversed", "in Fortran's order"])
def test_arrays_that_a_recipe_is_not_made_for(guard: str, served: list[Recipe]) -> None:
    x = np.arange(2 * 3 * 8 * 8, dtype=np.int64).reshape(2, 3, 8, 8)
    for h in (4, 6, 8):
        spacebatch.space_to_batch(np.ones((2, 3, h, 12)), 2)
    assert len(served) == 2
    x = {
        "objects": lambda: x.astype(object),
        "strings": lambda: x.astype("S8"),
        "reversed": lambda: x[..., ::-1],
        "in Fortran's order": lambda: np.asfortranarray(x),
    }[guard]()
    y = spacebatch.space_to_batch(x, 2)
    assert np.array_equal(y, definition.space_to_batch(x, 2))
    assert len(served) == 2


def test_shifts_have_none(served: list[Recipe]) -> None:
    for shifts, count in ((-1, 0), ((0, 3), 0), ((0, 0), 2)):
        for h in (4, 6, 8):
            x = small(h=h)
            assert same(spacebatch.space_to_batch(x, 2, shifts=shifts), define_batch(x, 2, shifts=shifts))
        assert len(served) == count
    with pytest.raises(TypeError, match=r"shifts\[0\] must be an integer, got the bool False"):
        spacebatch.space_to_batch(small(h=10), 2, shifts=(False, 0))


def test_other_ways_of_a_call(served: list[Recipe]) -> None:
    """`out=`, a demanded backend, equal arguments of other types, and sizes that do not divide."""
    for w in (4, 6, 8):
        spacebatch.space_to_batch(small(w=w), 2)
    assert len(served) == 2
    x = small(w=10)
    out = torch.empty(8, 3, 4, 5)
    assert spacebatch.space_to_batch(x, 2, out=out) is out
    assert same(out, define_batch(x, 2))
    x = small(w=14)
    with spacebatch.use_backend("torch"):
        assert same(spacebatch.space_to_batch(x, 2), define_batch(x, 2))
    with pytest.raises(TypeError, match=r"must be an integer, got 2\.0"):
        spacebatch.space_to_batch(small(w=16), 2.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="dim 3 of size 9 padded by"):
        spacebatch.space_to_batch(small(w=9), 2)
    for h in (4, 6, 8):
        spacebatch.batch_to_space(random_tensor((8, 3, h, 4)), 2)
    with pytest.raises(ValueError, match="batch size 10 is not divisible"):
        spacebatch.batch_to_space(random_tensor((10, 3, 10, 4)), 2)
    assert len(served) == 4
    for w in (3, 5, 6, 8):
        assert same(spacebatch.space_to_batch(small(w=w), 2, "auto"), define_batch(small(w=w), 2, "auto"))
    assert len(served) == 6  # 3 is a class of its own, and 5 has to be padded
    assert same(spacebatch.space_to_batch(small(w=18), np.int64(2)), define_batch(small(w=18), 2))
    assert len(served) == 6
    for w in (4, 6, 8):
        pairs = [(1, 1), (1, 1)]
        assert same(spacebatch.space_to_batch(small(w=w), 2, tuple(pairs)), define_batch(small(w=w), 2, 1))
    assert len(served) == 8  # equal, of the same types, and not the same objects


@pytest.mark.parametrize("rest", [(0, 8), (3, 0), (3, 2)], ids=["no channel", "no row", "all cropped"])
def test_nothing_in_space(rest: tuple[int, int], served: list[Recipe]) -> None:
    """The padding is filled as ever, and an empty result is empty."""
    c, h = rest
    for w in (4, 6, 8, 10):
        if h == 2:
            y = random_tensor((8, c, 1, w))
            assert same(spacebatch.batch_to_space(y, 2, 1), define_space(y, 2, 1))
        else:
            x = random_tensor((2, c, h, w))
            assert same(spacebatch.space_to_batch(x, 2, 1, pad_value=3), define_batch(x, 2, 1, pad_value=3))
    assert not served


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch, served: list[Recipe]) -> None:
    for name, most in (("MOST_KINDS", 3), ("MOST_CLASSES", 2), ("MOST_MET", 4)):
        monkeypatch.setattr(recipes, name, most)
    for block in (2, 3, 4, 5, 2):
        for c, w in itertools.product((1, 2, 3), range(2, 9)):
            x = random_tensor((1, block * w, 2 * block, c))
            assert same(
                spacebatch.space_to_batch(x, block, spatial_dims=(1, 2)), define_batch(x, block, spatial_dims=(1, 2))
            )
            assert len(recipes._known) <= 3
            assert all(len(k.classes) <= 2 and len(k.met) <= 4 for k in recipes._known.values())
    assert len(served) > 20


def test_a_wrong_recipe_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line that is written wrongly is found."""
    kind = Kind("space_to_batch", 4, 4, False, key_of(2, 1, *DEFAULTS[1:]))
    shape = (2, 3, 8, 8)
    of_shape = kind.class_of(*shape)
    right = Lines.leading_to
    count = 0

    def wrong(lines: Lines, wanted: list[Any]) -> list[str]:
        nonlocal count
        found = right(lines, wanted)
        count = len(found)
        return [line + " + 10000000" * (k == at) for k, line in enumerate(found)]

    monkeypatch.setattr(Lines, "leading_to", wrong)
    at = -1
    assert written(kind, of_shape, shape) is not None
    assert count > 8
    for at in range(count):
        assert written(kind, of_shape, shape) is None, at


def test_a_wrong_comparison_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Kind("space_to_batch", 3, 4, False, key_of((2,), *DEFAULTS))
    assert written(kind, (None, None, None), (2, 3, 8)) is not None
    monkeypatch.setattr(Size, "__eq__", lambda self, other: False)
    assert written(kind, (None, None, None), (2, 3, 8)) is None
    monkeypatch.undo()
    kernel_of = recipe_writer.kernel_of
    monkeypatch.setattr(recipe_writer, "kernel_of", lambda spec: kernel_of((*spec[:4], spec[4] + 1, *spec[5:])))
    assert written(kind, (None, None, None), (2, 3, 8)) is None


def test_what_the_planner_tells_sizes_apart_by() -> None:
    """A row that is all there is has stretches, and words are as wide as every stride allows."""
    for length, stretches in ((8192, 1), (16384, 1), (16386, 2), (80000, 5)):
        plan = make_plan("space_to_batch", BlockGeometry((1, length), (2,)), (length, 1), (length // 2, 1), 4)
        assert not isinstance(plan, str)
        assert plan.steps == stretches
    row = (PLAIN, 8, 1, 1, 0, 0, 0, 0, 0)
    for strides, word in (((8, 8, 8), 8), ((4, 8, 8), 4), ((8, 2, 8), 2), ((8, 8, 4), 4), ((8, 8, 1), 1)):
        assert widened([(SPLIT, 4, *strides, 2, 0, 4, 0), row], 1)[1] == word


def test_open_sizes() -> None:
    """What is the same for all sizes is known, and nothing else."""
    lines = Lines()
    n, h = lines.named({(): 2, (0,): 1}, "n"), lines.named({(): 6, (1,): 2}, "h")
    assert n > 1
    assert n >= 2
    assert not n < 2
    assert n * h > h
    assert (h + 2) // 2 - 4 < h
    assert n != 0
    assert n
    assert n * h == h * n
    assert h - n - h + n == 0
    assert (h % 2, (h + 1) % 2) == (0, 1)
    assert (4 * h) // h == 4
    assert max(n, 1) is n
    for undecided in (
        lambda: n > 2,
        lambda: n == 2,
        lambda: n < h,
        lambda: n % 2,
        lambda: h // 4,
        lambda: n // h,
        lambda: range(n),
        lambda: n < 1 << 40,
    ):
        with pytest.raises(UndecidedError):
            undecided()
    lines.most, lines.bound = n * h, 1 << 16
    assert n < 1 << 40
    assert not n >= 1 << 16
    with pytest.raises(UndecidedError):
        bool(n * n < 1 << 40)
    assert lines.leading_to([n * h + 1]) == ["v0 = n * h", f"{n * h + 1} = v0 + 1"]
    with pytest.raises(TypeError, match="unhashable"):
        hash(n)
