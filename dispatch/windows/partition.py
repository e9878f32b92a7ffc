"""Windows and grids of images of one size: frozen objects that cut, merge, and know the mask."""

from __future__ import annotations

from collections.abc import Sequence
from operator import ne
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ..reference.arguments import shown
from ..reference.data_layout import ANY_RANK
from ..reference.geometry import BlockGeometry
from ..reference.window_sizes import Covered
from . import masks
from .images import to_batch, to_space

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..reference.words import CutWords, JoinWords

ArrayT = TypeVar("ArrayT")  # a NumPy array or a tensor


class Partition:
    """How images of one size are cut into windows that become samples: frozen and hashable, equal by its geometry.

    Attributes:
        geometry: of the shape that it was made for. Other numbers of samples and channels are taken as well.
    """

    geometry: BlockGeometry
    _ops: ClassVar[tuple[str, str]] = ("partition", "merge")

    def __init__(self, geometry: BlockGeometry) -> None:
        own = self.__dict__
        own["geometry"] = geometry
        order: Any = {"spatial_dims": geometry.spatial_dims}
        order |= {"batch_order": geometry.batch_order, "arrangement": geometry.arrangement}
        order["shifts"] = geometry.shifts if _any(geometry.shifts) else 0
        own["_space"] = {"block_shape": geometry.block_shape, "paddings": geometry.paddings, **order}
        own["_batch"] = {"block_shape": geometry.block_shape, "crops": geometry.paddings, **order}

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be set")

    def __eq__(self, other: object) -> bool:
        return self.geometry == other.geometry if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.geometry)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.geometry)

    def __repr__(self) -> str:
        shift = ", shifted" if self.geometry.shifted else ""
        return f"{type(self).__name__}(of {self.window_size} from {self.image_size}{shift}, {self.geometry!r})"

    @property
    def window_size(self) -> tuple[int, ...]:
        """Cells of a window along each spatial dim."""
        return tuple([self.geometry.batch_shape[d] for d in self.geometry.spatial_dims])

    @property
    def image_size(self) -> tuple[int, ...]:
        """Elements of the image along each spatial dim, without padding."""
        return tuple([self.geometry.space_shape[d] for d in self.geometry.spatial_dims])

    @property
    def grid(self) -> tuple[int, ...]:
        """Windows along each spatial dim."""
        return self.geometry.block_shape

    @property
    def windows(self) -> int:
        """Windows of a sample."""
        return self.geometry.phases

    def partition(
        self, x: ArrayT, *, pad_value: Any = 0, out: ArrayT | None = None, **words: Unpack[CutWords]
    ) -> ArrayT:
        """The windows of images of this size, in one pass over memory.

        >>> import numpy as np
        >>> Windows((1, 1, 6), 2).partition(np.arange(6).reshape(1, 1, 6)).tolist()
        [[[0, 1]], [[2, 3]], [[4, 5]]]

        Args:
            x: array or tensor of any number of samples and channels.
            pad_value: what the padding holds. out: where to write, as in `spacebatch.space_to_batch`.
            words: what is computed on the way, as in `spacebatch.fused.space_to_batch`.

        Returns:
            (samples * windows, …), the windows of a sample one after the other; the spatial dims hold the cells.

        Raises:
            ValueError: another image size.
        """
        self._check(self._ops[0], x, self.image_size, "images of")
        return self._partition(self._ops[0], x, pad_value=pad_value, out=out, words=words)  # type: ignore[no-any-return]

    def merge(self, y: ArrayT, *, out: ArrayT | None = None, **words: Unpack[JoinWords]) -> ArrayT:
        """The images of which these are the windows; what was padded is dropped, and what was shifted moves back.

        >>> import numpy as np
        >>> windows = Windows((1, 1, 5), 2, shift=1)
        >>> windows.merge(windows.partition(np.arange(5).reshape(1, 1, 5))).tolist()
        [[[0, 1, 2, 3, 4]]]

        Args:
            y: array or tensor of any number of samples and channels, as `partition` returns it. out: where to write.
            words: what is computed on the way, as in `spacebatch.fused.batch_to_space`: a residual is of the images' shape.

        Raises:
            ValueError: another window size, or a number of windows that makes no whole image.
        """
        self._check(self._ops[1], y, self.window_size, "windows of")
        batch = getattr(y, "shape", (0,))[0]
        if batch % self.windows:
            raise ValueError(no_whole_images(self._ops[1], batch, self.windows, self.image_size))
        return self._merge(self._ops[1], y, out=out, words=words)  # type: ignore[no-any-return]

    def mask(self, like: Any = None, *, fill: float | None = None, padding: bool = False) -> Any:
        """Which cells of each window may see each other, for attention; None where all may.

        >>> Windows((1, 1, 4), 2, shift=1).mask(fill=-100.0)[1].tolist()  # of the window [3, 0]
        [[0.0, -100.0], [-100.0, 0.0]]

        Args:
            like: a tensor; the mask is then one on its device, kept for the next call: do not write to it.
            fill: makes the mask additive, of the dtype of `like` where that is a floating one, else float32.
            padding: whether padded cells are hidden from the others. They see each other, so no row is empty.

        Returns:
            (windows of a sample, cells, cells), True or 0 where cells may see each other; None where nothing is hidden.

        Source: Swin's attention mask for shifted windows.
        """
        geometry = self.geometry
        if not _any(geometry.shifts) and not (padding and any(map(_any, geometry.paddings))):
            return None
        return masks.mask_like(geometry, like, fill, padding)

    def _partition(self, op: str, x: Any, **options: Any) -> Any:
        return to_batch(op, x, self.__dict__["_space"], **options)

    def _merge(self, op: str, y: Any, **options: Any) -> Any:
        return to_space(op, y, self.__dict__["_batch"], **options)

    def _check(self, op: str, x: Any, sizes: tuple[int, ...], what: str) -> None:
        shape = getattr(x, "shape", None)
        if shape is None:
            return  # refused by the function
        dims = self.geometry.spatial_dims
        if len(shape) != len(self.geometry.space_shape) or any(map(ne, [shape[d] for d in dims], sizes)):
            raise ValueError(f"{op}: the input has shape {tuple(shape)}, this is for {what} {sizes} in dims {dims}")


