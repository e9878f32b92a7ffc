"""The vector kernels on NumPy arrays."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from spacebatch.reference.cpu_path import copy_to_batch, copy_to_space
from spacebatch.reference.functions import result_like
from spacebatch.reference.geometry import BlockGeometry
from spacebatch.reference.loops import Direction
from spacebatch.reference.threads import thread_limit

from .launch import Job, job_of

Array = npt.NDArray[Any]

NUMBERS = "biufcmM"  # kinds of dtypes that are nothing but their bits


@lru_cache(maxsize=4096)
def _job(
    direction: Direction, geometry: BlockGeometry, space: tuple[int, ...], batch: tuple[int, ...], dtype: np.dtype[Any]
) -> Job | str:
    size = dtype.itemsize
    if dtype.kind not in NUMBERS:
        return f"dtype {dtype} is not one of plain numbers"
    if any(stride % size for stride in (*space, *batch)):
        return "a stride is no whole number of elements"
    return job_of(direction, geometry, [s // size for s in space], [s // size for s in batch], size)


def job_for(direction: Direction, geometry: BlockGeometry, source: Array) -> Job | str:
    """The job for such an array with a new result, or the reason why there is none."""
    to_batch = direction == "space_to_batch"
    result = result_like(source, geometry.batch_shape if to_batch else geometry.space_shape)
    space, batch = (source, result) if to_batch else (result, source)
    return _job(direction, geometry, space.strides, batch.strides, source.dtype)


def to_batch(geometry: BlockGeometry, x: Array, y: Array, pad: Array) -> None:
    """Fill y, of the geometry's batch shape, from x."""
    job = _job("space_to_batch", geometry, x.strides, y.strides, x.dtype)
    if isinstance(job, str):
        copy_to_batch(geometry, x, y, pad)
    else:
        _run(job, x, y, pad.tobytes() if geometry.padded else b"")


def to_space(geometry: BlockGeometry, y: Array, x: Array) -> None:
    """Fill x, of the geometry's space shape, from y."""
    job = _job("batch_to_space", geometry, x.strides, y.strides, y.dtype)
    if isinstance(job, str):
        copy_to_space(geometry, y, x)
    else:
        _run(job, x, y, b"")


def _run(job: Job, x: Array, y: Array, pad: bytes) -> None:
    job.run(x.ctypes.data, y.ctypes.data, pad, thread_limit() if job.shared else 1)
