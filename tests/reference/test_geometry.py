"""BlockGeometry: the object itself, its index maps and masks, and what it accepts as arguments."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

import spacebatch
from spacebatch import BlockGeometry, required_paddings
from spacebatch.reference import definition, kept_geometries
from spacebatch.reference.geometry import BatchArguments, SpaceArguments
from spacebatch.reference.kept_geometries import batch_geometry, space_geometry
from tests.cases import Case, each_case, each_option, elements


@each_case
@each_option
def test_index_maps_are_the_definition(case: Case, options: dict[str, Any]) -> None:
    """The operators move index numbers; the maps must say the same."""
    g = case.geometry(**options)
    numbers = np.arange(elements(case)).reshape(case.shape)
    moved = definition.space_to_batch(numbers, **case.arguments, pad_value=-1, **options)
    assert np.array_equal(g.space_indices(), moved)
    assert g.space_indices().dtype == g.batch_indices().dtype == np.int64
    assert np.array_equal(g.valid_mask(), moved >= 0)
    places = np.arange(moved.size).reshape(moved.shape)
    assert np.array_equal(g.batch_indices(), definition.batch_to_space(places, **g.inverse))
    for batch, number in np.ndenumerate(moved):
        space = tuple(int(i) for i in np.unravel_index(number, case.shape)) if number >= 0 else None
        assert g.space_index(batch) == space
        if space is not None:
            assert g.batch_index(space) == batch


@each_case
@each_option
def test_seen_from_the_batch_tensor(case: Case, options: dict[str, Any]) -> None:
    g = case.geometry(**options)
    back = BlockGeometry.from_batch(g.batch_shape, **g.inverse)
    assert back == g
    assert hash(back) == hash(g)
    assert dataclasses.asdict(back) == dataclasses.asdict(g)


@each_case
def test_repr_makes_it_again(case: Case) -> None:
    g = case.geometry(batch_order="batch_major", arrangement="contiguous")
    assert eval(repr(g), {"BlockGeometry": BlockGeometry}) == g
    assert BlockGeometry(g.space_shape, **g.arguments) == g


def test_fields() -> None:
    g = BlockGeometry((2, 3, 5, 7), (2, 3), ((1, 2), (0, 2)), arrangement="contiguous")
    assert (g.space_shape, g.batch_shape) == ((2, 3, 5, 7), (12, 3, 4, 3))
    assert (g.block_shape, g.paddings, g.spatial_dims) == ((2, 3), ((1, 2), (0, 2)), (2, 3))
    assert (g.samples, g.phases, g.padded) == (2, 6, True)
    assert g.axes == ((2, 5, 2, 1, 2, 4, 4, 0), (3, 7, 3, 0, 2, 3, 3, 0))
    assert BlockGeometry((2, 3, 5, 7), (2, 3), ((1, 2), (0, 2)), shifts=(-3, 9)).shifts == (5, 0)
    assert BlockGeometry((2, 0), (2,), shifts=3).shifts == (0,)
    assert BlockGeometry((2, 3, 5, 7), (2, 3), ((1, 2), (0, 2))).axes[0].extent == 2
    assert g.divisible == (False, False)
    assert BlockGeometry((1, 4, 9), (2, 3)).divisible == (True, True)
    assert not BlockGeometry((1, 4, 9), (2, 3)).padded
    assert g.arguments.keys() == {"block_shape", "paddings", "spatial_dims", "batch_order", "arrangement", "shifts"}
    assert g.inverse == {**{k: v for k, v in g.arguments.items() if k != "paddings"}, "crops": g.paddings}


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(BlockGeometry)])
def test_frozen(name: str) -> None:
    g = BlockGeometry((1, 4), (2,))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(g, name, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(g, name)


def test_equality() -> None:
    def make(shape: Any = (2, 4, 4), block: Any = (2, 2), paddings: Any = 0, **options: Any) -> BlockGeometry:
        return BlockGeometry(shape, block, paddings, **options)

    base = make()
    assert make([2, 4, 4], [2, 2], [(0, 0), [0, 0]], spatial_dims=(-2, 2)) == base
    assert make(shifts=(4, -8)) == base
    assert make(shifts=(3, 0)) == make(shifts=[-1, np.int64(4)]) != base
    others = [
        make((4, 4, 4)),
        make(block=(2, 1)),
        make(paddings=1),
        make(spatial_dims=(2, 1)),
        make(batch_order="batch_major"),
        make(arrangement="contiguous"),
        make(shifts=1),
        make(shifts=(1, 0)),
    ]
    assert len({base, make(), *others}) == 1 + len(others)
    assert base != base.space_shape
    assert {base: "found"}[make()] == "found"


def test_copies() -> None:
    g = BlockGeometry((1, 3, 5, 5), 2, "auto", shifts=(0, -2))
    for made in (pickle.loads(pickle.dumps(g)), copy.copy(g), copy.deepcopy(g)):
        assert made == g
        assert hash(made) == hash(g)
        assert made.axes == g.axes
        assert repr(made) == repr(g)


def test_what_is_kept_for_a_geometry_is_no_part_of_it() -> None:
    g, other = BlockGeometry((1, 3, 5, 5), 2, "auto"), BlockGeometry((1, 3, 5, 5), 2, "auto")
    g._prepared["call"] = lambda: None  # cannot be pickled
    assert (g, hash(g), repr(g)) == (other, hash(other), repr(other))
    assert not other._prepared
    assert "call" not in pickle.loads(pickle.dumps(g))._prepared
    assert "_prepared" not in dataclasses.asdict(g)


WORDS = "block_major", "interleaved"
BOTH = pytest.mark.parametrize("make", [space_geometry, batch_geometry])


@BOTH
def test_geometries_are_kept_by_shape_and_arguments(make: Any) -> None:
    kept = make((4, 3, 8, 8), (2, 2), ((1, 1), (0, 0)), None, *WORDS)
    assert make(torch.Size((4, 3, 8, 8)), (2, 2), ((1, 1), (0, 0)), None, *WORDS) is kept
    assert type(kept.space_shape) is tuple
    for given in (
        ([2, 2], [[1, 1], [0, 0]], None),
        (np.array([2, 2]), ((np.int64(1), 1), np.array([0, 0])), (torch.tensor(2), 3)),
        (iter((2, 2)), iter(((1, 1), (0, 0))), iter((2, 3))),
    ):
        assert make((4, 3, 8, 8), *given, *WORDS) == kept
    assert make((8, 3, 8, 8), (2, 2), ((1, 1), (0, 0)), None, *WORDS) != kept
    assert make((4, 3, 8, 8), (2, 2), ((1, 1), (0, 0)), None, "batch_major", "interleaved") != kept
    moved = make((4, 3, 8, 8), (2, 2), ((1, 1), (0, 0)), None, *WORDS, (0, 3))
    assert moved != kept
    assert make((4, 3, 8, 8), (2, 2), ((1, 1), (0, 0)), None, *WORDS, (0, 3)) is moved


@BOTH
@pytest.mark.parametrize(
    "wrong", [True, 1.0, (True, 1), (1, 1.0), [1, True], ((1, True),) * 2, b"\x01", (b"\x01", b"\x01")], ids=repr
)
def test_what_equals_kept_arguments_is_still_refused(make: Any, wrong: Any) -> None:
    for blocks in (1, (1, 1), (np.array(1, np.uint8), 1)):
        for borders in (1, (1, 1), ((1, 1), (1, 1)), (np.array(1, np.uint8), 1)):
            make((4, 3, 8, 8), blocks, borders, (1, 2), *WORDS)
    for arguments in ((wrong, 1, (1, 2)), (1, wrong, (1, 2)), ((1, 1), wrong, (1, 2))):
        with pytest.raises(TypeError, match=r"must be an integer"):
            make((4, 3, 8, 8), *arguments, *WORDS)


@BOTH
def test_not_every_geometry_is_kept(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = kept_geometries._met_space if make is space_geometry else kept_geometries._met_batch
    monkeypatch.setattr(kept_geometries, "MOST_MET", 8)
    for size in range(100):
        assert make((4, size, 8, 8), 2, 0, None, *WORDS).space_shape[1] == size
        assert len(kept) <= 8


@BOTH
def test_arrays_that_change_are_read_again(make: Any) -> None:
    blocks = np.array([1, 2])
    assert make((4, 3, 8, 8), blocks, 0, None, *WORDS).block_shape == (1, 2)
    blocks[0] = 2
    assert make((4, 3, 8, 8), blocks, 0, None, *WORDS).block_shape == (2, 2)


def test_messages_of_kept_geometries_name_the_operator() -> None:
    space_geometry((4, 3, 8, 8), 2, 0, None, *WORDS)
    with pytest.raises(ValueError, match=r"^mine: dim 2 of size 8"):
        space_geometry((4, 3, 8, 8), 3, 0, None, *WORDS, op="mine")
    with pytest.raises(ValueError, match=r"^mine: the batch size 4"):
        batch_geometry((4, 3, 8, 8), 3, 0, None, *WORDS, op="mine")


EQUIVALENT = {
    "int": (2, 1, (2, 3)),
    "lists": ([2, 2], [1, 1], [2, 3]),
    "numpy-scalars": (np.int64(2), np.uint8(1), (np.int32(2), np.int16(3))),
    "numpy-0d": (np.array(2), np.array(1), np.array([2, 3])),
    "numpy-arrays": (np.array([2, 2]), np.array([[1, 1], [1, 1]]), np.array([-2, -1])),
    "torch-sizes": (torch.Size([2, 2]), torch.Size([1, 1]), torch.Size([2, 3])),
    "torch-0d": (torch.tensor(2), torch.tensor(1), (torch.tensor(2), torch.tensor(3))),
    "torch-tensors": (torch.tensor([2, 2]), torch.tensor([[1, 1], [1, 1]]), torch.tensor([2, 3])),
    "pairs-of-lists": ((2, 2), [[1, 1], (1, 1)], range(2, 4)),
    "generators": (iter((2, 2)), iter((1, 1)), iter((2, 3))),
}


@pytest.mark.parametrize("name", EQUIVALENT)
def test_arguments_of_any_integers(name: str) -> None:
    block, paddings, dims = EQUIVALENT[name]
    g = BlockGeometry(torch.Size([1, 3, 4, 6]), block, paddings, spatial_dims=dims)
    assert g == BlockGeometry((1, 3, 4, 6), (2, 2), ((1, 1), (1, 1)), spatial_dims=(2, 3))
    values = [*g.space_shape, *g.block_shape, *(s for pair in g.paddings for s in pair), *g.spatial_dims]
    assert {type(value) for value in values} == {int}


@pytest.mark.parametrize("name", [name for name in EQUIVALENT if name != "generators"])
def test_functions_take_them_too(name: str) -> None:
    block, paddings, dims = EQUIVALENT[name]
    x = torch.arange(72).view(1, 3, 4, 6)
    expected = spacebatch.space_to_batch(x, (2, 2), 1)
    assert torch.equal(spacebatch.space_to_batch(x, block, paddings, spatial_dims=dims), expected)
    assert torch.equal(spacebatch.batch_to_space(expected, block, paddings, spatial_dims=dims), x)


def test_auto_pads_the_end_up_to_the_next_multiple() -> None:
    for size in range(10):
        for block in range(1, 6):
            g = BlockGeometry((1, size), (block,), "auto")
            ((before, after),) = g.paddings
            assert before == 0
            assert 0 <= after < block
            assert (size + after) % block == 0


def test_a_geometry_of_sizes_near_int64() -> None:
    """Sizes are Python ints: nothing wraps, and nothing is allocated."""
    top = 2**63 - 1
    g = BlockGeometry((1, top), (7,), 0)  # 2**63 - 1 is divisible by 7
    assert g.batch_shape == (7, top // 7)
    assert g.space_index((6, top // 7 - 1)) == (0, top - 1)
    assert g.batch_index((0, top - 1)) == (6, top // 7 - 1)
    assert BlockGeometry((1, top - 7), (7,), ((0, 7),)).batch_shape == (7, top // 7)
    assert BlockGeometry((0, 2**62), (2,)).batch_shape == (0, 2**61)
    with pytest.raises(ValueError, match=r"the batch shape .* has more than 2\*\*63 - 1 elements"):
        BlockGeometry((1, top), (7,), ((0, 7),))
    with pytest.raises(ValueError, match=r"the space shape .* has more than 2\*\*63 - 1 elements"):
        BlockGeometry((0, 2**62, 4), (2,), spatial_dims=(1,))


def test_the_mask_takes_no_memory_for_dims_that_are_not_blocked() -> None:
    mask = BlockGeometry((1, 2**40, 5), (2,), "auto").valid_mask()
    assert mask.shape == (2, 2**40, 3)
    assert mask[:, 0].tolist() == [[True, True, True], [True, True, False]]
    assert not mask.flags.writeable


def test_required_paddings() -> None:
    assert required_paddings((10, 12), (4, 3)) == (((0, 2), (0, 0)), ((0, 2), (0, 0)))
    assert required_paddings((5,), (2,), ((1, 0),)) == (((1, 0),), ((0, 0),))
    assert required_paddings((5,), (2,), ((1, 1),)) == (((1, 2),), ((0, 1),))
    assert required_paddings(np.array([5, 7]), [2, 4], 1) == (((1, 2), (1, 4)), ((0, 1), (0, 3)))
    assert required_paddings((0,), (3,)) == (((0, 0),), ((0, 0),))
    for size in range(8):
        for block in range(1, 5):
            (padding,), (crop,) = required_paddings((size,), (block,), ((2, 1),))
            y = spacebatch.space_to_batch(np.arange(size)[None], (block,), (padding,))
            assert spacebatch.batch_to_space(y, (block,), (crop,)).shape == (1, size + 3)
    assert required_paddings((5, 8), 4) == required_paddings((5, 8), (4, 4))
    assert required_paddings((5,), np.int64(2)) == (((0, 1),), ((0, 1),))


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy], ids=["array", "tensor"])
def test_the_operators_of_a_geometry(kind: Any) -> None:
    g = BlockGeometry((1, 3, 5, 5), (2, 3), ((1, 0), (0, 1)), batch_order="batch_major", arrangement="contiguous")
    x = kind(np.arange(75, dtype=np.int32).reshape(1, 3, 5, 5))
    y = g.space_to_batch(x, pad_value=-1)
    assert type(y) is type(x)
    assert np.array_equal(y, spacebatch.space_to_batch(x, **g.arguments, pad_value=-1))
    assert np.array_equal(g.batch_to_space(y), x)
    out, back = kind(np.zeros_like(np.asarray(y))), kind(np.zeros_like(np.asarray(x)))
    assert g.space_to_batch(x, pad_value=-1, out=out) is out
    assert g.batch_to_space(y, out=back) is back
    assert np.array_equal(out, y)
    assert np.array_equal(back, x)
    with pytest.raises(
        ValueError, match=r"^space_to_batch: the input has shape \(6, .*, this geometry has \(1, 3, 5, 5\)"
    ):
        g.space_to_batch(y)
    with pytest.raises(
        ValueError, match=r"^batch_to_space: the input has shape \(1, 3, 5, 5\), this geometry has \(6,"
    ):
        g.batch_to_space(x)
    with pytest.raises(TypeError, match=r"^space_to_batch: the input must be"):
        g.space_to_batch([1, 2])


def test_the_operators_of_a_geometry_on_arrays_need_no_torch() -> None:
    code = """if True:
        import sys, numpy as np
        from spacebatch import BlockGeometry
        g = BlockGeometry((1, 5), (2,), "auto")
        print(g.batch_to_space(g.space_to_batch(np.arange(5)[None])), "torch" in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "[[0 1 2 3 4]] False\n"


@pytest.mark.parametrize("op", ["space_to_batch", "batch_to_space"])
def test_arguments_are_typed_as_the_functions_are(op: str) -> None:
    typed = SpaceArguments if op == "space_to_batch" else BatchArguments
    g = BlockGeometry((1, 4), (2,))
    assert set(typed.__annotations__) == set(g.arguments if op == "space_to_batch" else g.inverse)
    assert set(typed.__annotations__) <= set(inspect.signature(getattr(spacebatch, op)).parameters)


def test_lists_are_kept_by_their_values() -> None:
    first = space_geometry((1, 3, 8, 8), [2, 2], [[0, 0], [1, 1]], None, *WORDS)
    assert space_geometry((1, 3, 8, 8), [2, 2], [[0, 0], [1, 1]], None, *WORDS) is first
    assert space_geometry((1, 3, 8, 8), [2, 2], [[0, 0], [0, 0]], None, *WORDS) != first
