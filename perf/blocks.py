"""`python -m spacebatch.perf blocks`: images of several sizes to one batch of blocks or tokens and back, beside the loops that people write.

By hand, blocks of a list are `F.pad`, `view`, `permute` and `reshape` of each image and one `cat`; of arrays `np.pad`, `reshape`,
`transpose` and `concatenate`. Tokens are what transformers' processor of Qwen2-VL does with each image. Results are compared first. Rounds
are interleaved, and ratios are taken round by round. Images of 8 x 8 tell what an image costs besides moving its bytes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

import spacebatch
from spacebatch.timing import Clock, clock_of, round_seconds

from .cases import dtype_of
from .records import about, write_json
from .report import Table, aligned, dtype_name, positive

Call = Callable[[], Any]
SMALLEST, LARGEST = 200, 900  # of a photograph's sides
CPU = torch.device("cpu")


def blocks_by_hand(images: Sequence[Tensor], block: int) -> Tensor:
    """Blocks of images of (3, H, W).

    >>> blocks_by_hand([torch.ones(3, 5, 4)], 4).shape
    torch.Size([2, 3, 4, 4])
    """
    found = []
    for x in images:
        channels, height, width = x.shape
        x = functional.pad(x, (0, -width % block, 0, -height % block))
        rows, columns = x.shape[1] // block, x.shape[2] // block
        split = x.view(channels, rows, block, columns, block).permute(1, 3, 0, 2, 4)
        found.append(split.reshape(rows * columns, channels, block, block))
    return torch.cat(found)


def images_by_hand(y: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Images of blocks.

    >>> images_by_hand(torch.ones(2, 3, 4, 4), [(5, 4)])[0].shape
    torch.Size([3, 5, 4])
    """
    found, start = [], 0
    _, channels, block, _ = y.shape
    for height, width in sizes:
        rows, columns = -(-height // block), -(-width // block)
        split = y[start : start + rows * columns].view(rows, columns, channels, block, block).permute(2, 0, 3, 1, 4)
        x = split.reshape(channels, rows * block, columns * block)
        found.append(x[:, :height, :width].contiguous())
        start += rows * columns
    return found


def arrays_by_hand(images: Sequence[Any], block: int) -> Any:
    """Blocks of arrays of (H, W, 3).

    >>> arrays_by_hand([np.ones((5, 4, 3))], 4).shape
    (2, 4, 4, 3)
    """
    found = []
    for x in images:
        height, width, channels = x.shape
        x = np.pad(x, ((0, -height % block), (0, -width % block), (0, 0)))
        rows, columns = x.shape[0] // block, x.shape[1] // block
        split = x.reshape(rows, block, columns, block, channels).transpose(0, 2, 1, 3, 4)
        found.append(split.reshape(rows * columns, block, block, channels))
    return np.concatenate(found)


def tokens_by_hand(images: Sequence[Tensor], patch: int, merge: int, temporal: int) -> Tensor:
    """Tokens of Qwen2-VL.

    >>> tokens_by_hand([torch.ones(3, 56, 28)], 14, 2, 2).shape
    torch.Size([8, 1176])
    """
    found = []
    for x in images:
        channels, height, width = x.shape
        rows, columns = height // patch, width // patch
        split = x.reshape(channels, rows // merge, merge, patch, columns // merge, merge, patch)
        split = split.permute(1, 4, 2, 5, 0, 3, 6).unsqueeze(5).expand(-1, -1, -1, -1, -1, temporal, -1, -1)
        found.append(split.reshape(rows * columns, channels * temporal * patch * patch))
    return torch.cat(found)


def naflex_by_hand(images: Sequence[Tensor], patch: int) -> Tensor:
    """Tokens of SigLIP2, before they are padded.

    >>> naflex_by_hand([torch.ones(3, 32, 16)], 16).shape
    torch.Size([2, 768])
    """
    found = []
    for x in images:
        channels, height, width = x.shape
        rows, columns = height // patch, width // patch
        split = x.reshape(channels, rows, patch, columns, patch).permute(1, 3, 2, 4, 0)
        found.append(split.reshape(rows * columns, -1))
    return torch.cat(found)


def cases(
    count: int, blocks: Sequence[int], dtypes: Sequence[torch.dtype]
) -> dict[str, Callable[[], tuple[Call, Call]]]:
    """What is timed: a name, and what makes our call and the one by hand."""
    rng = np.random.default_rng(0)
    sizes = [(int(h), int(w)) for h, w in rng.integers(SMALLEST, LARGEST + 1, (count, 2))]
    found: dict[str, Callable[[], tuple[Call, Call]]] = {}
    for dtype in dtypes:
        name = str(dtype).removeprefix("torch.")

        def images(dtype: torch.dtype = dtype, sizes: Sequence[tuple[int, int]] = sizes) -> list[Tensor]:
            return [torch.randint(0, 255, (3, *size), dtype=torch.uint8).to(dtype) for size in sizes]

        for block in blocks:

            def cut(block: int = block, images: Any = images) -> tuple[Call, Call]:
                x = images()
                return lambda: spacebatch.to_blocks(x, block).data, lambda: blocks_by_hand(x, block)

            def back(block: int = block, images: Any = images) -> tuple[Call, Call]:
                made = spacebatch.to_blocks(images(), block)
                return made.restore, lambda: images_by_hand(made.data, sizes)

            def arrays(block: int = block, images: Any = images) -> tuple[Call, Call]:
                x = [np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in images()]
                return lambda: spacebatch.to_blocks(x, block, layout="HWC").data, lambda: arrays_by_hand(x, block)

            found[f"to blocks of {block}, {name}"] = cut
            found[f"back from blocks of {block}, {name}"] = back
            found[f"arrays (H, W, C) to blocks of {block}, {name}"] = arrays
        large = {"1008 x 1008": [(1008, 1008)], "16 images of 8 to 36 groups": None}
        for which, given in large.items():
            here = given or [(int(h), int(w)) for h, w in 28 * rng.integers(8, 37, (16, 2))]

            def qwen(images: Any = images, here: Any = here) -> tuple[Call, Call]:
                x = images(sizes=here)
                return lambda: spacebatch.patchify(x, 14, merge=2, temporal=2).tokens, lambda: tokens_by_hand(
                    x, 14, 2, 2
                )

            def naflex(images: Any = images, here: Any = here) -> tuple[Call, Call]:
                x = images(sizes=[(h // 16 * 16, w // 16 * 16) for h, w in here])
                return lambda: spacebatch.patchify(x, 16, token="HWC").tokens, lambda: naflex_by_hand(x, 16)

            found[f"Qwen2-VL, {which}, {name}"] = qwen
            found[f"SigLIP2, {which}, {name}"] = naflex
    return found


def host_seconds(count: int, rounds: int, clock: Clock) -> dict[str, float]:
    """What an image costs besides moving its bytes, in seconds, by what is done with a list of so many."""
    x = [torch.zeros(3, 8 + k % 5, 8 + k % 7) for k in range(count)]
    arrays = [image.numpy() for image in x]
    blocks, patches = spacebatch.to_blocks(x, 8), [image[:, :8, :8] for image in x]
    calls: dict[str, Call] = {
        "to_blocks": lambda: spacebatch.to_blocks(x, 8),
        "restore": blocks.restore,
        "to_blocks of arrays": lambda: spacebatch.to_blocks(arrays, 8),
        "patchify": lambda: spacebatch.patchify(patches, 4),
    }
    found = round_seconds(calls, clock, rounds=rounds, warmup=2)
    return {name: min(seconds) / count for name, seconds in found.items()}


def clock(kind: str) -> Clock:
    """The wall clock, or the seconds that this process computes: what is left of a figure on a machine that others use, with one thread."""

    def computing(calls: list[tuple[str, Call]]) -> list[tuple[str, float]]:
        found = []
        for name, call in calls:
            start = time.process_time()
            result = call()
            found.append((name, time.process_time() - start))
            del result
        return found

    return computing if kind == "process" else clock_of(CPU)


def same(ours: Any, theirs: Any) -> bool:
    """Whether two results, or all of two lists, are equal."""
    if isinstance(ours, list):
        return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    return bool((ours == theirs).all()) and ours.shape == theirs.shape


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "--images", type=positive, default=200, help="how many photographs of 200 to 900 pixels a side; default 200"
    )
    parser.add_argument(
        "--block", type=positive, action="append", help="a block size, again for more; default 224, 64 and 16"
    )
    parser.add_argument("--dtype", type=dtype_name, action="append", help="again for more; default uint8 and float32")
    parser.add_argument("--rounds", type=positive, default=7, help="timed runs of each; default 7")
    parser.add_argument("--threads", type=positive, help="of PyTorch; arrays take OMP_NUM_THREADS")
    parser.add_argument(
        "--clock", choices=("wall", "process"), default="wall", help="process: what it computes, on a busy machine"
    )
    parser.add_argument("--match", default="", help="only cases whose name has this in it")
    parser.add_argument("--json", type=Path, help="where to write the figures")


def tables(data: Mapping[str, Any]) -> list[Table]:
    """The figures of a file: of its cases, and what an image costs besides moving its bytes."""
    cases = [
        (case["case"], f"{case['ours_ms']:.1f}", f"{case['by_hand_ms']:.1f}", f"{case['ratio']:.2f}")
        for case in data["cases"]
    ]
    host = data["host_seconds_per_image"]
    costs = [(f"of {count} images", *(f"{s * 1e6:.1f}" for s in found.values())) for count, found in host.items()]
    return [
        [("case", "ours, ms", "by hand, ms", "by hand / ours"), *cases],
        [("us per image", *next(iter(host.values()))), *costs],
    ]


def main(options: argparse.Namespace) -> int:
    """Run the command; the exit status."""
    if options.threads:
        torch.set_num_threads(options.threads)
    dtypes = [dtype_of(name) for name in options.dtype or ("uint8", "float32")]
    facts = about("blocks", CPU)
    print(f"{facts['hardware']}; {facts['software']}; {options.images} images; {options.clock} clock", flush=True)
    figures = []
    for name, make in cases(options.images, options.block or (224, 64, 16), dtypes).items():
        if options.match not in name:
            continue
        ours, by_hand = make()
        if not same(ours(), by_hand()):
            raise AssertionError(f"{name}: ours differs from what is computed by hand")
        seconds = round_seconds(
            {"ours": ours, "by hand": by_hand}, clock(options.clock), rounds=options.rounds, warmup=1
        )
        ratio = median(b / a for a, b in zip(seconds["ours"], seconds["by hand"], strict=True))
        best = {who: min(found) * 1e3 for who, found in seconds.items()}
        figures.append({"case": name, "ours_ms": best["ours"], "by_hand_ms": best["by hand"], "ratio": ratio})
    host = {count: host_seconds(count, options.rounds, clock(options.clock)) for count in (8, 500)}
    facts |= {"images": options.images, "clock": options.clock}
    data = {**facts, "cases": figures, "host_seconds_per_image": host}
    for table in tables(data):
        print(aligned(table), end="\n\n")
    if options.json:
        write_json(data, options.json)
    return 0
