"""Both sides of each row of the tables "from other libraries" give the same bits.

What is not installed is written out from its documentation.
"""

from __future__ import annotations

import importlib.util
import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import spacebatch
from spacebatch import windows
from tests.docs.pages import ROOT, ROW, sections
from tests.windows import originals

SECTIONS = sections((ROOT / "docs/from_others.md").read_text(encoding="utf-8"))
OURS = {name: getattr(spacebatch, name) for name in ("batch_to_space", "patchify", "space_to_batch")}
OURS |= {name: getattr(windows, name) for name in windows.__all__} | {"spacebatch": spacebatch}


def installed(name: str) -> bool:
    """Whether a library is there, which is not imported to find out."""
    return importlib.util.find_spec(name) is not None


def blocks_first(x: Any, block: Any, paddings: Any) -> Any:
    """tf.space_to_batch_nd by the four steps of its documentation: pad, reshape, permute, reshape."""
    x = np.pad(np.asarray(x), [(0, 0), *map(tuple, paddings), (0, 0)])
    n, h, w, c = x.shape
    x = x.reshape(n, h // block[0], block[0], w // block[1], block[1], c)
    return x.transpose(2, 4, 0, 1, 3, 5).reshape(-1, h // block[0], w // block[1], c)


def blocks_back(y: Any, block: Any, crops: Any) -> Any:
    """tf.batch_to_space by its four steps: reshape, permute, reshape, crop."""
    (top, bottom), (left, right) = crops
    _, h, w, c = y.shape
    x = y.reshape(*block, -1, h, w, c).transpose(2, 3, 0, 4, 1, 5)
    x = x.reshape(-1, h * block[0], w * block[1], c)
    return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]


def required(sizes: Any, block: Any) -> Any:
    """tf.required_space_to_batch_paddings without base paddings: the ends, and the same as crops."""
    ends = [[0, -n % b] for n, b in zip(sizes, block, strict=True)]
    return ends, ends


def tensorflow() -> Any:
    """TensorFlow, or what it does."""
    if installed("tensorflow"):
        import triton  # noqa: F401  both bring an LLVM, and the other order crashes

        return importlib.import_module("tensorflow")
    depth = SimpleNamespace(
        space_to_depth=lambda x, b: originals.tensorflow_depth(torch.from_numpy(x), b).numpy(),
        depth_to_space=lambda y, b: originals.onnx_depth_to_space(torch.from_numpy(y).movedim(-1, 1), b, "DCR").movedim(
            1, -1
        ),
    )
    return SimpleNamespace(
        space_to_batch=blocks_first,
        space_to_batch_nd=blocks_first,
        batch_to_space=blocks_back,
        required_space_to_batch_paddings=required,
        nn=depth,
    )


def caffe2_run(op: str, x: Tensor, block_size: int, pad: int) -> Tensor:
    """Caffe2's two operators as the loops of their C++ code, over the samples of the batch."""
    n, c, h, w = x.shape
    if op == "SpaceToBatch":
        y = x.new_zeros(n * block_size**2, c, (h + 2 * pad) // block_size, (w + 2 * pad) // block_size)
        for k, i, j in itertools.product(range(len(y)), range(y.shape[2]), range(y.shape[3])):
            row = k // n // block_size - pad + i * block_size
            column = k // n % block_size - pad + j * block_size
            if 0 <= row < h and 0 <= column < w:
                y[k, :, i, j] = x[k % n, :, row, column]
        return y
    count = n // block_size**2
    y = x.new_zeros(count, c, h * block_size - 2 * pad, w * block_size - 2 * pad)
    for k, i, j in itertools.product(range(n), range(h), range(w)):
        row = k // count // block_size - pad + i * block_size
        column = k // count % block_size - pad + j * block_size
        if 0 <= row < y.shape[2] and 0 <= column < y.shape[3]:
            y[k % count, :, row, column] = x[k, :, i, j]
    return y


def swin(size: tuple[int, int]) -> dict[str, Any]:
    """timm's functions and a block's mask, NATTEN's permutation; or what they do."""

    def grid_reverse(y: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
        (h, w), (p, q) = size, grid
        y = y.view(-1, h // p, w // q, p, q, y.shape[-1])
        return y.permute(0, 3, 1, 4, 2, 5).reshape(-1, h, w, y.shape[-1])

    found: dict[str, Any] = {
        "window_partition": originals.swin_partition,
        "window_reverse": lambda y, window, h, w: originals.swin_reverse(y, window, (h, w)),
        "grid_partition": originals.maxvit_grid,
        "grid_reverse": grid_reverse,
        "window_partition_nchw": lambda x, window: originals.swin_partition(x.movedim(1, -1), window).movedim(-1, 1),
        "sam_partition": lambda x, w: (originals.swin_partition(x, (w, w)), None),
        "sam_unpartition": lambda y, w, size, _: originals.swin_reverse(y, (w, w), size),
        "SwinTransformerBlock": SimpleNamespace(attn_mask=originals.swin_mask(size, (7, 7), (3, 3))),
        "token_permute": lambda x, tile_shape, dilation: originals.natten_permute(x, tile_shape, dilation),
    }
    if installed("timm"):
        models = {
            name: importlib.import_module(f"timm.models.{name}")
            for name in ("swin_transformer", "maxxvit", "vision_transformer_sam")
        }
        block = models["swin_transformer"].SwinTransformerBlock
        sam = models["vision_transformer_sam"]
        found |= {name: getattr(models["swin_transformer"], name) for name in ("window_partition", "window_reverse")}
        found |= {
            name: getattr(models["maxxvit"], name)
            for name in ("grid_partition", "grid_reverse", "window_partition_nchw")
        }
        found |= {"sam_partition": sam.window_partition, "sam_unpartition": sam.window_unpartition}
        found["SwinTransformerBlock"] = block(dim=8, input_resolution=size, num_heads=1, window_size=7, shift_size=3)
    return found


def wavenet_back(y: Tensor, dilation: int) -> Tensor:
    """WaveNet's batch_to_time: reshape, transpose, reshape."""
    _, length, c = y.shape
    return y.reshape(dilation, -1, length, c).permute(1, 2, 0, 3).reshape(-1, length * dilation, c)


def names(section: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """For each table of a section: what both sides know, and what theirs knows besides."""
    rand = torch.rand
    if section == "TensorFlow":
        x, y = np.arange(144).reshape(2, 4, 6, 3), np.arange(1152).reshape(8, 3, 4, 12)
        return 2 * [({"x": x, "y": y}, {"tf": tensorflow()})]
    if section == "Caffe2":
        return [({"x": rand(2, 3, 4, 6), "y": rand(8, 3, 4, 6)}, {"run": caffe2_run})]
    if section == "einops":
        theirs = {"rearrange": pytest.importorskip("einops").rearrange}
        return [({"x": rand(2, 3, 8, 12), "y": rand(8, 3, 4, 6)}, theirs), ({"x": rand(2, 8, 12, 3)}, theirs)]
    if section.startswith("Swin"):
        h, w = size = (14, 21)
        tensors = {"x": rand(2, h, w, 3), "y": rand(12, 7, 7, 3), "z": rand(12, 7, 7, 3), "v": rand(30, 5, 5, 3)}
        return [(tensors | {"torch": torch, "ws": 7, "s": 3, "H": h, "W": w}, swin(size))]
    theirs = {
        "onnx": SimpleNamespace(
            DepthToSpace=lambda y, blocksize, mode: originals.onnx_depth_to_space(y, blocksize, mode)
        ),
        "wavenet": SimpleNamespace(time_to_batch=originals.wavenet_time_to_batch, batch_to_time=wavenet_back),
        "torch": torch,
    }
    return [({"x": rand(2, 4, 8, 12), "y": rand(2, 8, 4, 6), "t": rand(2, 10, 4), "u": rand(6, 4, 4)}, theirs)]


@pytest.mark.parametrize("section", SECTIONS)
def test_both_sides(section: str) -> None:
    tables = [table for table in SECTIONS[section].split("\n\n") if table.startswith("|")]
    for table, (both, theirs) in zip(tables, names(section), strict=True):
        rows = ROW.findall(table)
        assert len(rows) == len(table.strip().splitlines()) - 2, "every row has two calls"
        for left, right in rows:
            expected = eval(left, both | theirs)
            # the bits of kernels are compared elsewhere, and to compile some for each row takes time
            with spacebatch.use_backend("numpy" if section == "TensorFlow" else "torch"):
                found = eval(right, both | OURS)
            if isinstance(found, tuple):
                found, expected = np.asarray(found), np.stack([np.asarray(part) for part in expected])
            assert tuple(found.shape) == tuple(expected.shape), right
            assert np.array_equal(np.asarray(found), np.asarray(expected)), right
