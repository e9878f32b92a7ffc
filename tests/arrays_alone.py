"""The installed package without PyTorch: `python tests/arrays_alone.py` compares random calls on arrays with the definition.

With llvmlite all calls are computed twice, by compiled kernels and by NumPy; without it by NumPy. It needs no test runner.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import random
import sys
from contextlib import nullcontext
from typing import Any

import numpy as np

import spacebatch
from spacebatch.reference import definition

DTYPES = ("bool", "uint8", "int16", "float32", "float64", "complex128")
CALLS = 60


def random_call(chance: random.Random) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    """An array of a few small dims, in an order of its own, and how to block it."""
    shape = [chance.randint(1, 9) for _ in range(chance.randint(2, 5))]
    x = np.frombuffer(chance.randbytes(16 * int(np.prod(shape))), np.uint8)[: int(np.prod(shape))]
    x = (x % 2 if chance.random() < 0.5 else x).astype(chance.choice(DTYPES)).reshape(shape)
    if chance.random() < 0.3:
        x = x.transpose(0, *reversed(range(1, x.ndim)))
    dims = chance.sample(range(1, x.ndim), chance.randint(1, x.ndim - 1))
    blocks = [chance.randint(1, 4) for _ in dims]
    before = [chance.randint(0, 2) for _ in dims]
    after = [-(x.shape[d] + b) % block for d, b, block in zip(dims, before, blocks, strict=True)]
    return x, {
        "block_shape": blocks,
        "paddings": [*zip(before, after, strict=True)],
        "spatial_dims": dims,
        "batch_order": chance.choice(("block_major", "batch_major")),
        "arrangement": chance.choice(("interleaved", "contiguous")),
        "shifts": [chance.randint(-3, 3) for _ in dims] if chance.random() < 0.3 else 0,
    }


def main() -> None:
    """Fail at the first call that differs."""
    os.environ["SPACEBATCH_COMPILE"] = "wait"  # not the copies that serve meanwhile
    chance = random.Random(0)
    backends = ["numpy"] if importlib.util.find_spec("llvmlite") is None else ["chosen", "numpy"]
    for _ in range(CALLS):
        x, arguments = random_call(chance)
        expected = definition.space_to_batch(x, pad_value=1, **arguments)
        crops = {"crops": arguments["paddings"], **{k: v for k, v in arguments.items() if k != "paddings"}}
        for backend in backends:
            with nullcontext() if backend == "chosen" else spacebatch.use_backend("numpy"):
                y = spacebatch.space_to_batch(x, pad_value=1, **arguments)
                assert (y.dtype, y.tolist()) == (x.dtype, expected.tolist()), (backend, x.shape, arguments)
                assert np.array_equal(spacebatch.batch_to_space(y, **crops), x), (backend, x.shape, arguments)
    image = np.arange(3 * 13 * 17).reshape(1, 3, 13, 17)
    windows = spacebatch.windows.Windows(image.shape, 7, shift=3)
    assert np.array_equal(windows.merge(windows.partition(image)), image)
    assert np.array_equal(spacebatch.to_blocks([image[0]], 5, halo=1).restore()[0], image[0])
    tokens = spacebatch.patchify(image[0, :, :12, :16], 4)
    assert np.array_equal(spacebatch.unpatchify(tokens.tokens, tokens.grid_thw, 4)[0], image[0, :, :12, :16])
    assert "torch" not in sys.modules
    print(
        f"{CALLS} calls on arrays are as defined: Python {platform.python_version()}, NumPy {np.__version__}, {backends}"
    )


if __name__ == "__main__":
    main()
