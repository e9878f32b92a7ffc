"""What images are read from and results are written to: tensors, NumPy arrays, memory maps, and whatever is sliced like them.

>>> import numpy as np
>>> image = Image(np.arange(6.0).reshape(1, 6), 1)
>>> image.read([Tile(0, ((-1, 2),), ((-1, 2),))], pad_value=9)
tensor([[[9., 0., 1.]]], dtype=torch.float64)
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checks import check_tensor
from ..huge_pages import advised
from .positions import Spans, Tile, sizes_of


class Image:
    """An image of dims (samples, channels, *sizes), where samples, or both, may be left out.

    Attributes:
        data: the tensor or array. leading: how many of its dims come before the spatial ones.
        samples, channels, sizes: as the model sees them. dtype, device: of what is read.
    """

    def __init__(self, data: Any, spatial: int | None) -> None:
        if isinstance(data, Tensor):
            check_tensor("tiled", data)
            self.dtype, self.device = data.dtype, data.device
        elif all(hasattr(data, name) for name in ("shape", "dtype", "__getitem__")):
            self.dtype, self.device = torch_dtype(data.dtype, "the image"), torch.device("cpu")
        else:
            raise TypeError(
                "tiled: image must be a tensor, an array, or something with shape, dtype and slices, "
                f"got {type(data).__name__}"
            )
        shape = tuple(map(int, data.shape))
        self.data, self.shape = data, shape
        self.leading = 2 if spatial is None else len(shape) - spatial
        if not 0 <= self.leading <= min(2, len(shape) - 1):
            wanted = "(N, C, *spatial)" if spatial is None else f"(N, C), (C) or nothing before {spatial} spatial dims"
            raise ValueError(f"tiled: image has shape {shape}; {wanted} is needed: a tile has one size per spatial dim")
        if 0 in shape:
            raise ValueError(f"tiled: image has size 0 along dim {shape.index(0)}: shape {shape}")
        self.sizes = shape[self.leading :]
        self.samples = shape[0] if self.leading == 2 else 1
        self.channels = shape[self.leading - 1] if self.leading else 1

    def read(self, tiles: Sequence[Tile], pad_value: float, device: torch.device | None = None) -> Tensor:
        """Tiles of one shape as a new tensor of (tiles, channels, *sizes); nothing else of the image is touched."""
        sizes = sizes_of(tiles[0].read)
        inside = all(a >= 0 and b <= size for (a, b), size in zip(tiles[0].read, self.sizes, strict=True))
        if isinstance(self.data, Tensor) and inside:  # and so are the others, which have its shape
            found = [self.data[index_of(self.leading, tile.sample, tile.read)] for tile in tiles]
            batch = torch.stack(found).view(len(tiles), self.channels, *sizes)
            return batch if device is None else batch.to(device)
        batch = torch.empty((len(tiles), self.channels, *sizes), dtype=self.dtype, device=self.device)
        for k, tile in enumerate(tiles):
            clipped = tuple((max(a, 0), min(b, size)) for (a, b), size in zip(tile.read, self.sizes, strict=True))
            target = batch[k]
            if clipped != tile.read:
                target.fill_(pad_value)
                inner = (slice(ca - a, cb - a) for (ca, cb), (a, _) in zip(clipped, tile.read, strict=True))
                target = target[(slice(None), *inner)]
            found = self.data[index_of(self.leading, tile.sample, clipped)]
            if isinstance(found, Tensor):
                target.copy_(found)
            else:
                np.copyto(target.numpy(), np.asarray(found))
        return batch if device is None else batch.to(device)


class Result:
    """What results are written to, in the same kind of dims as the image.

    Attributes:
        data: the tensor or array. leading: how many of its dims come before the spatial ones.
        shared: whether several processes write to it, each its part.
    """

    def __init__(self, data: Any, spatial: int) -> None:
        self.data, self.leading = data, len(data.shape) - spatial
        self.shared = not isinstance(data, Tensor) and (type(data) is not np.ndarray or on_disk(data))

    def write(self, sample: int, spans: Spans, values: Tensor) -> None:
        """Write (channels, *sizes) to its place."""
        index = index_of(self.leading, sample, spans)
        values = values if self.leading else values[0]
        if isinstance(self.data, Tensor):
            self.data[index].copy_(values)
        else:
            self.data[index] = values.detach().cpu().numpy()

    def in_memory(self) -> Tensor | None:
        """The result as a tensor of (samples, channels, *sizes) that shares its memory, where there is one."""
        data = self.data
        if type(data) is np.ndarray and not self.shared and data.dtype.isnative and min(data.strides) >= 0:
            data = torch.from_numpy(data)
        return data[(None,) * (2 - self.leading)] if isinstance(data, Tensor) else None

    def probe(self, sample: int, spans: Spans) -> int:
        """A checksum of a few elements at a corner of what was written, by which a file that was made anew is known."""
        first = tuple((start, start + 1) for start, _ in spans[:-1])
        found = np.ascontiguousarray(self.data[index_of(self.leading, sample, (*first, spans[-1]))])
        return zlib.crc32(found.tobytes())


def index_of(leading: int, sample: int, spans: Spans) -> tuple[int | slice, ...]:
    """The index of all channels of some spans of a sample, for 0, 1 or 2 dims before the spatial ones."""
    front: tuple[int | slice, ...] = ((), (slice(None),), (sample, slice(None)))[leading]
    return (*front, *(slice(start, stop) for start, stop in spans))


def result_shape(image: Image, channels: int, sizes: Sequence[int]) -> tuple[int, ...]:
    """The shape of a result: that of the image, with other channels and sizes; an image without channels gets some if need be."""
    if image.leading == 2:
        return (image.samples, channels, *sizes)
    return (channels, *sizes) if image.leading or channels != 1 else tuple(sizes)


def new_result(image: Image, shape: tuple[int, ...], dtype: torch.dtype) -> Any:
    """Memory for a result, of the image's kind: a tensor beside a tensor, else a NumPy array."""
    if isinstance(image.data, Tensor):
        return advised(torch.empty(shape, dtype=dtype, device=image.device))
    return np.empty(shape, numpy_dtype(dtype))


