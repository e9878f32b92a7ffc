"""Single programs of the Triton kernels on tensors of any size, of which no memory exists: which words they move, and whence.

Triton's interpreter runs a program as on a GPU, 32-bit numbers wrapping around; its loads and stores are replaced by ones
that take down the addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import triton
from triton.runtime import interpreter

from spacebatch import BlockGeometry
from spacebatch.reference.loops import Direction
from spacebatch.tl_kernels import launch
from spacebatch.tl_kernels.family import Plan

LOW, HIGH, NOTHING = -1, -2, -3  # the pad words, and what is loaded from nowhere
Words = np.ndarray[Any, Any]
Strides = Sequence[int]


def moved(plan: Plan, tile: int, program: int) -> tuple[Words, Words]:
    """The places that a program writes, in words, and what it writes there: the place that was read, or a pad word."""
    # whatever the width of words: they must hold the places that were read
    source, result = torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
    written: list[tuple[Words, Words]] = []

    def offsets(pointers: Words, base: torch.Tensor) -> Words:
        return (pointers.astype(np.int64) - base.data_ptr()) // 8

    def load(pointers: Any, mask: Any, other: Any, *_: Any) -> Any:
        missing = NOTHING if other is None else other.data
        value = np.where(mask.data, offsets(pointers.data, source), missing)
        return interpreter.TensorHandle(value, pointers.get_element_ty())

    def store(pointers: Any, value: Any, mask: Any, *_: Any) -> None:
        places, values, there = np.broadcast_arrays(offsets(pointers.data, result), value.data, mask.data)
        written.append((places[there], values[there]))

    def handle(number: int) -> Any:
        return interpreter.TensorHandle(np.array([number], dtype=np.int32), triton.language.int32)

    def argument(value: Any) -> Any:
        if isinstance(value, int) and 2**31 <= value < 2**32:  # the interpreter would hold it in 32 bits, a GPU in 64
            return triton.language.tensor(
                interpreter.TensorHandle(np.array([value]), triton.language.int64), triton.language.int64
            )
        return convert(value)

    convert = interpreter._implicit_cvt
    a = plan.arguments(tile)
    programs = plan.programs(tile)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter, "_implicit_cvt", argument)
        builder = interpreter.interpreter_builder
        patch.setattr(builder, "create_masked_load", load)
        patch.setattr(builder, "create_masked_store", store)
        patch.setattr(builder, "create_get_program_id", lambda axis: handle(program))
        patch.setattr(builder, "create_get_num_programs", lambda axis: handle(programs))
        launch.KERNELS[plan.family][(1,)](
            source, result, a.items, a.loops, a.inner, LOW, HIGH, **a.flags, TILE=tile, num_warps=4
        )
    return np.concatenate([places for places, _ in written]), np.concatenate([values for _, values in written])


def expected(
    direction: Direction, geometry: BlockGeometry, strides: tuple[Strides, Strides], size: int, words: int, place: int
) -> int:
    """What stands in a word of a dense result by the definition: a place of the source, in words, or a pad word.

    Args:
        direction, geometry: of the call.
        strides: of both tensors, in elements; space first.
        size: bytes of an element.
        words: bytes of a word, which is half an element, an element, or some that lie side by side.
        place: of the word.
    """
    element, within = divmod(place * words, size)
    to_batch = direction == "space_to_batch"
    shape = geometry.batch_shape if to_batch else geometry.space_shape
    index = [0] * len(shape)
    for d in sorted((d for d in range(len(shape)) if shape[d] > 1), key=lambda d: -strides[to_batch][d]):
        index[d], element = divmod(element, strides[to_batch][d])
    assert element == 0
    there = geometry.space_index(index) if to_batch else geometry.batch_index(index)
    if there is None:
        return HIGH if within else LOW
    return (sum(i * s for i, s in zip(there, strides[not to_batch], strict=True)) * size + within) // words
