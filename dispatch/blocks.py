"""`spacebatch.to_blocks`: arrays go to the reference, which needs no torch, tensors to `block_tensors`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from spacebatch.reference import blocks as arrays
from spacebatch.reference.arguments import Borders
from spacebatch.reference.blocks import Blocks
from spacebatch.reference.words import CutWords, words_of

if TYPE_CHECKING:
    from typing_extensions import Unpack


def to_blocks(
    images: Any,
    block: int | Sequence[int],
    *,
    halo: Borders = 0,
    pad_value: bool | int | float | complex = 0,
    layout: str | None = None,
    **words: Unpack[CutWords],
) -> Blocks:
    """Cut images of several sizes into blocks of one size, all in one batch: one pass over memory, and `restore` has the way back.

    >>> import torch, spacebatch
    >>> photographs = [torch.rand(3, 50, 70), torch.rand(3, 40, 30)]
    >>> blocks = spacebatch.to_blocks(photographs, 32, halo=4)
    >>> blocks.data.shape, blocks.cu_seqlens.tolist()
    (torch.Size([8, 3, 40, 40]), [0, 6, 8])
    >>> images = blocks.restore(blocks.data.mean(dim=1, keepdim=True))
    >>> [tuple(image.shape) for image in images]
    [(1, 50, 70), (1, 40, 30)]

    Blocks stand in the order of the images, and within an image row by row. The ends of an image are padded to whole blocks.

    Args:
        images: a list or tuple of tensors or of NumPy arrays, or one of them; of one dtype, device and number of dims, with any sizes along
            the dims that are cut, the same along the others, and any strides.
        block: a positive int for every dim that is cut, or one for each.
        halo: how many neighbours of a block are read with it, so that blocks overlap: an int, one for each dim that is cut, or one
            (before, after) pair for each. Outside of the image stands the pad value.
        pad_value: what the padding holds; must be representable in the dtype.
        layout: what the dims of an image are, by a capital letter each: C is channels and is not cut, all others are: "HWC", "HW", "CDHW".
            By default the first dim is channels.
        words: what is computed on the way, scale, bias, activation, dtype …, as in `spacebatch.fused.space_to_batch`; a channel dim is one
            of an image.

    Returns:
        `Blocks`, whose `data` has the shape (blocks, …) of an image's dims, with block and halo for what is cut, in the first image's
        memory order. Tensors have gradients of every order: those of a cell that several blocks read are added.

    Raises:
        ValueError: an empty list, dtypes, devices or numbers of dims or channels that differ, values out of range.
        TypeError: arguments of a wrong type.
    """
    first = images[0] if isinstance(images, (list, tuple)) and images else images
    if isinstance(first, np.ndarray) or sys.modules.get("torch") is None:
        return arrays.to_blocks(images, block, halo=halo, pad_value=pad_value, layout=layout, **words)
    from . import block_tensors

    if not block_tensors.is_tensor(first):
        return arrays.to_blocks(images, block, halo=halo, pad_value=pad_value, layout=layout, **words)
    given = words_of("to_blocks", words, CutWords) if words else None
    return block_tensors.to_blocks(images, block, halo, pad_value, layout, given)
