"""Inputs of any strides are read as they are; outputs keep the memory order, the same on every backend."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import spacebatch
from spacebatch.reference import definition
from spacebatch.reference.memory_order import dense_strides, memory_order
from tests.bits import define_batch, define_space, random_tensor, same, using
from tests.cases import Case, each_case, each_option

# name: a tensor of N samples in the given layout; (N, 3, 4, 6) unless it says otherwise
LAYOUTS: dict[str, Callable[[int, torch.dtype], torch.Tensor]] = {
    "contiguous": lambda N, t: random_tensor((N, 3, 4, 6), t),
    "channels_last": lambda N, t: random_tensor((N, 3, 4, 6), t).to(memory_format=torch.channels_last),
    "channels_last_3d": lambda N, t: random_tensor((N, 3, 4, 2, 6), t).to(memory_format=torch.channels_last_3d),
    "channels_last_one_channel": lambda N, t: random_tensor((N, 1, 4, 6), t).to(memory_format=torch.channels_last),
    "channels_last_one_row": lambda N, t: (
        random_tensor((N, 3, 4, 6), t).to(memory_format=torch.channels_last)[:, :, :, :1].expand(N, 3, 4, 6)
    ),
    "transposed": lambda N, t: random_tensor((N, 3, 6, 4), t).transpose(2, 3),
    "batch_innermost": lambda N, t: random_tensor((3, 4, 6, N), t).permute(3, 0, 1, 2),
    "all_reversed": lambda N, t: random_tensor((6, 4, 3, N), t).permute(3, 2, 1, 0),
    "sliced": lambda N, t: random_tensor((N, 3, 9, 13), t)[:, :, 1:9:2, ::2][:, :, :, :6],
    "offset": lambda N, t: random_tensor((N * 72 + 5,), t)[5:].view(N, 3, 4, 6),
    "every_second_channel": lambda N, t: random_tensor((N, 6, 4, 6), t)[:, ::2],
    "expanded_batch": lambda N, t: random_tensor((1, 3, 4, 6), t).expand(N, 3, 4, 6),
    "expanded_space": lambda N, t: random_tensor((N, 3, 1, 6), t).expand(N, 3, 4, 6),
    "one_element_expanded": lambda N, t: random_tensor((1, 1, 1, 1), t).expand(N, 3, 4, 6),
    "overlapping": lambda N, t: random_tensor((20 * N + 40,), t).as_strided((N, 3, 4, 6), (20, 7, 3, 1)),
    "empty_channels_last": lambda N, t: random_tensor((N, 0, 4, 6), t).to(memory_format=torch.channels_last),
}
each_layout = pytest.mark.parametrize("layout", LAYOUTS)
BLOCKS = {"block_shape": (2, 3)}
BORDERS = {"plain": (0, 0), "padded": ((1, 1), (2, 1))}
each_border = pytest.mark.parametrize("border", BORDERS)


@each_layout
@each_border
@each_option
def test_tensors(backend: str, layout: str, border: str, options: dict[str, Any]) -> None:
    for dtype in (torch.uint8, torch.bfloat16, torch.float32):
        x, z = (LAYOUTS[layout](samples, dtype) for samples in (2, 12))
        y = spacebatch.space_to_batch(x, **BLOCKS, paddings=BORDERS[border], pad_value=3, **options)
        assert same(y, define_batch(x, **BLOCKS, paddings=BORDERS[border], pad_value=3, **options))
        back = spacebatch.batch_to_space(z, **BLOCKS, crops=BORDERS[border], **options)
        assert same(back, define_space(z, **BLOCKS, crops=BORDERS[border], **options))


@each_layout
@each_border
def test_arrays(layout: str, border: str) -> None:
    x = LAYOUTS[layout](2, torch.int32).numpy()
    for view in (x, x[::-1], x[:, :, ::-1, ::-1], np.flip(x)):
        y = spacebatch.space_to_batch(view, **BLOCKS, paddings=BORDERS[border])
        assert same(y, definition.space_to_batch(view, **BLOCKS, paddings=BORDERS[border]))
    for view in (y, np.flip(y)):
        z = spacebatch.batch_to_space(view, **BLOCKS, crops=BORDERS[border])
        assert same(z, definition.batch_to_space(view, **BLOCKS, crops=BORDERS[border]))


@each_layout
@each_border
@each_option
def test_strides_are_the_same_everywhere(layout: str, border: str, options: dict[str, Any]) -> None:
    x = LAYOUTS[layout](2, torch.float32)
    to_batch = {**BLOCKS, "paddings": BORDERS[border], **options}
    to_space = {**BLOCKS, "crops": BORDERS[border], **options}

    def strides(tensor: torch.Tensor) -> tuple[Any, ...]:
        y = spacebatch.space_to_batch(tensor, **to_batch)
        return y.stride(), spacebatch.batch_to_space(y, **to_space).stride()

    found = {"meta": strides(torch.empty_strided(x.shape, x.stride(), device="meta"))}
    for name in ("chosen", "numpy", "torch"):
        with using(name):
            found[name] = strides(x)
    mapped = torch.vmap(lambda z: spacebatch.space_to_batch(z, **to_batch))(x[None])
    found["vmap"] = (mapped.stride()[1:], found["meta"][1])
    array = spacebatch.space_to_batch(x.numpy(), **to_batch)
    back = spacebatch.batch_to_space(array, **to_space)
    if array.size:  # NumPy counts the steps of an empty array in its own way
        found["array"] = tuple(tuple(s // a.itemsize for s in a.strides) for a in (array, back))
    assert len(set(found.values())) == 1, found


@each_case
@each_option
def test_strides_of_every_case(case: Case, options: dict[str, Any]) -> None:
    """In the usual memory order and in the opposite one, of real tensors and of meta tensors."""
    geometry = case.geometry(**options)
    for order in (range(len(case.shape)), range(len(case.shape))[::-1]):
        found = set()
        for name, device in (("chosen", "cpu"), ("numpy", "cpu"), ("torch", "cpu"), ("torch", "meta")):
            space, batch = (
                torch.empty_strided(shape, dense_strides(shape, order), device=device)
                for shape in (geometry.space_shape, geometry.batch_shape)
            )
            with using(name):
                y = spacebatch.space_to_batch(space, **geometry.arguments)
                x = spacebatch.batch_to_space(batch, **geometry.inverse)
            assert (y.shape, x.shape) == (geometry.batch_shape, geometry.space_shape)
            assert (y.dtype, x.dtype, x.device.type) == (space.dtype, batch.dtype, device)
            found.add((y.stride(), x.stride()))
        assert len(found) == 1, found


KEPT = ("contiguous", "channels_last", "channels_last_3d", "transposed", "batch_innermost", "all_reversed")


@pytest.mark.parametrize("layout", KEPT)
def test_memory_order_is_kept(backend: str, layout: str) -> None:
    """The dims sorted by stride come in the same order, and the output is dense."""
    x = LAYOUTS[layout](2, torch.float32)
    y = spacebatch.space_to_batch(x, **BLOCKS, paddings=((1, 1), (3, 3)))
    assert y.stride() == dense_strides(y.shape, sorted(range(x.dim()), key=lambda d: -x.stride(d)))


def test_memory_order() -> None:
    """Ties stay in place; elsewhere it is the rule of PyTorch's elementwise operators, which know no other."""
    assert memory_order((3, 4), (1, 1)) == memory_order((3, 4), (0, 0)) == memory_order((3, 4), (0, 1)) == (0, 1)
    assert memory_order((3, 1, 4), (1, 5, 3)) == (2, 1, 0)  # a size of 1 ties with all
    assert memory_order((3, 4), (1, -3)) == memory_order((3, 4), (8, 24)) == (1, 0)
    for steps in itertools.permutations((1, 2, 5, 40)):
        for shape in ((2, 3, 4, 5), (2, 1, 3, 2), (3, 1, 1, 2)):
            x = torch.zeros(400).as_strided(shape, steps)
            mine, theirs = dense_strides(shape, memory_order(shape, steps)), (x + 1).stride()
            assert [s for s, size in zip(mine, shape, strict=True) if size > 1] == [
                s for s, size in zip(theirs, shape, strict=True) if size > 1
            ]


