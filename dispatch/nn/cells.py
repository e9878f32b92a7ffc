"""Values in batch space: a batch tensor, and which of its cells stand for positions of the image.

A size that the rate does not divide is padded at the end up to the next multiple, so that all phases have as many cells;
the cells that exist only because of that are not valid. They are zero after `enter`, for nothing is ever read there but the
zero padding of a convolution. Layers may leave anything in them: `clean` says whether they are still known to be zero, and
`cleaned` zeroes them again. `leave` drops them, hence no gradient comes from them.

>>> cells = enter(torch.arange(1.0, 6.0).view(1, 1, 5), (2,))
>>> cells.tensor[:, 0].tolist(), cells.clean, leave(cells).tolist()
([[1.0, 3.0, 5.0], [2.0, 4.0, 0.0]], True, [[[1.0, 2.0, 3.0, 4.0, 5.0]]])
>>> cleaned(cells._replace(tensor=cells.tensor + 1, clean=False)).tensor[:, 0].tolist()
[[2.0, 4.0, 6.0], [3.0, 5.0, 0.0]]
"""

from __future__ import annotations

import math
import threading
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import functions, routes
from .taps import missing


class Cells(NamedTuple):
    """A tensor in batch space, block-major and interleaved, with no padding before."""

    tensor: Tensor  # (P * N, C, *cells), where a dim has ceil(size / rate) cells
    rate: tuple[int, ...]  # blocks, one per spatial dim
    sizes: tuple[int, ...]  # of the spatial dims in space
    clean: bool  # whether the cells that are not valid hold zeros
    last: bool = False  # whether the channels are the last dim of the tensor, and of the image

    @property
    def samples(self) -> int:
        """N, the batch in space."""
        return self.tensor.shape[0] // math.prod(self.rate)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape in space."""
        return (self.samples, self.tensor.shape[1], *self.sizes)

    @property
    def whole(self) -> bool:
        """Whether every cell is valid."""
        return all(size % rate == 0 for size, rate in zip(self.sizes, self.rate, strict=True))


def enter(x: Tensor, rate: tuple[int, ...], last: bool = False) -> Cells:
    """x of shape (N, C, *spatial) in batch space; with `last`, of shape (N, *spatial, C)."""
    if last:
        cells = enter(x.movedim(-1, 1), rate)
        return cells._replace(tensor=cells.tensor.movedim(1, -1), last=True)
    if x.dim() != len(rate) + 2:
        raise ValueError(
            f"BatchSpace: the input must be {len(rate) + 2}-D, (N, C, *spatial) for a rate of {rate}, "
            f"got shape {tuple(x.shape)}"
        )
    sizes = tuple(x.shape[2:])
    paddings = tuple((0, missing(size, step)) for size, step in zip(sizes, rate, strict=True))
    return Cells(functions.space_to_batch(x, rate, paddings), rate, sizes, True)


def leave(cells: Cells) -> Tensor:
    """The tensor in space."""
    if cells.last:
        return leave(cells._replace(tensor=cells.tensor.movedim(-1, 1), last=False)).movedim(1, -1)
    crops = tuple((0, missing(size, rate)) for size, rate in zip(cells.sizes, cells.rate, strict=True))
    return functions.batch_to_space(cells.tensor, cells.rate, crops)


def cleaned(cells: Cells, value: float = 0) -> Cells:
    """The same with `value` in every cell that is not valid; nothing is computed where there are none."""
    if cells.whole or (cells.clean and value == 0):
        return cells._replace(clean=True)
    return cells._replace(tensor=torch.where(valid(cells), cells.tensor, value), clean=value == 0)


def valid(cells: Cells) -> Tensor:
    """Bool tensor (P * N, 1, *cells), True where a cell stands for a position of the image."""
    x = cells.tensor
    arguments = (cells.rate, cells.sizes, cells.samples, x.device)
    plain = routes.route_of(x) in ("autograd", "eager")
    if not plain or (x.is_cuda and torch.cuda.is_current_stream_capturing()):  # memory that lives no longer than this
        return _valid(*arguments)
    return _kept.get(*arguments)


def _valid(rate: tuple[int, ...], sizes: tuple[int, ...], samples: int, device: torch.device) -> Tensor:
    dims, counts = len(rate), [(size + block - 1) // block for size, block in zip(sizes, rate, strict=True)]
    inside = torch.ones((), dtype=torch.bool, device=device)
    for k, (size, block, count) in enumerate(zip(sizes, rate, counts, strict=True)):
        phase, cell = torch.arange(block, device=device), torch.arange(count, device=device)
        shape = [{k: block, dims + 2 + k: count}.get(d, 1) for d in range(2 * dims + 2)]
        inside = inside & (phase[:, None] + block * cell < size).view(shape)
    return inside.expand(*rate, samples, 1, *counts).reshape(math.prod(rate) * samples, 1, *counts)


class _Kept:
    """Masks by geometry, as many as fit into some bytes; the one that was not used for longest goes first."""

    def __init__(self, limit: int) -> None:
        self.limit, self.held = limit, 0
        self.masks: dict[Any, Tensor] = {}
        self.lock = threading.Lock()

    def get(self, *arguments: Any) -> Tensor:
        """The mask of these arguments of `_valid`."""
        with self.lock:
            mask = self.masks.pop(arguments, None)
            if mask is None:
                with torch.inference_mode(False):  # one made in inference mode could not be kept for a backward pass
                    mask = _valid(*arguments)
                if mask.numel() > self.limit // 4:
                    return mask
                self.held += mask.numel()
                while self.held > self.limit:
                    self.held -= self.masks.pop(next(iter(self.masks))).numel()
            self.masks[arguments] = mask
            return mask


_kept = _Kept(1 << 24)
