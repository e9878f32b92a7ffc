"""`python -m spacebatch.perf arithmetic`: the CPU's kernels with arithmetic on the way, beside eager PyTorch and `torch.compile`.

By hand, it is one operator after the other, then `view`, `permute` and `reshape`. Results are compared first: of formulas with exp they are
near, of all others equal. Rounds are interleaved, and ratios are taken round by round; all allocate their results.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

import spacebatch
from spacebatch.reference import patch_tokens
from spacebatch.reference.arithmetic import Arithmetic, Operands
from spacebatch.reference.llvm import openmp
from spacebatch.reference.llvm.prepare import prepare
from spacebatch.reference.memory_order import result_layout
from spacebatch.reference.prepared import Direction, Layout, waiting_for_kernels
from spacebatch.timing import hardware, round_seconds, software

from .blocks import CPU, clock
from .records import write_json
from .report import aligned, markdown, positive


class Cell(NamedTuple):
    """A call of a kernel, and the same by hand, of the tensors that `torch.compile` is given."""

    ours: Callable[[], Tensor]
    by_hand: Callable[..., Tensor]
    tensors: tuple[Tensor, ...]


def moved(direction: Direction, geometry: Any, x: Tensor, a: Arithmetic, operands: Operands) -> Callable[[], Tensor]:
    """A prepared call that allocates its result."""
    shape, strides = result_layout(direction, geometry, x.stride())
    dtype = getattr(torch, a.result)
    source = Layout(x.stride(), x.element_size(), x.dtype, "cpu")
    call = prepare(direction, geometry, source, Layout(strides, dtype.itemsize, dtype, "cpu", True), a)
    if isinstance(call, str):
        raise ValueError(call)
    call.ready(wait=True)

    def ours() -> Tensor:
        y = torch.empty_strided(shape, strides, dtype=dtype)
        call(x, y, b"", operands)
        return y

    return ours


def patches(layout: str, size: int, patch: int) -> Cell:
    """uint8 to normalized bfloat16 tokens of (3, patch, patch)."""
    x = torch.randint(0, 256, [3 if letter == "C" else size for letter in layout], dtype=torch.uint8)
    scale, bias = torch.rand(3) / 100, torch.rand(3)
    place = [3 if letter == "C" else 1 for letter in layout]
    order = patch_tokens.token_order("patchify", patch, 1, 1, layout, "CHW")
    across, width = size // patch, 3 * patch * patch
    a, operands = Arithmetic("uint8", "bfloat16", 1, True, True), Operands(scale.data_ptr(), bias.data_ptr())
    image = [(1, *x.shape)], [(x.numel(), *x.stride())], [x.data_ptr()]
    inner, first = (width, width, patch * patch, patch, 1), np.zeros(1, np.int64)

    def ours() -> Tensor:
        y = torch.empty(across * across, width, dtype=torch.bfloat16)
        out, how = (order.inner(3), inner, y.data_ptr()), (torch.get_num_threads(), openmp.loaded(), a, operands)
        with waiting_for_kernels():
            if not patch_tokens.move_by_kernels("patchify", True, order, image, out, first, 1, *how):
                raise RuntimeError("no kernel took the image")
        return y

    def by_hand(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        y = (x.float() * scale.view(place) + bias.view(place)).bfloat16()
        y = y.permute([layout.index(letter) for letter in "CHW"]).reshape(3, across, patch, across, patch)
        return y.permute(1, 3, 0, 2, 4).reshape(-1, width)

    return Cell(ours, by_hand, (x, scale, bias))


def images(kind: str, source: str, result: str, activation: Any) -> Cell:
    """(4, 64, 112, 112) in blocks of 2: to the batch in "nchw" or "nhwc", or "back"."""
    geometry = spacebatch.BlockGeometry((4, 64, 112, 112), 2)
    back = kind == "back"
    x = torch.randn(geometry.batch_shape if back else geometry.space_shape).to(getattr(torch, source))
    x = x.to(memory_format=torch.channels_last) if kind == "nhwc" else x
    scale, bias = torch.rand(64), torch.randn(64)
    a = Arithmetic(source, result, 1, True, True, None, activation)
    direction: Direction = "batch_to_space" if back else "space_to_batch"
    apply: Any = {"none": lambda x: x, "relu": torch.relu, "silu": functional.silu, "gelu": functional.gelu}[activation]

    def by_hand(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        y: Tensor = apply(x.float() * scale.view(64, 1, 1) + bias.view(64, 1, 1)).to(getattr(torch, result))
        if back:
            return y.view(2, 2, 4, 64, 56, 56).permute(2, 3, 4, 0, 5, 1).reshape(4, 64, 112, 112)
        y = y.view(4, 64, 56, 2, 56, 2).permute(3, 5, 0, 1, 2, 4)
        if kind == "nhwc":
            return y.permute(0, 1, 2, 4, 5, 3).reshape(16, 56, 56, 64).permute(0, 3, 1, 2)
        return y.reshape(16, 64, 56, 56)

    return Cell(moved(direction, geometry, x, a, Operands(scale, bias)), by_hand, (x, scale, bias))


def windows(activation: Any) -> Cell:
    """Windows of 7 x 7 of (8, 56, 56, 96) back to the image, and a residual."""
    geometry = spacebatch.BlockGeometry(
        (8, 56, 56, 96), 8, arrangement="contiguous", batch_order="batch_major", spatial_dims=(1, 2)
    )
    x, residual = torch.randn(geometry.batch_shape), torch.randn(geometry.space_shape)
    a = Arithmetic("float32", "float32", residual="float32", activation=activation)
    apply: Any = {"none": lambda x: x, "silu": functional.silu}[activation]

    def by_hand(x: Tensor, residual: Tensor) -> Tensor:
        y = x.view(8, 8, 8, 7, 7, 96).permute(0, 1, 3, 2, 4, 5).reshape(8, 56, 56, 96) + residual
        found: Tensor = apply(y)
        return found

    return Cell(moved("batch_to_space", geometry, x, a, Operands(None, None, residual)), by_hand, (x, residual))


CELLS: dict[str, Callable[[], Cell]] = {
    "uint8 CHW to bfloat16 tokens of 14": lambda: patches("CHW", 1008, 14),
    "uint8 CHW to bfloat16 tokens of 16": lambda: patches("CHW", 1024, 16),
    "uint8 HWC to bfloat16 tokens of 14": lambda: patches("HWC", 1008, 14),
    "float32 NCHW back, relu": lambda: images("back", "float32", "float32", "relu"),
    "bfloat16 NHWC, silu": lambda: images("nhwc", "bfloat16", "bfloat16", "silu"),
    "float32 NHWC, silu": lambda: images("nhwc", "float32", "float32", "silu"),
    "float32 windows back, residual": lambda: windows("none"),
    "float32 NCHW, gelu": lambda: images("nchw", "float32", "float32", "gelu"),
    "bfloat16 NCHW to float8_e4m3fn": lambda: images("nchw", "bfloat16", "float8_e4m3fn", "none"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--rounds", type=positive, default=21, help="timed runs of each; default 21")
    parser.add_argument("--threads", type=positive, help="of PyTorch")
    parser.add_argument(
        "--clock", choices=("wall", "process"), default="wall", help="process: what it computes, on a busy machine"
    )
    parser.add_argument("--compile", action="store_true", help="beside torch.compile, too")
    parser.add_argument("--match", default="", help="only cells whose name has this in it")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--markdown", action="store_true", help="print a table for a page")


def main(options: argparse.Namespace) -> int:
    """Run the command; the exit status."""
    if options.threads:
        torch.set_num_threads(options.threads)
    others = ["eager", *(["compiled"] if options.compile else [])]
    rows: list[tuple[object, ...]] = [("cell", "ours, ms", *(f"{who} / ours" for who in others))]
    figures = []
    for name, make in CELLS.items():
        if options.match not in name:
            continue
        cell = make()
        tensors = cell.tensors
        ours, right = cell.ours(), cell.by_hand(*tensors)
        if not torch.allclose(ours.float(), right.float(), rtol=1e-2 if "silu" in name else 1e-5, atol=1e-5):
            raise AssertionError(f"{name}: ours differs from what is computed by hand")
        calls: dict[str, Any] = {"ours": cell.ours, "eager": lambda c=cell: c.by_hand(*c.tensors)}
        if options.compile:
            compiled = torch.compile(cell.by_hand)
            calls["compiled"] = lambda f=compiled, t=tensors: f(*t)
        seconds = round_seconds(calls, clock(options.clock), rounds=options.rounds, warmup=2)
        ratios = {who: median(b / a for a, b in zip(seconds["ours"], seconds[who], strict=True)) for who in others}
        best = min(seconds["ours"]) * 1e3
        rows.append((name, f"{best:.2f}", *(f"{ratio:.2f}" for ratio in ratios.values())))
        figures.append({"cell": name, "ours_ms": best, **ratios})
    if not figures:
        raise ValueError(f"no cell has {options.match!r} in its name")
    means = {who: geometric_mean(float(figure[who]) for figure in figures) for who in others}  # type: ignore[arg-type]
    rows.append(("geometric mean", "", *(f"{mean:.2f}" for mean in means.values())))
    print(f"{hardware(CPU)}; {software()}; {options.clock} clock")
    print((markdown if options.markdown else aligned)(rows))
    if options.json:
        about = {"hardware": hardware(CPU), "software": software(), "clock": options.clock}
        write_json({**about, "cells": figures, "geometric_means": means}, options.json)
    return 0
