"""`receptive_field`: how far a model sees, which is the halo that its tiles need.

The image is cut in two along a dim, as tiles cut it. Results on one side are asked how far into the other they reach, twice: by the
gradient of a random combination of them, and by drawing the other side anew. The farther of the two counts. A gradient also shows what
is too weak to change a rounded sum; a redrawn side also shows what no gradient passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from spacebatch.reference.arguments import as_integer, as_sequence

ALIGNMENT = 32  # cuts lie at multiples of it where the image has room: tiles are cut at multiples of a model's stride


@dataclass(frozen=True)
class ReceptiveField:
    """How far the results of a model depend on its input, along each spatial dim.

    Attributes:
        before, after: elements in front of and behind a cut that results on its other side depend on.
        unbounded: the dims along which results depend on the image as far as it goes: on all of it, as by a mean over the
            image or by attention, or farther than the shape that was measured can tell.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    unbounded: tuple[int, ...]

    @property
    def halo(self) -> tuple[int, ...]:
        """What `tiled` needs as `halo=`.

        Raises:
            ValueError: there is no halo that is enough, or the shape was too small to find it.
        """
        if self.unbounded:
            raise ValueError(f"receptive_field: {self}")
        return tuple(map(max, zip(self.before, self.after, strict=True)))

    def __str__(self) -> str:
        lines = []
        for dim, (before, after) in enumerate(zip(self.before, self.after, strict=True)):
            if dim in self.unbounded:
                lines.append(
                    f"spatial dim {dim}: global, or wider than the {max(before, after)} elements that were measured"
                )
            else:
                lines.append(f"spatial dim {dim}: {before} before, {after} after")
        return "; ".join(lines)


def receptive_field(
    model: Callable[[Tensor], Tensor],
    shape: Sequence[int],
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    trials: int = 2,
) -> ReceptiveField:
    """Measure how far a model sees: the halo with which `tiled` gives the result of the whole image.

    >>> import torch, spacebatch
    >>> layers = [torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 1, (5, 1), padding=(2, 0))]
    >>> spacebatch.receptive_field(torch.nn.Sequential(*layers), (1, 1, 64, 64)).halo
    (3, 1)
    >>> print(spacebatch.receptive_field(torch.nn.Softmax(2), (1, 1, 64, 64)))
    spatial dim 0: global, or wider than the 48 elements that were measured; spatial dim 1: 0 before, 0 after

    Args:
        model: as of `tiled`; put it in evaluation mode first: in training, batch norm sees all of the image.
        shape: (N, C, *spatial) of an input, along each dim more than twice as large as the model sees.
        dtype, device: of the input; by default those of the model's parameters.
        trials: random inputs; what any of them shows counts.

    Returns:
        The reach before and behind, and dims along which no halo is enough. Cuts are made in the middle and near both ends.

    Raises:
        ValueError, TypeError: the shape is none, or the model does not make one tensor of as many dims.
    """
    if not callable(model):
        raise TypeError(f"receptive_field: model must be callable, got {type(model).__name__}")
    sizes = tuple(
        as_integer(n, f"receptive_field: shape[{d}]")
        for d, n in enumerate(as_sequence(shape, "receptive_field: shape"))
    )
    if len(sizes) < 3 or min(sizes) < 1:
        raise ValueError(f"receptive_field: shape must be (N, C, *spatial), all positive, got {sizes}")
    trials = as_integer(trials, "receptive_field: trials")
    if trials < 1:
        raise ValueError(f"receptive_field: trials must be at least 1, got {trials}")
    first = (
        next((p for p in model.parameters() if p.is_floating_point()), None) if isinstance(model, nn.Module) else None
    )
    kind = dtype or (first.dtype if first is not None else torch.float32)
    where = torch.device(device) if device is not None else first.device if first is not None else torch.device("cpu")

    M = len(sizes) - 2
    before, after, unbounded = [0] * M, [0] * M, set()
    with torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):
        for trial in range(trials):
            measured = _Measured(model, sizes, kind, where, seed=trial)
            for dim in range(M):
                for cut in measured.cuts(dim) if trial == 0 else [measured.middle(dim)]:
                    size = sizes[2 + dim]
                    back, forth = measured.reach(dim, cut)
                    before[dim], after[dim] = max(before[dim], back), max(after[dim], forth)
                    if (cut == measured.middle(dim) and (back >= cut or forth >= size - cut)) or (size > 1 and not cut):
                        unbounded.add(dim)
    return ReceptiveField(tuple(before), tuple(after), tuple(sorted(unbounded)))


