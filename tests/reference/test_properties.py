"""Algebra on random geometries: index maps, round trips, the adjoint, and blocks of blocks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import spacebatch
from spacebatch import BlockGeometry
from tests.bits import define_batch, define_space, random_tensor, same, using

bounded = settings(deadline=None, derandomize=True, max_examples=200, database=None)
few = settings(bounded, max_examples=60)


@st.composite
def geometries(draw: st.DrawFn, padded: bool = True) -> BlockGeometry:
    """Any rank from 2 to 6, any dims in any order, small enough for the definition."""
    ndim = draw(st.integers(2, 6))
    dims = draw(st.permutations(range(1, ndim)))[: draw(st.integers(1, min(3, ndim - 1)))]
    shape = [draw(st.integers(0, 3)), *(draw(st.integers(0 if draw(st.booleans()) else 1, 3)) for _ in range(ndim - 1))]
    blocks, pairs = [], []
    for d in dims:
        block, count = draw(st.integers(1, 4 if len(dims) == 1 else 3)), draw(st.integers(0, 3))
        before = draw(st.integers(0, block * count)) if padded else 0
        after = draw(st.integers(0, block * count - before)) if padded else 0
        shape[d] = block * count - before - after
        blocks.append(block)
        pairs.append((before, after))
    named = [d - ndim if draw(st.booleans()) else d for d in dims]
    return BlockGeometry(
        shape,
        blocks,
        pairs,
        spatial_dims=named,
        batch_order=draw(st.sampled_from(("block_major", "batch_major"))),
        arrangement=draw(st.sampled_from(("interleaved", "contiguous"))),
        shifts=[draw(st.integers(-7, 7)) for _ in dims] if draw(st.booleans()) else 0,
    )


@bounded
@given(geometries())
def test_index_maps(g: BlockGeometry) -> None:
    source, places, valid = g.space_indices(), g.batch_indices(), g.valid_mask()
    assert source.shape == valid.shape == g.batch_shape
    assert places.shape == g.space_shape
    assert np.array_equal(source >= 0, valid)
    assert np.array_equal(source.reshape(-1)[places.reshape(-1)], np.arange(places.size))
    assert np.count_nonzero(valid) == places.size
    assert math.prod(g.batch_shape) - places.size == np.count_nonzero(~valid)


@bounded
@given(geometries(), st.sampled_from(("chosen", "numpy", "torch", "array")))
def test_the_definition(g: BlockGeometry, kind: str) -> None:
    x, z = random_tensor(g.space_shape, torch.int16), random_tensor(g.batch_shape, torch.int16, seed=1)
    if kind == "array":
        x, z = x.numpy(), z.numpy()
    with using("chosen" if kind == "array" else kind):
        y = spacebatch.space_to_batch(x, **g.arguments, pad_value=77)
        assert same(y, define_batch(x, **g.arguments, pad_value=77))
        assert same(spacebatch.batch_to_space(z, **g.inverse), define_space(z, **g.inverse))
        assert same(spacebatch.batch_to_space(y, **g.inverse), x)


@bounded
@given(geometries())
def test_moves_are_gathers(g: BlockGeometry) -> None:
    x = random_tensor(g.space_shape, torch.int32).numpy()
    y = spacebatch.space_to_batch(x, **g.arguments, pad_value=5)
    gathered = np.append(x.reshape(-1), np.int32(5))[g.space_indices()]  # -1, the padding, is the last
    assert np.array_equal(y, gathered)
    assert np.array_equal(spacebatch.batch_to_space(y, **g.inverse), y.reshape(-1)[g.batch_indices()])


@bounded
@given(geometries(padded=False))
def test_round_trip_from_the_batch(g: BlockGeometry) -> None:
    """With nothing padded each operator undoes the other, from both ends."""
    z = random_tensor(g.batch_shape, torch.int32)
    assert same(spacebatch.space_to_batch(spacebatch.batch_to_space(z, **g.inverse), **g.arguments), z)


@bounded
@given(geometries(), st.sampled_from(("chosen", "numpy", "torch")))
def test_adjoint(g: BlockGeometry, backend: str) -> None:
    """<S x, y> = <x, B y>, in integers."""
    x, y = random_tensor(g.space_shape, torch.int16).long(), random_tensor(g.batch_shape, torch.int16, seed=1).long()
    with using(backend):
        left = (spacebatch.space_to_batch(x, **g.arguments) * y).sum()
        right = (x * spacebatch.batch_to_space(y, **g.inverse)).sum()
    assert left.item() == right.item()


@st.composite
def compositions(draw: st.DrawFn) -> dict[str, Any]:
    m = draw(st.integers(1, 3))
    b, c = ([draw(st.integers(1, 3)) for _ in range(m)] for _ in range(2))
    sizes = [p * q * draw(st.integers(1, 2 if m == 3 else 3)) for p, q in zip(b, c, strict=True)]
    order = draw(st.sampled_from(("block_major", "batch_major")))
    how = draw(st.sampled_from(("interleaved", "contiguous")))
    return {"N": draw(st.integers(1, 2)), "b": b, "c": c, "sizes": sizes, "order": order, "how": how}


@few
@given(compositions())
def test_blocks_of_blocks(made: dict[str, Any]) -> None:
    """Blocks b, then blocks c, make the blocks b * c, up to the order of the phases.

    Interleaved, a coordinate is (j * c + q) * b + p = j * bc + (q * b + p): the phase of the product is q * b + p, so q is
    the slower part. Contiguous it is p * S' + i with i = q * S'' + j, hence (p * c + q) * S'' + j: p is the slower part.
    In the batch of two steps the dims stand as (q_1 … q_M, p_1 … p_M, N) block-major and (N, p_1 … p_M, q_1 … q_M)
    batch-major; the product's has the two parts of each dim side by side. For one dim the order differs only
    block-major contiguous and batch-major interleaved.
    """
    N, b, c, m = made["N"], made["b"], made["c"], len(made["b"])
    options = {"batch_order": made["order"], "arrangement": made["how"]}
    x = random_tensor((N, *made["sizes"]), torch.int32)
    twice = spacebatch.space_to_batch(spacebatch.space_to_batch(x, b, **options), c, **options)
    once = spacebatch.space_to_batch(x, [p * q for p, q in zip(b, c, strict=True)], **options)

    rest = twice.shape[1:]
    if made["order"] == "block_major":
        split, q, p, sample = twice.view(*c, *b, N, *rest), range(m), range(m, 2 * m), 2 * m
    else:
        split, p, q, sample = twice.view(N, *b, *c, *rest), range(1, m + 1), range(m + 1, 2 * m + 1), 0
    slow, fast = (q, p) if made["how"] == "interleaved" else (p, q)
    phases = [d for pair in zip(slow, fast, strict=True) for d in pair]
    batch_dims = [*phases, sample] if made["order"] == "block_major" else [sample, *phases]
    permuted = split.permute(*batch_dims, *range(2 * m + 1, split.dim())).reshape(once.shape)
    assert same(permuted, once)
    if m == 1 and (made["order"] == "block_major") == (made["how"] == "interleaved"):
        assert same(twice, once)


@few
@given(geometries())
def test_order_and_arrangement_only_permute(g: BlockGeometry) -> None:
    """The other batch order is a transpose of (P, N); with samples apart, every order gives the same tensors."""
    x = random_tensor(g.space_shape, torch.int32)
    arguments = {**g.arguments, "batch_order": "block_major"}
    major = spacebatch.space_to_batch(x, **arguments)
    other = spacebatch.space_to_batch(x, **{**arguments, "batch_order": "batch_major"})
    if x.shape[0]:
        assert same(major.view(g.phases, g.samples, *major.shape[1:]).transpose(0, 1).reshape(other.shape), other)
        each = torch.cat([spacebatch.space_to_batch(sample[None], **arguments) for sample in x])
        assert same(each, other)
