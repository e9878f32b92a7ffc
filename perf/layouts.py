"""Which thread holds which elements of a compiled kernel's loads and stores, read from its TTGIR.

A layout is what Triton calls a linear one: a place in the hardware (register, lane, warp) is a number in binary, each bit
of it has a vector of coordinates, its *basis*, and a place holds the element at the exclusive or of the bases of its bits.
Bits with a basis of zeros repeat elements that other places hold.

Source: Zhou et al., "Linear Layouts: Robust Code Generation of Efficient Tensor Computation Using F2", and Triton's
`LinearLayoutConversions.cpp` for how blocked and sliced layouts become linear.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

Bases = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Layout:
    """Bases of the registers, lanes and warps of a program, for a tensor of this shape."""

    shape: tuple[int, ...]
    register: Bases
    lane: Bases
    warp: Bases

    def elements(self) -> np.ndarray[Any, Any]:
        """The row-major number of the element at each [register, lane, warp], registers that repeat others left out.

        >>> Layout((8,), ((1,),), ((2,), (4,)), ()).elements()[:, :, 0].tolist()
        [[0, 2, 4, 6], [1, 3, 5, 7]]
        """
        registers = [basis for basis in self.register if any(basis)]
        r, lane, warp = (self._numbers(bases) for bases in (registers, self.lane, self.warp))
        return np.asarray(r[:, None, None] ^ lane[None, :, None] ^ warp[None, None, :])

    def firsts(self) -> np.ndarray[Any, Any]:
        """Whether a thread [lane, warp] is the first one of those that hold the same elements: the one that stores."""
        lane, warp = (self._leading(bases) for bases in (self.lane, self.warp))
        return np.asarray(lane[:, None] & warp[None, :])

    def _numbers(self, bases: Sequence[tuple[int, ...]]) -> np.ndarray[Any, Any]:
        strides = [prod(self.shape[d + 1 :]) for d in range(len(self.shape))]
        numbers = np.zeros(1, np.int64)
        for basis in bases:
            # sizes are powers of two, so the coordinates are bits of their own in the row-major number
            numbers = np.concatenate([numbers, numbers ^ sum(c * s for c, s in zip(basis, strides, strict=True))])
        return numbers

    @staticmethod
    def _leading(bases: Bases) -> np.ndarray[Any, Any]:
        leading = np.ones(1, bool)
        for basis in bases:
            leading = np.concatenate([leading, leading & any(basis)])
        return leading


@dataclass(frozen=True)
class Access:
    """One load or store of a tensor of pointers, in the order of the code."""

    store: bool
    layout: Layout


def accesses(ttgir: str) -> list[Access]:
    """The loads and stores of a kernel.

    Raises:
        ValueError: a layout is of a kind that this module does not know.
    """
    named = dict(re.findall(r"^(#\w+) = (#ttg\.\w+<\{.*\}>)", ttgir, flags=re.MULTILINE))
    found = re.findall(
        r"\btt\.(load|store) .* : tensor<([\dx]+)x!tt\.ptr<\w+>, (#.+)>(?: loc\(|\s*$)", ttgir, re.MULTILINE
    )
    return [
        Access(kind == "store", layout(text, tuple(map(int, shape.split("x"))), named)) for kind, shape, text in found
    ]


def layout(text: str, shape: tuple[int, ...], named: dict[str, str] | None = None) -> Layout:
    """A layout as TTGIR spells it, for a tensor of this shape; `named` are the module's aliases.

    >>> layout("#ttg.blocked<{sizePerThread = [2], threadsPerWarp = [4], warpsPerCTA = [1], order = [0]}>", (16,))
    Layout(shape=(16,), register=((1,), (8,)), lane=((2,), (4,)), warp=())
    """
    text = (named or {}).get(text, text)
    kind = re.match(r"#ttg\.(\w+)<", text)
    if kind is None or kind[1] not in ("blocked", "linear", "slice"):
        raise ValueError(f"layouts: {text} is neither blocked nor linear nor a slice of such")
    if kind[1] == "slice":
        dim, parent = re.findall(r"dim = (\d+), parent = (#.*)\}>$", text)[0]
        return _slice(layout(parent, (*shape[: int(dim)], 1, *shape[int(dim) :]), named), int(dim))
    if kind[1] == "linear":
        register, lane, warp = (
            tuple(_numbers(basis) for basis in re.findall(r"\[([\d, ]+)\]", _field(text, name)))
            for name in ("register", "lane", "warp")
        )
        return Layout(shape, register, lane, warp)
    per_thread, threads, warps, order = (
        _numbers(_field(text, name)) for name in ("sizePerThread", "threadsPerWarp", "warpsPerCTA", "order")
    )
    return _blocked(shape, per_thread, threads, warps, order)


def _blocked(
    shape: tuple[int, ...],
    per_thread: tuple[int, ...],
    threads: tuple[int, ...],
    warps: tuple[int, ...],
    order: tuple[int, ...],
) -> Layout:
    """Registers inside lanes inside warps, the first of `order` fastest; what is left of the tensor, in more registers."""
    reached = [1] * len(shape)

    def bases(sizes: Sequence[int]) -> Bases:
        made = []
        for d in order:
            for _ in range(sizes[d].bit_length() - 1):
                inside = reached[d] < shape[d]
                made.append(tuple(reached[d] if inside and e == d else 0 for e in range(len(shape))))
                reached[d] *= 2
        return tuple(made)

    register, lane, warp = bases(per_thread), bases(threads), bases(warps)
    return Layout(shape, register + bases([max(n // r, 1) for n, r in zip(shape, reached, strict=True)]), lane, warp)


def _slice(parent: Layout, dim: int) -> Layout:
    def without(bases: Bases) -> Bases:
        return tuple((*basis[:dim], *basis[dim + 1 :]) for basis in bases)

    shape = (*parent.shape[:dim], *parent.shape[dim + 1 :])
    return Layout(shape, without(parent.register), without(parent.lane), without(parent.warp))


def _field(text: str, name: str) -> str:
    """What stands between the brackets of a field."""
    found = re.search(rf"\b{name} = \[((?:[^][]|\[[^][]*\])*)\]", text)
    if found is None:
        raise ValueError(f"layouts: {text} has no {name}")
    return found[1]


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.split(","))
