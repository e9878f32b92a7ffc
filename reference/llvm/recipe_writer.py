"""The recipe of a class of calls: what the planner computes on sizes that are left open, written down as a function."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import prod
from struct import Struct
from typing import Any, NamedTuple, TypeAlias

from spacebatch.reference.arguments import normalize
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.geometry_sizes import from_batch_shape, from_space_shape
from spacebatch.reference.kept_geometries import arguments_of
from spacebatch.reference.memory_order import dense_strides, result_layout
from spacebatch.reference.open_sizes import Lines, Number, Size, UndecidedError
from spacebatch.reference.prepared import Direction

from .compiler import Kernel, kernel_of
from .plan import STRETCH_BYTES, plan_of
from .prepare import SHARED_BYTES, SHORT_BYTES
from .spec import Spec

TRIALS = 24  # of a recipe, before it is used
# Of both tensors, below which a recipe serves: as much as no threads share, or as no row is cut in stretches for.
BOUNDS = (SHARED_BYTES, 2 * STRETCH_BYTES - 4096, SHORT_BYTES)

Class: TypeAlias = "tuple[int | None, ...]"  # sizes of the source; None: open
# Of the result the shape, and the strides unless it is in row-major order; the numbers of a plan, with a pad value of 0.
Computed: TypeAlias = "tuple[tuple[int, ...], tuple[int, ...] | None, bytes]"


class Recipe(NamedTuple):
    """What the shapes of a class share.

    Attributes:
        compute: takes the sizes of the source; None where a call must be prepared, or refused.
        kernel: to call.
        bound: what a call moves less bytes than.
    """

    compute: Callable[..., Computed | None]
    kernel: Kernel
    bound: int


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
        dims, sizes: of the source, and the names that a function gives the sizes.
        class_of: takes the sizes of a source.
    """

    def __init__(self, direction: Direction, ndim: int, itemsize: int, last: bool, key: bytes) -> None:
        """
        Args:
            last: the source is channels_last, else row-major.
            key: of the arguments, in bytes.

        Raises:
            ValueError, TypeError: bad arguments.
        """
        self.direction, self.itemsize, self.to_batch = direction, itemsize, direction == "space_to_batch"
        name = "paddings" if self.to_batch else "crops"
        blocking = normalize(direction, name, ndim, *arguments_of(key))
        pairs = blocking.pairs or ((0, 0),) * len(blocking.dims)  # "auto" has a recipe where it pads nothing
        self.blocking = blocking._replace(pairs=pairs)
        self.last, self.order = last, (0, *range(2, ndim), 1) if last else tuple(range(ndim))
        blocks, borders, opened = [1] * ndim, [0] * ndim, 0
        for d, block, pair in zip(blocking.dims, blocking.blocks, pairs, strict=True):
            blocks[d], borders[d] = block, sum(pair)
            if block > 1 or any(pair):  # sizes behind it are segments, which kernels are compiled for
                opened = max(opened, self.order.index(d) + (blocking.arrangement == "interleaved" or any(pair)))
        self.dims: list[Dim] = []
        parts = []
        for d, (block, border) in enumerate(zip(blocks, borders, strict=True)):
            if self.to_batch:
                factor, margin = block, border
            else:
                factor, margin = 1 if d else blocking.phases, 0
            least = max(2, -(-(block + 1 + border) // block))
            self.dims.append(Dim(least, factor, margin, block, border))
            parts.append(f"s{d} if s{d} < {least * factor - margin} else None" if d in self.order[:opened] else f"s{d}")
        self.sizes = ", ".join(f"s{d}" for d in range(ndim))
        self.class_of: Callable[..., Class] = eval(f"lambda {self.sizes}: ({', '.join(parts)})")


def written(kind: Kind, of_shape: Class, shape: tuple[int, ...]) -> Recipe | None:
    """The recipe of a class; None where the planner has several ways for its shapes, or none.

    Args:
        kind, of_shape: whose recipe it is.
        shape: one of the class. The recipe is tried on it and on others.
    """
    for bound in BOUNDS:
        try:
            compute, spec = _traced(kind, of_shape, bound)
            recipe = Recipe(compute, kernel_of(spec), bound)
            if _holds(kind, of_shape, recipe, shape):
                return recipe
        except (ArithmeticError, TypeError, ValueError):
            continue
    return None


def _traced(kind: Kind, of_shape: Class, bound: int) -> tuple[Callable[..., Computed | None], Spec]:
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
    lines.most, lines.bound = moved, bound
    geometry, shape = _geometry(kind, tuple(source))
    strides, spec, numbers = _planned(kind, geometry)
    if shape != tuple(result) or any(isinstance(field, Size) for field in spec):
        raise UndecidedError
    body = [f"if {' or '.join(guards)}: return None"] if guards else []
    body += [*first, *lines.leading_to([moved, *shape, *(strides or ()), *numbers])]
    body += [f"if {moved} >= {bound}: return None"]
    body += [f"return {_written(shape)}, {strides and _written(strides)}, pack{_written(numbers)}"]
    scope: dict[str, Any] = {"pack": Struct(f"{len(numbers)}q").pack}
    exec("\n ".join((f"def compute({kind.sizes}):", *body)), scope)
    return scope["compute"], spec


def _written(numbers: Iterable[Number]) -> str:
    return f"({', '.join(map(str, numbers))})"


def _geometry(kind: Kind, shape: tuple[Any, ...]) -> tuple[BlockGeometry, tuple[Any, ...]]:
    """The geometry of a source, and the shape of its result; sizes may be open."""
    make = from_space_shape if kind.to_batch else from_batch_shape
    geometry = make(BlockGeometry.__new__(BlockGeometry), kind.blocking, shape, kind.direction)
    return geometry, geometry.batch_shape if kind.to_batch else geometry.space_shape


def _planned(kind: Kind, geometry: BlockGeometry) -> tuple[tuple[Any, ...] | None, Spec, list[Any]]:
    """Strides of the result, None in row-major order, spec and numbers; sizes may be open.

    Raises:
        UndecidedError: there are none.
    """
    source = dense_strides(geometry.space_shape if kind.to_batch else geometry.batch_shape, kind.order)
    _, result = result_layout(kind.direction, geometry, source, not kind.last)
    space, batch = (source, result) if kind.to_batch else (result, source)
    plan = plan_of(kind.direction, geometry, space, batch, kind.itemsize)
    if isinstance(plan, str):
        raise UndecidedError
    return result if kind.last else None, plan[0], plan[1]


def _holds(kind: Kind, of_shape: Class, recipe: Recipe, shape: tuple[int, ...]) -> bool:
    """Whether a recipe computes what the planner does, for a shape, for the smallest of its class, and for others.

    A wrong number would have a kernel write anywhere.
    """
    tried = 0
    for trial in range(TRIALS):
        geometry, result = _geometry(kind, shape)
        computed = recipe.compute(*shape)
        if (prod(shape) + prod(result)) * kind.itemsize < recipe.bound:
            strides, spec, numbers = _planned(kind, geometry)
            expected = result, strides, Struct(f"{len(numbers)}q").pack(*numbers)
            if computed != expected or spec != recipe.kernel.spec:
                return False
            tried += 1
        elif computed is not None:
            return False
        reach = (1, 2, 4, 11, 101)[trial % 5]
        shape = tuple(
            (least + trial * (2 * d + 7) % reach) * factor - margin if size is None else size
            for d, (size, (least, factor, margin, *_)) in enumerate(zip(of_shape, kind.dims, strict=True))
        )
    return tried > 0
