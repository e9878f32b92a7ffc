"""Tokens of images and videos: against the definition, patch by patch, against transformers' own, and back."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

import spacebatch
from spacebatch import patch_tensors, patchify, unpatchify
from tests.bits import same

Array = npt.NDArray[Any]
SIZES = [(2, 3), (1, 1), (4, 2)]  # of images, in groups of patches

# layout, token, patch, merge, temporal, dtype, frames
CASES: dict[str, tuple[str, str, tuple[int, int], int, int, str, int]] = {
    "vit and pixtral": ("CHW", "CHW", (16, 16), 1, 1, "float32", 1),
    "qwen2-vl": ("CHW", "CTHW", (14, 14), 2, 2, "float32", 1),
    "qwen2-vl, a video whose last frame is repeated": ("TCHW", "CTHW", (4, 4), 2, 2, "uint8", 3),
    "qwen2-vl of channels last": ("HWC", "CTHW", (14, 14), 2, 2, "uint8", 1),
    "siglip2 of channels first": ("CHW", "HWC", (16, 16), 1, 1, "float32", 1),
    "siglip2 of channels last": ("HWC", "HWC", (16, 16), 1, 1, "float16", 1),
    "no channels, patches that are no squares": ("HW", "HW", (3, 5), 3, 1, "int64", 1),
    "frames last, an order of nobody": ("HWCT", "WTHC", (2, 4), 2, 3, "float64", 4),
    "elements of 16 bytes": ("CHW", "HWC", (4, 4), 1, 1, "complex128", 1),
}


def definition(x: Array, case: tuple[Any, ...]) -> Array:
    """Tokens in their order, one patch after the other."""
    layout, token, (height, width), merge, temporal, _, _ = case
    for letter in "TC":
        if letter not in layout:
            x, layout = x[None], letter + layout
    x = x.transpose([layout.index(letter) for letter in "TCHW"])
    repeats = temporal - 1 if x.shape[0] == 1 else -x.shape[0] % temporal
    x = np.concatenate([x, *[x[-1:]] * repeats])
    full = "".join(letter for letter in "TC" if letter not in token) + token
    groups = range(len(x) // temporal), range(x.shape[2] // height // merge), range(x.shape[3] // width // merge)
    found = []
    for t, i, j, a, b in itertools.product(*groups, range(merge), range(merge)):
        row, column = (i * merge + a) * height, (j * merge + b) * width
        patch = x[t * temporal : (t + 1) * temporal, :, row : row + height, column : column + width]
        found.append(patch.transpose(["TCHW".index(letter) for letter in full]).ravel())
    return np.stack(found)


def images_of(case: tuple[Any, ...], views: bool) -> list[Array]:
    layout, _, (height, width), merge, _, dtype, frames = case
    rng = np.random.default_rng(0)
    images = []
    for rows, columns in SIZES:
        sizes = {"T": frames, "C": 3, "H": rows * merge * height, "W": columns * merge * width}
        x = rng.integers(0, 250, [sizes[letter] for letter in layout]).astype(dtype)
        images.append(np.asfortranarray(x) if views else x)
    return images


@pytest.mark.parametrize("views", [False, True], ids=["dense", "views"])
@pytest.mark.parametrize("name", CASES)
def test_tokens_are_what_the_definition_says(name: str, views: bool) -> None:
    case = CASES[name]
    layout, token, patch, merge, temporal, _, frames = case
    images = images_of(case, views)
    wanted = [definition(x, case) for x in images]
    options: dict[str, Any] = {"merge": merge, "temporal": temporal, "layout": layout, "token": token}
    most = max(map(len, wanted)) + 2
    for backend, convert in (
        ("numpy", np.asarray),
        ("llvm", np.asarray),
        ("torch", torch.from_numpy),
        ("llvm", torch.from_numpy),
    ):
        many = [convert(x) for x in images]
        with spacebatch.use_backend(backend):  # type: ignore[arg-type]
            plain = patchify(many, patch, **options)
            padded = patchify(many, patch, max_num_patches=most, **options)
            assert same(np.asarray(plain.tokens), np.concatenate(wanted))
            assert plain.mask is None
            assert plain.grid_thw.tolist() == [[-(-frames // temporal), r * merge, c * merge] for r, c in SIZES]
            assert plain.cu_seqlens.tolist() == [0, *np.cumsum([len(x) for x in wanted]).tolist()]
            for tokens, mask, right in zip(padded.tokens, padded.mask, wanted, strict=True):
                assert same(np.asarray(tokens)[: len(right)], right)
                assert not np.asarray(tokens)[len(right) :].any()
                assert mask.tolist() == [k < len(right) for k in range(most)]
            for patches in (plain, padded):
                back = unpatchify(patches.tokens, patches.grid_thw, patch, **options)
                for x, found in zip(many, back, strict=True):
                    first = tuple(slice(frames) if letter == "T" else slice(None) for letter in layout)
                    assert same(np.asarray(found[first]), np.asarray(x))


def test_gradients() -> None:
    x = [torch.rand(2, *size, dtype=torch.double, requires_grad=True) for size in ((4, 8), (4, 4))]

    def cut(*images: torch.Tensor) -> torch.Tensor:
        return patchify(images, 2, merge=2, temporal=2, max_num_patches=9).tokens  # type: ignore[no-any-return]

    def back(tokens: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(unpatchify(tokens, [[1, 2, 4], [1, 2, 2]], 2, merge=2, temporal=2))

    tokens = cut(*x).detach().requires_grad_()
    assert torch.autograd.gradcheck(cut, x, fast_mode=True)
    assert torch.autograd.gradgradcheck(cut, x, fast_mode=True)
    assert torch.autograd.gradcheck(back, (tokens,), fast_mode=True)
    assert torch.autograd.gradgradcheck(back, (tokens,), fast_mode=True)
    plain = x[0].detach()
    assert same(torch.func.vmap(lambda image: patchify(image, 2).tokens)(plain[None])[0], patchify(plain, 2).tokens)
    assert same(torch.compile(cut, backend="eager")(*x), cut(*x))


FLOATS = torch.randn(4, 4, 4, generator=torch.Generator().manual_seed(0))
FLOATS[0] = -0.0
COMPLEX = torch.randn(4, 4, 8, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))[..., :4]  # not dense
MET: dict[str, Any] = {"patch_size": 2, "mean": [0.0, 1.0, 2.0, 3.0], "std": [1.0, 2.0, 3.0, 4.0]}
# a call that is met, and what the next one has instead
LIKE_NO_OTHER: dict[str, tuple[Any, dict[str, Any], Any, dict[str, Any]]] = {
    "shape": (FLOATS, MET, FLOATS[:, :2], {}),
    "channels": (FLOATS[:2], {"patch_size": 2, "mean": 0.5}, FLOATS, {}),
    "strides": (FLOATS, MET, FLOATS.mT, {}),
    "two images": (FLOATS, MET, [FLOATS, FLOATS + 1], {}),
    "dtype": (FLOATS.view(torch.int32), MET, FLOATS, {}),
    "dtype of the second image": ([FLOATS, FLOATS], {"patch_size": 2}, [FLOATS, FLOATS.view(torch.int32)], {}),
    "device": (FLOATS, MET, FLOATS.to("meta"), {}),
    "a gradient": (FLOATS, MET, FLOATS.clone().requires_grad_(), {}),
    "negated": (COMPLEX.imag, MET, COMPLEX.conj().imag, {}),
    "conjugated": (COMPLEX, {"patch_size": 2}, COMPLEX.conj(), {}),
    "patch_size": (FLOATS, MET, FLOATS, {"patch_size": (2, 1)}),
    "merge": (FLOATS, {**MET, "patch_size": 1}, FLOATS, {"merge": 2}),
    "no merge": (FLOATS, MET, FLOATS, {"merge": 1.0}),
    "temporal": (FLOATS, MET, FLOATS, {"temporal": 2}),
    "layout": (FLOATS, MET, FLOATS, {"layout": "HWC"}),
    "token": (FLOATS, MET, FLOATS, {"token": "HWC"}),
    "max_num_patches": (FLOATS, MET, FLOATS, {"max_num_patches": 5}),
    "too many": (FLOATS, MET, FLOATS, {"max_num_patches": 3}),
    "mean": (FLOATS, MET, FLOATS, {"mean": [-0.0, 1.0, 2.0, 3.0]}),
    "std": (FLOATS, MET, FLOATS, {"std": 2}),
    "std of an array": (FLOATS, MET, FLOATS, {"std": np.array([1.0, 3.0, 3.0, 4.0])}),
    "result": (FLOATS, MET, FLOATS, {"dtype": torch.bfloat16}),
    "no result": (FLOATS, MET, FLOATS, {"dtype": "bfloat16"}),
    "activation": (FLOATS, MET, FLOATS, {"activation": "relu"}),
    "scale": (FLOATS, {"patch_size": 2, "scale": 2.0}, FLOATS, {"scale": torch.tensor(3.0, requires_grad=True)}),
    "bias": (FLOATS, {"patch_size": 2, "bias": 0.0}, FLOATS, {"bias": -0.0}),
    "backend": (FLOATS, MET, FLOATS, {"backend": "torch"}),
    "no backend": (FLOATS, MET, FLOATS, {"backend": "numpy"}),
}


def outcome(images: Any, backend: Any = None, **options: Any) -> list[Any]:
    """All that tells one call from another."""
    try:
        with spacebatch.use_backend(backend) if backend else spacebatch.reference.prepared.waiting_for_kernels():
            tokens, *others = patchify(images, **options)
    except (TypeError, ValueError, RuntimeError) as error:
        return [type(error), str(error)]
    bits = None if tokens.is_meta else tokens.detach().contiguous().view(torch.uint8).tolist()
    beside = [None if x is None or x.is_meta else x.tolist() for x in others]
    return [bits, tokens.shape, tokens.dtype, tokens.device, tokens.requires_grad, *beside]


@pytest.mark.parametrize("name", LIKE_NO_OTHER)
def test_what_is_known_of_a_call_is_for_those_like_it(name: str) -> None:
    images, options, others, instead = LIKE_NO_OTHER[name]
    patch_tensors._calls.clear()
    patch_tensors._ways.clear()
    wanted = outcome(others, **{**options, **instead})
    patch_tensors._calls.clear()
    patch_tensors._ways.clear()
    first = outcome(images, **options)
    assert len(patch_tensors._calls) == 1
    assert outcome(images, **options) == first
    assert len(patch_tensors._calls) == 1
    assert outcome(others, **{**options, **instead}) == wanted
    if name != "backend":
        assert wanted != first


def test_what_a_caller_changes_is_no_part_of_what_is_known() -> None:
    for _ in range(2):
        _, *others = patchify(FLOATS, 2, max_num_patches=5)
        assert [x.tolist() for x in others] == [[[1, 2, 2]], [0, 4], [[True] * 4 + [False]]]
        for x in others:
            x.zero_()
    mean, scale = [0.5] * 4, torch.ones(4)
    for _ in range(2):
        assert same(patchify(FLOATS, 2, mean=mean).tokens, patchify(FLOATS - mean[0], 2).tokens)
        assert same(patchify(FLOATS, 2, scale=scale).tokens, patchify(FLOATS * scale[0], 2).tokens)
        mean[:] = [0.25] * 4
        scale *= 2
    with pytest.raises(TypeError, match=r"dtype must be a torch\.dtype"):
        patchify(FLOATS, 2, dtype=[])  # type: ignore[call-overload, unused-ignore]


def test_a_patch_embedding_is_a_product_with_tokens() -> None:
    """What ViT and Pixtral compute by a convolution."""
    x, convolution = torch.rand(3, 32, 48), torch.nn.Conv2d(3, 8, 16, stride=16)
    tokens = patchify(x, 16).tokens
    found = tokens @ convolution.weight.flatten(1).T + convolution.bias
    torch.testing.assert_close(found, convolution(x[None])[0].flatten(1).T)  # sums in another order


def test_transformers_own_tensors() -> None:
    qwen = pytest.importorskip("transformers.models.qwen2_vl.image_processing_qwen2_vl")
    video = pytest.importorskip("transformers.models.qwen2_vl.video_processing_qwen2_vl")
    siglip = pytest.importorskip("transformers.models.siglip2.image_processing_siglip2")
    images = [torch.rand(3, 28 * a, 28 * b) for a, b in ((2, 3), (4, 1), (2, 3))]
    processor = qwen.Qwen2VLImageProcessor()
    nothing = {"do_resize": False, "do_rescale": False, "do_normalize": False}
    theirs = processor(images, return_tensors="pt", **nothing)
    ours = patchify(images, 14, merge=2, temporal=2)
    assert same(ours.tokens, theirs["pixel_values"])
    assert same(ours.grid_thw, theirs["image_grid_thw"])
    clips = torch.rand(2, 5, 3, 56, 28)
    tokens, *_ = video.Qwen2VLVideoProcessor().patchify(clips, 14, 2, 2)
    assert same(patchify(list(clips), 14, merge=2, temporal=2, layout="TCHW").tokens, tokens.flatten(0, 1))
    images = [torch.rand(3, 16 * a, 16 * b) for a, b in ((4, 3), (2, 5))]
    ours = patchify(images, 16, token="HWC", max_num_patches=16)
    for k, x in enumerate(images):
        tokens, mask = siglip.pad_along_first_dim(siglip.convert_image_to_patches(x, 16), 16)
        assert same(ours.tokens[k], tokens)
        assert same(ours.mask[k].int(), mask)


IMAGE = np.ones((3, 8, 8))
WRONG: dict[str, tuple[type[Exception], str, Any, dict[str, Any]]] = {
    "sizes": (ValueError, "images[0] has height 9, which is not divisible into patches of 4", [np.ones((3, 9, 8))], {}),
    "groups": (
        ValueError,
        "images[1] has width 12, which is not divisible into patches of 4 in groups of 2",
        [IMAGE, np.ones((3, 8, 12))],
        {"merge": 2},
    ),
    "empty": (ValueError, "patchify: the list of images is empty", [], {}),
    "channels": (ValueError, "same number of channels: images[0] has 3, images[1] has 1", [IMAGE, IMAGE[:1]], {}),
    "dims": (ValueError, "images[0] is 3-D, but layout 'HW' names 2 dims", [IMAGE], {"layout": "HW"}),
    "dtypes": (ValueError, "same dtype", [IMAGE, IMAGE.astype("f4")], {}),
    "layout": (ValueError, "layout must name H and W, and may name C and T, got 'CHX'", [IMAGE], {"layout": "CHX"}),
    "token": (ValueError, "token must name H, W, and C if the layout does, got 'HW'", [IMAGE], {"token": "HW"}),
    "time": (ValueError, "token 'HWC' names no T, but a patch has 2 frames", [IMAGE], {"token": "HWC", "temporal": 2}),
    "merge": (ValueError, "merge must be at least 1, got 0", [IMAGE], {"merge": 0}),
    "temporal": (TypeError, "temporal must be an integer, got 1.5", [IMAGE], {"temporal": 1.5}),
    "limit": (ValueError, "images[0] has 4 patches, more than max_num_patches=3", [IMAGE], {"max_num_patches": 3}),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_named(name: str) -> None:
    kind, message, images, options = WRONG[name]
    with pytest.raises(kind) as error:
        patchify(images, 4, **options)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("shape", "grid", "message"),
    [
        ((4, 48), [[1, 2, 3]], r"tokens have shape \(4, 48\), but grid_thw \[\[1, 2, 3\]\] has \[6\] patches"),
        ((4, 47), [[1, 2, 2]], "tokens hold 47 numbers"),
        ((4, 48), [[2, 1, 2]], "has several frames, but layout 'CHW' names no T"),
        ((4, 48), [[1, 2]], "grid_thw must hold"),
        ((1, 3, 48), [[1, 2, 2]], "patches"),
        ((2, 4, 48), [[1, 2, 2]], "is needed"),
    ],
)
def test_mistakes_on_the_way_back(shape: tuple[int, ...], grid: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unpatchify(np.ones(shape), grid, 4)
