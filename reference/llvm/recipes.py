"""Recipes: prepared calls whose sizes are left open, for shapes that were never met before.

What a small call of row-major tensors needs is a few products of its sizes, the same ones for all shapes of a class: small sizes (most
often 1) belong to the class, and so do those behind the blocked dims, which kernels are compiled for. The planner runs once for a class,
on sizes that are left open, and what it computed is written down as a function.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from math import prod
from struct import Struct
from typing import Any, NamedTuple, TypeAlias

from spacebatch.reference.arguments import normalize
from spacebatch.reference.geometry import BlockGeometry, from_batch_shape, from_space_shape
from spacebatch.reference.kept_geometries import arguments_of, key_of
from spacebatch.reference.memory_order import dense_strides
from spacebatch.reference.open_sizes import Lines, Number, Size, UndecidedError
from spacebatch.reference.prepared import Direction

from .compiler import Kernel, kernel_of
from .plan import plan_of
from .prepare import SHORT_BYTES, with_pad
from .spec import Spec

MET_BEFORE = 2  # shapes of a class that are prepared one by one: its recipe takes as long as fifty of them
MOST_KINDS = 256
MOST_CLASSES = 64  # of a kind; those that come later have no recipe
MOST_MET = 1024  # shapes that a kind remembers
TRIALS = 24

Class: TypeAlias = "tuple[int | None, ...]"  # sizes of the source; None: open
Computed: TypeAlias = (
    "tuple[tuple[int, ...], bytes]"  # shape of the result; the numbers of a plan, with a pad value of 0
)


class Recipe(NamedTuple):
    """What the shapes of a class share.

    Attributes:
        compute: takes the sizes of the source; None where a call must be prepared, or refused.
        kernel: to call. padded: whether it writes pad values.
    """

    compute: Callable[..., Computed | None]
    kernel: Kernel
    padded: bool


class Dim(NamedTuple):
    """A dim of a source. From its least count on, which is more than one block, its size may be open.

    Attributes:
        factor, margin: its size is count * factor - margin.
        block, border: in space it is size = count * block - border, but for the batch.
    """

    least: int
    factor: int
    margin: int
    block: int
    border: int


class Kind:
    """Calls with the same arguments, itemsize and number of dims.

    Attributes:
        arguments: as given. key: the same in bytes.
        class_of: takes the sizes of a source.
        classes: their recipes; None of a class that can have none, and the number of shapes met of one that has none yet.
        met: shapes that were computed by a recipe; the second time they are worth a call of their own.
    """

    def __init__(self, direction: Direction, ndim: int, itemsize: int, *arguments: Any) -> None:
        """
        Raises:
            ValueError, TypeError: bad arguments, or none that can be kept.
        """
        self.direction, self.itemsize, self.to_batch = direction, itemsize, direction == "space_to_batch"
        self.arguments, self.key = arguments, key_of(*arguments)
        self.classes: dict[Class, Recipe | int | None] = {}
        self.met: set[tuple[int, ...]] = set()
        name = "paddings" if self.to_batch else "crops"
        blocking = normalize(direction, name, ndim, *arguments_of(self.key))
        pairs = blocking.pairs or ((0, 0),) * len(blocking.dims)  # "auto" has a recipe where it pads nothing
        self.blocking = blocking._replace(pairs=pairs)
        blocks, borders, opened = [1] * ndim, [0] * ndim, 0
        for d, block, pair in zip(blocking.dims, blocking.blocks, pairs, strict=True):
            blocks[d], borders[d] = block, sum(pair)
            if block > 1 or any(pair):  # sizes behind it are segments, which kernels are compiled for
                opened = max(opened, d + (blocking.arrangement == "interleaved" or any(pair)))
        self.dims: list[Dim] = []
        parts = []
        for d, (block, border) in enumerate(zip(blocks, borders, strict=True)):
            if self.to_batch:
                factor, margin = block, border
            else:
                factor, margin = 1 if d else blocking.phases, 0
            least = max(2, -(-(block + 1 + border) // block))
            self.dims.append(Dim(least, factor, margin, block, border))
            parts.append(f"s{d} if s{d} < {least * factor - margin} else None" if d < opened else f"s{d}")
        self.sizes = ", ".join(f"s{d}" for d in range(ndim))
        self.class_of: Callable[..., Class] = eval(f"lambda {self.sizes}: ({', '.join(parts)})")


_kinds: dict[tuple[Any, ...], Kind] = {}


def find(
    direction: Direction,
    shape: tuple[int, ...],
    itemsize: int,
    block_shape: Any,
    borders: Any,
    spatial_dims: Any,
    batch_order: Any,
    arrangement: Any,
) -> tuple[Recipe, Computed] | None:
    """A recipe and what it computes for a shape; None where the call is to be prepared, with whatever it raises.

    Args:
        direction, block_shape, borders, spatial_dims, batch_order, arrangement: of the call, not checked.
        shape, itemsize: of its source, which is in row-major order.
    """
    key = direction, len(shape), itemsize, block_shape, borders, spatial_dims, batch_order, arrangement
    try:
        kind = _kinds.get(key)
        if kind is None:
            if len(_kinds) >= MOST_KINDS:
                _kinds.clear()
            kind = _kinds[key] = Kind(*key)
        known = kind.arguments
        same = block_shape is known[0] and borders is known[1] and spatial_dims is known[2]
        if not same and key_of(*key[3:]) != kind.key:  # 1 equals True
            return None
    except (TypeError, ValueError):
        return None
    if shape in kind.met:
        return None
    of_shape = kind.class_of(*shape)
    recipe = kind.classes.get(of_shape, 0)
    if isinstance(recipe, int):
        recipe = _met_again(kind, of_shape, recipe, shape)
    if recipe is None or recipe.kernel.functions is None:
        return None
    computed = recipe.compute(*shape)
    if computed is None:
        return None
    if len(kind.met) >= MOST_MET:
        kind.met.clear()
    kind.met.add(shape)
    return recipe, computed


def run(recipe: Recipe, source: int, result: int, numbers: bytes, pad: bytes) -> None:
    """Fill a result.

    Args:
        recipe, numbers: as found. source, result: addresses.
        pad: the bytes of one element of padding; empty for zero bits.
    """
    kernel = recipe.kernel
    assert kernel.functions is not None
    if pad and recipe.padded:
        numbers = with_pad(numbers, pad)
    if kernel.spec.to_batch:
        kernel.functions.short(source, result, numbers)
    else:
        kernel.functions.short(result, source, numbers)


def _met_again(kind: Kind, of_shape: Class, times: int, shape: tuple[int, ...]) -> Recipe | None:
    """The recipe of a class, if it was met often enough and has one."""
    if times >= MET_BEFORE:
        found = kind.classes[of_shape] = written(kind, of_shape, shape)
        return found
    if times or len(kind.classes) < MOST_CLASSES:
        kind.classes[of_shape] = times + 1
    return None


def written(kind: Kind, of_shape: Class, shape: tuple[int, ...]) -> Recipe | None:
    """The recipe of a class; None where the planner has several ways for its shapes, or none.

    Args:
        kind, of_shape: whose recipe it is.
        shape: one of the class. The recipe is tried on it and on others.
    """
    try:
        compute, spec = _traced(kind, of_shape)
        recipe = Recipe(compute, kernel_of(spec), kind.to_batch and any(dim.border for dim in kind.dims))
        return recipe if _holds(kind, of_shape, recipe, shape) else None
    except (ArithmeticError, TypeError, ValueError):
        return None


def _traced(kind: Kind, of_shape: Class) -> tuple[Callable[..., Computed | None], Spec]:
    """What the planner does for a class, as a function, and the spec that it finds.

    Raises:
        UndecidedError: it is not the same for all shapes.
    """
    lines = Lines()
    source: list[Number] = []
    counts: list[Number] = []
    guards, first = [], []
    for d, (size, (least, factor, margin, *_)) in enumerate(zip(of_shape, kind.dims, strict=True)):
        if size is not None:
            source.append(size)
            counts.append((size + margin) // factor)
            continue
        source.append(lines.named({(): least * factor - margin, (d,): factor}, f"s{d}"))
        counts.append(lines.named({(): least, (d,): 1}, f"c{d}"))  # the same one if there is neither factor nor margin
        if factor > 1:
            guards.append(f"(s{d} + {margin}) % {factor}")
        if counts[d] is not source[d]:
            first.append(f"c{d} = (s{d} + {margin}) // {factor}")
    if kind.to_batch:
        result = [source[0] * kind.blocking.phases, *counts[1:]]
    else:
        rest = zip(source[1:], kind.dims[1:], strict=True)
        result = [counts[0], *(size * dim.block - dim.border for size, dim in rest)]
    moved = (prod(source) + prod(result)) * kind.itemsize
    if 0 in source or 0 in result or not isinstance(moved, Size):
        raise UndecidedError  # nothing to move, or nothing open
    lines.most, lines.bound = moved, SHORT_BYTES
    shape, spec, numbers = _planned(kind, tuple(source))
    if shape != tuple(result) or any(isinstance(field, Size) for field in spec):
        raise UndecidedError
    body = [f"if {' or '.join(guards)}: return None"] if guards else []
    body += [*first, *lines.leading_to([moved, *shape, *numbers])]
    body += [f"if {moved} >= {SHORT_BYTES}: return None"]
    body += [f"return ({', '.join(map(str, shape))}), pack({', '.join(map(str, numbers))})"]
    scope: dict[str, Any] = {"pack": Struct(f"{len(numbers)}q").pack}
    exec("\n ".join((f"def compute({kind.sizes}):", *body)), scope)
    return scope["compute"], spec


def _planned(kind: Kind, shape: tuple[Any, ...]) -> tuple[tuple[Any, ...], Spec, list[Any]]:
    """Shape of the result, spec and numbers of a source in row-major order, by the planner.

    Raises:
        UndecidedError: it has no plan.
    """
    make = from_space_shape if kind.to_batch else from_batch_shape
    geometry = make(BlockGeometry.__new__(BlockGeometry), kind.blocking, shape, kind.direction)
    space, batch = geometry.space_shape, geometry.batch_shape
    order = range(len(space))
    plan = plan_of(kind.direction, geometry, dense_strides(space, order), dense_strides(batch, order), kind.itemsize)
    if isinstance(plan, str):
        raise UndecidedError
    return batch if kind.to_batch else space, plan[0], plan[1]


def _holds(kind: Kind, of_shape: Class, recipe: Recipe, shape: tuple[int, ...]) -> bool:
    """Whether a recipe computes what the planner does, for a shape, for the smallest of its class, and for others.

    A wrong number would have a kernel write anywhere.
    """
    draw = random.Random(0)
    tried = 0
    for trial in range(TRIALS):
        computed = recipe.compute(*shape)
        if computed is not None:
            result, spec, numbers = _planned(kind, shape)
            if computed != (result, Struct(f"{len(numbers)}q").pack(*numbers)) or spec != recipe.kernel.spec:
                return False
            tried += 1
        most = (0, 1, 3, 10, 100)[trial % 5]
        shape = tuple(
            (least + draw.randint(0, most)) * factor - margin if size is None else size
            for size, (least, factor, margin, *_) in zip(of_shape, kind.dims, strict=True)
        )
    return tried > 0
