"""Blocks by their size: windows, grids, dilated groups, phases, and blocks in the channels, under the names of their fields.

>>> import numpy as np
>>> from spacebatch import windows
>>> x = np.zeros((2, 14, 20, 96))
>>> windows.window_partition(x, 7, shift=3, layout="NHWC").shape
(12, 7, 7, 96)
>>> swin = windows.Windows(x.shape, 7, shift=3, layout="NHWC")
>>> swin.merge(swin.partition(x)).shape, swin.mask().shape
((2, 14, 20, 96), (6, 49, 49))

Each is a few lines over `space_to_batch` and `batch_to_space`: arrays give arrays, tensors give tensors.
"""

from typing import TYPE_CHECKING, NoReturn

from .depth import depth_to_space, space_to_depth
from .partition import Grid, Windows
from .partitions import dilated_merge, dilated_partition, grid_merge, grid_partition, window_merge, window_partition
from .phases import batch_to_time, inverse_polyphase, polyphase, time_to_batch

__all__ = [
    "Grid",
    "Windows",
    "batch_to_time",
    "depth_to_space",
    "dilated_merge",
    "dilated_partition",
    "grid_merge",
    "grid_partition",
    "inverse_polyphase",
    "polyphase",
    "space_to_depth",
    "time_to_batch",
    "window_merge",
    "window_partition",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> NoReturn:
        from ..near_names import absent

        raise absent(__name__, name, __all__)
