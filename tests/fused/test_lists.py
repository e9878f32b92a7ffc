"""The words on windows, blocks and patches: the same as the arithmetic apart, before or after."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import spacebatch
from spacebatch import patchify, to_blocks, unpatchify, windows
from spacebatch.reference.arithmetic import Arithmetic, Operands
from spacebatch.reference.patch_tokens import DIMS, table_of, token_order
from tests.bits import same
from tests.fused.spelling import assert_bits

GENERATOR = torch.Generator().manual_seed(0)
S, B = torch.rand(3, generator=GENERATOR), torch.randn(3, generator=GENERATOR)
IMAGES = [torch.randint(0, 256, (3, h, w), generator=GENERATOR, dtype=torch.uint8) for h, w in ((28, 56), (56, 28))]
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]  # CLIP's
WORDS: Any = {"scale": S, "bias": B}


def planes(values: torch.Tensor) -> torch.Tensor:
    return values.view(3, 1, 1)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_windows(layout: str) -> None:
    """In attention: normalized on the way in; scaled, and added to what came in, on the way back."""
    x = torch.randn((2, 10, 9, 3) if layout == "NHWC" else (2, 3, 10, 9), generator=GENERATOR)
    s, b = (S, B) if layout == "NHWC" else (planes(S), planes(B))
    swin = windows.Windows(x.shape, 7, shift=3, layout=layout)
    size = {"shift": 3, "layout": layout}
    y = windows.window_partition((x * s + b).bfloat16(), 7, **size)
    assert same(windows.window_partition(x, 7, **size, **WORDS, dtype=torch.bfloat16), y)
    assert same(swin.partition(x, **WORDS, dtype=torch.bfloat16), y)
    z = swin.merge(y.float()) * s + x
    assert same(swin.merge(y, scale=S, residual=x, dtype=torch.float32), z)
    assert same(windows.window_merge(y, 7, (10, 9), **size, scale=S, residual=x, dtype=torch.float32), z)
    grid = windows.grid_partition(torch.relu(x * s), 3, layout=layout)
    assert same(windows.grid_partition(x, 3, layout=layout, scale=S, activation="relu"), grid)
    back = windows.grid_merge(grid.numpy(), 3, (10, 9), layout=layout, bias=B.numpy())
    assert same(back, (torch.relu(x * s) + b).numpy())


@pytest.mark.parametrize("halo", [0, 4])
@pytest.mark.parametrize("pad", ["before", "after"])
def test_blocks(halo: int, pad: Any) -> None:
    """Of several images, tensors and arrays; and the images again."""
    cut: Any = {"block": 16, "halo": halo, "pad_value": 9}
    if pad == "before":
        cells = to_blocks(IMAGES, **cut).data * planes(S) + planes(B)
    else:
        cells = to_blocks([x * planes(S) + planes(B) for x in IMAGES], **cut).data
    blocks = to_blocks(IMAGES, **cut, **WORDS, pad=pad, dtype=torch.float16)
    assert_bits(blocks.data, cells.half())
    arrays = to_blocks([x.numpy() for x in IMAGES], **cut, scale=S.numpy(), bias=B.numpy(), pad=pad, dtype=np.float16)
    assert_bits(torch.from_numpy(arrays.data), cells.half())
    restored = blocks.restore(scale=S, activation="relu", dtype=torch.float32)
    for x, y in zip(restored, blocks.restore(), strict=True):
        assert same(x, torch.relu(y.float() * planes(S)))
    again = arrays.restore(scale=S.numpy(), activation="relu", dtype=np.float32)
    assert all(same(a, x.numpy()) for a, x in zip(again, restored, strict=True))
    scale = S.clone().requires_grad_()
    assert_bits(to_blocks(IMAGES, **cut, scale=scale, bias=B, pad=pad, dtype=torch.float16).data.detach(), cells.half())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_from_bytes_to_tokens(dtype: torch.dtype) -> None:
    """As transformers' processors compute it, (x / 255 - mean) / std: within one unit in the last place of the exact value."""
    made: Any = {"merge": 2, "temporal": 2}
    patches = patchify(IMAGES, 14, **made, mean=MEAN, std=STD, dtype=dtype)
    mean, std = (planes(torch.tensor(values, dtype=torch.float64)) for values in (MEAN, STD))
    exact = patchify([(x.double() / 255 - mean) / std for x in IMAGES], 14, **made).tokens
    # float32 is computed with numbers of up to 2: its error is that of these, also where the difference is small
    unit = torch.finfo(dtype).eps * exact.abs().clamp(min=2 if dtype is torch.float32 else 2**-6)
    assert ((patches.tokens.double() - exact).abs() <= unit).all()
    assert patches.tokens.dtype is dtype
    if dtype is torch.float32:
        arrays = patchify([x.numpy() for x in IMAGES], 14, **made, mean=MEAN, std=np.array(STD))
        assert same(arrays.tokens, patches.tokens.numpy())