def check_out(image: Image, out: Any, resumable: bool) -> None:
    """What can be said of `out` before the model has told channels and dtype."""
    if out is None:
        if resumable:
            raise ValueError("tiled: resume= needs out= on disk, such as a np.memmap: memory is lost with the process")
        return
    names = ("shape", "dtype", "__setitem__") + (("__getitem__",) if resumable else ())
    if isinstance(out, Tensor):
        check_tensor("tiled", out)
    missing = [name for name in names if not hasattr(out, name)]
    if missing:
        raise TypeError(f"tiled: out must have {', '.join(names)}; a {type(out).__name__} has no {missing[0]}")
    if resumable and (isinstance(out, Tensor) or (type(out) is np.ndarray and not on_disk(out))):
        raise ValueError("tiled: resume= needs out= on disk, such as a np.memmap: memory is lost with the process")
    if isinstance(out, np.ndarray) and not out.flags.writeable:
        raise ValueError("tiled: out is read-only")
    data = image.data
    if isinstance(out, Tensor) and isinstance(data, Tensor):
        same = out.untyped_storage().data_ptr() == data.untyped_storage().data_ptr() and not out.is_meta
    else:
        same = out is data or (
            isinstance(out, np.ndarray) and isinstance(data, np.ndarray) and np.may_share_memory(out, data)
        )
    if same:
        raise ValueError("tiled: out overlaps the image in memory, which later tiles are read from")


def check_result(out: Any, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """That `out` can hold what the model makes."""
    found = tuple(map(int, out.shape))
    if found != shape:
        raise ValueError(f"tiled: out has shape {found}, the result has {shape}")
    held = out.dtype if isinstance(out, Tensor) else torch_dtype(out.dtype, "out")
    if held != dtype:
        raise ValueError(f"tiled: out has dtype {held}, the result has {dtype}; finish= can convert it")


def torch_dtype(dtype: Any, what: str) -> torch.dtype:
    """PyTorch's name of a NumPy dtype, in the machine's byte order."""
    try:
        return torch.from_numpy(np.empty(0, np.dtype(dtype).newbyteorder("="))).dtype
    except TypeError:
        raise TypeError(f"tiled: {what} has dtype {dtype}, which PyTorch has not") from None


def numpy_dtype(dtype: torch.dtype) -> Any:
    """NumPy's name of a dtype."""
    try:
        return torch.empty(0, dtype=dtype).numpy().dtype
    except TypeError:
        raise TypeError(f"tiled: the result has dtype {dtype}, which NumPy has not; finish= can convert it") from None


def on_disk(array: Any) -> bool:
    """Whether a NumPy array is a view of a memory map."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return isinstance(array, mmap.mmap)