@pytest.mark.parametrize("border", BORDERS)
def test_lazy_conjugates_and_negatives(backend: str, border: str) -> None:
    """Views that hold their sign in a flag move as the numbers they stand for."""
    x = torch.randn(2, 3, 4, 6, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    for lazy in (x.conj(), x.imag._neg_view(), x.conj().imag):
        assert lazy.is_conj() or lazy.is_neg()
        solid = lazy.resolve_conj().resolve_neg().clone()
        y = spacebatch.space_to_batch(lazy, **BLOCKS, paddings=BORDERS[border], pad_value=2)
        assert same(y, define_batch(solid, **BLOCKS, paddings=BORDERS[border], pad_value=2))
        z = torch.cat([solid] * 3)
        lazy_z = z.conj_physical().conj() if z.is_complex() else z.neg()._neg_view()
        assert same(
            spacebatch.batch_to_space(lazy_z, **BLOCKS, crops=BORDERS[border]),
            define_space(z, **BLOCKS, crops=BORDERS[border]),
        )


@pytest.mark.parametrize("side", [8, 256])
def test_the_default_device_does_not_matter(side: int, backend: str) -> None:
    x = torch.arange(side * side).view(1, 1, side, side).bfloat16()
    with torch.device("meta"):
        y = spacebatch.space_to_batch(x, 2, ((1, 1), (0, 0)), pad_value=2)
        back = spacebatch.batch_to_space(y, 2, ((1, 1), (0, 0)))
    assert y.device.type == "cpu"
    assert torch.equal(back, x)