LINES = (
    ("CTHW", 2, (3, 14)),
    ("TCHW", 3, (2, 30)),
    ("CTHW", 1, (4, 5)),
    ("TCHW", 5, (3, 7)),
    ("CTHW", 2, (1, 16)),
    ("THWC", 2, (3, 7)),
)


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
def test_lines_of_patches(layout: str) -> None:
    """Vectors that reach into the next line leave what is around the tokens as it is; a still image's frames are all written."""
    rng = np.random.default_rng(0)
    arithmetic = Arithmetic("uint8", "float32", layout.index("C") + 1, scale=True, bias=True)
    s, b = rng.random(3, np.float32), rng.random(3, np.float32)
    first = np.zeros(1, np.int64)
    for token, frames, patch in LINES:
        order = token_order("patchify", patch, 2, frames, layout, token)
        sizes = {"C": 3, "H": 4 * patch[0], "W": 2 * patch[1]}
        image = rng.integers(0, 256, [sizes[letter] for letter in layout], np.uint8)
        still = np.broadcast_to(image, (frames, *image.shape))
        inside = [dict(zip(DIMS, order.inner(3), strict=True))[letter] for letter in token]
        y = np.zeros((8 + 2, *inside), np.float32)  # a token more on both sides
        by_letter = dict(zip(token, np.array(y.strides[1:]) // 4, strict=True))
        images = [still.shape], [still.strides]
        strides = y[0].size, *(int(by_letter[letter]) for letter in DIMS)
        operands = Operands(s.ctypes.data, b.ctypes.data)
        with spacebatch.use_backend("llvm"):
            table = table_of("patchify", True, order, images, (order.inner(3), strides), first, 1, arithmetic)
            assert table is not None
            assert table.move([image.ctypes.data], y[1:].ctypes.data, 1, None, operands)
        computed = image.astype("f4") * (s if layout == "HWC" else s[:, None, None])
        computed += b if layout == "HWC" else b[:, None, None]
        wanted = patchify([computed], patch, merge=2, temporal=frames, layout=layout, token=token).tokens
        assert same(y[1:-1].reshape(wanted.shape), wanted), (token, frames, patch)
        assert not y[0].any()
        assert not y[-1].any()


@pytest.mark.parametrize("tiny", [0.0, 2.0**-149, 2.0**-130, 2.0**-101, 1.3 * 2.0**-100, math.nan])
def test_subnormal_tokens(tiny: float) -> None:
    """A processor's own instruction for bfloat16 takes them for zero."""
    s, b = torch.tensor([tiny, 1.0, tiny]), torch.tensor([0.0, tiny, -tiny])
    with spacebatch.use_backend("llvm"):
        tokens = patchify(IMAGES, 14, merge=2, temporal=2, scale=s, bias=b, dtype=torch.bfloat16).tokens
    computed = [(x.float() * planes(s) + planes(b)).bfloat16() for x in IMAGES]
    assert_bits(tokens, patchify(computed, 14, merge=2, temporal=2).tokens)


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
def test_tokens_and_back(layout: str) -> None:
    """Padded tokens stay zero; what was normalized comes back as the bytes that it was."""
    turned = [x.permute(1, 2, 0) for x in IMAGES] if layout == "HWC" else IMAGES
    order: Any = {"layout": layout, "token": "HWC"}
    patches = patchify(turned, 14, **order, max_num_patches=9, mean=MEAN, std=STD)
    assert patches.tokens[~patches.mask].count_nonzero() == 0
    images = unpatchify(
        patches.tokens,
        patches.grid_thw,
        14,
        **order,
        scale=torch.tensor(STD) * 255,
        bias=torch.tensor(MEAN) * 255,
        dtype=torch.uint8,
    )
    assert all(torch.equal(a, b) for a, b in zip(images, turned, strict=True))
    floats = [x.float().requires_grad_() for x in turned]
    wanted = patchify(floats, 14, **order, scale=2.0, bias=1.0, activation="relu")
    assert same(wanted.tokens.detach(), patchify(turned, 14, **order, scale=2.0, bias=1.0, activation="relu").tokens)
    wanted.tokens.sum().backward()
    assert all(torch.equal(x.grad, torch.full_like(x, 2.0)) for x in floats)  # type: ignore[arg-type]


def test_explain_and_warm_up() -> None:
    """`explain` tells fused calls from plain ones, and `warm_up` takes them."""
    x = torch.rand(2, 3, 5, 5)
    call: Any = {"paddings": "auto", "scale": S, "activation": "gelu", "dtype": torch.bfloat16}
    told = spacebatch.explain(spacebatch.fused.space_to_batch, x, 2, **call)
    assert (told.operation, told.route, str(told.arithmetic)) == (
        "fused.space_to_batch",
        "eager",
        "gelu(float32 * scale) -> bfloat16",
    )
    assert "computes gelu(float32 * scale) -> bfloat16" in str(told)
    assert spacebatch.explain(spacebatch.space_to_batch, x, 2, "auto").arithmetic is None
    array = spacebatch.explain("fused.batch_to_space", x.numpy(), (2,), spatial_dims=2, scale=2)
    assert array.arithmetic is not None
    assert array.backend in ("llvm", "numpy")
    spacebatch.warm_up(spacebatch.fused.space_to_batch, x, 2, "auto", scale=S.clone().requires_grad_())


def test_nothing_to_compute_is_a_plain_move() -> None:
    """No word, or words that change nothing: the bits, NaN payloads included."""
    x = torch.tensor([[0x7FC01234, 0x3F800000]], dtype=torch.int32).view(torch.float32)
    assert same(spacebatch.fused.space_to_batch(x, (2,), dtype=x.dtype), x.view(2, 1))
    assert same(spacebatch.fused.space_to_batch(x.numpy(), (2,)), x.view(2, 1).numpy())


def test_out() -> None:
    x = torch.randn(2, 3, 4, 4, generator=GENERATOR)
    y = spacebatch.fused.space_to_batch(x, 2, scale=S, bias=B, dtype=torch.float16)
    out = torch.empty(2, 2, 3, 8, dtype=torch.float16).permute(3, 2, 0, 1)
    assert spacebatch.fused.space_to_batch(x, 2, scale=S, bias=B, dtype=torch.float16, out=out) is out
    assert same(out.contiguous(), y)
    array = np.empty(y.shape, np.float16)
    words: Any = {"scale": S.numpy(), "bias": B.numpy(), "dtype": np.float16}
    assert spacebatch.fused.space_to_batch(x.numpy(), 2, **words, out=array) is array
    assert same(array, y.numpy())


def test_arrays_of_ml_dtypes() -> None:
    """bfloat16 and the 8-bit floats of arrays, in and out, beside those of tensors."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = np.arange(-8, 8, dtype=np.float32).reshape(1, 1, 4, 4)
    for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        words: Any = {"scale": 1.3, "paddings": 1, "pad_value": 2}
        y = spacebatch.fused.space_to_batch(x, 2, **words, dtype=getattr(ml_dtypes, name))
        z = spacebatch.fused.space_to_batch(torch.from_numpy(x), 2, **words, dtype=getattr(torch, name))
        assert y.dtype.name == name
        with pytest.raises(ValueError, match=r"pad_value 3.4e\+38 is out of range for (bfloat16|float8)"):
            spacebatch.fused.space_to_batch(x, 2, 1, pad_value=3.4e38, dtype=y.dtype)
        assert same(y.view(np.uint8), z.view(torch.uint8).numpy())
        back = spacebatch.fused.batch_to_space(y, 2, 1, activation="relu", dtype=np.float32)
        assert same(back, spacebatch.fused.batch_to_space(z, 2, 1, activation="relu", dtype=torch.float32).numpy())
