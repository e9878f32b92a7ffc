"""Windows, grids, groups, phases and depth: equal to the functions of other libraries, to the bit and back again."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from spacebatch import BlockGeometry, space_to_batch, windows
from tests.bits import poisoned, random_tensor, same
from tests.windows import originals

# (image, window, shift), channels last
WINDOWS = {
    "Swin-T, first stage": ((2, 56, 56, 8), (7, 7), (3, 3)),
    "no shift": ((2, 14, 21, 3), (7, 7), ()),
    "H is not W, nothing divides": ((2, 13, 22, 3), (7, 4), (3, 2)),
    "a window larger than the image": ((2, 5, 9, 3), (8, 4), (4, 2)),
    "one dim is shifted": ((1, 8, 12, 2), (4, 4), (0, 2)),
    "Video Swin": ((1, 8, 9, 14, 4), (4, 7, 7), (2, 3, 3)),
    "1-D": ((3, 22, 5), (8,), (4,)),
    "a window of one": ((2, 3, 4, 2), (1, 1), ()),
}


def arguments(window: tuple[int, ...], shift: tuple[int, ...]) -> dict[str, Any]:
    return {"window_size": window, "shift": shift or 0, "layout": "N...C"}


@pytest.mark.parametrize("case", WINDOWS)
def test_windows(case: str) -> None:
    shape, window, shift = WINDOWS[case]
    x, size = random_tensor(shape), shape[1:-1]
    expected = originals.swin_partition(x, window, shift)
    y = windows.window_partition(x, **arguments(window, shift))
    assert same(y, expected)
    assert same(windows.window_merge(y, image_size=size, **arguments(window, shift)), x)
    kept = windows.Windows(shape, window, shift=shift or 0, layout="N...C")
    assert same(kept.partition(x[:1]), expected[: kept.windows])  # other numbers of samples too
    assert same(kept.merge(y), originals.swin_reverse(expected, window, size, shift))
    assert same(kept.geometry.space_to_batch(x), y)
    assert (kept.window_size, kept.image_size) == (window, size)
    array = windows.window_partition(x.numpy(), **arguments(window, shift))
    assert same(array, expected.numpy())
    assert same(windows.window_merge(array, image_size=size, **arguments(window, shift)), x.numpy())
    # channels first: the same cells, each channel for itself, and channels_last in memory stays so
    first = x.movedim(-1, 1)
    z = windows.window_partition(first, window, shift=shift or 0)
    assert same(z, expected.movedim(-1, 1))
    assert z.movedim(1, -1).is_contiguous()
    assert same(windows.window_partition(first.contiguous(), window, shift=shift or 0), expected.movedim(-1, 1))


def test_no_elements() -> None:
    x = torch.empty(2, 6, 4, 0)
    y = windows.window_partition(x, (3, 2), shift=1, layout="NHWC")
    assert y.shape == (8, 3, 2, 0)
    assert windows.window_merge(y, (3, 2), (6, 4), shift=1, layout="NHWC").shape == x.shape
    assert windows.window_partition(np.empty((0, 3, 5, 5)), 4).shape == (0, 3, 4, 4)


def test_pad_value_and_out() -> None:
    x = random_tensor((1, 5, 6, 2), torch.bfloat16)
    kept = windows.Windows(x.shape, 4, shift=1, layout="NHWC")
    out = poisoned(torch.empty(4, 4, 4, 2, dtype=torch.bfloat16))
    padded = functional.pad(x, (0, 0, 0, 2, 0, 3), value=-1.5)
    expected = originals.swin_partition(padded, (4, 4), (1, 1))
    assert kept.partition(x, pad_value=-1.5, out=out) is out
    assert same(out, expected)
    back = poisoned(torch.empty_like(x))
    assert kept.merge(out, out=back) is back
    assert same(back, x)
    assert same(windows.window_partition(x, 4, shift=1, layout="NHWC", pad_value=-1.5), expected)


@pytest.mark.parametrize(("size", "window"), [((5, 16), (7, 7)), ((7, 14), (7, 7)), ((8, 3), (4, 4))])
def test_dims_that_one_window_covers(size: tuple[int, int], window: tuple[int, int]) -> None:
    """ "stay" is torchvision's: no shift along them; "fit" is Swin's and timm's: the window is as small as the image, too."""
    x = random_tensor((2, *size, 3))
    shift = tuple(0 if n <= w else w // 2 for n, w in zip(size, window, strict=True))
    fitted = tuple(min(n, w) for n, w in zip(size, window, strict=True))
    options: Any = {"shift": window[0] // 2, "layout": "NHWC"}
    for covered, cells in (("stay", window), ("fit", fitted)):
        y = windows.window_partition(x, window, covered=covered, **options)
        assert same(y, originals.swin_partition(x, cells, shift))
        assert same(windows.window_merge(y, window, size, covered=covered, **options), x)
        assert windows.Windows(x.shape, window, covered=covered, **options).window_size == cells
    assert windows.Windows(x.shape, window, **options).geometry.shifts != (0, 0)


def test_swins_own_four() -> None:
    """Forward and backward of roll and partition, and of merge and roll: the tests of Swin's own kernel."""
    x = torch.randn(3, 14, 21, 8, dtype=torch.float64, requires_grad=True)
    y = originals.swin_partition(x, (7, 7), (3, 3))
    mine = windows.window_partition(x, 7, shift=3, layout="NHWC")
    assert same(mine, y)
    grad = torch.randn_like(y)
    assert same(torch.autograd.grad(mine, x, grad)[0], torch.autograd.grad(y, x, grad)[0])
    w = torch.randn_like(y, requires_grad=True)
    z = originals.swin_reverse(w, (7, 7), (14, 21), (3, 3))
    mine = windows.window_merge(w, 7, (14, 21), shift=3, layout="NHWC")
    assert same(mine, z)
    assert same(torch.autograd.grad(mine, w, x)[0], torch.autograd.grad(z, w, x)[0])


@pytest.mark.parametrize("shape", [(2, 14, 28, 4), (1, 21, 7, 3)])
def test_grids(shape: tuple[int, ...]) -> None:
    x = random_tensor(shape)
    y = windows.grid_partition(x, 7, layout="NHWC")
    assert same(y, originals.maxvit_grid(x, (7, 7)))
    assert same(windows.grid_merge(y, 7, shape[1:3], layout="NHWC"), x)
    assert same(windows.grid_partition(x.movedim(-1, 1), 7), y.movedim(-1, 1))
    kept = windows.Grid(shape, 7, layout="NHWC")
    assert same(kept.merge(kept.partition(x)), x)
    assert (kept.grid, kept.mask()) == ((shape[1] // 7, shape[2] // 7), None)


def test_a_grid_that_does_not_divide() -> None:
    x = random_tensor((2, 13, 10, 3))
    y = windows.grid_partition(x, (4, 7), layout="NHWC")
    assert same(y, originals.maxvit_grid(functional.pad(x, (0, 0, 0, 4, 0, 3)), (4, 7)))
    assert same(windows.grid_merge(y, (4, 7), (13, 10), layout="NHWC"), x)
    assert same(BlockGeometry.grid((2, 13, 10, 3), (4, 7), layout="NHWC").space_to_batch(x), y)


@pytest.mark.parametrize(
    ("shape", "dilation", "tile"),
    [((2, 12, 16, 3), (2, 4), (3, 2)), ((1, 11, 9, 2), (2, 3), (2, 2)), ((2, 4, 6, 8, 2), (1, 3, 2), (2, 1, 2))],
)
def test_dilated(shape: tuple[int, ...], dilation: tuple[int, ...], tile: tuple[int, ...]) -> None:
    x, size = random_tensor(shape), shape[1:-1]
    for cells in (None, tile):
        y = windows.dilated_partition(x, dilation, tile=cells, layout="N...C")
        expected = originals.natten_permute(x, cells or (1,) * len(dilation), dilation)
        assert same(y.reshape(expected.shape), expected)
        assert same(windows.dilated_merge(y, dilation, size, tile=cells, layout="N...C"), x)
        assert same(windows.dilated_partition(x.numpy(), dilation, tile=cells, layout="N...C"), y.numpy())
        first = windows.dilated_partition(x.movedim(-1, 1), dilation, tile=cells)
        assert same(first, y.movedim(-1, 1))
        assert same(windows.dilated_merge(first, dilation, size, tile=cells), x.movedim(-1, 1))


def test_phases() -> None:
    x = random_tensor((2, 3, 10, 9))
    y = windows.polyphase(x, (5, 3))
    assert all(same(y[p, q], x[..., p::5, q::3].contiguous()) for p in range(5) for q in range(3))
    assert same(windows.inverse_polyphase(y), x)
    last = x.movedim(1, -1).numpy()
    assert same(windows.polyphase(last, (5, 3), layout="NHWC"), y.movedim(3, -1).numpy())
    assert same(windows.inverse_polyphase(windows.polyphase(last, 4, layout="NHWC"), (10, 9), layout="NHWC"), last)
    signal = random_tensor((2, 11, 3))
    steps = windows.time_to_batch(signal, 4, layout="NTC")
    assert same(steps, originals.wavenet_time_to_batch(signal, 4))
    assert same(windows.batch_to_time(steps, 4, 11, layout="NTC"), signal)
    assert same(windows.batch_to_time(steps, 4, layout="NTC"), functional.pad(signal, (0, 0, 0, 1)))
    video = random_tensor((1, 2, 6, 3, 3))
    frames = windows.time_to_batch(video, 3, layout="NCTHW")
    assert same(frames, space_to_batch(video, (3,), spatial_dims=2))


def test_depth() -> None:
    x = random_tensor((2, 3, 6, 8))
    last = x.movedim(1, -1).contiguous()
    assert same(windows.space_to_depth(x, 2, order="CRD"), functional.pixel_unshuffle(x, 2))
    assert same(windows.space_to_depth(last, 2, layout="NHWC"), originals.tensorflow_depth(last, 2))
    y = random_tensor((2, 12, 3, 4))
    assert same(windows.depth_to_space(y, 2, order="CRD"), functional.pixel_shuffle(y, 2))
    for mode in ("DCR", "CRD"):
        expected = originals.onnx_depth_to_space(y, 2, mode)
        assert same(windows.depth_to_space(y, 2, order=mode), expected)
        assert same(windows.depth_to_space(y.numpy(), 2, order=mode), expected.numpy())
        assert same(windows.space_to_depth(expected, 2, order=mode), y)
        for z in (expected, expected.to(memory_format=torch.channels_last), expected[..., ::2]):
            deep = windows.space_to_depth(z, (2, 1), order=mode)
            nhwc = windows.space_to_depth(z.movedim(1, -1), (2, 1), order=mode, layout="NHWC")
            assert same(nhwc.movedim(-1, 1), deep)
            assert same(windows.depth_to_space(deep, (2, 1), order=mode), z)
    lasting = y.to(memory_format=torch.channels_last)
    for z in (windows.depth_to_space(lasting, 2), windows.space_to_depth(lasting, 1)):
        assert z.is_contiguous(memory_format=torch.channels_last)
        assert z.data_ptr() != lasting.data_ptr()
    volume = random_tensor((1, 2, 4, 2, 6))
    deep = windows.space_to_depth(volume, 2, layout="NCDHW")
    assert same(deep, space_to_batch(volume, 2, batch_order="batch_major").reshape(1, 16, 2, 1, 3))
    assert windows.space_to_depth(torch.empty(0, 3, 4, 4), 2).shape == (0, 12, 2, 2)
    assert windows.depth_to_space(torch.empty(2, 0, 4, 4), 2, order="CRD").shape == (2, 0, 8, 8)


def test_objects_are_values() -> None:
    kept = windows.Windows((1, 2, 9, 9), 4, shift=2)
    assert kept == windows.Windows((1, 2, 9, 9), (4, 4), shift=2) != windows.Windows((1, 2, 9, 9), 4)
    assert hash(kept) == hash(pickle.loads(pickle.dumps(kept)))
    assert copy.deepcopy(kept) == kept
    assert kept != windows.Grid((1, 2, 9, 9), 3)
    assert repr(kept).startswith("Windows(of (4, 4) from (9, 9), shifted, BlockGeometry((1, 2, 9, 9), (3, 3)")
    with pytest.raises(AttributeError, match=r"^Windows is frozen: geometry cannot be set"):
        kept.geometry = None  # type: ignore[assignment]


def test_true_is_not_one() -> None:
    """What is kept of a call with 1 does not answer one with True."""
    x = np.zeros((1, 1, 4))
    assert windows.window_partition(x, 1).shape == (4, 1, 1)
    with pytest.raises(TypeError, match=r"^window_partition: window_size must be an integer, got the bool True"):
        windows.window_partition(x, True)


IMAGE = np.zeros((2, 3, 8, 12))
ERRORS: dict[str, tuple[Any, type[Exception], str]] = {
    "no tensor": (lambda: windows.window_partition([1], 2), TypeError, r"^window_partition: the input must be a torch"),
    "window of zero": (lambda: windows.window_partition(IMAGE, 0), ValueError, r"^window_partition: window_size must be"),
    "a window too many": (
        lambda: windows.window_partition(IMAGE, (2, 2, 2)),
        ValueError,
        r"^window_partition: window_size has 3 entries for 2 spatial dims",
    ),
    "a shift too few": (lambda: windows.window_partition(IMAGE, 2, shift=(1,)), ValueError, r"shift has 1 entries for 2"),
    "half a shift": (lambda: windows.Windows(IMAGE.shape, 2, shift=0.5), TypeError, r"^Windows: shift must be an integer"),
    "layout of another rank": (
        lambda: windows.grid_partition(IMAGE, 2, layout="NHC"),
        ValueError,
        r"^grid_partition: layout 'NHC' is of 3 dims, but the input is 4-D",
    ),
    "no layout": (lambda: windows.grid_partition(IMAGE, 2, layout="HWC"), ValueError, r"layout must be N and then capital"),
    "a letter twice": (lambda: windows.grid_partition(IMAGE, 2, layout="NCHH"), ValueError, r"each once"),
    "layout of no string": (lambda: windows.grid_partition(IMAGE, 2, layout=3), TypeError, r"layout must be a string"),
    "no spatial dims": (lambda: windows.window_partition(IMAGE[..., 0, 0], 2), ValueError, r"'NC...' has no spatial dim"),
    "covered": (lambda: windows.window_partition(IMAGE, 2, covered="no"), ValueError, r"covered must be one of"),
    "no elements": (lambda: windows.window_partition(IMAGE[:, :, :0], 2), ValueError, r"no elements along spatial dim 0"),
    "pad value": (
        lambda: windows.window_partition(IMAGE.astype("u1"), 5, pad_value=300),
        ValueError,
        r"^window_partition: pad_value 300 is out of range",
    ),
    "out": (
        lambda: windows.window_partition(IMAGE, 4, out=np.zeros((1, 3, 4, 4))),
        ValueError,
        r"^window_partition: out has shape",
    ),
    "windows of another size": (
        lambda: windows.window_merge(IMAGE, 4, (8, 12)),
        ValueError,
        r"^window_merge: dim 2 has size 8, but an image of \(8, 12\) makes 4 of it",
    ),
    "no whole image": (
        lambda: windows.window_merge(np.zeros((7, 3, 4, 4)), 4, (8, 12)),
        ValueError,
        r"^window_merge: the batch of 7 is no multiple of 6, the samples that an image of \(8, 12\) becomes",
    ),
    "image of zero": (lambda: windows.grid_merge(IMAGE, 4, 0), ValueError, r"^grid_merge: image_size must be at least 1"),
    "another image": (
        lambda: windows.Windows((1, 3, 8, 8), 4).partition(IMAGE),
        ValueError,
        r"^Windows.partition: the input has shape \(2, 3, 8, 12\), this is for images of \(8, 8\)",
    ),
    "other windows": (
        lambda: windows.Grid((1, 3, 8, 12), 4).merge(np.zeros((5, 3, 4, 4))),
        ValueError,
        r"^Grid.merge: the batch of 5 is no multiple of 6",
    ),
    "a tile of zero": (lambda: windows.dilated_partition(IMAGE, 2, tile=0), ValueError, r"tile must be at least 1"),
    "phases": (lambda: windows.inverse_polyphase(np.zeros((2, 1, 1, 4)), 3), ValueError, r"^inverse_polyphase: dim 2"),
    "phases of a wrong rank": (lambda: windows.inverse_polyphase(np.zeros((2, 4, 4))), ValueError, r"^inverse_polyphase: layout"),
    "two dims of time": (lambda: windows.time_to_batch(IMAGE, 2), ValueError, r"name that of time T"),
    "half a block": (lambda: windows.space_to_depth(IMAGE, 5), ValueError, r"dim 2 of size 8 is not divisible by its block of 5"),
    "channels": (lambda: windows.depth_to_space(IMAGE, 2), ValueError, r"the 3 channels of dim 1 are no multiple of the 4"),
    "an order": (lambda: windows.depth_to_space(IMAGE, 2, order="CDR"), ValueError, r"order must be one of \('DCR', 'CRD'\)"),
    "no channels": (lambda: windows.space_to_depth(IMAGE, 2, layout="NDHW"), ValueError, r"has no channels C"),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case: str) -> None:
    call, kind, message = ERRORS[case]
    with pytest.raises(kind, match=message):
        call()


def test_nested_tensors_are_refused() -> None:
    nested = torch.nested.nested_tensor([torch.zeros(3, 4, 4), torch.zeros(3, 6, 6)])
    with pytest.raises(TypeError, match=r"^window_partition: nested tensors have no common"):
        windows.window_partition(nested, 2)
