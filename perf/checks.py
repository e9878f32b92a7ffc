"""Whether a result is right, to the bit, before anybody times it."""

from __future__ import annotations

import torch
from torch import Tensor

from spacebatch.by_hand import by_hand, is_channels_last
from spacebatch.reference import definition

from .cases import Case, arguments_of

DEFINITION_ELEMENTS = 1024  # up to here the definition is evaluated element by element
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def expected(case: Case, source: Tensor) -> Tensor:
    """What a case gives for a source: by the definition where that is quick, else by PyTorch's operators by hand.

    >>> case = Case("space_to_batch", (1, 4), (2,), ((1, 1),), "int32")
    >>> expected(case, torch.tensor([[1, 2, 3, 4]], dtype=torch.int32)).tolist()
    [[0, 2, 4], [1, 3, 0]]

    Elements travel as integers of their width, so that a NaN keeps its bits.
    """
    geometry, bits = case.geometry, as_integers(source)
    if max(source.numel(), geometry.space_shape[0]) <= DEFINITION_ELEMENTS and not bits.is_complex():
        found = getattr(definition, case.moves)(bits.cpu().numpy(), **arguments_of(case.moves, geometry))
        return torch.from_numpy(found).to(source.device).view(source.dtype)
    return by_hand(case.moves, geometry, is_channels_last(source))(bits).view(source.dtype)


def as_integers(x: Tensor) -> Tensor:
    """The elements as integers of their width; those of 16 bytes as they are."""
    if x.dtype is torch.bool:
        return x.view(torch.uint8)
    return x if x.element_size() == 16 else x.view(_INTEGERS[x.element_size()])


def same_bits(found: Tensor, wanted: Tensor) -> bool:
    """The same shape, dtype and bits.

    >>> nan = torch.tensor([float("nan")])
    >>> same_bits(nan, nan.clone()), same_bits(torch.tensor([0.0]), torch.tensor([-0.0]))
    (True, False)
    """
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return False
    pair = [as_integers(torch.view_as_real(x) if x.element_size() == 16 else x) for x in (found, wanted)]
    return torch.equal(pair[0], pair[1])


def poison_(x: Tensor) -> Tensor:
    """Every byte of the memory that x lies in set to 0xA5, so that an element left unwritten shows."""
    memory = torch.empty(0, dtype=torch.uint8, device=x.device)
    memory.set_(x.untyped_storage()).fill_(1 if x.dtype is torch.bool else 0xA5)
    return x


def poison_free_memory(count: int, device: torch.device) -> None:
    """Fill memory of so many bytes and give it back to the allocator, which is likely to hand it to the next result."""
    torch.empty(count, dtype=torch.uint8, device=device).fill_(0xA5)


def same_values(found: Tensor, wanted: Tensor) -> bool:
    """The same shape, dtype and values, all NaNs alike: XLA's pad, for one, changes their bits.

    >>> nan = torch.tensor([float("nan")])
    >>> same_values(nan, -nan), same_values(nan, torch.ones(1))
    (True, False)
    """
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return False
    if same_bits(found, wanted):
        return True
    return bool(((found == wanted) | ((found != found) & (wanted != wanted))).all())
