"""Equality of bits, and the definition applied to the raw bits of a tensor of any dtype."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch

import spacebatch
from spacebatch.reference import definition


def raw(x: torch.Tensor) -> np.ndarray:
    """The elements of x as opaque bytes of the same width: no dtype of PyTorch is too exotic."""
    plain = x.detach().cpu().resolve_conj().resolve_neg().contiguous()
    data = plain.reshape(-1).view(torch.uint8).numpy().tobytes()
    return np.frombuffer(data, dtype=f"V{plain.element_size()}").reshape(tuple(plain.shape))


def same(actual: Any, expected: Any) -> bool:
    """The same kind of thing, shape, dtype and bits (NaN payloads and the sign of zero included)."""
    if isinstance(actual, torch.Tensor):
        kind = expected.dtype if isinstance(expected, torch.Tensor) else actual.dtype
        other = raw(expected) if isinstance(expected, torch.Tensor) else expected
        mine = raw(actual)
        return actual.dtype == kind and mine.shape == other.shape and mine.tobytes() == other.tobytes()
    if type(actual) is not type(expected) or actual.shape != expected.shape or actual.dtype != expected.dtype:
        return False
    if actual.dtype.hasobject:
        return all(a is b for a, b in zip(actual.reshape(-1), expected.reshape(-1), strict=True))
    return actual.tobytes() == expected.tobytes()


def define_batch(x: Any, *args: Any, pad_value: Any = 0, **options: Any) -> np.ndarray:
    """space_to_batch(x, …) by its definition: of an array, or of the raw bits of a tensor."""
    if isinstance(x, np.ndarray):
        return definition.space_to_batch(x, *args, pad_value=pad_value, **options)
    pad = raw(torch.full((), pad_value, dtype=x.dtype))[()]
    return definition.space_to_batch(raw(x), *args, pad_value=pad, **options)


def define_space(y: Any, *args: Any, **options: Any) -> np.ndarray:
    """batch_to_space(y, …) by its definition: of an array, or of the raw bits of a tensor."""
    return definition.batch_to_space(y if isinstance(y, np.ndarray) else raw(y), *args, **options)


def random_tensor(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    """A tensor of random bits: for floats also NaNs with payloads, infinities, subnormals and both zeros."""
    generator = torch.Generator().manual_seed(seed)
    if dtype is torch.bool:
        return torch.randint(0, 2, shape, generator=generator).to(torch.bool)
    width = torch.empty((), dtype=dtype).element_size()
    count = int(np.prod(shape, dtype=np.int64))
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    data = torch.randint(0, 256, (count * width,), generator=generator, dtype=torch.uint8)
    return data.view(dtype).reshape(shape)


def poisoned(x: Any) -> Any:
    """x, every byte overwritten by 0xA5 (True for bool): an element left unwritten shows."""
    if isinstance(x, np.ndarray):
        x[...] = "poison" if x.dtype.hasobject else np.frombuffer(b"\xa5" * x.itemsize, dtype=x.dtype)[0]
        return x
    poison = torch.full((x.element_size(),), 0xA5, dtype=torch.uint8)
    return x.copy_(torch.tensor(True) if x.dtype is torch.bool else poison.view(x.dtype)[0])


def using(backend: str) -> AbstractContextManager[None]:
    """A context in which the named backend computes, or, for "chosen", whichever is chosen."""
    return nullcontext() if backend == "chosen" else spacebatch.use_backend(backend)  # type: ignore[arg-type]