class Windows(Partition):
    """The windows of images of one size, as Swin cuts them; the end is padded where they do not fit.

    >>> import torch
    >>> windows = Windows((8, 56, 60, 96), 7, shift=3, layout="NHWC")
    >>> windows.grid, windows.mask().shape
    ((8, 9), (72, 49, 49))
    >>> y = windows.partition(torch.rand(2, 56, 60, 96))
    >>> y.shape, windows.merge(y).shape
    (torch.Size([144, 7, 7, 96]), torch.Size([2, 56, 60, 96]))

    Args:
        shape: of a tensor of images; others of their size are taken as well.
        window_size, shift, layout, covered: as in `window_partition`.

    Raises:
        ValueError, TypeError: bad arguments.
    """

    _ops = "Windows.partition", "Windows.merge"

    def __init__(
        self,
        shape: Sequence[int],
        window_size: int | Sequence[int],
        *,
        shift: int | Sequence[int] = 0,
        layout: str = ANY_RANK,
        covered: Covered = "shift",
        op: str = "Windows",
    ) -> None:
        options: Any = {"shift": shift, "layout": layout, "covered": covered, "op": op}
        super().__init__(BlockGeometry.windows(shape, window_size, **options))


class Grid(Partition):
    """The grids of images of one size, as MaxViT cuts them; the end is padded where they do not fit.

    >>> Grid((8, 14, 28, 96), 7, layout="NHWC").grid
    (2, 4)

    Args:
        shape: of a tensor of images; others of their size are taken as well.
        grid_size, layout: as in `grid_partition`.

    Raises:
        ValueError, TypeError: bad arguments.
    """

    _ops = "Grid.partition", "Grid.merge"

    def __init__(
        self, shape: Sequence[int], grid_size: int | Sequence[int], *, layout: str = ANY_RANK, op: str = "Grid"
    ) -> None:
        super().__init__(BlockGeometry.grid(shape, grid_size, layout=layout, op=op))


def no_whole_images(op: str, batch: int, count: int, sizes: tuple[int, ...]) -> str:
    """What is wrong with a batch that is no multiple of the samples of an image."""
    return f"{op}: the batch of {batch} is no multiple of {count}, the samples that an image of {shown(sizes)} becomes"


def _any(numbers: Sequence[int]) -> bool:
    """Whether there is one but zero; cached properties of a geometry are nothing that a compiler can ask."""
    return any(map(bool, numbers))


def _again(kind: type[Partition], geometry: BlockGeometry) -> Partition:
    """A partition that was pickled or copied."""
    made = kind.__new__(kind)
    Partition.__init__(made, geometry)
    return made
