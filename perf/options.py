"""The options of `sweep` and `check`: which cells, and who is timed on them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from . import suites
from .cells import LAYOUTS, Cell
from .presets import PRESETS, cells_of
from .providers import PROVIDERS

T = TypeVar("T")
DEFAULT_PROVIDERS = {
    "cpu": ("ours", "out", "eager", "compile", "einops", "jax", "tensorflow", "numpy", "einops-numpy"),
    "cuda": ("ours", "eager", "compile", "jax", "cupy"),
}


def add_cell_options(parser: argparse.ArgumentParser) -> None:
    """The options that choose cells."""
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: the GPU if there is one")
    parser.add_argument("--preset", type=_list, help=f"comma-separated, or all: {', '.join(PRESETS)}")
    parser.add_argument("--shape", type=_shape, action="append", help="as 8x64x128x128, (N, C, *spatial); repeatable")
    parser.add_argument("--block", type=_block, action="append", help="as 2 or 2,4; repeatable (default: 2)")
    parser.add_argument("--pad", type=_pad, action="append", help="as 1, 0:1,2:2 or auto; repeatable (default: 0)")
    parser.add_argument("--dtype", type=_list, help="PyTorch's names, comma-separated")
    parser.add_argument("--layout", type=_one_of("layout", LAYOUTS), help=f"comma-separated: {', '.join(LAYOUTS)}")
    parser.add_argument("--direction", type=_one_of("direction", suites.DIRECTIONS), help="comma-separated")
    parser.add_argument("--mode", type=_one_of("mode", ("forward", "backward")), help="default: forward")
    parser.add_argument("--arrangement", type=_one_of("arrangement", ("interleaved", "contiguous")))
    parser.add_argument("--batch-order", type=_one_of("batch order", ("block_major", "batch_major")))
    parser.add_argument("--quick", action="store_true", help="few and small cells: does it work at all?")
    parser.add_argument("--full", action="store_true", help="on the CPU every combination instead of every pair")
    parser.add_argument("--cell", type=Path, help="a file that holds one cell as JSON")


def cells_from(options: argparse.Namespace, device: torch.device) -> list[Cell]:
    """The cells that the options ask for: of presets, of the product of what was chosen, or the device's default suite.

    Raises:
        ValueError, TypeError: sizes that do not fit together, named.
    """
    if options.cell is not None:
        return [Cell.from_dict(json.loads(options.cell.read_text(encoding="utf-8")))]
    dtypes = options.dtype or ["float32" if device.type == "cpu" else "float16"]
    cells: list[Cell] = []
    if options.preset is not None:
        names = list(PRESETS) if options.preset == ["all"] else options.preset
        cells = [cell for name in names for dtype in dtypes for cell in cells_of(name, dtype)]
    elif options.shape is not None:
        return list(
            suites.chosen(
                options.shape,
                options.block or [2],
                options.pad or [0],
                dtypes,
                options.layout or ["contiguous"],
                options.direction or suites.DIRECTIONS,
                options.mode or ["forward"],
                options.arrangement or ["interleaved"],
                options.batch_order or ["block_major"],
            )
        )
    elif options.block is not None or options.pad is not None:
        raise ValueError("sweep: --block and --pad need a --shape")
    elif device.type == "cpu":
        cells = suites.cpu_suite(options.full, options.quick)
    else:
        cells = suites.gpu_suite()
        if options.quick:
            cells = list({cell.tiny().key: cell.tiny() for cell in cells[::4]}.values())
    return _selected(cells, options)


def _selected(cells: list[Cell], options: argparse.Namespace) -> list[Cell]:
    """Those of a list that the options let through; more modes than it has are made."""
    keep = {
        "dtype": options.dtype,
        "layout": options.layout,
        "direction": options.direction,
        "arrangement": options.arrangement,
        "batch_order": options.batch_order,
    }
    for name, wanted in keep.items():
        if wanted is not None:
            cells = [cell for cell in cells if getattr(cell, name) in wanted]
    if options.mode is not None:
        floating = [cell for cell in cells if cell.torch_dtype.is_floating_point or cell.torch_dtype.is_complex]
        made = [
            replace(cell, mode=mode) for mode in options.mode for cell in (cells if mode == "forward" else floating)
        ]
        cells = list({cell.key: cell for cell in made}.values())
    if not cells:
        raise ValueError("sweep: no cell is left of those that the options name")
    return cells


def provider_names(options: argparse.Namespace, device: torch.device) -> list[str]:
    """The names asked for, or the device's default ones; ours is always among them."""
    names = options.provider or list(DEFAULT_PROVIDERS[device.type])
    return ["ours", *(name for name in names if name != "ours")]


def _list(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _one_of(what: str, allowed: Any) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        words = _list(text)
        for word in words:
            if word not in allowed:
                raise argparse.ArgumentTypeError(f"no {what} is called {word!r}; there are {', '.join(allowed)}")
        return words

    return parse


def _shape(text: str) -> tuple[int, ...]:
    return _integers(text, "x")


def _block(text: str) -> int | tuple[int, ...]:
    found = _integers(text, ",")
    return found[0] if len(found) == 1 else found


def _pad(text: str) -> Any:
    if text == "auto":
        return text
    pairs = [_integers(part, ":") for part in text.split(",")]
    if any(len(pair) > 2 for pair in pairs):
        raise argparse.ArgumentTypeError(f"{text!r}: a padding is one number, or before:after")
    if len(pairs) == 1 and len(pairs[0]) == 1:
        return pairs[0][0]
    return tuple(pair if len(pair) == 2 else pair * 2 for pair in pairs)


def _integers(text: str, between: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(between))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not made of integers and {between!r}") from None


def add_provider_option(parser: argparse.ArgumentParser) -> None:
    """--provider, a comma-separated list of names."""
    parser.add_argument(
        "--provider", type=_one_of("provider", PROVIDERS), help=f"comma-separated: {', '.join(PROVIDERS)}"
    )
