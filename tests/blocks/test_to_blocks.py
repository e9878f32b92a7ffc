"""Images of several sizes as one batch of blocks: against the definition, cell by cell, and back."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

import spacebatch
from spacebatch import BlockGrids, to_blocks
from spacebatch.reference.prepared import waiting_for_kernels
from tests.bits import same

Array = npt.NDArray[Any]


def definition(images: list[Array], grids: BlockGrids, dims: tuple[int, ...], pad: Any) -> Array:
    """Every block cut out of its image, which has pad around it."""
    found = []
    for image, *place in grids.positions.tolist():
        x = images[image]
        reach = [max(grids.extents)] * 2
        around = [reach if d in dims else [0, 0] for d in range(x.ndim)]
        whole = np.full([n + sum(pair) for n, pair in zip(x.shape, around, strict=True)], pad, x.dtype)
        whole[tuple(slice(a, a + n) for n, (a, _) in zip(x.shape, around, strict=True))] = x
        window = [slice(None)] * x.ndim
        for k, d in enumerate(dims):
            start = reach[0] + place[k] * grids.block[k] - grids.halo[k][0]
            window[d] = slice(start, start + grids.extents[k])
        found.append(whole[tuple(window)])
    return np.stack(found)


# layout, dtype, block, halo, sizes of images along the dims that are cut: what each has is in its name
CASES = {
    "channels first, bytes": ("CHW", "uint8", (16, 16), 0, [(40, 33), (16, 16), (1, 100)]),
    "channels last": ("HWC", "float32", (8, 5), 0, [(17, 20), (8, 5), (9, 3)]),
    "a halo on each side": ("CHW", "int16", (4, 6), 2, [(9, 20), (4, 6), (5, 7)]),
    "a halo that differs, larger than an image": ("HWC", "float64", (3, 2), ((7, 0), (1, 4)), [(2, 3), (8, 8)]),
    "no channels": ("HW", "uint8", (7, 3), 1, [(20, 20), (7, 3)]),
    "signals": ("CL", "float16", (5,), ((2, 1),), [(23,), (4,), (5,)]),
    "volumes": ("CDHW", "float32", (2, 3, 4), 1, [(5, 6, 7), (2, 3, 4)]),
    "volumes, channels in the middle": ("DCHW", "complex128", (2, 2, 3), 0, [(3, 4, 5), (1, 1, 1)]),
    "images without a block": ("CHW", "bool", (3, 3), 0, [(0, 5), (4, 4), (5, 0)]),
    "blocks of one": ("CHW", "uint8", (1, 1), 0, [(2, 3), (1, 1)]),
}


def images_of(layout: str, dtype: str, sizes: list[tuple[int, ...]], views: bool) -> list[Array]:
    """Random images; as views, every one lies in memory in another way."""
    rng = np.random.default_rng(0)
    images = []
    for number, size in enumerate(sizes):
        left = iter(size)
        shape = [3 if letter == "C" else next(left) for letter in layout]
        x = rng.integers(0, 2 if dtype == "bool" else 100, [2 * n for n in shape]).astype(dtype)
        steps = [slice(None, None, 2)] * len(shape) if number % 2 else [slice(n) for n in shape]
        x = x[tuple(steps)] if views else np.ascontiguousarray(x[tuple(slice(n) for n in shape)])
        images.append(x[..., ::-1] if views and number == 2 else x)
    return images


@pytest.mark.parametrize("views", [False, True], ids=["dense", "views"])
@pytest.mark.parametrize("name", CASES)
def test_blocks_are_what_the_definition_says(name: str, views: bool) -> None:
    layout, dtype, block, halo, sizes = CASES[name]
    images = images_of(layout, dtype, sizes, views)
    dims = tuple(d for d, letter in enumerate(layout) if letter != "C")
    pad = 1 if dtype == "bool" else 7
    wanted = definition(images, BlockGrids(sizes, block, halo), dims, pad)
    mask = definition([np.ones(x.shape, bool) for x in images], BlockGrids(sizes, block, halo), dims, False)
    tensors = [torch.from_numpy(x.copy() if min(x.strides, default=0) < 0 else x) for x in images]
    backwards = any(min(x.strides) < 0 for x in images)
    if backwards:
        with spacebatch.use_backend("llvm"), pytest.raises(RuntimeError, match="but a stride is negative"):
            to_blocks(images, block, layout=layout)
    for backend in ("numpy",) if backwards else ("numpy", "llvm"):
        with spacebatch.use_backend(backend):
            blocks = to_blocks(images, block, halo=halo, pad_value=pad, layout=layout)
            assert same(blocks.data, wanted)
            for x, back in zip(images, blocks.restore(), strict=True):
                assert same(back, x)
            assert np.array_equal(np.broadcast_to(blocks.valid_mask(), wanted.shape), mask)
    for backend in ("torch", "llvm"):
        with spacebatch.use_backend(backend):
            found = to_blocks(tensors, block, halo=halo, pad_value=pad, layout=layout)
            assert same(found.data, torch.from_numpy(wanted))
            for x, back in zip(tensors, found.restore(), strict=True):
                assert same(back, x)


def test_many_images_are_shared_by_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks begin and end within images, and some have no step at all."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    rng = np.random.default_rng(1)
    sizes = [(int(h), int(w)) for h, w in rng.integers(1, 300, (60, 2))]
    sizes[7], sizes[31] = (0, 9), (1, 1)
    images = [rng.integers(0, 255, (3, *size), np.uint8) for size in sizes]
    with spacebatch.use_backend("numpy"):
        wanted = to_blocks(images, 24, pad_value=9).data
    with waiting_for_kernels():
        for many in (images, [torch.from_numpy(x) for x in images]):
            blocks = to_blocks(many, 24, pad_value=9)
            assert same(np.asarray(blocks.data), wanted)
            for x, back in zip(images, blocks.restore(), strict=True):
                assert same(np.asarray(back), x)


def test_a_kernel_that_is_not_compiled_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from spacebatch.reference.llvm import pieces

    monkeypatch.setattr(pieces, "ask", lambda kernel: False)
    x = [torch.rand(3, 9, 9), torch.rand(3, 4, 5)]
    for halo in (0, 1):
        blocks = to_blocks(x, 4, halo=halo)
        assert all(same(a, b) for a, b in zip(blocks.restore(), x, strict=True))


def test_a_list_that_is_met_again_has_another_pad_value() -> None:
    """What was worked out for a list is kept, and a pad value is no part of it."""
    x = [torch.rand(3, 9, 9), torch.rand(3, 4, 5)]
    with waiting_for_kernels():
        for pad in (7, 0, 5):
            blocks = to_blocks(x, 4, pad_value=pad)
            assert (blocks.data[~blocks.valid_mask().expand_as(blocks.data)] == pad).all()


def test_the_memory_order_of_the_first_image_is_kept() -> None:
    x = [torch.rand(1, 3, 9, 9).to(memory_format=torch.channels_last)[0], torch.rand(3, 4, 4)]
    with waiting_for_kernels():
        blocks = to_blocks(x, 4)
        assert blocks.data.is_contiguous(memory_format=torch.channels_last)
        back = blocks.restore(blocks.data)
    assert back[1].stride() == (1, 12, 3)
    assert all(same(a, b) for a, b in zip(back, x, strict=True))


def test_what_a_network_makes_of_blocks_is_restored() -> None:
    """Other channels, another dtype, no halo any more, any strides."""
    x = [torch.rand(3, 10, 7), torch.rand(3, 4, 4)]
    blocks = to_blocks(x, 4, halo=1)
    labels = (blocks.data.mean(1, keepdim=True) > 0.5)[..., 1:-1, 1:-1]
    assert same(blocks.restore(labels)[0], x[0].mean(0, keepdim=True) > 0.5)
    with spacebatch.use_backend("llvm"):
        wide = torch.cat([blocks.data, blocks.data], dim=1).permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2)
        assert same(blocks.restore(wide)[1], torch.cat([x[1], x[1]]))
    assert same(blocks.restore(blocks.data.numpy())[0], x[0].numpy())
    one = to_blocks(x[0], 4)
    assert same(one.restore(), x[0])
    assert one.cu_seqlens.tolist() == [0, 6]
    assert one.cu_seqlens.dtype == torch.int32


@pytest.mark.parametrize("halo", [0, 1, ((3, 0), (0, 5))])
def test_gradients(halo: Any) -> None:
    x = [torch.rand(2, *size, dtype=torch.double, requires_grad=True) for size in ((5, 4), (2, 3))]

    def cut(*images: torch.Tensor) -> torch.Tensor:
        return to_blocks(images, (3, 2), halo=halo, pad_value=2.0).data  # type: ignore[no-any-return]

    blocks = to_blocks(x, (3, 2), halo=halo)

    def back(y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(blocks.restore(y))

    y = torch.rand_like(blocks.data[:, :1]).requires_grad_()
    assert torch.autograd.gradcheck(cut, x, fast_mode=True)
    assert torch.autograd.gradgradcheck(cut, x, fast_mode=True)
    assert torch.autograd.gradcheck(back, (y,), fast_mode=True)
    assert torch.autograd.gradgradcheck(back, (y,), fast_mode=True)
    read = int(blocks.valid_mask().sum()) * 2  # channels
    assert sum(float(g.sum()) for g in torch.autograd.grad(cut(*x).sum(), x)) == read


def test_transforms_and_the_compiler() -> None:
    x, z = torch.rand(2, 5, 4), torch.rand(2, 2, 3)

    def whole(x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        blocks = to_blocks([2 * x, z], 3, halo=1)
        return blocks.restore(blocks.data + 1)[0]  # type: ignore[no-any-return]

    assert same(torch.compile(whole, backend="eager")(x, z), 2 * x + 1)
    assert same(torch.func.vmap(whole)(x[None], z[None])[0], 2 * x + 1)
    tangent = torch.func.jvp(whole, (x, z), (torch.ones_like(x), z))[1]
    assert same(tangent, torch.full_like(x, 2))
    assert to_blocks([x.to("meta")], 2).data.shape == (6, 2, 2, 2)


WRONG: dict[str, tuple[type[Exception], str, tuple[Any, ...], dict[str, Any]]] = {
    "empty list": (ValueError, "to_blocks: the list of images is empty", ([], 2), {}),
    "no list": (TypeError, "to_blocks: images must be a list of numpy.ndarray, or one, got str", ("x", 2), {}),
    "ranks": (
        ValueError,
        "same number of dims: images[0] has 2, images[1] has 3",
        ([np.ones((1, 2)), np.ones((1, 2, 3))], 2),
        {},
    ),
    "dtypes": (ValueError, "same dtype", ([np.ones((1, 2)), np.ones((1, 2), int)], 2), {}),
    "dtypes of tensors": (ValueError, "same dtype", ([torch.ones(1, 2), torch.ones(1, 2, dtype=torch.int)], 2), {}),
    "devices": (
        ValueError,
        "same device: images[0] has cpu, images[1] has meta",
        ([torch.ones(1, 2), torch.ones(1, 2, device="meta")], 2),
        {},
    ),
    "kinds": (
        TypeError,
        "images[1] must be a torch.Tensor as images[0] is, got ndarray",
        ([torch.ones(1, 2), np.ones((1, 2))], 2),
        {},
    ),
    "channels": (
        ValueError,
        "size of dim 0, which is not cut: images[0] has 1, images[1] has 3",
        ([np.ones((1, 2)), np.ones((3, 2))], 2),
        {},
    ),
    "no dim to cut": (ValueError, "the images are 1-D; without layout= they need channels", ([np.ones(3)], 2), {}),
    "layout": (
        ValueError,
        "layout 'HWC' names 3 dims, but the images are 2-D",
        ([np.ones((1, 2))], 2),
        {"layout": "HWC"},
    ),
    "letters": (ValueError, "layout must be different capital letters", ([np.ones((1, 2))], 2), {"layout": "CC"}),
    "block": (ValueError, "to_blocks: block[0] must be at least 1, got 0", ([np.ones((1, 2))], 0), {}),
    "blocks": (ValueError, "block has 2 entries, but 1 dims are cut", ([np.ones((1, 2))], (2, 2)), {}),
    "halo": (ValueError, "halo must not be negative, got -1", ([np.ones((1, 2))], 2), {"halo": -1}),
    "auto": (ValueError, "halo must be integers", ([np.ones((1, 2))], 2), {"halo": "auto"}),
    "pad value": (
        ValueError,
        "to_blocks: pad_value 300 is out of range",
        ([np.ones((1, 2), np.uint8)], 2),
        {"pad_value": 300},
    ),
    "sparse": (TypeError, "to_blocks: the input must be a dense tensor", ([torch.eye(2).to_sparse()], 2), {}),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_named(name: str) -> None:
    kind, message, arguments, options = WRONG[name]
    with pytest.raises(kind) as error:
        to_blocks(*arguments, **options)
    assert message in str(error.value)


def test_mistakes_of_restore_and_of_grids() -> None:
    blocks = to_blocks([np.ones((1, 5, 4))], 2, halo=1)
    for y, message in (
        (np.ones((6, 4, 4)), "restore: y is 3-D, the blocks are 4-D"),
        (np.ones((5, 1, 4, 4)), "restore: y holds 5 blocks, the images have 6"),
        (
            np.ones((6, 1, 4, 3)),
            r"y has sizes \(4, 3\) along dims \(2, 3\); a block has \(2, 2\), or \(4, 4\) with the halo",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            blocks.restore(y)
    with pytest.raises(TypeError, match="restore: y must be"):
        blocks.restore([1])
    for sizes in ([], [()], [(1, 2), (1,)], [(-1, 2)]):
        with pytest.raises(ValueError, match="sizes"):
            BlockGrids(sizes, 2)
    with pytest.raises(TypeError, match=r"BlockGrids: sizes\[0\] must be an integer"):
        BlockGrids([(1.5, 2)], 2)  # type: ignore[list-item]
    with (
        pytest.raises(RuntimeError, match="'triton' was asked for, but it does not move lists of arrays"),
        spacebatch.use_backend("triton"),
    ):
        to_blocks([np.ones((1, 2))], 2)


def test_grids_are_where_blocks_are() -> None:
    grids = BlockGrids([(5, 4, 3), (0, 2, 2), (2, 2, 2)], (2, 3, 2), 1)
    corners = [
        (image, *place)
        for image, counts in enumerate(grids.grids.tolist())
        for place in itertools.product(*map(range, counts))
    ]
    assert grids.positions.tolist() == [list(corner) for corner in corners]
    assert grids.starts.tolist() == [[2 * a, 3 * b, 2 * c] for _, a, b, c in corners]
    assert grids.offsets.tolist() == [0, 12, 12, 13]
    assert len(grids) == 3
    assert grids == BlockGrids(grids.sizes, (2, 3, 2), ((1, 1),) * 3)
    assert hash(grids) == hash(BlockGrids(grids.sizes, (2, 3, 2), 1))
