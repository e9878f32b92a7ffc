"""What a model makes of a tile, as its first batch tells: channels, dtype and scale; and whether tiles fit together at that scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

import torch
from torch import Tensor

from .positions import Grid, Scale, edges

Finish: TypeAlias = "Callable[[Tensor], Tensor]"


@dataclass(frozen=True)
class Output:
    """Attributes:
    channels, dtype: of what the model returns. scale: its size over the tile's, along each dim.
    final_channels, final_dtype: of what is written, behind `finish`.
    """

    channels: int
    dtype: torch.dtype
    scale: Scale
    final_channels: int
    final_dtype: torch.dtype

    def check(self, y: Any, tiles: int, sizes: Sequence[int]) -> None:
        """That a later batch is like the first one.

        Raises:
            ValueError: it is not.
        """
        shape = (tiles, self.channels, *(s * f for s, f in zip(sizes, self.scale, strict=True)))
        if not isinstance(y, Tensor) or y.shape != shape or y.dtype != self.dtype:
            got = f"{tuple(y.shape)} in {y.dtype}" if isinstance(y, Tensor) else f"a {type(y).__name__}"
            wanted = ", ".join(map(str, shape))
            raise ValueError(
                f"tiled: the model made {got} of tiles of {tuple(sizes)}; after its first batch, ({wanted}) in {self.dtype} was expected"
            )

    def as_dict(self) -> dict[str, Any]:
        """For a record."""
        names = {"dtype": str(self.dtype), "final_dtype": str(self.final_dtype)}
        return {**vars(self), **names, "scale": [str(f) for f in self.scale]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Output:
        """The output that `as_dict` described."""
        kinds = {name: getattr(torch, data[name].removeprefix("torch.")) for name in ("dtype", "final_dtype")}
        return cls(**{**data, **kinds, "scale": tuple(map(_plain, map(Fraction, data["scale"])))})


def output_of(y: Any, tiles: int, sizes: Sequence[int], finish: Finish | None) -> Output:
    """Read channels, dtype and scale off the first batch, and let `finish` run on one of its elements.

    Raises:
        TypeError: no tensor. ValueError: not one result per tile, or of another number of dims.
    """
    if not isinstance(y, Tensor):
        raise TypeError(f"tiled: the model must return one tensor, got {type(y).__name__}; choose one in a lambda")
    if y.ndim != len(sizes) + 2 or y.shape[0] != tiles or 0 in y.shape:
        raise ValueError(
            f"tiled: the model made {tuple(y.shape)} of {tiles} tiles of {tuple(sizes)}; (tiles, channels, *sizes) is needed"
        )
    scale = tuple(_plain(Fraction(after, before)) for after, before in zip(y.shape[2:], sizes, strict=True))
    final = y
    if finish is not None:
        one = y[(slice(0, 1), slice(None), *(slice(0, 1) for _ in sizes))]
        final = finish(one)
        if not isinstance(final, Tensor) or final.ndim != y.ndim or final.shape[2:] != one.shape[2:] or len(final) != 1:
            got = tuple(final.shape) if isinstance(final, Tensor) else type(final).__name__
            raise ValueError(
                f"tiled: finish must keep all dims but the channels: it made {got} of {tuple(one.shape)}; keepdim=True?"
            )
    return Output(y.shape[1], y.dtype, scale, final.shape[1], final.dtype)


def _plain(scale: Fraction) -> int | Fraction:
    """Whole numbers as ints, which are quick to multiply by."""
    return int(scale) if scale.denominator == 1 else scale


def check_scale(grid: Grid, sizes: Sequence[int], output: Output) -> tuple[int, ...]:
    """The sizes of the whole result; every place where something is cut must be whole there as well.

    Raises:
        ValueError: at this scale a tile begins or ends between two elements of the result.
    """
    for dim, (size, scale) in enumerate(zip(sizes, output.scale, strict=True)):
        for edge in (size, *edges(grid, dim)):
            if (edge * scale).denominator != 1:
                shape = f"{scale.numerator}/{scale.denominator}"
                raise ValueError(
                    f"tiled: along spatial dim {dim} the model's result has {shape} of the size of a tile, and element {edge}, "
                    f"where the image is cut, has no place in it: tile, halo, steps and the image's size, {size}, must be multiples "
                    "of the model's stride, and the model must pad"
                )
    return tuple(int(size * scale) for size, scale in zip(sizes, output.scale, strict=True))