class _Measured:
    """One random input, the model's result of it, and what depends on what."""

    def __init__(
        self,
        model: Callable[[Tensor], Tensor],
        sizes: tuple[int, ...],
        dtype: torch.dtype,
        device: torch.device,
        seed: int,
    ) -> None:
        self.model, self.sizes, self.seed = model, sizes, seed
        self.generator = torch.Generator().manual_seed(seed)
        self.x = self._draw(dtype, device)
        with torch.enable_grad():
            self.leaf = self.x.clone().requires_grad_(self.x.is_floating_point() or self.x.is_complex())
            self.y: Tensor = self._run(self.leaf)
        if not isinstance(self.y, Tensor) or self.y.ndim != len(sizes):
            got = tuple(self.y.shape) if isinstance(self.y, Tensor) else f"a {type(self.y).__name__}"
            raise ValueError(
                f"receptive_field: the model made {got} of {sizes}; one tensor of (N, C, *spatial) is needed"
            )
        self.scale = [Fraction(a, b) for a, b in zip(self.y.shape[2:], sizes[2:], strict=True)]

    def _draw(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        if dtype.is_floating_point or dtype.is_complex:
            return torch.randn(self.sizes, generator=self.generator, dtype=torch.float64).to(device, dtype)
        high = 2 if dtype is torch.bool else min(torch.iinfo(dtype).max, 255) + 1
        return torch.randint(0, high, self.sizes, generator=self.generator).to(device, dtype)

    def _run(self, x: Tensor) -> Any:
        torch.manual_seed(self.seed)  # dropout's masks are the same for all inputs
        return self.model(x)

    def middle(self, dim: int) -> int:
        """The cut in the middle, at a multiple of the alignment, and of what the scale needs."""
        size, step = self.sizes[2 + dim], self.scale[dim].denominator
        aligned = step * ALIGNMENT
        half = size // 2
        return half // aligned * aligned or half // step * step

    def cuts(self, dim: int) -> list[int]:
        """The middle, and a quarter of the image from both ends, where models that look across the border show it."""
        size, step = self.sizes[2 + dim], self.scale[dim].denominator
        middle = self.middle(dim)
        unit = step * ALIGNMENT if size >= 4 * step * ALIGNMENT else step
        return sorted({middle, size // 4 // unit * unit or middle, (size - size // 4) // unit * unit})

    def reach(self, dim: int, cut: int) -> tuple[int, int]:
        """How far before the cut results behind it reach, and how far behind it those before."""
        at, size = 2 + dim, self.sizes[2 + dim]
        there = int(cut * self.scale[dim])
        total = self.y.shape[at]
        before = after = 0
        # elements of the input that results of the other side depend on
        for results, inside in (((there, total - there), (0, cut)), ((0, there), (cut, size - cut))):
            used = self._used(at, results, inside)
            if used.any():
                places = used.nonzero().flatten()
                if inside[0] == 0:
                    before = cut - int(places[0])
                else:
                    after = int(places[-1]) + 1
        # results of one side that change with the other
        with torch.no_grad():
            for redrawn, results in (((0, cut), (there, total - there)), ((cut, size - cut), (0, there))):
                x = self.x.clone()
                x.narrow(at, *redrawn).copy_(self._draw(x.dtype, x.device).narrow(at, *redrawn))
                changed = _lines(self._run(x).narrow(at, *results) != self.y.detach().narrow(at, *results), at)
                if changed.any():
                    places = changed.nonzero().flatten()
                    # the farthest result that changed, counted from the cut, begins so many elements from it
                    far = int(places[-1]) if redrawn[0] == 0 else results[1] - 1 - int(places[0])
                    elements = int(far / self.scale[dim]) + 1
                    before, after = (
                        (max(before, elements), after) if redrawn[0] == 0 else (before, max(after, elements))
                    )
        return min(before, cut), min(after, size - cut)

    def _used(self, at: int, results: tuple[int, int], inside: tuple[int, int]) -> Tensor:
        """Which lines of the input a random combination of some results depends on."""
        part = self.y.narrow(at, *results) if self.y.requires_grad else None
        if part is None or not part.numel():
            return torch.zeros(inside[1], dtype=torch.bool)
        weights = torch.randn(part.shape, generator=self.generator, dtype=torch.float64).to(part.device, part.dtype)
        (gradient,) = torch.autograd.grad(part, self.leaf, weights, retain_graph=True, allow_unused=True)
        if gradient is None:
            return torch.zeros(inside[1], dtype=torch.bool)
        return _lines(gradient.narrow(at, *inside) != 0, at)


def _lines(found: Tensor, at: int) -> Tensor:
    """Along one dim, whether anything was found."""
    return found.movedim(at, 0).flatten(1).any(1).cpu()
