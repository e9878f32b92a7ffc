"""`tiled`: any model on an image of any size, a few tiles at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .arguments import check_callables, device_of, spatial_dims, tiling_of
from .arrays import Image, check_out
from .progress import Progress, shown
from .ranks import Ranks
from .record import Record, fingerprint
from .run import Run
from .weights import Blend

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def tiled(
    model: Callable[[Tensor], Tensor],
    image: Any,
    tile: int | Sequence[int],
    *,
    halo: int | Sequence[int] | None = None,
    overlap: float | Sequence[float] | None = None,
    blend: Blend = "none",
    sigma_scale: float | Sequence[float] = 0.125,
    pad_value: float = 0.0,
    batch: int = 1,
    finish: Callable[[Tensor], Tensor] | None = None,
    out: Any = None,
    device: torch.device | str | None = None,
    progress: Progress = False,
    resume: str | os.PathLike[str] | None = None,
    group: ProcessGroup | None = None,
    grad: bool = False,
) -> Any:
    """Run a model on an image or volume of any size, tile by tile.

    With a `halo` as wide as the model sees (`receptive_field` measures it), the result is that of the whole image: each tile is
    read with its surroundings, of which the result is cropped again, and at the border of the image the model's own padding
    acts. With an `overlap`, results are averaged where tiles overlap, as by MONAI's `sliding_window_inference`.

    >>> import torch, spacebatch
    >>> model = torch.nn.Conv2d(3, 8, 5, padding=2).double()
    >>> image = torch.rand(1, 3, 100, 90, dtype=torch.float64)
    >>> y = spacebatch.tiled(model, image, 32, halo=2, batch=4)
    >>> y.shape, torch.allclose(y, model(image), rtol=0, atol=1e-12)
    (torch.Size([1, 8, 100, 90]), True)
    >>> spacebatch.tiled(model, image[0], (32, 32), overlap=0.25, blend="gaussian").shape
    torch.Size([8, 100, 90])

    Args:
        model: anything that makes (tiles, channels', *sizes') of (tiles, channels, *sizes): a module, in the mode that it is in, or
            a function. Channels, dtype and scale of the result are those of its first batch; the size of a tile's result is the
            tile's times one rational number per dim.
        image: a tensor, a NumPy array, a memory map, or anything with shape, dtype and slices, such as a zarr array. Only the
            tiles are read of it. An int as `tile`: (N, C, *spatial). A sequence: its length is the number of spatial dims, the
            last ones; before them come N and C, C alone, or nothing, for which the model gets one channel.
        tile: elements of a tile along each spatial dim; -1 for all of the image.
        halo: elements that are read around a tile, along each dim. Where the model has strides, tile and halo are multiples of them.
        overlap: of neighbouring tiles, which then have all the same shape; a float is a share of the tile, an int a number of
            elements. An image smaller than a tile is padded on both sides.
        blend: of overlapping tiles: "none", or "constant" in MONAI's words, their mean; "linear", ramps over the overlap that sum
            to one; "gaussian", by a normal distribution about the middle of each tile.
        sigma_scale: the standard deviation of "gaussian", as a share of the tile.
        pad_value: what an image smaller than a tile is padded with.
        batch: tiles per call of the model, at most; tiles of different shapes, at the border, are called apart.
        finish: a function of each finished part of the result, (1 or more, channels', *any sizes), elementwise but for the channels,
            such as `lambda y: y.argmax(1, keepdim=True)`. What it returns is written, so that the sums that it is made of never
            exist but for a slab.
        out: what the result is written to, a tensor, array, memory map or zarr-like; by default new memory, a tensor for a
            tensor and an array for anything else.
        device: where tiles are computed: by default that of the model's parameters, or else the image's.
        progress: True for a bar (by rich) or lines on stderr; or a function of (tiles done, all tiles).
        resume: path of a record, with an `out` on disk: the same call goes on where an earlier one was interrupted.
        group: processes of torch.distributed that share the work; each makes this very call.
        grad: record gradients; memory is then that of the whole image.

    Returns:
        `out`, or the new result: the image's dims, with the model's channels and sizes.

    Raises:
        ValueError, TypeError: an argument does not fit; the message names it. RuntimeError: the model failed, on the tile named.

    Source: overlap as MONAI's `sliding_window_inference`; halo as the overlap-tile strategy of Ronneberger et al., U-Net (2015).
    """
    check_callables(model, finish, progress)
    source = Image(image, spatial_dims(tile))
    tiling = tiling_of(source, tile, halo, overlap, blend, sigma_scale, batch)
    check_out(source, out, resume is not None)
    if grad and (out is not None or group is not None or not isinstance(image, Tensor)):
        raise ValueError("tiled: grad=True needs a tensor as image, no out and no group")
    ranks = Ranks(group)
    arguments = {
        "image": [list(source.shape), str(source.dtype)],
        "tile": list(tiling.tile),
        "halo": list(tiling.halo),
        "steps": None if tiling.steps is None else list(tiling.steps),
        "blend": tiling.blend,
        "sigma_scale": list(tiling.sigma_scale),
        "pad_value": pad_value,
        "batch": tiling.batch,
        "finish": None if finish is None else fingerprint(finish),
        "model": fingerprint(model) if resume is not None or ranks.size > 1 else "",
        "out": None if out is None else [list(map(int, out.shape)), str(out.dtype)],
        "resume": resume is not None,
        "ranks": ranks.size,
    }
    ranks.agree(arguments)
    record = Record(Path(resume), arguments) if resume is not None else None
    run = Run(model, source, tiling, finish, float(pad_value), device_of(model, source, device), ranks, grad)
    with shown(progress if ranks.rank == 0 else False, len(tiling.grid)) as advance, torch.set_grad_enabled(grad):
        return run.complete(out, record, advance)
